//! SQL scalar expressions (S9): text in, a vectorised function over Arrow columns out. The only place that knows DataFusion and sqlparser.
//!
//! What this module promises:
//!
//! * SQL types and three-valued logic; identifiers are case-sensitive and never folded; function names are not case-sensitive.
//! * Everything that can be known without data is an [`ExpressionError`] when the expression is compiled, with the byte range concerned and what to
//!   write instead: names, types, volatile functions (S9.2), malformed constants. A compiled expression fails only on data.
//! * The result of a row depends on that row alone, bit for bit, however rows are cut into batches (S1.1): see [`Expression::evaluate_rows`].
//! * NaN compares equal to itself and greater than every number; −0 equals 0.
//! * Integer overflow and integer division by zero are errors of their rows, never a wrapped number; floats follow IEEE 754. `exp`, `ln`, `pow` and
//!   trigonometry are computed by the `libm` crate, not by the machine's C library (S9.2).
//! * All times are UTC microseconds; calendar functions are UTC unless a zone is given with `at time zone` (S4.4).
//!
//! The road of an expression: `parse` (sqlparser, bounded in length and depth) → `convert` (our own walk over sqlparser's tree, resolving names against
//! a [`Scope`] and checking types node by node) → DataFusion's coercion and constant folding → DataFusion's physical expressions (`compile`) →
//! `evaluate`. The `datafusion-sql` planner is not used: it folds identifiers, has no spans for types, and plans queries, which these are not.

mod aggregate;
mod calls;
mod compile;
mod convert;
mod error;
mod evaluate;
mod functions;
mod join;
mod literals;
mod numeric;
mod operators;
mod parse;
mod quote;
mod scope;
mod stack;
mod types;
mod walk;

pub use aggregate::{AggregateCall, Parameter, parse_aggregate};
pub use compile::{compile, compile_as, compile_float};
pub use error::ExpressionError;
pub use evaluate::Expression;
pub use functions::function_names;
pub use join::parse_join;
pub use quote::quote;
pub use scope::{Scope, ScopeColumn};
pub use types::type_name;
pub use walk::mentioned;

use compile::{build, constant};
use convert::{Converted, Converter, Mode, balanced};
use error::{
    AGGREGATE, AMBIGUOUS_COLUMN, CONSTANT, JOIN, RESULT_TYPE, SYNTAX, TOO_LARGE, TYPE, UNKNOWN_COLUMN, UNKNOWN_FUNCTION, UNSUPPORTED,
    VOLATILE, tidy,
};
use evaluate::Compiled;
use functions::{Found, find};
use literals::{interval_literal, literal_as, number};
use numeric::{finite, libm_functions, one_zero, safe_sqrt};
use parse::Parsed;
use scope::Frame;
use stack::with_stack;
use types::{arrow_type, engine_type, is_text};
use walk::{chain, children, repeats};

#[cfg(test)]
mod tests;
