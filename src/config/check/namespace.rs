//! Names: sources, streams and tables share one namespace (S9.1), and `quarantine` means the quarantine.

use super::Checks;
use crate::config::codes;
use crate::diagnostic::Diagnostic;

const SHARED: [&str; 3] = ["sources", "tables", "streams"];

/// Two components of one name, and reserved names.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let mut all: Vec<(&str, &str, usize, std::ops::Range<usize>)> = Vec::new();
    for family in SHARED {
        for (name, span) in checks.read.declared.get(family).into_iter().flatten() {
            all.push((name, family, span.start, span.clone()));
        }
    }
    all.sort_by_key(|(name, _, at, _)| (*name, *at));
    for pair in all.windows(2) {
        let [(first, first_family, ..), (second, family, _, span)] = pair else { continue };
        if first == second {
            let message = format!("`{second}` is also the name of one of the {first_family}");
            let help = format!("sources, streams and tables share one namespace: rename one, for instance {}", renamed(second, family));
            let diagnostic = Diagnostic::error(codes::NAME_CLASH, span.clone(), message).label("the second one").help(help);
            checks.fault(&format!("{family}.{second}"), diagnostic);
        }
    }
    for (name, family, _, span) in all {
        if name == "quarantine" {
            let diagnostic = Diagnostic::error(codes::BAD_NAME, span, "`quarantine` is a reserved name")
                .help("`from = \"quarantine\"` means the records that could not be used: choose another name");
            checks.fault(&format!("{family}.{name}"), diagnostic);
        }
    }
    if let Some(sink) = checks.declaration.sinks.get("quarantine")
        && sink.value.from.value != "quarantine"
    {
        let diagnostic = Diagnostic::error(codes::BAD_NAME, sink.span.clone(), "a sink called `quarantine` must read the quarantine")
            .help("write from = \"quarantine\", or choose another name: `quarantine` is the default sink of records that cannot be used");
        checks.fault("sinks.quarantine", diagnostic);
    }
}

fn renamed(name: &str, family: &str) -> String {
    match family {
        "streams" => format!("[streams.good_{name}]"),
        "tables" => format!("[tables.{name}_table]"),
        _ => format!("[sources.raw_{name}]"),
    }
}
