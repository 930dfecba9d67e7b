//! References between components: what is named must be declared, and be of a family that can stand there.

use super::Checks;
use crate::config::codes;
use crate::config::declaration::Spanned;
use crate::config::reference::{Reference, Role};
use crate::diagnostic::{Diagnostic, nearest};

const FAMILIES: [&str; 7] = ["sources", "streams", "tables", "features", "models", "monitors", "sinks"];

/// Every mention of a component, and that there is a source at all.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let pipeline = &checks.declaration.pipeline;
    if checks.names("sources").is_empty() && !checks.read.unclear.contains("sources") && !checks.read.poisoned.contains("pipeline") {
        let diagnostic = Diagnostic::error(codes::NO_SOURCES, pipeline.name.span.clone(), "the pipeline has no sources")
            .help("declare where records come from: [sources.departures] with kind = \"file\", \"kafka\" or \"generator\"");
        checks.fault("pipeline", diagnostic);
    }
    for Reference { by, role, name } in checks.cx.references() {
        match role {
            Role::StreamFrom => rows(checks, &by, &name, "a stream reads a source or another stream; tables are looked up with `join`"),
            Role::JoinTable => one_of(checks, &by, &name, &["tables"], "`join` looks up tables; a stream is read with `from`"),
            Role::ViewFrom => view_from(checks, &by, &name),
            Role::ModelFrom => {
                rows(checks, &by, &name, "a model predicts the rows of a source or stream; views are read with `lookup` and `features`");
            }
            Role::LookupView => one_of(checks, &by, &name, &["features"], "`lookup` reads views, declared as [features.NAME]"),
            Role::LabelStream => rows(checks, &by, &name, "labels come from a source or stream"),
            Role::Watch => watch(checks, &by, &name),
            Role::SinkFrom | Role::TestExpect => output(checks, &by, &name),
            Role::TestInput => test_input(checks, &by, &name),
        }
    }
}

fn view_from(checks: &Checks<'_, '_>, id: &str, from: &Spanned<String>) {
    if checks.declares("tables", &from.value) && !is_rows(checks, &from.value) {
        let diagnostic = Diagnostic::error(codes::NOT_BUILT, from.span.clone(), "views over tables are not built yet")
            .label("a table")
            .help("let the view read a stream, and look the table up with `join`");
        checks.fault(id, diagnostic);
    } else {
        rows(checks, id, from, "a view reads a source or stream");
    }
}

fn test_input(checks: &Checks<'_, '_>, id: &str, name: &Spanned<String>) {
    if checks.declares("sources", &name.value) {
        return;
    }
    let help = match nearest(&name.value, checks.names("sources")) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("sources are: {}", checks.names("sources").join(", ")),
    };
    let message = format!("a test feeds sources, and `{}` is none", name.value);
    checks.fault(id, Diagnostic::error(codes::BAD_TEST, name.span.clone(), message).label("not a source").help(help));
}

fn is_rows(checks: &Checks<'_, '_>, name: &str) -> bool {
    checks.declares("sources", name) || checks.declares("streams", name)
}

fn rows(checks: &Checks<'_, '_>, id: &str, name: &Spanned<String>, rule: &str) {
    one_of(checks, id, name, &["sources", "streams"], rule);
}

fn one_of(checks: &Checks<'_, '_>, id: &str, name: &Spanned<String>, allowed: &[&str], rule: &str) {
    let text = name.value.as_str();
    if allowed.iter().any(|family| checks.declares(family, text)) {
        return;
    }
    if let Some(("features", view)) = text.split_once('.')
        && let Some(view) = view.strip_suffix(".closed")
        && checks.declares("features", view)
    {
        return checks.fault(id, closed_windows(name));
    }
    let bare = text.split_once('.').filter(|(family, rest)| allowed.contains(family) && checks.declares(family, rest));
    if let Some((_, rest)) = bare {
        return checks.fault(id, unknown(name, allowed).label("").help(format!("write the name alone: \"{rest}\"")));
    }
    let (family, rest) = text.split_once('.').unwrap_or(("", text));
    let elsewhere = FAMILIES.iter().find(|other| checks.declares(other, if **other == family { rest } else { text }));
    if let Some(other) = elsewhere {
        let message = format!("`{text}` is {}, which cannot stand here", article(other));
        return checks.fault(id, Diagnostic::error(codes::WRONG_FAMILY, name.span.clone(), message).label(article(other)).help(rule));
    }
    let known: Vec<&str> = allowed.iter().flat_map(|family| checks.names(family)).collect();
    let help = match nearest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => {
            format!("none is declared: add a section [{}.{}]", allowed[0], if rest.is_empty() { "name" } else { rest })
        }
        None => format!("declared are: {}", known.join(", ")),
    };
    checks.fault(id, unknown(name, allowed).help(help));
}

