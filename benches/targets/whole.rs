//! Workload W and its variants, whole.

use std::fs;
use std::path::{Path, PathBuf};

use crate::events::Events;
use crate::measured::{Fallible, Process, Run, setting};
use crate::{Bench, Entrant, Line, W, changed, rate};

/// W with one and two workers, beside the hand-written loop.
pub fn w(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.w_input()?;
    let (mut one, mut two) = (bench.pipeline("one", W, &input, 1)?, bench.pipeline("two", W, &input, 2)?);
    let (mut hand_one, mut hand_two) = (bench.by_hand("fast", &input), bench.by_hand("w2", &input));
    let mut all: Vec<&mut Entrant> = vec![&mut one, &mut two];
    all.extend(hand_one.iter_mut().chain(hand_two.iter_mut()));
    bench.race(&mut all)?;
    let beside = |measure: &str, own: &Entrant, hand: &Option<Entrant>| match hand {
        Some(hand) => {
            let share = own.rate / hand.rate;
            let measured = format!("{:.0} % ({} of {})", share * 100.0, rate(own.rate), rate(hand.rate));
            Line::new(measure, "≥ 58 % of the hand-written loop", measured, Some(share >= 0.58))
        }
        None => Line::new(measure, "≥ 58 % of the hand-written loop", rate(own.rate), None),
    };
    let same = equal(&bench.path("one/predictions.ndjson"), &bench.path("two/predictions.ndjson"))?;
    let scaling = two.rate / one.rate;
    let measured = format!("{scaling:.2}, bytes {}", if same { "equal" } else { "differ" });
    Ok(vec![
        beside("W whole, 1 worker on one CPU", &one, &hand_one),
        beside("W whole, 2 workers", &two, &hand_two),
        Line::new("2 workers ÷ 1 worker, output bytes equal", "≥ 1.6", measured, Some(scaling >= 1.6 && same)),
    ])
}

fn equal(a: &Path, b: &Path) -> Fallible<bool> {
    let read = |path: &Path| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    Ok(read(a)? == read(b)?)
}

/// W has 31 features and two views; finding a key and its windows is counted as much as five features.
const WORK: f64 = 31.0 + 2.0 * 5.0;

/// W with one more function, window, view: time may grow with the work, and no more.
pub fn wider(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.w_input()?;
    let function = changed(W, "max = \"max(amount)\"\n", "max = \"max(amount)\"\nleast = \"min(amount)\"\n")?;
    let window = changed(W, "windows = [\"1m\", \"10m\", \"1h\", \"24h\"]", "windows = [\"1m\", \"10m\", \"1h\", \"6h\", \"24h\"]")?;
    let country = changed(W, "merchant = \"string\",", "merchant = \"string\", country = \"string\",")?;
    let country = changed(&country, "\"m.*\"", "\"m.*\", \"c.*\"")?;
    let aggregates = [
        "count = \"count(*)\"",
        "sum = \"sum(amount)\"",
        "mean = \"avg(amount)\"",
        "std = \"stddev_pop(amount)\"",
        "max = \"max(amount)\"",
    ];
    let view = format!(
        "[features.c]\nfrom = \"transactions\"\nentity = \"country\"\nwindows = [\"1h\"]\n[features.c.aggregates]\n{}\n\n[models.fraud]",
        aggregates.join("\n")
    );
    let view = changed(&country, "[models.fraud]", &view)?;
    let variants = [
        ("one more function, min", &function, 6.0),
        ("one more window, 6h", &window, 5.0),
        ("one more view, by country over 1h", &view, 10.0),
    ];
    let mut plain = bench.pipeline("plain", W, &input, 1)?;
    let mut wider: Vec<Entrant> = variants
        .iter()
        .zip(["function", "window", "view"])
        .map(|((_, text, _), name)| bench.pipeline(name, text, &input, 1))
        .collect::<Fallible<_>>()?;
    let mut all = vec![&mut plain];
    all.extend(wider.iter_mut());
    bench.race(&mut all)?;
    let line = |((name, _, more), entrant): (&(&str, &String, f64), &Entrant)| {
        let (grown, most) = (plain.rate / entrant.rate, 1.0 + more / WORK);
        let target = format!("time × {most:.2} at most, as the work");
        Line::new(&format!("W with {name}"), &target, format!("× {grown:.2} ({})", rate(entrant.rate)), Some(grown <= most))
    };
    Ok(variants.iter().zip(&wider).map(line).collect())
}

