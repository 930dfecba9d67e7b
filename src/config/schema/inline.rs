//! Schemas written in the pipeline file: a table from columns to types, structs as tables of their own.

use super::types;
use crate::config::locate;
use crate::config::names;
use crate::config::table::is_table;
use crate::config::value::Node;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType};
use crate::diagnostic::Diagnostic;

/// The schema of a table of types, columns in the order of the file.
pub(super) fn read(node: &Node<'_>) -> Option<DeclaredSchema> {
    let columns = read_columns(node, true)?;
    Some(DeclaredSchema { columns, closed: false })
}

fn read_columns(node: &Node<'_>, outermost: bool) -> Option<Vec<DeclaredColumn>> {
    let mut columns = Some(Vec::new());
    for (name, node) in node.table("`schema`")?.all("\"int64\"") {
        if outermost && name.value.starts_with('_') {
            names::report_reserved(node.cx, &name.value, name.span.clone());
        }
        let column = read_type(&node).map(|(kind, nullable)| DeclaredColumn::new(name.value, kind, nullable));
        columns = columns.zip(column).map(|(mut columns, column)| {
            columns.push(column);
            columns
        });
    }
    columns
}

fn read_type(node: &Node<'_>) -> Option<(LogicalType, bool)> {
    if is_table(node.value) {
        return read_columns(node, false).map(|columns| (LogicalType::Struct(columns), false));
    }
    if !matches!(node.value, toml::de::DeValue::String(_)) {
        return node.wrong_type("a type in quotes, such as \"int64\" or \"float64?\"");
    }
    let text = node.text()?;
    match types::parse(&text.value) {
        Ok(read) => Some(read),
        Err(fault) => {
            let span = locate::inside(node.cx.text, &text.span, &text.value, fault.at);
            node.cx.report(Diagnostic::error(fault.code, span, fault.message).help(fault.help));
            None
        }
    }
}
