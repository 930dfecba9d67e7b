//! Where sinks write: no two to one place, and none to what the pipeline reads.

use std::collections::BTreeMap;

use super::Checks;
use crate::config::codes;
use crate::config::declaration::{SinkKind, SourceKind, Spanned};
use crate::diagnostic::Diagnostic;

/// Files, folders and topics.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let file = checks.declaration;
    let mut read: BTreeMap<String, String> = BTreeMap::new();
    for (name, source) in &file.sources {
        let place = match &source.value.kind {
            SourceKind::File { path, .. } => path_place(&path.value),
            SourceKind::Kafka { topic, .. } => topic_place(&topic.value),
            SourceKind::Generator { .. } => continue,
        };
        read.entry(place).or_insert_with(|| format!("sources.{name}"));
    }
    for (name, table) in &file.tables {
        read.entry(path_place(&table.value.path.value)).or_insert_with(|| format!("tables.{name}"));
    }
    let mut sinks: Vec<(&String, &Spanned<String>, String)> = Vec::new();
    for (name, sink) in &file.sinks {
        sinks.push(match &sink.value.kind {
            SinkKind::File { path } | SinkKind::Parquet { path, .. } => (name, path, path_place(&path.value)),
            SinkKind::Kafka { topic, .. } => (name, topic, topic_place(&topic.value)),
        });
    }
    sinks.sort_by_key(|(_, target, _)| target.span.start);
    let mut written: BTreeMap<String, &String> = BTreeMap::new();
    for (name, target, place) in sinks {
        let id = format!("sinks.{name}");
        if let Some(reader) = read.get(&place) {
            let message = format!("this sink writes what [{reader}] reads");
            let help = "a pipeline that reads its own output never ends: write somewhere else";
            checks.fault(&id, Diagnostic::error(codes::OWN_OUTPUT, target.span.clone(), message).help(help));
        }
        match written.get(&place) {
            Some(other) => {
                let message = format!("[sinks.{other}] already writes to `{}`", target.value);
                let help = "give each sink a place of its own";
                checks.fault(&id, Diagnostic::error(codes::SHARED_OUTPUT, target.span.clone(), message).label("the second one").help(help));
            }
            None => {
                written.insert(place, name);
            }
        }
    }
}

/// A path without what does not matter: `./`, doubled and trailing slashes.
fn path_place(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .enumerate()
        .filter(|(index, part)| *index == 0 || !(part.is_empty() || *part == "."))
        .map(|(_, part)| part)
        .collect();
    let joined = parts.join("/");
    format!("path {}", joined.strip_prefix("./").unwrap_or(&joined))
}

fn topic_place(topic: &str) -> String {
    format!("topic {topic}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_one_place() {
        for same in ["out/a", "./out/a", "out//a", "out/a/", "out/./a"] {
            assert_eq!(path_place(same), "path out/a");
        }
        assert_ne!(path_place("/out/a"), path_place("out/a"));
    }
}
