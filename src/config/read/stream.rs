//! `[streams.NAME]`

use crate::config::declaration::{Join, Stream};
use crate::config::reference::Role;
use crate::config::table::Table;

/// A stream: a source or stream, filtered, joined with tables, with columns added.
pub(super) fn read(table: &Table<'_>) -> Option<Stream> {
    let from = table.need_text("from", "\"departures\"");
    table.cx.refer(Role::StreamFrom, from.as_ref());
    let join = read_joins(table);
    let filter = table.text("where", "\"distance > 0\"");
    let derive = super::derive(table, "{ hour = \"date_part('hour', departed_at)\" }");
    Some(Stream { from: from?, join: join?, filter, derive })
}

fn read_joins(table: &Table<'_>) -> Option<Vec<Join>> {
    const EXAMPLE: &str = "[{ table = \"airports\", on = \"origin = iata\" }]";
    let Some(node) = table.get("join", EXAMPLE) else { return Some(Vec::new()) };
    let mut joins = Vec::new();
    for entry in node.list()? {
        let Some(entry) = entry.table("an entry of `join`") else { continue };
        entry.later(
            "stream",
            "streams are joined with tables; what another stream knows is read through a view ([features.NAME]) or a label",
        );
        let joined = if entry.has("stream") { None } else { entry.need_text("table", "\"airports\"") };
        let on = entry.need_text("on", "\"origin = iata\"");
        table.cx.refer(Role::JoinTable, joined.as_ref());
        entry.ignore(&["table"]);
        entry.finish();
        if let (Some(table), Some(on)) = (joined, on) {
            joins.push(Join { table, on });
        }
    }
    Some(joins)
}
