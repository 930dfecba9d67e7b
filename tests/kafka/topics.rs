//! `tidemill topics init` on brokers that know none of a pipeline's topics, and what `run` says before and after.

use serde_json::Value;

use super::cluster::{Kafka, kafka};
use super::tidemill::{Ended, Pipeline};

fn text(name: &str, input: &str) -> String {
    format!(
        r#"[pipeline]
name = "{name}"

[kafka]
brokers = "${{KAFKA_BROKERS}}"

[sources.numbers]
kind = "kafka"
topic = "{input}"
format = "json"
schema = {{ id = "int64", at = "timestamp_ms" }}
event_time = "at"
key = "id"

[sinks.echo]
kind = "kafka"
from = "numbers"
topic = "{name}-out"
"#
    )
}

/// Input, output, quarantine and progress, as `topics init --json` with more arguments leaves them, and how it ended.
fn init(pipeline: &Pipeline, more: &[&str], code: i32) -> (Vec<(String, Option<u64>)>, Ended) {
    let ended = pipeline.topics_init(&[&["--json"], more].concat());
    assert_eq!(ended.code, code, "{}", ended.said);
    let json: Value = ended.said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_else(|| panic!("{}", ended.said));
    let state = |topic: &Value| (topic["state"].as_str().unwrap().to_string(), topic["partitions"].as_u64());
    (json["topics"].as_array().unwrap().iter().map(state).collect(), ended)
}

fn states(expected: [(&str, Option<u64>); 4]) -> Vec<(String, Option<u64>)> {
    expected.map(|(state, partitions)| (state.to_string(), partitions)).to_vec()
}

const MISSING: (&str, Option<u64>) = ("missing", None);

#[test]
fn init_makes_what_is_missing_and_then_the_pipeline_starts() {
    let Some(kafka) = kafka() else { return };
    let name = kafka.name("init");
    let input = format!("{name}-in");
    let pipeline = Pipeline::new(&kafka, &text(&name, &input));
    // A run names all that is missing at once, and what makes it.
    let ended = pipeline.start(&["-w", "1"]).end();
    assert_eq!(ended.code, 69, "{}", ended.said);
    let all = format!("the topics {input}, {name}-out, {name}.quarantine do not exist");
    assert!(ended.said.contains(&all) && ended.said.contains("tidemill topics init FILE"), "{}", ended.said);

    // That run has made the progress topic, so another pipeline begins from nothing.
    let name = kafka.name("init");
    let input = format!("{name}-in");
    let pipeline = Pipeline::new(&kafka, &text(&name, &input));
    for _ in 0..2 {
        assert_eq!(init(&pipeline, &["--dry-run"], 0).0, states([MISSING; 4]));
    }
    let (found, ended) = init(&pipeline, &["--partitions", "3"], 69);
    assert_eq!(found, states([MISSING, ("made", Some(3)), ("made", Some(3)), ("made", Some(1))]));
    assert!(ended.said.contains(&format!("the input topic {input}")) && ended.said.contains("--inputs"), "{}", ended.said);
    let there = [("exists", Some(3)), ("exists", Some(3)), ("exists", Some(1))];
    let (found, _) = init(&pipeline, &["--inputs"], 0);
    assert_eq!(found, states([("made", Some(4)), there[0], there[1], there[2]]));
    assert_eq!(init(&pipeline, &[], 0).0, states([("exists", Some(4)), there[0], there[1], there[2]]));

    let sender = kafka.producer();
    sender.send(&input, 0, Some(b"1"), Some(br#"{"id":1,"at":978307200000}"#));
    sender.flush();
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("the record is through", || kafka.count(&format!("{name}-out")) == 1);
    run.stop();
}

#[test]
fn what_the_brokers_refuse_and_a_progress_topic_of_another_shape_are_named() {
    let Some(kafka) = kafka() else { return };
    let refused = |kafka: &Kafka, more: &[&str]| {
        let name = kafka.name("refused");
        let ended = Pipeline::new(kafka, &text(&name, "in")).topics_init(more);
        assert_eq!(ended.code, 69, "{}", ended.said);
        ended.said
    };
    let said = refused(&kafka, &["--replication", "7"]);
    assert!(said.contains("replication factor 7") && said.contains("--replication N"), "{said}");
    let said = refused(&kafka, &["--partitions", "100000"]);
    assert!(said.contains("100000 partitions") && said.contains("--partitions"), "{said}");

    for (partitions, fault, way_out) in [(2, "has 2 partitions", "delete the topic"), (1, "cleanup.policy=delete", "kafka-configs.sh")] {
        let name = kafka.name("shape");
        kafka.create(&format!("__tidemill.{name}.progress"), partitions);
        let pipeline = Pipeline::new(&kafka, &text(&name, "in"));
        for more in [&["--dry-run"][..], &[]] {
            let (found, ended) = init(&pipeline, more, 65);
            assert_eq!(found[1], ("missing".to_string(), None), "nothing is made");
            assert!(ended.said.contains(fault) && ended.said.contains(way_out), "{}", ended.said);
        }
    }
}
