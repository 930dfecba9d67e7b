//! Whole files: the example of the design, workload W, and what is left of a file with errors.

use std::path::Path;

use super::declaration::*;
use super::*;
use crate::data::LogicalType;

fn parse_plain(text: &str) -> Parsed {
    parse(text, Path::new(env!("CARGO_MANIFEST_DIR")), &|name| (name == "W_INPUT").then(|| "w.ndjson".to_string()))
}

fn accept(text: &str) -> Declaration {
    let parsed = parse_plain(text);
    assert!(!parsed.has_errors(), "{}", diagnostic::render("p.toml", text, &parsed.diagnostics, false));
    parsed.declaration.unwrap()
}

const FLIGHTS: &str = r#"
[pipeline]
name  = "flights"
epoch = { every = "50ms", max_rows = 1000 }

[kafka]
brokers = "${KAFKA_BROKERS:-localhost:9092}"
options = { "security.protocol" = "PLAINTEXT" }

[sources.departures]
kind = "kafka"
topic = "departures"
format = "json"
schema = { flight_id = "int64", departed_at = "timestamp_ms", origin = "string", destination = "string", distance = "float64" }
event_time = "departed_at"
lateness = "10m"
key = "flight_id"

[sources.arrivals]
kind = "kafka"
topic = "arrivals"
format = "json"
schema = { flight_id = "int64", arrived_at = "timestamp_ms", origin = "string", destination = "string", delay = "float64?" }
event_time = "arrived_at"
lateness = "10m"
key = "flight_id"

[tables.airports]
kind = "file"
path = "pipelines/data/airports.csv"
key = "iata"

[streams.flights]
from = "departures"
join = [{ table = "airports", on = "origin = iata" }]
where = "distance > 0"
derive = { hour = "date_part('hour', departed_at)" }

[features.airport]
from = "arrivals"
entity = "origin"
windows = ["1h", "24h", { tumbling = "1h", offset = "15m" }]
[features.airport.aggregates]
landed = "count(*)"
delay_mean = "avg(delay)"
late = "count(*) filter (where delay > 15)"
delay_p95 = { value = "approx_quantile(delay, 0.95)", windows = ["24h"] }

[models.late]
kind = "logistic_regression"
from = "flights"
lookup = { here = { view = "airport", key = "origin" } }
features = ["here.*", "distance", "hour", "busy"]
derive = { busy = "here.late_1h / here.landed_1h" }
label = { stream = "arrivals", on = "flight_id", value = "delay > 15", within = "12h" }
scaler = "standard"
optimizer = { kind = "ftrl", alpha = 0.05, beta = 1.0, l1 = 0.0, l2 = 1.0 }
learn = "record"
seed = 7

[models.deep]
kind = "candle"
from = "flights"
artifact = "pipelines/models/delay-mlp"
batch_rows = 256
device = "auto"

[monitors.drift]
watch = ["models.late.inputs", "models.late"]
detectors = { psi = { threshold = 0.2 }, adwin = { on = "error", delta = 0.002 } }
reference = { rows = 50000 }
window = "7d"
every = "1d"

[sinks.predictions]
kind = "kafka"
from = "models.late"
topic = "flight-predictions"

[sinks.training]
kind = "parquet"
from = "models.late.rows"
path = "snapshots/flights"
partition_by = "date(departed_at)"

[[tests]]
name = "a late arrival within the hour is seen by the next departure"
input.arrivals = [{ flight_id = 1, origin = "BOS", delay = 40, arrived_at = 2001-01-01T10:00:00Z }]
input.departures = [{ flight_id = 2, origin = "BOS" }]
expect."models.late.rows" = [{ flight_id = 2, here__late_1h = 1 }, { any = true }]
"#;

