//! What the plan refuses, beside leaks: one line per mistake. How the reports look is golden (`tests/ui/plan_*`).

use super::{FLIGHTS, check, errors, shown, world};
use crate::plan::memory::Memory;

/// The errors after one change to the flights.
fn after(from: &str, to: &str) -> Vec<String> {
    assert!(FLIGHTS.contains(from), "{from}");
    errors(&FLIGHTS.replacen(from, to, 1), &world())
}

fn refused(from: &str, to: &str, start: &str) {
    let found = after(from, to);
    assert!(found.len() == 1 && found[0].starts_with(start), "{from} -> {to}: expected {start}, found {found:#?}");
}

#[test]
fn columns_and_types_are_known_before_anything_runs() {
    refused("event_time = \"departed_at\"", "event_time = \"departure\"", "P002");
    refused("event_time = \"departed_at\"", "event_time = \"distance\"", "P005");
    refused("key = \"flight_id\"\n\n[sources.arrivals]", "key = \"distance\"\n\n[sources.arrivals]", "P007");
    refused("path = \"departures.parquet\"", "path = \"nowhere.parquet\"", "P003");
    refused("key = \"iata\"", "key = \"code\"", "P002");
    refused("entity = \"origin\"", "entity = \"orign\"", "P002");
    refused("entity = \"origin\"", "entity = \"delay\"", "P007");
    refused("where = \"distance > 0\"", "where = \"distanse > 0\"", "X002");
    refused("where = \"distance > 0\"", "where = \"distance + 1\"", "X007");
    refused("derive = { hour", "derive = { distance = \"1\", hour", "P001");
    refused("origin = iata", "distance = iata", "X");
}

#[test]
fn views_are_refused_for_what_they_cannot_compute_or_bound() {
    refused("landed = \"count(*)\"", "landed = \"averge(delay)\"", "P009");
    refused("delay_mean = \"avg(delay)\"", "delay_mean = \"avg(origin)\"", "P009");
    refused("windows = [\"1h\", \"24h\"]", "windows = [\"1h\", \"lifetime\", \"24h\"]", "P011");
    let bounded = after("windows = [\"1h\", \"24h\"]", "windows = [\"1h\", \"24h\", \"lifetime\"]\nttl = \"30d\"");
    assert!(bounded.is_empty(), "{bounded:?}");
    let twice = errors(
        &FLIGHTS
            .replace("windows = [\"1h\", \"24h\"]", "windows = [\"1h\", \"24h\"]\nttl = \"9d\"")
            .replace("landed = ", "late_1h = { value = \"count(*)\", windows = [\"lifetime\"] }\nlanded = "),
        &world(),
    );
    assert!(twice.len() == 1 && twice[0].starts_with("P001 two features of view `airport` are called `late_1h`"), "{twice:?}");
}

#[test]
fn models_are_refused_for_rows_inputs_and_labels_that_do_not_fit() {
    refused("key = \"origin\" }, there", "key = [\"origin\", \"hour\"] }, there", "P012");
    refused("key = \"origin\" }, there", "key = \"distance\" }, there", "P012");
    refused("key = \"origin\" }, there", "key = \"orgin\" }, there", "P002");
    refused("\"distance\", \"hour\"", "\"distanze\", \"hour\"", "P014");
    refused("\"here.*\"", "\"hre.*\"", "P014");
    refused("\"here.*\"", "\"here\"", "P014");
    refused("\"distance\", \"hour\"", "\"origin\", \"hour\"", "P015 input `origin` is string");
    refused("on = \"flight_id\"", "on = \"flight\"", "P002");
    refused("value = \"delay > 15\"", "value = \"origin\"", "X007");
    refused("busy = \"here.late_1h / here.landed_1h\"", "busy = \"here.late_2h / here.landed_1h\"", "X002");
    let other = world().with("arrivals.parquet", "", &["flight_id string", "arrived_at timestamp", "origin string", "delay float64?"]);
    let found = errors(FLIGHTS, &other);
    assert!(found.len() == 1 && found[0].starts_with("P016 `flight_id` is int64 in `flights` and string in `arrivals`"), "{found:?}");
    let two = FLIGHTS
        .replace("from = \"flights\"\nlookup", "lookup")
        .replace("view = \"airport\", key = \"destination\"", "view = \"origin\", key = \"destination\"")
        + "[features.origin]\nfrom = \"departures\"\nentity = \"origin\"\nwindows = [\"1h\"]\naggregates = { late = \"count(*)\" }\n";
    let found = errors(&two, &world());
    assert!(found.len() == 1 && found[0].starts_with("P013"), "{found:?}");
}

