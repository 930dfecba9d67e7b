//! Metrics: how good predictions were, as labels resolve (S12.4), and the comparison with baselines in the closing summary.
//!
//! Pure: rows come in canonical order of resolution, numbers go out; no clock, no IO. Evaluation is prequential (Dawid 1984; Gama, Sebastião and
//! Rodrigues 2009): a row is scored with the prediction that was emitted before its label was known. Each metric is one file and one row of
//! [`REGISTRY`]; where it can fade, `fading_NAME` is the same metric with every earlier row weighing [`FADING`] less per later row.

mod accuracy;
mod baseline;
mod card;
mod histogram;
mod laws;
mod log_loss;
mod mae;
mod mean;
mod r2;
mod report;
mod rmse;
mod roc_auc;
mod scored;

use std::fmt::Debug;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::diagnostic::nearest;

pub use accuracy::Accuracy;
pub use baseline::{BaselineGuess, Baselines};
pub use card::{Card, Numbers};
pub use histogram::ScoreHistogram;
pub use log_loss::{LogLoss, log_loss};
pub use mae::Mae;
pub use mean::FadingMean;
pub use r2::R2;
pub use report::{ModelReport, MonthRow, PredictorRow, Summary};
pub use rmse::Rmse;
pub use roc_auc::{AUC_ROWS, RocAuc};
pub use scored::Scored;

/// What a row's weight in a fading metric is multiplied by with each later labelled row (S12.4).
pub const FADING: f64 = 0.999;

/// The layout that `snapshot` writes and `restore` reads (S15.2).
pub const SNAPSHOT_VERSION: u32 = 1;

/// One number about a model, kept up to date as labels resolve.
pub trait Metric: Debug + Send {
    /// Takes one labelled row: `y` the label (0 or 1 for classes), `p` the prediction as it was emitted (the positive class's probability, or the
    /// value). Rows with a number that is not finite change nothing.
    fn observe(&mut self, y: f64, p: f64) {
        if y.is_finite() && p.is_finite() {
            self.add(y, p);
        }
    }

    /// As [`observe`](Self::observe), for numbers known to be finite.
    fn add(&mut self, y: f64, p: f64);

    /// The rows of `range` one after another: equal bit for bit to as many [`add`](Self::add).
    fn add_all(&mut self, rows: &mut Scored, range: Range<usize>) {
        rows.rows(range).for_each(|(y, p)| self.add(y, p));
    }

    /// The metric so far; `None` while it is undefined (no rows, one class only, constant labels) or not finite.
    fn value(&self) -> Option<f64>;

    /// Labelled rows the value is about; fading metrics count all of them.
    fn rows(&self) -> u64;

    /// State as JSON bytes of layout [`SNAPSHOT_VERSION`].
    fn snapshot(&self) -> Vec<u8>;

    /// Takes over a snapshot: goes on bit for bit as the metric that wrote it.
    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String>;

    /// Memory in use, in bytes.
    fn bytes(&self) -> usize;
}

/// What a metric can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Labels 0 and 1, predictions in [0, 1].
    Classification,
    /// Labels and predictions are numbers.
    Regression,
}

/// One row of the registry.
pub struct Entry {
    /// Name in `metrics = [..]`.
    pub name: &'static str,
    /// Which models it suits.
    pub task: Task,
    /// Whether `fading_NAME` exists too.
    pub fades: bool,
    /// What it is, in one line.
    pub about: &'static str,
    build: fn(threshold: f64, factor: f64) -> Box<dyn Metric>,
}

/// Every metric, in byte order of names.
pub const REGISTRY: &[Entry] = &[accuracy::ENTRY, log_loss::ENTRY, mae::ENTRY, r2::ENTRY, rmse::ENTRY, roc_auc::ENTRY];

/// Every name that [`build`] accepts.
pub fn names() -> Vec<String> {
    let plain = REGISTRY.iter().map(|entry| entry.name.to_string());
    let fading = REGISTRY.iter().filter(|entry| entry.fades).map(|entry| format!("fading_{}", entry.name));
    plain.chain(fading).collect()
}

/// What kind of model the metric of this name is for.
pub fn task(name: &str) -> Option<Task> {
    find(name).map(|(entry, _)| entry.task)
}

/// A metric by name; `threshold` is the probability from which a class counts as true (S12.4). `Err`: what is wrong with the name.
pub fn build(name: &str, threshold: f64) -> Result<Box<dyn Metric>, String> {
    if let Some((entry, factor)) = find(name) {
        return Ok((entry.build)(threshold, factor));
    }
    if let Some(entry) = name.strip_prefix("fading_").and_then(|plain| REGISTRY.iter().find(|entry| entry.name == plain)) {
        return Err(format!("`{}` has no fading form; write `{}`, which is {}", entry.name, entry.name, entry.about));
    }
    let known = names();
    Err(match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("there is no metric `{name}`; did you mean `{near}`?"),
        None => format!("there is no metric `{name}`; the metrics are {}", known.join(", ")),
    })
}

fn find(name: &str) -> Option<(&'static Entry, f64)> {
    let plain = REGISTRY.iter().find(|entry| entry.name == name).map(|entry| (entry, 1.0));
    plain.or_else(|| {
        let name = name.strip_prefix("fading_")?;
        REGISTRY.iter().find(|entry| entry.fades && entry.name == name).map(|entry| (entry, FADING))
    })
}

/// The snapshot bytes of a serialisable state. Floats are written so that they read back equal; those that may overflow go through [`bits`].
pub(crate) fn encode<T: Serialize>(state: &T) -> Vec<u8> {
    serde_json::to_vec(state).unwrap_or_default()
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(version: u32, bytes: &[u8]) -> Result<T, String> {
    if version != SNAPSHOT_VERSION {
        return Err(format!("the snapshot has layout {version}; this build reads layout {SNAPSHOT_VERSION}"));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the snapshot cannot be read: {error}"))
}

/// Serialises a float as its bits, so that infinities survive too: `#[serde(with = "super::bits")]`.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the bits as an unsigned integer.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    /// Reads them back.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
