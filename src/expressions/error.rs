//! What is wrong with an expression, where in its SQL, and what to write instead.

use std::fmt;
use std::ops::Range;

use datafusion_common::DataFusionError;

/// The SQL cannot be parsed.
pub const SYNTAX: &str = "X001";
/// No such column.
pub const UNKNOWN_COLUMN: &str = "X002";
/// Several columns could be meant.
pub const AMBIGUOUS_COLUMN: &str = "X003";
/// No such function.
pub const UNKNOWN_FUNCTION: &str = "X004";
/// A function whose value is not decided by its arguments (S9.2).
pub const VOLATILE: &str = "X005";
/// Types that do not go together.
pub const TYPE: &str = "X006";
/// The whole expression has another type than its place in the file needs.
pub const RESULT_TYPE: &str = "X007";
/// SQL that is no scalar expression, or that Tidemill does not have.
pub const UNSUPPORTED: &str = "X008";
/// Too long or nested too deeply.
pub const TOO_LARGE: &str = "X009";
/// A constant that cannot be computed.
pub const CONSTANT: &str = "X010";
/// An aggregate where a scalar belongs, or the other way round, or a malformed call of one.
pub const AGGREGATE: &str = "X011";
/// A join condition that is not one equality with the table's key.
pub const JOIN: &str = "X012";

/// Why an expression cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpressionError {
    /// Stable code, `X001` to `X012`.
    pub code: &'static str,
    /// One line, lower case, no full stop.
    pub message: String,
    /// Byte range in the SQL that is meant.
    pub span: Range<usize>,
    /// What to do, one line; may be empty.
    pub help: String,
}

impl ExpressionError {
    /// An error about the bytes `span` of the SQL, without help.
    pub fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span, help: String::new() }
    }

    /// Sets the line that says what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for ExpressionError {}

/// One lower-case line out of DataFusion's layered messages.
pub fn tidy(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    if let Some(reason) = text.lines().find_map(|line| line.trim().strip_prefix("error: ")) {
        return reason.trim_end_matches(&[')', '"'][..]).to_string();
    }
    let mut line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let wrappers = [
        "Arrow error: ",
        "Execution error: ",
        "Error during planning: ",
        "Optimizer error: ",
        "External error: ",
        "Cast error: ",
        "Compute error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "Arithmetic overflow: ",
    ];
    while let Some(rest) = wrappers.iter().find_map(|prefix| line.strip_prefix(prefix)) {
        line = rest.trim_start();
    }
    if line.starts_with("Divide by zero") {
        return "division by zero".into();
    }
    if let Some(rest) = line.strip_prefix("Overflow happened on: ") {
        return format!("arithmetic overflow in {rest}");
    }
    let mut chars = line.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_uppercase() => format!("{first}{}", chars.as_str()),
        (Some(first), _) => first.to_lowercase().chain(chars).collect::<String>().trim_end_matches('.').to_string(),
        (None, _) => "it cannot be computed".into(),
    }
}
