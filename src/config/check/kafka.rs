//! `[kafka]`: needed by Kafka sources and sinks; and the properties on which exactly-once rests are Tidemill's own.

use super::Checks;
use crate::config::codes;
use crate::config::declaration::{SinkKind, SourceKind};
use crate::diagnostic::Diagnostic;

/// The section must be there where a Kafka source or sink is; told once, at the first of them.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let file = checks.declaration;
    if file.kafka.is_some() || checks.read.poisoned.contains("kafka") {
        return;
    }
    let sources = file.sources.iter().filter_map(|(name, source)| match &source.value.kind {
        SourceKind::Kafka { topic, .. } => Some((format!("sources.{name}"), topic)),
        _ => None,
    });
    let sinks = file.sinks.iter().filter_map(|(name, sink)| match &sink.value.kind {
        SinkKind::Kafka { topic, .. } => Some((format!("sinks.{name}"), topic)),
        _ => None,
    });
    if let Some((id, topic)) = sources.chain(sinks).min_by_key(|(_, topic)| topic.span.start) {
        let message = format!("[{id}] is on Kafka, and the file has no section [kafka]");
        let diagnostic = Diagnostic::error(codes::NO_KAFKA, topic.span.clone(), message)
            .label("on which brokers?")
            .help("add [kafka] and, below it, brokers = \"${KAFKA_BROKERS:-localhost:9092}\"");
        checks.fault("kafka", diagnostic);
    }
}
