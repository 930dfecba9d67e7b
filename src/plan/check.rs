//! Everything that is wrong with a pipeline file, in one report: the configuration's findings and the plan's.

use std::path::Path;

use super::files::Files;
use super::{Plan, resolve};
use crate::config::{self, Parsed};
use crate::diagnostic::Diagnostic;

/// Reads and resolves the text of a pipeline file. `base` is where schema files are looked for, `env` gives the values of variables. The
/// plan is there when no diagnostic is an error; warnings come with it.
pub fn check_text(text: &str, base: &Path, env: &dyn Fn(&str) -> Option<String>, files: &dyn Files) -> (Option<Plan>, Vec<Diagnostic>) {
    check_parsed(&config::parse(text, base, env), text, files)
}

/// The same for a file that was parsed already; `text` is what it was parsed from.
pub fn check_parsed(parsed: &Parsed, text: &str, files: &dyn Files) -> (Option<Plan>, Vec<Diagnostic>) {
    let mut diagnostics = parsed.diagnostics.clone();
    let Some((declaration, poisoned)) = parsed.readable() else { return (None, diagnostics) };
    let (plan, found) = resolve(declaration, text, files, poisoned);
    diagnostics.extend(found);
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end, diagnostic.code));
    (plan.filter(|_| !parsed.has_errors()), diagnostics)
}
