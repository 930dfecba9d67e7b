//! `tidemill topics init`: the topics that a plan reads and writes, which of them exist, and making those that are missing.

use serde_json::{Value, json};

use super::prepare::kafka_settings;
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SinkFrom, SinkKindPlan, SourceKindPlan};
use crate::progress::{BROKERS_CHOICE, KafkaTopics, TopicShape, progress_topic, too_many_partitions};

/// What may be made, and how.
#[derive(Clone, Copy, Debug)]
pub struct TopicsOptions {
    /// Look only.
    pub dry_run: bool,
    /// Make missing inputs too; otherwise they are a problem, because a missing input is mostly a misspelt name.
    pub inputs: bool,
    /// Partitions of every topic but progress.
    pub partitions: i32,
    /// Replication factor; the brokers' choice unless given.
    pub replication: Option<i32>,
}

/// How the pipeline uses a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Input,
    Output,
    Progress,
}

/// One topic of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    topic: String,
    usage: Use,
    /// For people: the components that use it.
    purposes: Vec<String>,
}

/// How a topic was found, or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Exists(u32),
    Made(u32),
}

/// What was found and done, in the order: inputs, outputs, quarantine where its name puts it, progress.
#[derive(Clone, Debug)]
pub struct TopicsReport {
    rows: Vec<(Need, State)>,
    /// What keeps the pipeline from starting; never that something is missing in a dry run.
    pub problem: Option<Error>,
}

/// The topics of `plan`, each once; none without Kafka.
fn needs(plan: &Plan) -> Vec<Need> {
    if plan.kafka.is_none() {
        return Vec::new();
    }
    let mut needs: Vec<Need> = Vec::new();
    let mut add = |topic: &str, usage: Use, purpose: String| match needs.iter_mut().find(|need| need.topic == topic) {
        // What the pipeline itself writes is never a misspelt input.
        Some(need) => {
            need.usage = usage;
            need.purposes.push(purpose);
        }
        None => needs.push(Need { topic: topic.to_string(), usage, purposes: vec![purpose] }),
    };
    for source in &plan.sources {
        if let SourceKindPlan::Kafka { topic, .. } = &source.kind {
            add(topic, Use::Input, format!("source {}", source.id.name()));
        }
    }
    for sink in &plan.sinks {
        if let SinkKindPlan::Kafka { topic, .. } = &sink.kind {
            let quarantine = sink.from == SinkFrom::Quarantine;
            add(topic, Use::Output, if quarantine { "quarantine".to_string() } else { format!("sink {}", sink.id.name()) });
        }
    }
    add(&progress_topic(&plan.name), Use::Progress, "progress".to_string());
    needs
}

/// Looks at the topics of `plan` and makes what is missing, as far as `options` allow. An error if the brokers cannot say what there is; what goes
/// wrong later is the report's problem.
pub fn init_topics(plan: &Plan, options: &TopicsOptions) -> Result<TopicsReport> {
    let Some(kafka) = kafka_settings(plan) else { return Ok(TopicsReport { rows: Vec::new(), problem: None }) };
    let topics = KafkaTopics::new(&kafka, &plan.name)?;
    let mut rows = Vec::new();
    for need in needs(plan) {
        let state = topics.partitions(&need.topic)?.map_or(State::Missing, State::Exists);
        rows.push((need, state));
    }
    let mut problem = progress_fault(&topics, &kafka.brokers, &rows)?;
    let replication = options.replication.unwrap_or(BROKERS_CHOICE);
    for (need, state) in &mut rows {
        let wanted = need.usage != Use::Input || options.inputs;
        if options.dry_run || problem.is_some() || *state != State::Missing || !wanted {
            continue;
        }
        let shape = match need.usage {
            Use::Progress => TopicShape::progress(replication),
            Use::Input | Use::Output => TopicShape { partitions: options.partitions, replication, compacted: false },
        };
        match topics.create(&need.topic, shape) {
            Ok(()) => *state = State::Made(shape.partitions.unsigned_abs()),
            Err(error) => problem = Some(error),
        }
    }
    if !options.dry_run {
        problem = problem.or_else(|| missing_inputs(&rows, &kafka.brokers));
    }
    Ok(TopicsReport { rows, problem })
}

/// What is wrong with a progress topic that exists: it would lose or disorder what was committed.
fn progress_fault(topics: &KafkaTopics, brokers: &str, rows: &[(Need, State)]) -> Result<Option<Error>> {
    let progress = rows.iter().find(|(need, _)| need.usage == Use::Progress);
    let Some((Need { topic, .. }, State::Exists(count))) = progress else { return Ok(None) };
    if *count != 1 {
        return Ok(Some(too_many_partitions(topic, *count)));
    }
    let policy = topics.cleanup_policy(topic)?;
    Ok(policy.filter(|policy| policy != "compact").map(|policy| {
        Error::new(
            Exit::Data,
            format!("the progress topic {topic} has cleanup.policy={policy} where it must be compact: the brokers would delete progress"),
            format!(
                "kafka-configs.sh --bootstrap-server {brokers} --alter --entity-type topics --entity-name {topic} \
                 --add-config cleanup.policy=compact"
            ),
        )
    }))
}

