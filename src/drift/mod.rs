//! Drift: has what the model sees, says or gets wrong changed (S12)?
//!
//! Two families. A [`Sequential`] detector takes one number after another in canonical order and says at which record the stream changed. A
//! [`Comparison`] judges, at the end of an interval, how the rows of a window lie in bins that were frozen on a reference. Each detector is one
//! file and one row of [`REGISTRY`]. [`Monitor`] is the engine of one `[monitors.N]`: rows, labels and the watermark in, [`Statistic`] rows out.
//!
//! Pure: no clock, no IO, no randomness; what comes out is a function of the sequence that went in.

mod adwin;
mod bins;
mod laws;
mod monitor;
mod monitor_tests;
mod psi;
mod rises;
mod spec;
mod statistic;
mod subject;
mod window;

use std::fmt::Debug;

use crate::config::declaration;

pub use adwin::Adwin;
pub use bins::{Bins, Sample};
pub use monitor::Monitor;
pub use psi::Psi;
pub use rises::{Rise, Rises};
pub use spec::{Fault, MonitorSpec, Place, Watched};
pub use statistic::{Direction, Statistic};
pub use subject::{Labels, Row, Subject};
pub use window::Window;

/// A change that a sequential detector found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Whether the numbers grew or fell.
    pub direction: Direction,
    /// Mean of the newest part.
    pub value: f64,
    /// The value that the newest part's mean crossed: above it for an increase, below it for a decrease.
    pub threshold: f64,
    /// Values in the newest part.
    pub rows: u64,
    /// Values in the part before.
    pub reference_rows: u64,
}

/// A detector that reads one number per record, in canonical order over all shards (S12.2).
pub trait Sequential: Debug + Send {
    /// Takes one number; `Some` when a change is found at it. Numbers that are not finite are ignored.
    fn update(&mut self, x: f64) -> Option<Change>;

    /// State as JSON bytes (S15.2).
    fn snapshot(&self) -> Vec<u8>;

    /// Takes over a snapshot: goes on bit for bit as the detector that wrote it.
    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String>;

    /// Memory in use, in bytes.
    fn bytes(&self) -> usize;
}

/// A statistic over the counts of a reference and of a window in the same bins. It has no state of its own.
pub trait Comparison: Debug + Send {
    /// Quantile bins wanted, without the one for null.
    fn bins(&self) -> usize;

    /// The statistic; the slices are equally long and hold one count per bin, null's last. Cells that are never used are 0 in both.
    fn value(&self, reference: &[u64], window: &[u64]) -> Option<f64>;

    /// An alarm is raised at this value or above.
    fn threshold(&self) -> f64;
}

/// A detector, built.
#[derive(Debug)]
pub enum Built {
    /// Per record, on the error.
    Sequential(Box<dyn Sequential>),
    /// Per interval, on every watched column.
    Comparison(Box<dyn Comparison>),
}

/// One row of the registry.
pub struct Entry {
    /// Name in `detectors = { .. }` and in the column `statistic`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Builds it from its declaration; `None` if the declaration is another detector's, `Err` with the reason if an option makes no sense.
    pub build: fn(&declaration::Detector) -> Option<Result<Built, String>>,
}

/// Every detector, in byte order of names.
pub const REGISTRY: &[Entry] = &[adwin::ENTRY, psi::ENTRY];

/// Builds a declared detector: its name and itself, or what is wrong with its options.
pub fn build(declared: &declaration::Detector) -> Result<(&'static str, Built), String> {
    for entry in REGISTRY {
        if let Some(built) = (entry.build)(declared) {
            return built.map(|built| (entry.name, built));
        }
    }
    Err("no detector is registered for this declaration".to_string())
}