#[test]
fn the_example_of_the_design() {
    let file = accept(FLIGHTS);
    assert_eq!(file.pipeline.epoch, EpochPolicy { every: 50_000, max_rows: 1000, ..EpochPolicy::default() });
    assert_eq!(file.kafka.unwrap().value.brokers.value, "localhost:9092");
    let departures = &file.sources["departures"].value;
    let columns: Vec<_> = departures.schema.as_ref().unwrap().value.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(columns, ["flight_id", "departed_at", "origin", "destination", "distance"], "in the order of the file");
    assert_eq!((departures.lateness, departures.ahead, departures.max_record), (600_000_000, 3_600_000_000, 1 << 20));
    let view = &file.features["airport"].value;
    let suffixes: Vec<_> = view.windows.iter().map(|window| window.value.suffix.as_str()).collect();
    assert_eq!(suffixes, ["1h", "24h", "1h_tumbling"], "lengths as written");
    assert_eq!(view.windows[2].value.window, Window::Tumbling { size: 3_600_000_000, offset: 900_000_000 });
    assert_eq!(view.aggregates["delay_p95"].windows.as_ref().map(Vec::len), Some(1));
    let model = &file.models["late"].value;
    let ModelKind::Linear(linear) = &model.kind else { panic!() };
    assert!(linear.learn_record && linear.standard_scaler && !linear.scaler_before && linear.seed == 7);
    assert_eq!(linear.optimizer, Optimizer::Ftrl { alpha: 0.05, beta: 1.0, l1: 0.0, l2: 1.0 });
    assert!(matches!(&model.label.as_ref().unwrap().value, Label::Stream { within: 43_200_000_000, expired_negative: false, .. }));
    assert_eq!(file.monitors["drift"].value.detectors.len(), 2);
    assert_eq!(file.tests[0].value.expect["models.late.rows"].value.len(), 2);
    assert_eq!(file.tests[0].value.input["arrivals"].value[0]["arrived_at"], "2001-01-01T10:00:00Z");
    let span = file.streams["flights"].value.filter.as_ref().unwrap().span.clone();
    assert_eq!(&FLIGHTS[span], "\"distance > 0\"");
}

#[test]
fn workload_w() {
    let file = accept(
        r#"
[pipeline]
name = "w"
[sources.events]
kind = "file"
path = "${W_INPUT}"
schema = { event_id = "int64", ts = "timestamp_ms", user = "string", merchant = "string", amount = "decimal(12,2)", label = "int64?" }
event_time = "ts"
key = "event_id"
[features.u]
from = "events"
entity = "user"
windows = ["1m", "10m", "1h", "24h"]
aggregates = { count = "count(*)", sum = "sum(amount)", gap = "time_since_last()" }
[features.m]
from = "events"
entity = ["merchant"]
windows = ["1h", "24h"]
aggregates = { count = "count(*)" }
[features.all]
from = "events"
entity = []
windows = ["lifetime"]
aggregates = { count = "count(*)" }
[models.fraud]
kind = "logistic_regression"
from = "events"
features = ["u.*", "m.*", "all.*", "ratio"]
derive = { ratio = "amount / u.sum_24h" }
label = "label"
nulls = { "u.gap" = { constant = -1 }, ratio = "skip" }
scaler = { kind = "standard", update = "before" }
optimizer = "sgd"
learn = "record"
[monitors.m]
watch = "models.fraud"
metrics = ["accuracy", "log_loss"]
detectors = { adwin = { delta = 0.002 } }
window = { rows = 20000 }
every = "1h"
[sinks.p]
kind = "file"
from = "models.fraud"
path = "${W_OUTPUT:-out.ndjson}"
columns = { event_id = "event_id", user = "user", p = "probability" }
[sinks.rows]
kind = "parquet"
from = "models.fraud"
path = "rows.parquet"
columns = ["event_id", "u.count_1m", "_epoch"]
where = "event_id % 199 = 7"
"#,
    );
    assert!(
        matches!(&file.sources["events"].value.kind, SourceKind::File { path, format } if path.value == "w.ndjson" && format.value == Format::Json)
    );
    assert_eq!(file.sources["events"].value.schema.as_ref().unwrap().value.columns[4].kind, LogicalType::Decimal(12, 2));
    assert!(file.features["all"].value.entity.is_empty());
    let ModelKind::Linear(linear) = &file.models["fraud"].value.kind else { panic!() };
    assert!(linear.scaler_before && linear.optimizer == Optimizer::Sgd { lr: 0.01 });
    let NullPolicy::PerInput(nulls) = &file.models["fraud"].value.nulls else { panic!() };
    assert_eq!(nulls["u.gap"].value, NullPolicy::Constant(-1.0));
    let columns = file.sinks["p"].value.columns.as_ref().unwrap();
    assert_eq!(columns.iter().map(|(name, _)| name.value.as_str()).collect::<Vec<_>>(), ["event_id", "user", "p"]);
    let listed = file.sinks["rows"].value.columns.as_ref().unwrap();
    assert_eq!((listed[1].0.value.as_str(), listed[1].1.value.as_str()), ("u__count_1m", "u.count_1m"));
}

