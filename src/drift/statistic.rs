//! What a monitor says: rows with exactly the columns of S13.1, `monitors.N`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Which way something changed (S12.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Values grew.
    Increase,
    /// Values fell.
    Decrease,
    /// The distribution changed, but its middle did not move: wider, narrower, or nulls came or went.
    Shape,
}

impl Direction {
    /// `increase`, `decrease` or `shape`, as outputs spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Increase => "increase",
            Self::Decrease => "decrease",
            Self::Shape => "shape",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of `monitors.N`. Times are UTC microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// Name of the monitor.
    pub monitor: Arc<str>,
    /// Of the record for per-record detectors, the interval's end otherwise.
    pub event_time: i64,
    /// Key of the record, as text; `None` for statistics of an interval.
    pub key: Option<String>,
    /// The input, `prediction`, or `error`; with several models in one monitor, `MODEL.` before it.
    pub column: Arc<str>,
    /// Name of the detector or metric.
    pub statistic: Arc<str>,
    /// The value; `None` where it is undefined.
    pub value: Option<f64>,
    /// What the value is held against; `None` for metrics.
    pub threshold: Option<f64>,
    /// Whether the threshold is reached, with enough rows (S12.1).
    pub alarm: bool,
    /// Which way; `None` for metrics.
    pub direction: Option<Direction>,
    /// Rows the value is about.
    pub rows: u64,
    /// Rows it is compared with; `None` for metrics.
    pub reference_rows: Option<u64>,
    /// Start of the time the rows are from; `None` where the window is counted in rows, or is the whole run.
    pub window_start: Option<i64>,
    /// End of that time, exclusive; `None` for per-record detectors.
    pub window_end: Option<i64>,
}

impl Statistic {
    /// Names of the columns, in the order of the fields.
    pub const COLUMNS: [&'static str; 13] = [
        "monitor",
        "event_time",
        "key",
        "column",
        "statistic",
        "value",
        "threshold",
        "alarm",
        "direction",
        "rows",
        "reference_rows",
        "window_start",
        "window_end",
    ];

    /// Puts the statistics of one epoch into canonical order (S3.1): by event time, intervals that end then before records of that time, otherwise
    /// as emitted. With input in order and no lateness the rows of a whole run are then the same wherever epochs are cut.
    pub fn sort(statistics: &mut [Statistic]) {
        statistics.sort_by_key(|statistic| (statistic.event_time, statistic.window_end.is_none()));
    }
}
