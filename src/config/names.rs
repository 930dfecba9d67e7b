//! Which names may be given, and which names a file declares.
//!
//! Components (and aliases of a lookup): lower-case letters, digits and single underscores, beginning with a letter, at most 64 characters. They
//! become part of column names (`view__feature`), metrics and topics, where nothing else is safe everywhere. Columns that a file computes: letters,
//! digits and underscores, beginning with a letter. A leading underscore is reserved for the engine's own columns (`_epoch`, `_source`,
//! `_partition`, `_offset`). Pipelines: letters, digits, `-` and `_`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::codes;
use super::context::Context;
use super::declaration::Spanned;
use crate::diagnostic::Diagnostic;

/// The engine's own columns that a sink can ask for (S13.1).
pub(super) const ENGINE_COLUMNS: [&str; 4] = ["_epoch", "_source", "_partition", "_offset"];

/// Every component a file declares, whether it could be read or not: family, then name, then where the name stands.
pub(super) type Declared = BTreeMap<&'static str, BTreeMap<String, Range<usize>>>;

/// Reports a component name that is not allowed.
pub(super) fn check_component(cx: &Context<'_>, name: &Spanned<String>) {
    let text = name.value.as_str();
    let shaped = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !text.contains("__")
        && !text.ends_with('_')
        && text.len() <= 64;
    if !shaped {
        let message = format!("`{text}` cannot be the name of a component");
        let fixed = suggestion(text);
        let rule = "names are lower-case letters, digits and single underscores, beginning with a letter, at most 64 characters";
        let help = if fixed.is_empty() { rule.to_string() } else { format!("{rule}: for instance `{fixed}`") };
        cx.report(Diagnostic::error(codes::BAD_NAME, name.span.clone(), message).help(help));
    }
}

/// Reports a name of a computed column that is not allowed.
pub(super) fn check_column(cx: &Context<'_>, name: &Spanned<String>) {
    let text = name.value.as_str();
    if text.starts_with('_') {
        report_reserved(cx, text, name.span.clone());
    } else if !(text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    {
        let message = format!("`{text}` cannot be the name of a computed column");
        let help = "such names are letters, digits and underscores, beginning with a letter";
        cx.report(Diagnostic::error(codes::BAD_NAME, name.span.clone(), message).help(help));
    }
}

/// Reports a column whose name begins with an underscore.
pub(super) fn report_reserved(cx: &Context<'_>, name: &str, span: Range<usize>) {
    let message = format!("the column name `{name}` is reserved");
    let help = "names with a leading underscore are the engine's own (_epoch, _source, _partition, _offset): choose another name";
    cx.report(Diagnostic::error(codes::RESERVED_COLUMN, span, message).label("begins with `_`").help(help));
}

/// The nearest allowed name: lower case, other characters as single underscores.
fn suggestion(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            if letter.is_ascii_uppercase() && out.ends_with(|last: char| last.is_ascii_lowercase()) {
                out.push('_');
            }
            out.push(letter.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    let out = out.trim_matches('_').trim_start_matches(|first: char| first.is_ascii_digit() || first == '_');
    out.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_follow_the_rule() {
        for (bad, good) in [
            ("Departures", "departures"),
            ("late-flights", "late_flights"),
            ("lateFlights", "late_flights"),
            ("1st", "st"),
            ("a__b", "a_b"),
            ("_", ""),
        ] {
            assert_eq!(suggestion(bad), good);
        }
    }
}