#[test]
fn what_is_left_of_a_file_with_errors() {
    let text = FLIGHTS.replace("lateness = \"10m\"\nkey = \"flight_id\"\n\n[sources.arrivals]", "latenes = \"10m\"\n\n[sources.arrivals]");
    let parsed = parse_plain(&text);
    let (declaration, poisoned) = parsed.readable().unwrap();
    assert_eq!(parsed.diagnostics.len(), 1, "{:?}", parsed.diagnostics);
    assert!(poisoned.contains("sources.departures") && !declaration.sources.contains_key("departures"));
    assert!(declaration.streams.contains_key("flights"), "what reads a poisoned component stays, and is not blamed");
}

#[test]
fn nothing_follows_from_a_syntax_error() {
    let text = FLIGHTS.replace("kind = \"file\"", "kind \"file\"");
    let parsed = parse_plain(&text);
    assert_eq!(parsed.diagnostics.len(), 1, "{:?}", parsed.diagnostics);
    assert!(parsed.declaration.is_none() && parsed.readable().is_none());
}

#[test]
fn families_that_are_unclear_leave_nothing_to_later_phases() {
    let parsed = parse_plain(&FLIGHTS.replace("[sources.arrivals]", "[source.arrivals]"));
    assert_eq!(parsed.diagnostics.iter().map(|found| found.code).collect::<Vec<_>>(), [codes::UNKNOWN_SECTION]);
    assert!(parsed.readable().is_none());
}

#[test]
fn no_text_makes_it_panic() {
    let mut tried = 0;
    for (at, letter) in FLIGHTS.char_indices().step_by(41) {
        let (before, after) = FLIGHTS.split_at(at);
        for put in ["", "\"", "[", "]", "{", "\n", "é", "=", "'", "${", "\u{0}", "#", "."] {
            let text = format!("{before}{put}{}", &after[letter.len_utf8()..]);
            let parsed = parse_plain(&text);
            assert!(parsed.declaration.is_some() || parsed.has_errors());
            for found in &parsed.diagnostics {
                assert!(text.get(found.span.clone()).is_some(), "{found:?} points outside of the text");
            }
            diagnostic::render("p.toml", &text, &parsed.diagnostics, false);
            tried += 1;
        }
    }
    assert!(tried > 600);
}

#[test]
fn the_shipped_schemas_compile() {
    let root = Path::new(file!()).with_file_name("../../schemas");
    for (path, column) in [("departure", "departed_at"), ("arrival", "arrived_at"), ("transaction", "at")] {
        let text = format!(
            "[pipeline]\nname = \"x\"\n[sources.s]\nkind = \"file\"\npath = \"x.ndjson\"\nschema = \"{path}.json\"\nevent_time = \"{column}\"\n[sinks.o]\nkind = \"file\"\nfrom = \"s\"\npath = \"o\"\n"
        );
        let parsed = parse(&text, &root, &|_| None);
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    }
}
