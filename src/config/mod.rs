//! The pipeline file: TOML with spans, checked, every mistake found in one run.
//!
//! Two phases (DESIGN §4): text to tables that remember where everything stands (`document`), then tables to a [`Declaration`] by readers of our own
//! (`read`), since serde's `flatten` and `untagged` lose places. `check` then judges what needs no expression: references, names, circles. Nothing
//! stops at the first error. Columns, types and expressions are settled by `plan`, which may run over a [`Partial`] declaration too, so that its
//! findings stand in the same report.
//!
//! Variables, `${VAR}` and `${VAR:-default}`, work inside string values only (see `variables`); spans always point into the original text.

mod check;
pub mod codes;
mod context;
pub mod declaration;
mod document;
mod locate;
mod names;
mod read;
mod reference;
mod schema;
mod size;
mod table;
mod value;
mod variables;

use std::collections::BTreeSet;
use std::path::Path;

pub use locate::inside;

use self::context::Context;
use self::declaration::Declaration;
use self::table::Table;
use crate::diagnostic::{self, Diagnostic, Severity};
use crate::error::{Error, Result};

/// The text of a pipeline file and the name it is shown under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The path as the user gave it.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl SourceText {
    /// `diagnostics` for a terminal, sorted by position, each with the line it is about.
    pub fn render(&self, diagnostics: &[Diagnostic], color: bool) -> String {
        diagnostic::render(&self.path, &self.text, diagnostics, color)
    }
}

/// What could be read of a file that has errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// Everything without errors of its own. If `[pipeline]` is poisoned, its place is taken by defaults.
    pub declaration: Declaration,
    /// `family.name` of each component with errors (and `pipeline`, `kafka`, `tests`): they are left out of `declaration`, and nothing should be
    /// reported about references to them.
    pub poisoned: BTreeSet<String>,
}

/// A parsed file.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The declaration, if there are no errors.
    pub declaration: Option<Declaration>,
    /// What could be read, if there are errors, the text is TOML throughout, and it is clear which components it declares.
    pub partial: Option<Partial>,
    /// All errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

static NOTHING_POISONED: BTreeSet<String> = BTreeSet::new();

impl Parsed {
    /// Whether the file is refused.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The declaration, whole or partial, and the components that are left out of it.
    pub fn readable(&self) -> Option<(&Declaration, &BTreeSet<String>)> {
        match (&self.declaration, &self.partial) {
            (Some(declaration), _) => Some((declaration, &NOTHING_POISONED)),
            (None, Some(partial)) => Some((&partial.declaration, &partial.poisoned)),
            (None, None) => None,
        }
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its text, for rendering diagnostics of later phases too.
    pub source: SourceText,
    /// What it says.
    pub parsed: Parsed,
}

/// Reads the pipeline file at `path` with the variables of the process; relative paths inside it start at the working directory (S14.2).
///
/// # Errors
/// The file cannot be read. What is wrong inside it is in [`Parsed::diagnostics`].
pub fn read(path: &Path) -> Result<Loaded> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read the pipeline file", path, &error))?;
    let parsed = parse(&text, Path::new(""), &|name| std::env::var(name).ok());
    Ok(Loaded { source: SourceText { path: path.display().to_string(), text }, parsed })
}

/// Parses the text of a pipeline file. Schema files are looked for under `base`; `env` gives the values of variables.
pub fn parse(text: &str, base: &Path, env: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let document = document::parse(text);
    let cx = Context::new(text, base, env, document.damaged, document.found);
    let root = Table::new(&cx, &document.root, 0..0, "the file");
    let mut read = read::file(&root);
    if cx.is_sound() {
        check::all(&cx, &mut read);
    }
    let (errors, sound) = (cx.errors(), cx.is_sound() && read.unclear.is_empty());
    let diagnostics = cx.into_found();
    match (errors, sound) {
        (0, _) => Parsed { declaration: Some(read.declaration), partial: None, diagnostics },
        (_, true) => {
            Parsed { declaration: None, partial: Some(Partial { declaration: read.declaration, poisoned: read.poisoned }), diagnostics }
        }
        (_, false) => Parsed { declaration: None, partial: None, diagnostics },
    }
}

#[cfg(test)]
mod tests;
