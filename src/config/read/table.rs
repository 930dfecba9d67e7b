//! `[tables.NAME]`

use crate::config::check;
use crate::config::declaration::{Format, Table as Declared};
use crate::config::schema;
use crate::config::table::Table;

/// A file table (S2.3, S8.2).
pub(super) fn read(table: &Table<'_>) -> Option<Declared> {
    const FILE_ONLY: &str = "keep the table as a file and write kind = \"file\"";
    let kind = table
        .need("kind", "\"file\"")
        .and_then(|node| node.choice(&[("file", ())], &[("compacted", FILE_ONLY), ("kafka", FILE_ONLY), ("cdc", FILE_ONLY)]));
    if kind.is_none() {
        table.ignore(&["topic", "path", "format", "schema", "key", "event_time"]);
        return None;
    }
    let path = table.need_text("path", "\"data/airports.csv\"");
    let format = super::source::read_format(table, path.as_ref());
    const SCHEMA: &str = "{ iata = \"string\", city = \"string?\" }";
    let is_json = format.as_ref().is_some_and(|format| format.value == Format::Json);
    let schema = if is_json { table.need("schema", SCHEMA) } else { table.get("schema", SCHEMA) };
    let schema = schema.and_then(|node| schema::read(&node));
    let key = table.need_text("key", "\"iata\"");
    let event_time = table.text("event_time", "\"valid_from\"");
    check::event_time(
        table.cx,
        schema.as_ref(),
        event_time.as_ref(),
        format.as_ref().map(|format| format.value).filter(|_| !table.has("schema")),
    );
    check::key(table.cx, schema.as_ref(), key.as_ref());
    Some(Declared { path: path?, format: format?, schema, key: key?, event_time })
}
