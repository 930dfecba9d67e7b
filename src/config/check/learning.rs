//! Learners that could never learn.

use crate::config::codes;
use crate::config::table::Table;
use crate::diagnostic::Diagnostic;

/// A linear model needs a label, or parameters to start from.
pub(in crate::config) fn learning(table: &Table<'_>) {
    if !table.has("label") && !table.has("initial") {
        let message = format!("{} has no `label`, so it would never learn", table.place);
        let help =
            "add label = \"delay > 15\", or { stream = …, on = …, value = …, within = … }, or `initial`, a saved model to predict with";
        table.cx.report(Diagnostic::error(codes::NEVER_LEARNS, table.span.clone(), message).help(help));
    }
}
