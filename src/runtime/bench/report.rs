//! What `tidemill bench` prints.

use std::fmt::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::runtime::Summary;
use crate::runtime::summary::{Output, Rows};
use crate::telemetry::CpuTime;
use crate::time::WorkTime;

/// The outcome of a bench.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// `[pipeline] name`
    pub pipeline: String,
    /// Worker threads.
    pub workers: usize,
    /// Records a second that were offered; `None`: as fast as they were taken.
    pub rate: Option<f64>,
    /// Records measured: without those of the warm-up.
    pub records: u64,
    /// How long they took.
    pub seconds: f64,
    /// Records a second.
    pub records_per_second: f64,
    /// From a record's scheduled arrival on; with a rate only.
    pub latency: Option<Latency>,
    /// The part that was left out; with a rate only.
    pub warm_up: Option<WarmUp>,
    /// Epochs.
    pub epochs: Epochs,
    /// Records of the whole run.
    pub rows: Rows,
    /// Processor time of the process.
    pub cpu: Option<Cpu>,
    /// Greatest resident memory of the process, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Records held in memory beforehand, bytes: part of the above.
    pub fed_bytes: u64,
    /// What components took, the longest first.
    pub work: Vec<Work>,
    /// What the sinks wrote, in places that are gone.
    pub outputs: Vec<Output>,
}

/// Latencies.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Until the outputs of the record are complete and handed over to be committed.
    pub to_outputs: Quantiles,
    /// Until they are committed.
    pub to_commit: Quantiles,
}

/// Records that were not measured because the pipeline had just begun.
#[derive(Clone, Debug, Serialize)]
pub struct WarmUp {
    /// How many.
    pub records: u64,
    /// Their latency until the outputs were there.
    pub to_outputs: Quantiles,
}

/// Quantiles of a time, microseconds, to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Half of all are below.
    pub p50_us: u64,
    /// Nine of ten.
    pub p90_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p99_9_us: u64,
    /// All.
    pub max_us: u64,
}

impl Quantiles {
    /// Of a histogram; `None` if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self { p50_us: at(0.5), p90_us: at(0.9), p99_us: at(0.99), p99_9_us: at(0.999), max_us: at(1.0) })
    }
}

/// Epochs of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Epochs {
    /// With measured records.
    pub count: u64,
    /// Median time between commits, per epoch, microseconds; the whole run.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
}

/// Processor time.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    /// Seconds.
    #[serde(flatten)]
    pub time: CpuTime,
    /// Microseconds for each measured record.
    pub micros_per_record: f64,
}

/// What one kind of work of a component took.
#[derive(Clone, Debug, Serialize)]
pub struct Work {
    /// Component, work and seconds.
    #[serde(flatten)]
    pub time: WorkTime,
    /// Microseconds for each measured record.
    pub micros_per_record: f64,
    /// Of the time of all components, 0 to 1.
    pub share: f64,
}

impl BenchReport {
    /// Shares and times per record.
    pub fn work(times: Vec<WorkTime>, records: u64) -> Vec<Work> {
        let total: f64 = times.iter().map(|time| time.seconds).sum();
        let work = |time: WorkTime| {
            let share = if total > 0.0 { time.seconds / total } else { 0.0 };
            Work { micros_per_record: per_record(time.seconds, records), share, time }
        };
        times.into_iter().map(work).collect()
    }

    /// Processor time per record.
    pub fn cpu(time: CpuTime, records: u64) -> Cpu {
        Cpu { time, micros_per_record: per_record(time.seconds(), records) }
    }

    /// The epochs of a run that measured `count` of them.
    pub fn epochs(count: u64, summary: &Summary) -> Epochs {
        Epochs { count, p50_us: summary.speed.epoch_p50, p99_us: summary.speed.epoch_p99 }
    }

    /// For a program, one line.
    pub fn json(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let how = self.rate.map_or("as fast as it goes".to_string(), |rate| format!("{rate:.0} records/s offered"));
        writeln!(out, "{}: {} worker{}, {how}", self.pipeline, self.workers, if self.workers == 1 { "" } else { "s" })?;
        let rows = &self.rows;
        writeln!(out, "rows     {} in = {} used + {} late + {} quarantined", rows.read, rows.used, rows.late, rows.quarantined)?;
        writeln!(out, "speed    {:.0} records/s: {} records in {:.2} s", self.records_per_second, self.records, self.seconds)?;
        if self.warm_up.is_some() || self.latency.is_some() {
            writeln!(out, "latency  {:>10}{:>10}{:>10}{:>10}{:>10}", "p50", "p90", "p99", "p99.9", "max")?;
        }
        if let Some(latency) = &self.latency {
            quantiles(out, "outputs", latency.to_outputs)?;
            quantiles(out, "commit", latency.to_commit)?;
        }
        if let Some(warm_up) = &self.warm_up {
            quantiles(out, "warm-up", warm_up.to_outputs)?;
            writeln!(out, "         from scheduled arrival; {} records of the warm-up are counted apart", warm_up.records)?;
        }
        let epochs = &self.epochs;
        writeln!(out, "epochs   {}; between commits p50 {}, p99 {}", epochs.count, millis(epochs.p50_us), millis(epochs.p99_us))?;
        if let Some(Cpu { time, micros_per_record }) = &self.cpu {
            let (user, system) = (time.user_seconds, time.system_seconds);
            writeln!(out, "CPU      {micros_per_record:.3} µs/record: {user:.2} s user, {system:.2} s system")?;
        }
        if let Some(peak) = self.peak_memory_bytes {
            let fed = if self.fed_bytes > 0 { format!(", {} of it the input", mib(self.fed_bytes)) } else { String::new() };
            writeln!(out, "memory   {} at most{fed}", mib(peak))?;
        }
        writeln!(out, "\n{:<40}{:<10}{:>10}{:>12}{:>8}", "component", "work", "seconds", "µs/record", "share")?;
        for Work { time, micros_per_record, share } in &self.work {
            let (component, work, seconds) = (&time.component, &time.work, time.seconds);
            writeln!(out, "{component:<40}{work:<10}{seconds:>10.3}{micros_per_record:>12.3}{:>7.1}%", share * 100.0)?;
        }
        writeln!(out, "\nTime of components is time on their threads, waiting for a processor included.")
    }
}

fn quantiles(out: &mut String, name: &str, of: Quantiles) -> fmt::Result {
    let Quantiles { p50_us, p90_us, p99_us, p99_9_us, max_us } = of;
    write!(out, "  {name:<7}")?;
    for time in [p50_us, p90_us, p99_us, p99_9_us, max_us] {
        write!(out, "{:>10}", millis(time))?;
    }
    writeln!(out)
}

fn per_record(seconds: f64, records: u64) -> f64 {
    if records == 0 { 0.0 } else { seconds * 1e6 / records as f64 }
}

fn millis(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..10_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
}
