//! Declared schemas: types in the pipeline file, or a JSON Schema file; both compile to one `DeclaredSchema` (S5.1).
//!
//! Inline, a schema is a table from columns to types: `{ id = "int64", delay = "float64?", tags = "list<string>", at = { lat = "float64" } }`.
//! A text is the path of a schema file (see `file`).

mod file;
mod inline;
mod position;
mod types;

use super::codes;
use super::declaration::Spanned;
use super::table::is_table;
use super::value::Node;
use crate::data::DeclaredSchema;

/// The schema a `schema` key declares.
pub(super) fn read(node: &Node<'_>) -> Option<Spanned<DeclaredSchema>> {
    let value = if is_table(node.value) {
        inline::read(node)?
    } else if matches!(node.value, toml::de::DeValue::String(_)) {
        let path = node.text()?;
        if path.value.ends_with(".avsc") || path.value.ends_with(".proto") {
            let instead = "describe the records as JSON Schema, \"schemas/departure.json\", or inline: { id = \"int64\" }";
            return node.not_built("an Avro or Protobuf schema", instead);
        }
        file::read(node, &path.value)?
    } else {
        return node.wrong_type("a table from columns to types, or the path of a schema file");
    };
    if value.columns.is_empty() {
        return node.fail(
            codes::EMPTY,
            "the schema has no columns",
            "nothing here",
            "name the columns to read: { id = \"int64\", at = \"timestamp_ms\" }",
        );
    }
    Some(Spanned { value, span: node.span.clone() })
}
