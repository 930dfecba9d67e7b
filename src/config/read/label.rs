//! `label = "column"` or `label = { stream = …, on = …, value = …, within = … }` (S10.5)

use crate::config::declaration::{Label, Spanned};
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};

/// The label of a model, if it has one.
pub(super) fn read(table: &Table<'_>) -> Option<Spanned<Label>> {
    const EXAMPLE: &str = "{ stream = \"arrivals\", on = \"flight_id\", value = \"delay > 15\", within = \"12h\" }";
    let node = table.get("label", EXAMPLE)?;
    let span = node.span.clone();
    if !is_table(node.value) {
        if !matches!(node.value, toml::de::DeValue::String(_)) {
            return node.wrong_type("a column in quotes, or a table that names a stream");
        }
        return node.text().map(|column| Spanned { value: Label::Column(column), span });
    }
    let label = node.table("`label`")?;
    let stream = label.need_text("stream", "\"arrivals\"");
    table.cx.refer(Role::LabelStream, stream.as_ref());
    let on = label.need_text("on", "\"flight_id\"");
    let value = label.need_text("value", "\"delay > 15\"");
    let within = label.need("within", "\"12h\"").and_then(|node| node.duration(1));
    let expired = match label.get("expired", "\"drop\"") {
        Some(node) => node.choice(&[("drop", false), ("negative", true)], &[]).map(|expired| expired.value),
        None => Some(false),
    };
    label.finish();
    let value = Label::Stream { stream: stream?, on: on?, value: value?, within: within?.value, expired_negative: expired? };
    Some(Spanned { value, span })
}
