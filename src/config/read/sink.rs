//! `[sinks.NAME]`

use crate::config::codes;
use crate::config::declaration::{Sink, SinkKind, Spanned};
use crate::config::names::{self, ENGINE_COLUMNS};
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};
use crate::config::value::Node;
use crate::diagnostic::Diagnostic;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Parquet,
    Kafka,
}

/// `(output name, expression)` in the order of the file.
type Columns = Vec<(Spanned<String>, Spanned<String>)>;

/// A sink of any kind.
pub(super) fn read(table: &Table<'_>) -> Option<Sink> {
    let kind = table
        .need("kind", "\"file\"")
        .and_then(|node| {
            let file = "use kind = \"file\", which writes NDJSON, or \"parquet\"";
            node.choice(&[("kafka", Kind::Kafka), ("parquet", Kind::Parquet), ("file", Kind::File)], &[("csv", file), ("webhook", file)])
        })
        .map(|kind| kind.value);
    let read_kind = kind.and_then(|kind| read_kind(table, kind));
    const PARQUET: [&str; 3] = ["partition_by", "max_rows", "max_bytes"];
    const KAFKA: [&str; 2] = ["topic", "message_key"];
    match kind {
        None => {
            table.ignore(&PARQUET);
            table.ignore(&KAFKA);
            table.ignore(&["path"]);
        }
        Some(kind) => {
            if kind != Kind::Parquet {
                table.foreign(&PARQUET, "it is a key of sinks of kind = \"parquet\"");
            }
            if kind != Kind::Kafka {
                table.foreign(&KAFKA, "it is a key of sinks of kind = \"kafka\"");
            } else {
                table.foreign(&["path"], "it is a key of sinks of kind = \"file\" and \"parquet\"");
            }
        }
    }
    table.foreign(&["format"], "the kind of a sink decides: \"file\" writes NDJSON, \"parquet\" Parquet, \"kafka\" JSON messages");
    let from = table.need_text("from", "\"models.late\"");
    table.cx.refer(Role::SinkFrom, from.as_ref());
    let columns = table.get("columns", "[\"flight_id\", \"probability\"]").map(|node| read_columns(&node));
    let filter = table.text("where", "\"probability > 0.5\"");
    let columns = match columns {
        Some(None) => return None,
        Some(columns) => columns,
        None => None,
    };
    Some(Sink { kind: read_kind?, from: from?, columns, filter })
}

fn read_kind(table: &Table<'_>, kind: Kind) -> Option<SinkKind> {
    match kind {
        Kind::File => Some(SinkKind::File { path: table.need_text("path", "\"out/predictions.ndjson\"")? }),
        Kind::Parquet => {
            let path = table.need_text("path", "\"snapshots/flights\"");
            let partition_by = table.text("partition_by", "\"date(departed_at)\"");
            let max_rows = table.whole("max_rows", "1000000", 1, u64::MAX).map_or(1_000_000, |rows| rows.value);
            let max_bytes = table.size("max_bytes", "\"128MiB\"").map_or(128 << 20, |bytes| bytes as u64);
            let path = path?;
            if path.value.ends_with(".parquet") && partition_by.is_some() {
                let message = "one file cannot be partitioned";
                let help = "`path` ends in .parquet, so it is one file: name a folder, or leave `partition_by` out";
                table.cx.report(Diagnostic::error(codes::CONTRADICTION, table.key_span("partition_by"), message).help(help));
            }
            Some(SinkKind::Parquet { path, partition_by, max_rows, max_bytes })
        }
        Kind::Kafka => {
            let topic = table.need_text("topic", "\"flight-predictions\"");
            let message_key = table.text("message_key", "\"flight_id\"");
            Some(SinkKind::Kafka { topic: topic?, message_key })
        }
    }
}

/// A list of names, or `{ new_name = "expression" }` (S13.2). A listed `view.feature` is written as `view__feature` (S13.1).
fn read_columns(node: &Node<'_>) -> Option<Columns> {
    let columns = if is_table(node.value) { read_computed(node)? } else { read_listed(node)? };
    if columns.is_empty() {
        return node.fail(
            codes::EMPTY,
            "`columns` is empty",
            "nothing here",
            "name at least one column, or leave `columns` out for the default ones",
        );
    }
    Some(columns)
}

fn read_listed(node: &Node<'_>) -> Option<Columns> {
    if !matches!(node.value, toml::de::DeValue::Array(_)) {
        return node.wrong_type("a list of names, or a table { new_name = \"expression\" }");
    }
    let mut columns: Columns = Vec::new();
    for name in node.texts()? {
        let output = if name.value.contains('*') { name.value.clone() } else { name.value.replace('.', "__") };
        if output.starts_with('_') && !ENGINE_COLUMNS.contains(&output.as_str()) {
            names::report_reserved(node.cx, &output, name.span.clone());
        }
        columns.push((Spanned { value: output, span: name.span.clone() }, name));
    }
    Some(columns)
}

fn read_computed(node: &Node<'_>) -> Option<Columns> {
    let mut columns: Columns = Vec::new();
    for (name, node) in node.table("`columns`")?.all("\"expression\"") {
        if name.value.starts_with('_') {
            names::report_reserved(node.cx, &name.value, name.span.clone());
        }
        columns.push((name, node.text()?));
    }
    Some(columns)
}
