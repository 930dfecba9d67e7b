//! From a path to a plan, or to a report of everything that is wrong with the file.

use std::io::IsTerminal;
use std::path::Path;

use super::disk::Disk;
use crate::diagnostic::{self, Severity};
use crate::error::{Error, Exit, Result};
use crate::plan::{self, Plan};

/// A checked file.
pub struct Checked {
    /// The plan, if nothing is wrong.
    pub plan: Option<Plan>,
    /// All findings, rendered; empty if there are none.
    pub report: String,
    /// Errors among them.
    pub errors: usize,
    /// Warnings among them.
    pub warnings: usize,
    /// How many, in one line.
    pub headline: String,
}

/// Reads and resolves the pipeline file at `path`.
pub fn check(path: &Path) -> Result<Checked> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let error = Error::io("read the pipeline file", path, &error);
        Error { exit: Exit::Config, ..error }
    })?;
    let base = Path::new("");
    let env = |name: &str| std::env::var(name).ok();
    let (plan, found) = plan::check_text(&text, base, &env, &Disk);
    let color = std::io::stderr().is_terminal();
    let errors = found.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    let name = path.display().to_string();
    let headline = diagnostic::summary(&name, &found);
    Ok(Checked { plan, report: diagnostic::render(&name, &text, &found, color), errors, warnings: found.len() - errors, headline })
}

/// The plan of the file at `path`. Warnings go to standard error; with errors the whole report is the cause (exit 78).
pub fn load(path: &Path) -> Result<Plan> {
    let checked = check(path)?;
    match checked.plan {
        Some(plan) => {
            if !checked.report.is_empty() {
                eprint!("{}", checked.report);
            }
            Ok(plan)
        }
        None => {
            eprint!("{}", checked.report);
            let faults = if checked.errors == 1 { "1 error".to_string() } else { format!("{} errors", checked.errors) };
            Err(Error::new(
                Exit::Config,
                format!("{} is refused: {faults}, shown above", path.display()),
                "correct the file and run the same command again",
            ))
        }
    }
}