/// W from Parquet.
pub fn parquet(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.w_input()?;
    let columns = bench.parquet(&input)?;
    let text = changed(W, "format = \"json\"", "format = \"parquet\"")?;
    let (mut lines, mut parquet) = (bench.pipeline("lines", W, &input, 1)?, bench.pipeline("parquet", &text, &columns, 1)?);
    bench.race(&mut [&mut lines, &mut parquet])?;
    let (gain, same) =
        (parquet.rate / lines.rate, equal(&bench.path("lines/predictions.ndjson"), &bench.path("parquet/predictions.ndjson"))?);
    let measured = format!("{gain:.2} × ({} of {}), bytes {}", rate(parquet.rate), rate(lines.rate), if same { "equal" } else { "differ" });
    Ok(vec![Line::new("W with Parquet input instead of NDJSON", "≥ 1.3 × NDJSON", measured, Some(gain >= 1.3 && same))])
}

/// Both views of W into Parquet, every row, and nothing else.
pub fn features(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.w_input()?;
    let views = W.split("[models.fraud]").next().unwrap_or_default();
    let sink =
        |name: &str, place: &str| format!("[sinks.{name}]\nkind = \"parquet\"\nfrom = \"features.{name}\"\npath = \"${{{place}}}\"\n\n");
    let text = format!("{views}{}{}", sink("u", "W_ROWS"), sink("m", "W_MORE"));
    let mut own = bench.pipeline("features", &text, &input, 2)?;
    let mut polars = setting("POLARS_PYTHON").map(|python| {
        let script = setting("POLARS_SCRIPT")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/bench-peers/w_polars.py"), PathBuf::from);
        let arguments = vec![script.display().to_string(), input.display().to_string()];
        let process = Process { pinned: false, program: PathBuf::from(python), arguments, environment: Vec::new() };
        Entrant { name: "polars".to_string(), process, count: bench.count(&input), peer: true, rate: 0.0, last: Run::default() }
    });
    let mut all = vec![&mut own];
    all.extend(polars.iter_mut());
    bench.race(&mut all)?;
    let (measure, target) = ("features only, Parquet out, 2 workers, against Polars' offline `rolling`", "≥ 5 ×");
    Ok(vec![match &polars {
        Some(polars) => {
            let gain = own.rate / polars.rate;
            Line::new(measure, target, format!("{gain:.1} × ({} of {})", rate(own.rate), rate(polars.rate)), Some(gain >= 5.0))
        }
        None => Line::new(measure, target, rate(own.rate), None),
    }])
}

/// 100 numeric features of one view into a linear model.
pub fn inputs(bench: &Bench) -> Fallible<Vec<Line>> {
    let input = bench.input("inputs", Events::w(bench.events))?;
    let minutes = [1, 2, 3, 5, 8, 10, 15, 20, 30, 45].map(|minutes| format!("\"{minutes}m\""));
    let hours = [1, 2, 3, 4, 6, 8, 12, 16, 20, 24].map(|hours| format!("\"{hours}h\""));
    let windows = [minutes, hours].concat().join(", ");
    let text = format!(
        r#"[pipeline]
name = "inputs"
[sources.transactions]
kind = "file"
path = "${{W_INPUT}}"
format = "json"
schema = {{ event_id = "int64", ts = "timestamp_ms", user = "string", amount = "float64", label = "int64?" }}
event_time = "ts"
key = "event_id"
[features.u]
from = "transactions"
entity = "user"
windows = [{windows}]
[features.u.aggregates]
count = "count(*)"
sum = "sum(amount)"
mean = "avg(amount)"
std = "stddev_pop(amount)"
max = "max(amount)"
[models.fraud]
kind = "logistic_regression"
from = "transactions"
features = ["u.*"]
label = "label"
optimizer = {{ kind = "sgd", lr = 0.01 }}
learn = "record"
[sinks.predictions]
kind = "file"
from = "models.fraud"
path = "${{W_OUTPUT}}"
columns = {{ event_id = "event_id", p = "probability" }}
"#
    );
    let mut entrant = bench.pipeline("inputs", &text, &input, 1)?;
    bench.race(&mut [&mut entrant])?;
    let measure = "100 numeric features of one view into a linear model, whole, 1 worker on one CPU";
    Ok(vec![Line::new(measure, "≥ 0.5 M predictions/s", rate(entrant.rate), Some(entrant.rate >= 5e5))])
}

/// W where every second line is none that can be used.
pub fn garbage(bench: &Bench) -> Fallible<Vec<Line>> {
    let events = Events::w(bench.events);
    let (clean, half) = (bench.input("clean", events)?, bench.input("garbage", Events { half_garbage: true, ..events })?);
    let (mut clean, mut half) = (bench.pipeline("clean", W, &clean, 1)?, bench.pipeline("garbage", W, &half, 1)?);
    bench.race(&mut [&mut clean, &mut half])?;
    let (kept, used) = (half.rate / clean.rate, half.used()?);
    if used != half.count / 2 {
        return Err(format!("of {} records, half of them garbage, {used} were used", half.count));
    }
    let measured = format!("{:.0} % ({} of {})", kept * 100.0, rate(half.rate), rate(clean.rate));
    Ok(vec![Line::new("W with 50 % garbage, quarantined, against W", "≥ 50 % of the speed", measured, Some(kept >= 0.5))])
}