fn missing_inputs(rows: &[(Need, State)], brokers: &str) -> Option<Error> {
    let missing = rows.iter().filter(|(need, state)| need.usage == Use::Input && *state == State::Missing);
    let missing: Vec<&str> = missing.map(|(need, _)| need.topic.as_str()).collect();
    let noun = if missing.len() == 1 { "input topic" } else { "input topics" };
    (!missing.is_empty()).then(|| {
        Error::new(
            Exit::Unreachable,
            format!("missing at {brokers}: the {noun} {}", missing.join(", ")),
            "correct `topic` of the source if the name is misspelt; else the same command with --inputs makes it",
        )
    })
}

impl State {
    fn text(self) -> String {
        let (what, count) = match self {
            Self::Missing => return "missing".to_string(),
            Self::Exists(count) => ("exists", count),
            Self::Made(count) => ("made", count),
        };
        format!("{what}, {count} partition{}", if count == 1 { "" } else { "s" })
    }

    fn json(self) -> (&'static str, Value) {
        match self {
            Self::Missing => ("missing", Value::Null),
            Self::Exists(count) => ("exists", count.into()),
            Self::Made(count) => ("made", count.into()),
        }
    }
}

impl TopicsReport {
    /// A table for a person.
    pub fn text(&self) -> String {
        if self.rows.is_empty() {
            return "nothing to do: this pipeline has no Kafka source or sink\n".to_string();
        }
        let mut lines = vec![["topic", "for", "state"].map(str::to_string)];
        lines.extend(self.rows.iter().map(|(need, state)| [need.topic.clone(), need.purposes.join(", "), state.text()]));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let (topic, purpose) = (width(0), width(1));
        lines.iter().map(|line| format!("{:<topic$}  {:<purpose$}  {}\n", line[0], line[1], line[2])).collect()
    }

    /// For a program, one line.
    pub fn json(&self) -> String {
        let topic = |(need, state): &(Need, State)| {
            let (state, partitions) = state.json();
            json!({ "topic": need.topic, "for": need.purposes, "state": state, "partitions": partitions })
        };
        format!("{}\n", json!({ "topics": self.rows.iter().map(topic).collect::<Vec<_>>() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check_text;
    use crate::runtime::Disk;

    const TEXT: &str = r#"
[pipeline]
name = "cards"

[kafka]
brokers = "localhost:1"

[sources.transactions]
kind = "kafka"
topic = "payments"
format = "json"
schema = { id = "int64", at = "timestamp_ms" }
event_time = "at"
key = "id"

[sinks.copies]
kind = "kafka"
from = "transactions"
topic = "copies"
"#;

    fn plan(text: &str) -> Plan {
        let (plan, found) = check_text(text, std::path::Path::new(""), &|_| None, &Disk);
        plan.unwrap_or_else(|| panic!("{found:?}"))
    }

    fn listed(text: &str) -> Vec<(String, Use, String)> {
        needs(&plan(text)).into_iter().map(|need| (need.topic, need.usage, need.purposes.join(", "))).collect()
    }

    fn row(topic: &str, usage: Use, purpose: &str) -> (String, Use, String) {
        (topic.to_string(), usage, purpose.to_string())
    }

    #[test]
    fn a_plan_needs_its_inputs_outputs_quarantine_and_progress() {
        let expected = [
            row("payments", Use::Input, "source transactions"),
            row("copies", Use::Output, "sink copies"),
            row("cards.quarantine", Use::Output, "quarantine"),
            row("__tidemill.cards.progress", Use::Progress, "progress"),
        ];
        assert_eq!(listed(TEXT), expected);
        let declared = format!("{TEXT}\n[sinks.bad]\nkind = \"kafka\"\nfrom = \"quarantine\"\ntopic = \"refused\"\n");
        assert_eq!(listed(&declared)[1], row("refused", Use::Output, "quarantine"));
        assert_eq!(listed(&declared).len(), 4);
        // Two sources of one topic are one line; a quarantine file needs no topic.
        let again = TEXT.split("[sources.transactions]").nth(1).unwrap().split("[sinks").next().unwrap();
        let twice = format!("{TEXT}\n[sources.again]{again}\n[sinks.bad]\nkind = \"file\"\nfrom = \"quarantine\"\npath = \"bad.ndjson\"\n");
        assert_eq!(listed(&twice)[0], row("payments", Use::Input, "source again, source transactions"));
        assert_eq!(listed(&twice).len(), 3);
    }

    #[test]
    fn a_report_is_a_table_or_one_line_of_json() {
        let states = [State::Missing, State::Exists(3), State::Made(4), State::Made(1)];
        let report = TopicsReport { rows: needs(&plan(TEXT)).into_iter().zip(states).collect(), problem: None };
        let lines: Vec<String> = report.text().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "payments source transactions missing");
        assert_eq!(lines[3], "cards.quarantine quarantine made, 4 partitions");
        assert_eq!(lines[4], "__tidemill.cards.progress progress made, 1 partition");
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["topics"][1], json!({ "topic": "copies", "for": ["sink copies"], "state": "exists", "partitions": 3 }));
        assert_eq!(missing_inputs(&report.rows, "b").unwrap().exit, Exit::Unreachable);
    }
}
