//! What pipelines resolve to, and what is refused.

mod golden;
mod leakage;
mod outputs;
mod refused;

use std::path::Path;

use super::memory::Memory;
use super::{InputOrigin, LabelPlan, Plan, RowColumn, Watch, check_text, dot, explain, json};
use crate::diagnostic::{self, Diagnostic, Severity};

/// Flights as DESIGN §4 has them, over files.
pub(super) const FLIGHTS: &str = r#"
[pipeline]
name = "flights"
epoch = { max_rows = 1000 }

[sources.departures]
kind = "file"
path = "departures.parquet"
event_time = "departed_at"
key = "flight_id"

[sources.arrivals]
kind = "file"
path = "arrivals.parquet"
event_time = "arrived_at"
lateness = "10m"
key = "flight_id"

[tables.airports]
path = "airports.csv"
kind = "file"
key = "iata"

[streams.flights]
from = "departures"
join = [{ table = "airports", on = "origin = iata" }]
where = "distance > 0"
derive = { hour = "date_part('hour', departed_at)" }

[features.airport]
from = "arrivals"
entity = "origin"
windows = ["1h", "24h"]
[features.airport.aggregates]
landed = "count(*)"
delay_mean = "avg(delay)"
late = "count(*) filter (where delay > 15)"

[models.late]
kind = "logistic_regression"
from = "flights"
lookup = { here = { view = "airport", key = "origin" }, there = { view = "airport", key = "destination" } }
features = ["here.*", "there.late_1h", "distance", "hour", "busy", "here.late_1h"]
derive = { busy = "here.late_1h / here.landed_1h" }
label = { stream = "arrivals", on = "flight_id", value = "delay > 15", within = "12h" }
learn = "record"

[monitors.quality]
watch = ["models.late"]
metrics = ["log_loss", "accuracy"]
every = "1d"
window = "7d"

[sinks.predictions]
kind = "file"
from = "models.late"
path = "predictions.ndjson"

[sinks.training]
kind = "parquet"
from = "models.late.rows"
path = "snapshots"
partition_by = "date(departed_at)"
"#;

pub(super) fn world() -> Memory {
    Memory::default()
        .with(
            "departures.parquet",
            "",
            &["flight_id int64", "departed_at timestamp", "origin string", "destination string", "distance float64"],
        )
        .with("arrivals.parquet", "", &["flight_id int64", "arrived_at timestamp", "origin string", "destination string", "delay float64?"])
        .with("airports.csv", "iata,city", &["iata string?", "city string?"])
}

pub(super) fn check(text: &str, files: &Memory) -> (Option<Plan>, Vec<Diagnostic>) {
    check_text(text, Path::new(""), &|_| None, files)
}

pub(super) fn shown(text: &str, diagnostics: &[Diagnostic]) -> String {
    diagnostic::render("p.toml", text, diagnostics, false)
}

pub(super) fn planned(text: &str, files: &Memory) -> Plan {
    let (plan, diagnostics) = check(text, files);
    plan.unwrap_or_else(|| panic!("{}", shown(text, &diagnostics)))
}

/// The errors of a file, as `code message`.
pub(super) fn errors(text: &str, files: &Memory) -> Vec<String> {
    let (plan, diagnostics) = check(text, files);
    let found: Vec<String> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| format!("{} {}", diagnostic.code, diagnostic.message))
        .collect();
    assert_eq!(plan.is_none(), !found.is_empty(), "a plan exactly when there is no error:\n{}", shown(text, &diagnostics));
    found
}

#[test]
fn flights_resolve() {
    let plan = planned(FLIGHTS, &world());
    let streams: Vec<&str> = plan.streams.iter().map(|stream| stream.id.as_str()).collect();
    assert_eq!(streams, ["sources.arrivals", "sources.departures", "streams.flights"]);
    let flights = &plan.streams[2];
    let columns: Vec<&str> = flights.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(columns, ["flight_id", "departed_at", "origin", "destination", "distance", "airports.iata", "airports.city", "hour"]);
    assert_eq!((flights.key, flights.event_time, flights.upstream), (Some(0), Some(1), Some(1)));

    let view = &plan.views[0];
    let features: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(features, ["delay_mean_1h", "delay_mean_24h", "landed_1h", "landed_24h", "late_1h", "late_24h"]);
    assert_eq!((view.arguments.len(), view.filters.len(), view.spec.windows.len()), (1, 1, 2));
    assert_eq!(view.spec.lateness, 600_000_000);

    let model = &plan.models[0];
    let inputs: Vec<&str> = model.inputs.iter().map(|input| input.name.as_str()).collect();
    let expected = [
        "busy",
        "distance",
        "here.delay_mean_1h",
        "here.delay_mean_24h",
        "here.landed_1h",
        "here.landed_24h",
        "here.late_1h",
        "here.late_24h",
        "hour",
        "there.late_1h",
    ];
    assert_eq!(inputs, expected);
    assert_eq!(model.inputs[0].origin, InputOrigin::Derived(0));
    assert_eq!(
        model.lookups.iter().map(|lookup| (lookup.key.clone(), lookup.own)).collect::<Vec<_>>(),
        [(vec![2], false), (vec![3], false)]
    );
    assert_eq!(model.row_scope[8], RowColumn::Feature { lookup: 0, feature: 0 });
    assert!(matches!(&model.label, Some(LabelPlan::Stream { stream: 0, row_key: 0, label_key: 0, .. })));
    assert_eq!(plan.monitors[0].watch, [Watch::Model(0)]);

    let sinks: Vec<(&str, Vec<&str>)> = plan
        .sinks
        .iter()
        .map(|sink| (sink.id.as_str(), sink.schema.fields().iter().map(|field| field.name().as_str()).collect()))
        .collect();
    assert_eq!(sinks[0], ("sinks.predictions", vec!["flight_id", "departed_at", "prediction", "probability", "degraded"]));
    assert_eq!(
        sinks[1],
        ("sinks.quarantine", vec!["source", "partition", "offset", "reason", "detail", "event_time", "raw", "raw_base64"])
    );
    assert_eq!(sinks[2].1[..4], ["flight_id", "departed_at", "busy", "distance"]);
    assert_eq!(sinks[2].1[4..7], ["here__delay_mean_1h", "here__delay_mean_24h", "here__landed_1h"]);
    assert_eq!(sinks[2].1[12..], ["label", "label_time", "prediction"]);
}

