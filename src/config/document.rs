//! First phase: text to tables that remember where everything stands (`toml`'s `DeTable`; serde would lose the places).

use std::ops::Range;

use toml::de::DeTable;

use super::codes;
use crate::diagnostic::Diagnostic;

/// A parsed text: what could be recovered, every syntax error, and the parts of the text around them.
pub(super) struct Document<'a> {
    /// The root table.
    pub root: DeTable<'a>,
    /// Syntax errors.
    pub found: Vec<Diagnostic>,
    /// From the table header before each syntax error to the next one after it.
    pub damaged: Vec<Range<usize>>,
}

/// Parses `text`; never fails: the syntax errors are in the result.
pub(super) fn parse(text: &str) -> Document<'_> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut damaged = Vec::new();
    let unclosed = unclosed(text, &errors);
    for error in &errors {
        let span = place(text, error);
        let message = error.message();
        if unclosed.as_ref().is_some_and(|open| open.span.start < span.start) || follows(text, &found, &span) {
            damaged.push(around(text, &span));
            continue;
        }
        damaged.push(around(text, &span));
        found.push(if message.starts_with("duplicate key") {
            let key = text.get(span.clone()).unwrap_or_default();
            Diagnostic::error(codes::DUPLICATE_KEY, span.clone(), format!("`{key}` is written twice"))
                .label("the second one")
                .help(first_place(text, key, &span))
        } else {
            syntax_error(text, span, message)
        });
    }
    if let Some(open) = unclosed {
        damaged.push(around(text, &open.span).start..text.len() + 1);
        found.push(open);
    }
    Document { root: root.into_inner(), found, damaged }
}

fn place(text: &str, error: &toml::de::Error) -> Range<usize> {
    let span = error.span().unwrap_or(0..0);
    span.start.min(text.len())..span.end.min(text.len())
}

/// A list or inline table that never closes swallows the rest of the file: the bracket that opens it is worth more than all that follows.
fn unclosed(text: &str, errors: &[toml::de::Error]) -> Option<Diagnostic> {
    let ends =
        errors.iter().find(|error| ["unclosed array", "unclosed inline table"].iter().any(|start| error.message().starts_with(start)))?;
    let is_list = ends.message().starts_with("unclosed array,") || ends.message() == "unclosed array";
    let (open, close, what, help) = if is_list {
        (b'[', b']', "list", "a list is [\"a\", \"b\"]: add the `]` that ends it")
    } else {
        (b'{', b'}', "inline table", "an inline table is { key = value, key = value }: add the `}` that ends it")
    };
    let first = errors.iter().map(|error| place(text, error).start).min()?;
    let mut depth = 0;
    let at = text.as_bytes()[..first].iter().rposition(|byte| {
        if *byte == close {
            depth += 1;
        } else if *byte == open {
            depth -= 1;
        }
        depth < 0
    })?;
    Some(Diagnostic::error(codes::SYNTAX, at..at + 1, format!("not TOML: this {what} never ends")).label("opens here").help(help))
}

/// Whether an error only follows from an earlier one: on its line, or a key of a table that is there twice.
fn follows(text: &str, found: &[Diagnostic], span: &Range<usize>) -> bool {
    found.iter().any(|earlier| {
        let in_second_table =
            earlier.code == codes::DUPLICATE_KEY && in_header(text, &earlier.span) && around(text, &earlier.span).contains(&span.start);
        line(text, earlier.span.start) == line(text, span.start) || in_second_table
    })
}

fn syntax_error(text: &str, span: Range<usize>, message: &str) -> Diagnostic {
    let word = text.get(span.clone()).unwrap_or_default();
    if !word.is_empty()
        && word.starts_with(|first: char| first.is_ascii_alphabetic())
        && text[..span.start].trim_end_matches(' ').ends_with('=')
    {
        return Diagnostic::error(codes::SYNTAX, span.clone(), format!("not TOML: `{word}` is not a value"))
            .help(format!("strings stand between double quotes: \"{word}\""));
    }
    Diagnostic::error(codes::SYNTAX, span, format!("not TOML: {message}")).help(hint(message))
}

fn in_header(text: &str, span: &Range<usize>) -> bool {
    text[..span.start].rsplit('\n').next().is_some_and(|before| before.trim_start().starts_with('['))
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn first_place(text: &str, key: &str, second: &Range<usize>) -> String {
    if in_header(text, second) {
        "a table is written once: move these keys into the first one, or give this one another name".to_string()
    } else {
        format!("a key is written once per table: remove one `{key}`")
    }
}

fn hint(message: &str) -> &'static str {
    if message.contains("string") || message.contains("quote") {
        "strings stand between double quotes: key = \"value\""
    } else if message.contains("key") || message.contains("`=`") {
        "a line is `key = value` or `[section.name]`"
    } else if message.contains("array") || message.contains("`]`") {
        "a list is [\"a\", \"b\"]; each bracket that opens must close"
    } else if message.contains("inline") || message.contains("`}`") {
        "an inline table is { key = value, key = value }"
    } else {
        "values are \"text\", 42, 0.5, true, [ … ] or { … }"
    }
}

/// From the table header before `span` to the next one after it.
fn around(text: &str, span: &Range<usize>) -> Range<usize> {
    let mut start = 0;
    let mut end = text.len();
    let mut at = 0;
    for row in text.split_inclusive('\n') {
        if row.trim_start().starts_with('[') {
            if at <= span.start {
                start = at;
            } else if at >= span.end {
                end = at;
                break;
            }
        }
        at += row.len();
    }
    start..end.max(span.end + 1)
}
