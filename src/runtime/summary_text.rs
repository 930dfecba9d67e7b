//! The closing summary in words and tables.

use std::fmt::{self, Display, Formatter, Write};

use super::summary::{Labels, ModelPart, Output, Summary};
use crate::metrics::Numbers;
use crate::time::{EventTime, WorkTime, duration};

/// Inputs named in "strongest".
const STRONGEST: usize = 5;
/// Rises listed.
const RISES: usize = 10;
/// Components named in "work".
const BUSIEST: usize = 5;

impl Summary {
    /// The summary for a person; `file` is the pipeline file, for the commands it names.
    pub fn text(&self, file: &str) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, file);
        out
    }

    fn write(&self, out: &mut String, file: &str) -> fmt::Result {
        writeln!(out, "{}: {} epochs, event time up to {}", self.pipeline, count(self.epochs), time(self.event_time))?;
        let rows = &self.rows;
        write!(
            out,
            "rows     {} in = {} used + {} late + {} quarantined",
            count(rows.read),
            count(rows.used),
            count(rows.late),
            count(rows.quarantined)
        )?;
        let reasons: Vec<String> =
            rows.reasons.iter().filter(|(name, _)| *name != "late").map(|(name, n)| format!("{name} {}", count(*n))).collect();
        writeln!(out, "{}", if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) })?;
        if rows.non_finite > 0 {
            writeln!(out, "         {} NaN or infinite values written as null", count(rows.non_finite))?;
        }
        for model in &self.models {
            self.model(out, model)?;
        }
        for monitor in &self.monitors {
            writeln!(out, "\n{}: {} alarms, {} rises of the error", monitor.component, count(monitor.alarms), count(monitor.rises))?;
            for rise in monitor.first.iter().take(RISES) {
                let columns: Vec<String> = rise.columns.iter().take(3).map(|(name, value)| format!("{name} {value:.2}")).collect();
                let moved = if columns.is_empty() { String::new() } else { format!("; moved: {}", columns.join(", ")) };
                let at = rise.key.as_deref().map(|key| format!(" (row {key})")).unwrap_or_default();
                writeln!(
                    out,
                    "  {}{at}: {} rose to {:.3}, above {:.3}{moved}",
                    EventTime(rise.event_time),
                    rise.column,
                    rise.value,
                    rise.threshold
                )?;
            }
            if monitor.rises > RISES as u64 {
                writeln!(out, "  … and {} more", count(monitor.rises - RISES as u64))?;
            }
        }
        let speed = &self.speed;
        let resumed = match (self.resumed_after, self.resumed_from) {
            (None, _) => String::new(),
            (Some(after), None) => format!(", epochs up to {after} replayed"),
            (Some(after), Some(from)) => format!(", from the checkpoint of epoch {from}, epochs up to {after} replayed"),
        };
        writeln!(
            out,
            "\nspeed    {} rows/s, {:.1} s{resumed}; epoch p50 {}, p99 {}",
            count(speed.rows_per_second as u64),
            speed.seconds,
            micros(speed.epoch_p50),
            micros(speed.epoch_p99)
        )?;
        let shares = work_shares(&speed.work, BUSIEST);
        if !shares.is_empty() {
            writeln!(out, "work     {shares}")?;
        }
        writeln!(out, "\nwritten")?;
        for output in &self.outputs {
            writeln!(out, "  {:<22} {:>11} rows  {}", output.component, count(output.rows), place(output))?;
        }
        let (quarantine, results): (Vec<&Output>, Vec<&Output>) =
            self.outputs.iter().filter(|output| output.rows > 0).partition(|output| output.component == "sinks.quarantine");
        if let Some(line) = results.into_iter().chain(quarantine).find_map(duckdb) {
            writeln!(out, "look     {line}")?;
        }
        if let Some((model, key)) = self.models.iter().find_map(|model| model.example.as_ref().map(|key| (model, key))) {
            let name = model.component.strip_prefix("models.").unwrap_or(&model.component);
            writeln!(out, "explain  tidemill explain {file} {key} --model {name}")?;
        }
        Ok(())
    }

    fn model(&self, out: &mut String, model: &ModelPart) -> fmt::Result {
        let metrics = &model.metrics;
        writeln!(out)?;
        write!(out, "{}: {} rows predicted", model.component, count(model.rows_predicted))?;
        if model.rows_unanswered > 0 {
            write!(out, ", {} of them without an answer", count(model.rows_unanswered))?;
        }
        writeln!(out)?;
        if let Some(labels) = &model.labels {
            labels_line(out, labels)?;
        }
        if metrics.classification {
            writeln!(out, "  {:<22}{:>10}{:>8}{:>12}{:>10}{:>12}", "", "log loss", "AUC", "top 10 %", "accuracy", "cold rows")?;
        } else {
            writeln!(out, "  {:<22}{:>12}{:>12}{:>8}{:>12}", "", "MAE", "RMSE", "R²", "cold rows")?;
        }
        for row in &metrics.predictors {
            numbers(out, &row.name, &row.numbers, metrics.classification)?;
        }
        if !metrics.months.is_empty() {
            writeln!(out, "  by month")?;
            for row in &metrics.months {
                let label = format!("{} ({} rows)", row.month, count(row.numbers.rows));
                numbers(out, &label, &row.numbers, metrics.classification)?;
            }
        }
        let learner = &model.learner;
        if !learner.weights.is_empty() {
            let mut strongest: Vec<&(String, f64)> = learner.weights.iter().filter(|(_, weight)| *weight != 0.0).collect();
            strongest.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then_with(|| a.0.cmp(&b.0)));
            writeln!(out, "  strongest of {} inputs, after {} rows learned", learner.weights.len(), count(learner.learned_rows))?;
            for (name, weight) in strongest.into_iter().take(STRONGEST) {
                writeln!(out, "    {}", in_words(name, *weight, learner.scaled, metrics.classification))?;
            }
        }
        if learner.learn_skipped > 0 {
            writeln!(out, "  {} labelled rows could not be learned from", count(learner.learn_skipped))?;
        }
        if !learner.saved.is_empty() {
            writeln!(out, "  saved in {}", learner.saved)?;
        }
        Ok(())
    }
}