fn unknown(name: &Spanned<String>, allowed: &[&str]) -> Diagnostic {
    let what = match allowed {
        ["tables"] => "table",
        ["features"] => "view",
        ["sources"] => "source",
        _ => "source or stream",
    };
    Diagnostic::error(codes::UNKNOWN_COMPONENT, name.span.clone(), format!("there is no {what} `{}`", name.value)).label("not declared")
}

fn closed_windows(name: &Spanned<String>) -> Diagnostic {
    Diagnostic::error(codes::NOT_BUILT, name.span.clone(), "reading closed windows is not built yet")
        .label("not built yet")
        .help("read the view's rows as they change: from = \"features.NAME\" in a sink")
}

fn article(family: &str) -> &'static str {
    match family {
        "sources" => "a source",
        "streams" => "a stream",
        "tables" => "a table",
        "features" => "a view",
        "models" => "a model",
        "monitors" => "a monitor",
        _ => "a sink",
    }
}

/// `models.M` or `models.M.inputs`.
fn watch(checks: &Checks<'_, '_>, id: &str, name: &Spanned<String>) {
    let text = name.value.as_str();
    let model = text.strip_prefix("models.").map(|rest| rest.strip_suffix(".inputs").unwrap_or(rest));
    if model.is_some_and(|model| checks.declares("models", model)) {
        return;
    }
    if is_rows(checks, text) {
        let diagnostic = Diagnostic::error(codes::NOT_BUILT, name.span.clone(), "watching a source or stream is not built yet")
            .label("not built yet")
            .help("watch the inputs of a model that reads it: \"models.NAME.inputs\"");
        return checks.fault(id, diagnostic);
    }
    let mut known = Vec::new();
    for model in checks.names("models") {
        known.push(format!("models.{model}"));
        known.push(format!("models.{model}.inputs"));
    }
    let help = suggestion(text, &known, "a monitor watches models: none is declared");
    let diagnostic = Diagnostic::error(codes::UNKNOWN_COMPONENT, name.span.clone(), format!("a monitor cannot watch `{text}`"));
    checks.fault(id, diagnostic.label("not a model").help(help));
}

/// What a sink can read and a test can expect: a source, a stream, `features.V`, `models.M`, `models.M.rows`, `monitors.N`, `quarantine`.
fn output(checks: &Checks<'_, '_>, id: &str, name: &Spanned<String>) {
    let text = name.value.as_str();
    let known = match text.split_once('.') {
        None => text == "quarantine" || is_rows(checks, text),
        Some(("models", rest)) => checks.declares("models", rest.strip_suffix(".rows").unwrap_or(rest)),
        Some((family @ ("features" | "monitors"), rest)) => checks.declares(family, rest),
        Some(_) => false,
    };
    if known {
        return;
    }
    if let Some(view) = text.strip_prefix("features.").and_then(|rest| rest.strip_suffix(".closed"))
        && checks.declares("features", view)
    {
        return checks.fault(id, closed_windows(name));
    }
    if checks.declares("tables", text.strip_prefix("tables.").unwrap_or(text)) {
        let diagnostic = Diagnostic::error(
            codes::WRONG_FAMILY,
            name.span.clone(),
            format!("`{text}` is a table, which has no rows of its own to write"),
        )
        .label("a table")
        .help("read a stream that looks the table up with `join`");
        return checks.fault(id, diagnostic);
    }
    let mut outputs: Vec<String> = checks.names("sources").into_iter().chain(checks.names("streams")).map(str::to_string).collect();
    outputs.extend(checks.names("features").iter().map(|view| format!("features.{view}")));
    outputs.extend(checks.names("models").iter().flat_map(|model| [format!("models.{model}"), format!("models.{model}.rows")]));
    outputs.extend(checks.names("monitors").iter().map(|monitor| format!("monitors.{monitor}")));
    outputs.push("quarantine".to_string());
    let help = suggestion(text, &outputs, "declare a source first");
    let diagnostic = Diagnostic::error(codes::UNKNOWN_COMPONENT, name.span.clone(), format!("there is no output `{text}`"));
    checks.fault(id, diagnostic.label("not declared").help(help));
}

/// The nearest of `known`, also where only the family before or behind the name is missing or too much.
fn suggestion(text: &str, known: &[String], none: &str) -> String {
    let bare = text.split_once('.').map_or(text, |(_, rest)| rest);
    let near = nearest(text, known.iter().map(String::as_str)).map(str::to_string).or_else(|| {
        known.iter().find(|output| output.as_str() == bare || output.split_once('.').is_some_and(|(_, rest)| rest == text)).cloned()
    });
    match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => none.to_string(),
        None => format!("what can stand here: {}", known.join(", ")),
    }
}
