//! A fault in a pipeline file: where, what, and what to write instead; and its rendering for a terminal.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// How bad a diagnostic is. Errors refuse the file (exit 78); warnings only inform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file runs, but probably not as meant.
    Warning,
}

/// One finding about a pipeline file, pointing into its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Stable code, e.g. `T012`; listed in `config/codes.rs`.
    pub code: &'static str,
    /// One line, lower case, no full stop.
    pub message: String,
    /// Byte range in the file's text that is underlined.
    pub span: Range<usize>,
    /// Short text beside the underline; may be empty.
    pub label: String,
    /// What to do, one line; may be empty.
    pub help: String,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), span, label: String::new(), help: String::new() }
    }

    /// A warning at `span`.
    pub fn warning(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Sets the text beside the underline.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the line that says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// Renders `diagnostics` over the `text` of the file called `path`, sorted by position, errors and warnings together.
pub fn render(path: &str, text: &str, diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (d.span.start, d.span.end, d.code));
    let mut out = String::new();
    for diagnostic in sorted {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let end = diagnostic.span.end.min(text.len());
        let span = diagnostic.span.start.min(end)..end;
        let mut annotation = AnnotationKind::Primary.span(span);
        if !diagnostic.label.is_empty() {
            annotation = annotation.label(&diagnostic.label);
        }
        let mut group =
            level.primary_title(&diagnostic.message).id(diagnostic.code).element(Snippet::source(text).path(path).annotation(annotation));
        if !diagnostic.help.is_empty() {
            group = group.element(Level::HELP.message(&diagnostic.help));
        }
        out.push_str(&renderer.render(&[group]).to_string());
        out.push_str("\n\n");
    }
    out
}

/// One line that counts what was found in the file called `path`, e.g. `flights.toml: 2 errors, 1 warning`.
pub fn summary(path: &str, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let counted = |count: usize, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        many => Some(format!("{many} {what}s")),
    };
    let parts: Vec<String> = [counted(errors, "error"), counted(diagnostics.len() - errors, "warning")].into_iter().flatten().collect();
    if parts.is_empty() { format!("{path}: no errors") } else { format!("{path}: {}", parts.join(", ")) }
}

/// The name among `known` nearest to `typed`, if it is near enough to be a typing error.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count().max(typed.chars().count()) / 4)
        .min()
        .map(|(_, name)| name)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost 1 each.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitute = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitute.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typing_errors_and_refuses_strangers() {
        assert_eq!(nearest("feature", ["features", "models"]), Some("features"));
        assert_eq!(nearest("lanbel", ["label", "lateness"]), Some("label"));
        assert_eq!(nearest("xyz", ["features", "models"]), None);
    }

    #[test]
    fn rendering_shows_file_line_code_and_help() {
        let text = "[pipeline]\nnam = \"x\"\n";
        let found = Diagnostic::error("T001", 11..14, "unknown key `nam`").label("not a key of [pipeline]").help("did you mean `name`?");
        let shown = render("p.toml", text, &[found], false);
        assert!(shown.contains("p.toml:2:1"), "{shown}");
        assert!(shown.contains("T001") && shown.contains("did you mean `name`?"), "{shown}");
    }

    #[test]
    fn the_summary_counts() {
        let (error, warning) = (Diagnostic::error("T001", 0..0, ""), Diagnostic::warning("W001", 0..0, ""));
        assert_eq!(summary("p.toml", &[error.clone(), error, warning]), "p.toml: 2 errors, 1 warning");
        assert_eq!(summary("p.toml", &[]), "p.toml: no errors");
    }
}