#[test]
fn the_order_of_a_file_changes_nothing() {
    let plan = planned(FLIGHTS, &world());
    let mut sections: Vec<&str> = FLIGHTS.split("\n\n").collect();
    let position = sections.iter().position(|section| section.starts_with("[sinks.predictions]")).unwrap();
    let moved = sections.remove(position);
    sections.insert(1, moved);
    let text = sections.join("\n\n# a comment\n\n");
    let other = planned(&text, &world());
    assert_eq!(plan.fingerprint, other.fingerprint);
    assert_eq!(explain(&plan), explain(&other));
}

#[test]
fn fingerprints_see_meaning_and_nothing_else() {
    let of = |text: &str, files: &Memory| planned(text, files).fingerprint;
    let base = of(FLIGHTS, &world());
    assert_eq!(of(&FLIGHTS.replace("predictions.ndjson", "elsewhere.ndjson"), &world()), base);
    let other = of(&FLIGHTS.replace("distance > 0", "distance > 1"), &world());
    assert_ne!(other.whole, base.whole);
    let changed: Vec<&str> =
        base.components.iter().zip(&other.components).filter(|(a, b)| a != b).map(|((id, _), _)| id.as_str()).collect();
    assert_eq!(changed, ["streams.flights"]);
    let files = world().with("airports.csv", "iata,city\nBOS,Boston", &["iata string?", "city string?"]);
    assert_ne!(of(FLIGHTS, &files).whole, base.whole, "a table's bytes are part of the plan");
    for (from, to) in
        [("\"1h\", \"24h\"", "\"24h\", \"1h\""), ("within = \"12h\"", "within = \"6h\""), ("max_rows = 1000", "max_rows = 999")]
    {
        assert_ne!(of(&FLIGHTS.replace(from, to), &world()).whole, base.whole, "{from}");
    }
}

#[test]
fn a_plan_is_shown_as_text_graph_and_json() {
    let plan = planned(FLIGHTS, &world());
    let text = explain(&plan);
    for part in [
        "features.airport: from sources.arrivals, by origin",
        "bytes a retained record",
        "label delay > 15 of sources.arrivals by flight_id, within 12h",
        "10 inputs",
        &plan.fingerprint.whole,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let graph = dot(&plan);
    assert!(graph.contains("\"features.airport\" -> \"models.late\" [style = dashed, label = \"here\"]"), "{graph}");
    assert!(graph.contains("\"sources.arrivals\" -> \"models.late\" [style = dotted"), "{graph}");
    let value = json(&plan);
    assert_eq!(value["models"][0]["inputs"].as_array().map(Vec::len), Some(10));
    assert_eq!(value["fingerprint"]["whole"], plan.fingerprint.whole.as_str());
    assert_eq!(value["features"][0]["features"][0]["window"], "1h");
    let columns = ["sources.arrivals.delay", "sources.arrivals.origin", "sources.departures.origin"];
    assert_eq!(value["models"][0]["lineage"]["busy"], serde_json::json!(columns));
}

#[test]
fn a_generator_brings_its_schema_and_a_view_of_the_models_own_stream_is_updated_and_read_at_once() {
    let text = r#"
[pipeline]
name = "fraud"
[sources.transactions]
kind = "generator"
generator = "transactions"
seed = 7
event_time = "at"
[features.user]
from = "transactions"
entity = "user"
windows = ["1h"]
max_keys = 100000
aggregates = { spent = "sum(amount)", gap = "time_since_last()" }
[models.fraud]
kind = "logistic_regression"
features = ["user.*", "amount"]
label = "fraud"
learn = "record"
nulls = { "user.gap" = { constant = 0 } }
"#;
    let plan = planned(text, &world());
    assert!(!plan.is_bounded());
    let model = &plan.models[0];
    assert_eq!(model.stream, 0);
    assert!(model.lookups[0].own);
    assert_eq!(plan.views[0].spec.max_keys_per_shard, Some(390));
    let nulls: Vec<_> = model.inputs.iter().map(|input| (input.name.as_str(), input.nulls)).collect();
    use super::InputNulls::{Constant, Mean};
    assert_eq!(nulls, [("amount", Mean), ("user.gap", Constant(0.0)), ("user.spent_1h", Mean)]);
}
