//! `[features.NAME]` and `[features.NAME.aggregates]`

use std::collections::BTreeMap;

use super::window;
use crate::config::codes;
use crate::config::declaration::{Aggregate, Features};
use crate::config::names;
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};
use crate::config::value::Node;

/// A view: aggregates of one stream by entity, over windows (S7).
pub(super) fn read(table: &Table<'_>) -> Option<Features> {
    let from = table.need_text("from", "\"arrivals\"");
    table.cx.refer(Role::ViewFrom, from.as_ref());
    let filter = table.text("where", "\"delay is not null\"");
    let entity = match table.need("entity", "\"origin\"") {
        Some(node) => node.texts(),
        None => None,
    };
    let windows = table.get("windows", window::EXAMPLE).map_or(Some(Vec::new()), |node| window::read_all(&node));
    let aggregates = read_aggregates(table);
    let include_current = table.flag("include_current").unwrap_or(true);
    let ttl = table.positive_duration("ttl", "\"90d\"");
    let max_keys = table.whole("max_keys", "1000000", 1, u64::MAX);
    let max_records_per_key = table.whole("max_records_per_key", "100000", 1, u64::MAX);
    Some(Features {
        from: from?,
        filter,
        entity: entity?,
        windows: windows?,
        aggregates: aggregates?,
        include_current,
        ttl,
        max_keys,
        max_records_per_key,
    })
}

fn read_aggregates(table: &Table<'_>) -> Option<BTreeMap<String, Aggregate>> {
    let node = table.need("aggregates", "{ landed = \"count(*)\" }")?;
    let entries = node.table("`aggregates`")?.all("\"avg(delay)\"");
    if entries.is_empty() {
        return node.fail(codes::EMPTY, "`aggregates` is empty", "nothing here", "name what the view computes: landed = \"count(*)\"");
    }
    let mut aggregates = BTreeMap::new();
    for (name, node) in entries {
        names::check_column(table.cx, &name);
        if let Some(aggregate) = read_aggregate(&node) {
            aggregates.insert(name.value, aggregate);
        }
    }
    Some(aggregates)
}

/// `"count(*)"` or `{ value = "avg(delay)", windows = ["24h"], include_current = false }`.
fn read_aggregate(node: &Node<'_>) -> Option<Aggregate> {
    if !is_table(node.value) {
        let value = node.text()?;
        return Some(Aggregate { value, windows: None, include_current: None });
    }
    let table = node.table(format!("`{}`", node.key))?;
    let value = table.need_text("value", "\"avg(delay)\"");
    let windows = table.get("windows", window::EXAMPLE).map(|node| window::read_all(&node));
    let include_current = table.flag("include_current");
    table.finish();
    let windows = match windows {
        Some(None) => return None,
        Some(read) => read,
        None => None,
    };
    Some(Aggregate { value: value?, windows, include_current })
}