#[test]
fn monitors_sinks_and_tests_are_refused_for_what_is_not_there() {
    refused("\"accuracy\"", "\"acuracy\"", "P019");
    refused("\"accuracy\"", "\"rmse\"", "P019");
    refused("from = \"models.late\"", "columns = [\"flight\"]\nfrom = \"models.late\"", "P002");
    refused("from = \"models.late\"", "columns = { p = \"probabilty\" }\nfrom = \"models.late\"", "X002");
    refused("partition_by = \"date(departed_at)\"", "partition_by = \"distance\"", "P020");
    let test = "[[tests]]\nname = \"t\"\ninput.departures = [{ flight = 1 }]\nexpect.\"models.late\" = [{ prediction = true }]\n";
    let found = errors(&format!("{FLIGHTS}{test}"), &world());
    assert!(found.len() == 1 && found[0].starts_with("P021 test `t` names `flight`"), "{found:?}");
}

#[test]
fn one_mistake_gives_one_report_and_all_mistakes_are_reported() {
    let text = FLIGHTS
        .replace("event_time = \"departed_at\"", "event_time = \"departure\"")
        .replace("entity = \"origin\"", "entity = \"orign\"")
        .replace("watch = [\"models.late\"]", "watch = [\"models.lat\"]");
    let found = errors(&text, &world());
    let codes: Vec<&str> = found.iter().map(|error| &error[..4]).collect();
    assert_eq!(codes, ["P002", "P002", "C001"], "{found:#?}");
}

#[test]
fn faults_inside_sql_are_underlined_exactly() {
    let text = FLIGHTS.replace("where = \"distance > 0\"", "where = \"0 < distanse\"");
    let (_, diagnostics) = check(&text, &world());
    assert_eq!(&text[diagnostics[0].span.clone()], "distanse", "{}", shown(&text, &diagnostics));
}

const NETWORK: &str = r#"
[pipeline]
name = "deep"
[sources.departures]
kind = "file"
path = "departures.parquet"
event_time = "departed_at"
[features.airport]
from = "departures"
entity = "origin"
windows = ["1h"]
aggregates = { flown = "count(*)" }
[models.deep]
kind = "candle"
from = "departures"
artifact = "net"
"#;

fn with_network(json: &str) -> Memory {
    world().with("net/model.json", json, &[]).with("net/model.safetensors", "tensors", &[])
}

#[test]
fn a_network_reads_columns_and_features_by_name() {
    let json = r#"{ "inputs": [{ "name": "distance", "type": "float64" }, { "name": "airport.flown_1h", "type": "float64" }], "output": "probability", "tile": 64 }"#;
    let plan = super::planned(NETWORK, &with_network(json));
    let model = &plan.models[0];
    assert!(model.classification);
    assert_eq!(model.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["airport.flown_1h", "distance"]);
    assert!(matches!(&model.kind, crate::plan::ModelKindPlan::Candle { tile: 64, artifact, .. } if artifact == "net/model.json"));
    for (json, start) in [
        (r#"{ "inputs": ["airport__flown_1h"], "tile": 64 }"#, "P014 the network reads `airport__flown_1h`"),
        (r#"{ "inputs": ["distance"] }"#, "P018 `net/model.json` does not say its tile"),
        (r#"{ "inputs": [], "tile": 64 }"#, "P018 `net/model.json` names no inputs"),
        (r#"{ "inputs": ["distance"], "tile": 64, "sha256": "00" }"#, "P018 `net/model.safetensors` is not the file"),
        ("{", "P018 `net/model.json` is not JSON"),
    ] {
        let found = errors(NETWORK, &with_network(json));
        assert!(found.len() == 1 && found[0].starts_with(start), "{found:?}");
    }
}
