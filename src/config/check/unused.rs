//! Components that nothing reads: no error, but seldom meant.

use std::collections::BTreeSet;

use super::Checks;
use crate::config::codes;
use crate::config::declaration::{Label, Spanned};
use crate::diagnostic::Diagnostic;

/// Sources, tables, streams and views that lead nowhere.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let file = checks.declaration;
    let mut read: BTreeSet<&str> = BTreeSet::new();
    let mut views: BTreeSet<&str> = BTreeSet::new();
    for stream in file.streams.values() {
        read.insert(&stream.value.from.value);
        read.extend(stream.value.join.iter().map(|join| join.table.value.as_str()));
    }
    read.extend(file.features.values().map(|view| view.value.from.value.as_str()));
    for model in file.models.values() {
        read.extend(model.value.from.iter().map(|from| from.value.as_str()));
        if let Some(Spanned { value: Label::Stream { stream, .. }, .. }) = &model.value.label {
            read.insert(&stream.value);
        }
        views.extend(model.value.lookup.values().map(|lookup| lookup.view.value.as_str()));
        let expressions = model.value.derive.values().chain(&model.value.features);
        for name in file.features.keys() {
            if expressions.clone().any(|sql| mentions(&sql.value, name)) {
                views.insert(name);
            }
        }
    }
    let outputs = file.sinks.values().map(|sink| sink.value.from.value.as_str());
    for output in outputs.chain(file.tests.iter().flat_map(|test| test.value.expect.keys().map(String::as_str))) {
        match output.strip_prefix("features.") {
            Some(view) => views.insert(view),
            None => read.insert(output),
        };
    }
    let rows = [
        ("source", file.sources.iter().map(place).collect::<Vec<_>>()),
        ("stream", file.streams.iter().map(place).collect()),
        ("table", file.tables.iter().map(place).collect()),
    ];
    for (what, components) in rows {
        for (name, span) in components.into_iter().filter(|(name, _)| !read.contains(name)) {
            let help = if what == "table" {
                "look it up with `join` in a stream, or remove it"
            } else {
                "read it with `from` in a stream, view, model or sink, or remove it"
            };
            checks.cx.report(Diagnostic::warning(codes::UNUSED, span.clone(), format!("nothing reads the {what} `{name}`")).help(help));
        }
    }
    for (name, view) in file.features.iter().filter(|(name, _)| !views.contains(name.as_str())) {
        let help = "name it in a model's `lookup` or `features`, write it with a sink, or remove it";
        checks.cx.report(Diagnostic::warning(codes::UNUSED, view.span.clone(), format!("nothing reads the view `{name}`")).help(help));
    }
}

fn place<'f, T>((name, component): (&'f String, &'f Spanned<T>)) -> (&'f str, std::ops::Range<usize>) {
    (name, component.span.clone())
}

/// Whether `name.` occurs in `sql` as a word.
fn mentions(sql: &str, name: &str) -> bool {
    sql.match_indices(name).any(|(at, _)| {
        let word_before = sql[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let rest = sql[at + name.len()..].trim_start_matches('"');
        !word_before && rest.starts_with('.')
    })
}
