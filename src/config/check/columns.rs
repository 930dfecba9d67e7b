//! Columns that a source or table names, against the schema it declares: `event_time`, `key`, `dedup`.

use crate::config::codes;
use crate::config::context::Context;
use crate::config::declaration::{Format, Spanned};
use crate::config::table::Table;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType};
use crate::diagnostic::{Diagnostic, nearest};
use crate::time::Micros;

/// `dedup` compares keys (S2.5).
pub(in crate::config) fn dedup(table: &Table<'_>, dedup: Option<&Spanned<Micros>>) {
    if let Some(dedup) = dedup
        && !table.has("key")
    {
        let diagnostic = Diagnostic::error(codes::CONTRADICTION, dedup.span.clone(), "`dedup` needs a `key`")
            .label("what makes two records the same?")
            .help("add `key = \"column\"`: records with one key within this time are repeats");
        table.cx.report(diagnostic);
    }
}

/// Event time is a timestamp that is never null (S2.4).
pub(in crate::config) fn event_time(
    cx: &Context<'_>,
    schema: Option<&Spanned<DeclaredSchema>>,
    name: Option<&Spanned<String>>,
    format: Option<Format>,
) {
    let Some(name) = name else { return };
    let Some(schema) = schema else {
        if format == Some(Format::Csv) {
            let message = "without a schema every CSV column is text, and event time must be a timestamp";
            let help = format!("declare the types: schema = {{ {} = \"timestamp_ms\", … }}", name.value);
            cx.report(Diagnostic::error(codes::COLUMN_TYPE, name.span.clone(), message).help(help));
        }
        return;
    };
    let Some(column) = find(cx, &schema.value, name) else { return };
    let (message, help) = match (&column.kind, column.nullable) {
        (LogicalType::Timestamp(_), false) => return,
        (LogicalType::Timestamp(_), true) => (
            format!("`{}` may be null, and event time may not", name.value),
            "leave `?` out of its type: a record without a time cannot be placed",
        ),
        (LogicalType::Int32 | LogicalType::Int64, _) => (
            format!("`{}` is a number, and event time must be a timestamp", name.value),
            "declare it as \"timestamp_s\", \"timestamp_ms\" or \"timestamp_us\": the unit of its numbers",
        ),
        _ => (
            format!("`{}` is no timestamp, and event time must be one", name.value),
            "declare it as \"timestamp_ms\" (RFC 3339 text or milliseconds) or name another column",
        ),
    };
    cx.report(Diagnostic::error(codes::COLUMN_TYPE, name.span.clone(), message).help(help));
}

/// Keys have one value each, and none that rounds (S6.1).
pub(in crate::config) fn key(cx: &Context<'_>, schema: Option<&Spanned<DeclaredSchema>>, name: Option<&Spanned<String>>) {
    let (Some(schema), Some(name)) = (schema, name) else { return };
    let Some(column) = find(cx, &schema.value, name) else { return };
    let message = match &column.kind {
        LogicalType::Float32 | LogicalType::Float64 => format!("`{}` is a float, and floats are no keys", name.value),
        LogicalType::List(_) | LogicalType::Struct(_) => format!("`{}` has more than one value, and a key is one", name.value),
        _ => return,
    };
    let help = "use an integer, string, bool, date or timestamp column";
    cx.report(Diagnostic::error(codes::COLUMN_TYPE, name.span.clone(), message).help(help));
}

fn find<'s>(cx: &Context<'_>, schema: &'s DeclaredSchema, name: &Spanned<String>) -> Option<&'s DeclaredColumn> {
    if let Some(index) = schema.index_of(&name.value) {
        return schema.columns.get(index);
    }
    let names = || schema.columns.iter().map(|column| column.name.as_str());
    let help = match nearest(&name.value, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its columns are: {}", names().collect::<Vec<_>>().join(", ")),
    };
    let message = format!("the schema has no column `{}`", name.value);
    cx.report(Diagnostic::error(codes::UNKNOWN_COLUMN, name.span.clone(), message).label("not in the schema").help(help));
    None
}
