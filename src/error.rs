//! What can go wrong and whose move it is: every error carries a cause, a help line and an exit code (DESIGN, "Command line").

use std::fmt;

/// Why the process ends, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// The command line is wrong.
    Usage = 2,
    /// Input data or stored state cannot be used.
    Data = 65,
    /// A server, broker or file system cannot be reached.
    Unreachable = 69,
    /// An invariant of Tidemill itself is broken: a bug.
    Internal = 70,
    /// A limit on memory, disk or time was hit.
    Limit = 71,
    /// Reading or writing failed.
    Io = 74,
    /// Nothing is lost: start the process again.
    Restart = 75,
    /// A newer instance of this pipeline took over.
    Fenced = 76,
    /// Credentials or permissions were refused.
    Auth = 77,
    /// The pipeline file is wrong.
    Config = 78,
}

/// An error that ends a command: one line of cause, one line of help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub exit: Exit,
    /// What happened, in one line, naming the file, topic, component or value concerned.
    pub cause: String,
    /// What the user can do about it, in one line; empty when the cause says it all.
    pub help: String,
}

impl Error {
    /// An error with a cause and the help that goes with it.
    pub fn new(exit: Exit, cause: impl Into<String>, help: impl Into<String>) -> Self {
        Self { exit, cause: cause.into(), help: help.into() }
    }

    /// A broken invariant of the engine: always a bug, never the user's fault.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(Exit::Internal, cause, "this is a bug in Tidemill: please report it with the pipeline file and the lines above")
    }

    /// A failed read or write of `path` (printed absolute).
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path; relative paths start at the working directory",
            std::io::ErrorKind::PermissionDenied => "check the permissions of the file and of its folder",
            std::io::ErrorKind::StorageFull => "free some space on that disk, then run the same command again: it resumes",
            _ => "run the same command again once the cause is gone: it resumes",
        };
        Self::new(Exit::Io, format!("cannot {action} {}: {error}", shown.display()), help)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.cause)?;
        if !self.help.is_empty() {
            write!(f, "\nhelp: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The result of everything that can end a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;
