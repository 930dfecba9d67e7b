//! What sinks can read and what they write (S13), and the default quarantine (S5.4).

use super::{FLIGHTS, check, planned, world};
use crate::plan::{Plan, RelationOrigin, SinkFrom, SinkKindPlan, capture};

fn columns(plan: &Plan, sink: &str) -> Vec<String> {
    let sink = plan.sinks.iter().find(|plan| plan.id.name() == sink).unwrap();
    sink.schema.fields().iter().map(|field| field.name().clone()).collect()
}

#[test]
fn columns_are_chosen_renamed_and_computed() {
    let with =
        |columns: &str| FLIGHTS.replace("path = \"predictions.ndjson\"", &format!("path = \"predictions.ndjson\"\ncolumns = {columns}"));
    let plan = planned(&with("[\"flight_id\", \"here.late_1h\", \"model_version\", \"explain.*\", \"_offset\"]"), &world());
    let found = columns(&plan, "predictions");
    assert_eq!(found[..4], ["flight_id", "here__late_1h", "model_version", "explain__busy"]);
    assert_eq!(found.last().map(String::as_str), Some("_offset"));
    let plan = planned(&with("[\"*\", \"city\"]").replace("\"city\"", "\"airports.city\""), &world());
    assert_eq!(columns(&plan, "predictions").last().map(String::as_str), Some("airports__city"));
    let plan = planned(&with("{ id = \"flight_id\", p = \"round(probability, 3)\", late = \"here.late_1h + there.late_1h\" }"), &world());
    assert_eq!(columns(&plan, "predictions"), ["id", "p", "late"]);
    let sink = plan.sinks.iter().find(|plan| plan.id.name() == "predictions").unwrap();
    let used: Vec<&RelationOrigin> = sink.used_columns().into_iter().map(|column| &sink.relation[column].origin).collect();
    assert!(used.contains(&&RelationOrigin::Probability) && used.contains(&&RelationOrigin::Stream(0)), "{used:?}");
}

#[test]
fn the_quarantine_is_always_kept() {
    let quarantine = |plan: &Plan| plan.sinks.iter().find(|sink| sink.from == SinkFrom::Quarantine).map(|sink| sink.kind.clone());
    let plan = planned(FLIGHTS, &world());
    assert!(matches!(quarantine(&plan), Some(SinkKindPlan::File { path }) if path == "{state}/quarantine.ndjson"));
    let kafka = FLIGHTS.replace(
        "kind = \"file\"\nfrom = \"models.late\"\npath = \"predictions.ndjson\"",
        "kind = \"kafka\"\nfrom = \"models.late\"\ntopic = \"predictions\"",
    ) + "[kafka]\nbrokers = \"localhost:9092\"\n";
    let plan = planned(&kafka, &world());
    assert!(matches!(quarantine(&plan), Some(SinkKindPlan::Kafka { topic, .. }) if topic == "flights.quarantine"));
    let sink = plan.sinks.iter().find(|sink| sink.id.name() == "predictions").unwrap();
    assert!(matches!(&sink.kind, SinkKindPlan::Kafka { message_key: Some(key), .. } if key.as_column() == Some(0)), "keyed by flight_id");
    let own = format!("{FLIGHTS}[sinks.bad]\nkind = \"file\"\nfrom = \"quarantine\"\npath = \"bad.ndjson\"\n");
    let plan = planned(&own, &world());
    assert_eq!(plan.sinks.iter().filter(|sink| sink.from == SinkFrom::Quarantine).count(), 1);
}

#[test]
fn the_lag_of_an_epoch_is_a_warning_on_files() {
    let text = FLIGHTS.replace("epoch = { max_rows = 1000 }", "").replace("learn = \"record\"", "");
    let (plan, diagnostics) = check(&text, &world());
    assert!(plan.is_some());
    assert_eq!(diagnostics.iter().map(|found| found.code).filter(|code| *code == "P101").count(), 1);
    assert!(!check(FLIGHTS, &world()).1.iter().any(|found| found.code == "P101"));
}

#[test]
fn tests_read_relations_by_output_names() {
    let plan = planned(FLIGHTS, &world());
    let sink = capture(&plan, "models.late.rows", &["flight_id".to_string(), "here__late_1h".to_string(), "label".to_string()]).unwrap();
    assert_eq!(sink.schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["flight_id", "here__late_1h", "label"]);
    assert_eq!(capture(&plan, "features.airport", &[]).unwrap().columns.len(), 3 + 6);
    assert!(capture(&plan, "features.none", &[]).is_err());
    assert_eq!(capture(&plan, "flights", &["nothing".to_string()]).unwrap_err(), "`flights` has no column `nothing`");
}