fn labels_line(out: &mut String, labels: &Labels) -> fmt::Result {
    let delay = labels
        .median_delay
        .map(|delay| format!(", median delay {}", duration::format(delay / 60_000_000 * 60_000_000)))
        .unwrap_or_default();
    write!(out, "  labels {} matched, {} expired, {} waiting{delay}", count(labels.matched), count(labels.expired), count(labels.waiting))?;
    let others = [
        ("duplicate", labels.duplicate),
        ("without a row", labels.orphan),
        ("outside the window", labels.out_of_window),
        ("repeated rows", labels.repeated),
    ];
    for (name, n) in others.into_iter().filter(|(_, n)| *n > 0) {
        write!(out, ", {} {name}", count(n))?;
    }
    writeln!(out)
}

fn numbers(out: &mut String, name: &str, numbers: &Numbers, classification: bool) -> fmt::Result {
    if classification {
        writeln!(
            out,
            "  {name:<22}{:>10}{:>8}{:>12}{:>10}{:>12}",
            shown(numbers.log_loss, 4),
            shown(numbers.auc, 4),
            shown(numbers.precision_top, 4),
            shown(numbers.accuracy, 4),
            count(numbers.cold_rows)
        )
    } else {
        writeln!(
            out,
            "  {name:<22}{:>12}{:>12}{:>8}{:>12}",
            shown(numbers.mae, 4),
            shown(numbers.rmse, 4),
            shown(numbers.r2, 4),
            count(numbers.cold_rows)
        )
    }
}

/// The shares of those that worked longest, in words; empty if nobody worked.
fn work_shares(work: &[WorkTime], most: usize) -> String {
    let total: f64 = work.iter().map(|time| time.seconds).sum();
    let shown = work.iter().filter(|time| time.seconds > 0.0).take(most);
    let shares: Vec<String> = shown.map(|time| format!("{} {} {:.0} %", time.component, time.work, 100.0 * time.seconds / total)).collect();
    shares.join(", ")
}

/// A weight as a sentence.
fn in_words(name: &str, weight: f64, scaled: bool, classification: bool) -> String {
    let unit = if scaled { "one standard deviation" } else { "one unit" };
    if classification {
        let odds = libm::exp(weight);
        let verb = if weight > 0.0 { "raises" } else { "lowers" };
        format!("{name}: {unit} more {verb} the odds to {odds:.2} times")
    } else {
        format!("{name}: {unit} more adds {weight:.4}")
    }
}

fn place(output: &Output) -> String {
    match output.kind.as_str() {
        "kafka" => format!("topic {}", output.place),
        "parquet" => format!("{} ({} parts, {})", output.place, count(output.parts), size(output.bytes)),
        _ => format!("{} ({})", output.place, size(output.bytes)),
    }
}

/// A line that a shell with DuckDB's command runs as it is.
fn duckdb(output: &Output) -> Option<String> {
    let from = match output.kind.as_str() {
        "file" => format!("read_ndjson('{}')", output.place),
        "parquet" if output.place.ends_with(".parquet") => format!("read_parquet('{}')", output.place),
        "parquet" => format!("read_parquet('{}/**/*.parquet')", output.place),
        _ => return None,
    };
    Some(format!("duckdb -c \"select * from {from} limit 5\""))
}

fn shown(value: Option<f64>, digits: usize) -> Shown {
    Shown(value, digits)
}

struct Shown(Option<f64>, usize);

impl Display for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => f.pad(&format!("{value:.*}", self.1)),
            None => f.pad("–"),
        }
    }
}

/// A number with commas between thousands.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn time(at: Option<EventTime>) -> String {
    at.map_or_else(|| "nothing".to_string(), |at| at.to_string())
}

fn micros(us: u64) -> String {
    if us >= 1_000_000 { format!("{:.2} s", us as f64 / 1e6) } else { format!("{:.1} ms", us as f64 / 1e3) }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_weights_put_into_words() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(in_words("x", std::f64::consts::LN_2, true, true), "x: one standard deviation more raises the odds to 2.00 times");
    }
}
