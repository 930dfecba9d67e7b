//! Features: windows and aggregates per key, as of each record (S6–S8). Pure: no timely, no IO, no clock, no threads.
//!
//! One key of a view is one [`Ring`](ring::Ring) of records in (event time, arrival) order, shared by every window and aggregate of the view, and a
//! few fixed words. Aggregates come in *families*; a family turns the features that need the same thing (say count, sum, avg and stddev of one
//! argument under one filter) into one [`Part`](part::Part), which owns some words of each record and of the key and answers any range
//! `[lo, hi)` of the ring. A window is nothing but the rule that turns a time into such a range, so sliding and tumbling windows, probes into
//! the past, ties and out-of-order records all take the same path.
//!
//! What leaves the ring for good (S7.5: older than the watermark by the longest window) is folded into the *carry* of each tumbling or lifetime
//! window. Sums are exact, of whatever values, so nothing is lost by subtraction and a window can follow its records in any order.
//!
//! A new aggregate is one file with its family, and its row in [`registry`].

pub mod argument;
pub mod bytes;
pub mod call;
mod cursor;
mod decay;
mod distinct;
mod exact;
mod extrema;
mod floored;
mod hyperloglog;
#[cfg(test)]
mod laws;
mod moments;
pub mod part;
mod position;
mod program;
mod quantile;
pub mod registry;
pub mod ring;
mod sliding;
mod summand;
mod sums;
mod wide;

use crate::config::declaration::Window;
use crate::data::CellType;
use crate::time::Micros;

pub use argument::{Argument, Updates};
pub use call::{CallShape, Function, FunctionParameter, Resolved, function_names, resolve};
pub use part::{Heap, Kept, KeyMut};
pub use program::{Program, Scratch, StateBounds, state_bounds};

/// What one view computes, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSpec {
    /// Windows that features refer to by position.
    pub windows: Vec<Window>,
    /// Types of the argument columns.
    pub arguments: Vec<CellType>,
    /// Number of filter columns.
    pub filters: usize,
    /// The features, in the order of the cells of a feature row.
    pub features: Vec<FeatureSpec>,
    /// Lateness of the view's source: how far back an out-of-order record may land (S7.5).
    pub lateness: Micros,
    /// Expiry of keys (S6.3).
    pub ttl: Option<Micros>,
    /// Bound on keys of one shard (S6.3).
    pub max_keys_per_shard: Option<u64>,
    /// Bound on retained records of one key (S8.6).
    pub max_records_per_key: Option<u64>,
}

/// One feature: a function of an argument over a window.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureSpec {
    /// What is computed.
    pub function: Function,
    /// Position in `arguments`; `None` for `count(*)` and `time_since_last()`.
    pub argument: Option<usize>,
    /// Position of the `filter (where …)` column.
    pub filter: Option<usize>,
    /// Position in `windows`; `None` for functions with their own horizon (S7.4).
    pub window: Option<usize>,
    /// S7.3
    pub include_current: bool,
    /// Type of the result.
    pub cell: CellType,
}
