//! Rises of the error, for the closing summary: when, at which record, by how much, and which columns had moved (S12.3).
//!
//! Only increases of the error are shown. The columns concerned are those whose comparison with the reference alarmed in the interval that holds
//! the rise, the strongest first; the statistics of that interval come later than the rise, when the watermark passes its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Direction, Statistic};
use crate::time::Micros;

/// Rises and intervals with alarms that are remembered; the oldest are forgotten first.
const MOST: usize = 1000;

/// One rise of the error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rise {
    /// The monitor that saw it.
    pub monitor: Arc<str>,
    /// `error`, or `MODEL.error`.
    pub column: Arc<str>,
    /// Event time of the record.
    pub event_time: i64,
    /// Key of the record.
    pub key: Option<String>,
    /// Mean error since the change.
    pub value: f64,
    /// The mean error that would not yet have been a change.
    pub threshold: f64,
    /// Columns that had moved in the same interval, with the statistic's value, strongest first.
    pub columns: Vec<(Arc<str>, f64)>,
}

/// Collects the rises among the statistics of one monitor, in bounded memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rises {
    every: Micros,
    total: u64,
    rises: Vec<Rise>,
    /// Alarmed columns by number of interval.
    moved: BTreeMap<i64, Vec<(Arc<str>, f64)>>,
}

impl Rises {
    /// For a monitor with intervals of this length.
    pub fn new(every: Micros) -> Self {
        Self { every: every.max(1), total: 0, rises: Vec::new(), moved: BTreeMap::new() }
    }

    /// Takes one statistic, in the order in which they are emitted.
    pub fn observe(&mut self, statistic: &Statistic) {
        if !statistic.alarm {
            return;
        }
        let is_error = &*statistic.column == "error" || statistic.column.ends_with(".error");
        match (statistic.window_end, statistic.value) {
            (None, Some(value)) if is_error && statistic.direction == Some(Direction::Increase) => {
                self.total += 1;
                if self.rises.len() == MOST {
                    self.rises.remove(0);
                }
                self.rises.push(Rise {
                    monitor: Arc::clone(&statistic.monitor),
                    column: Arc::clone(&statistic.column),
                    event_time: statistic.event_time,
                    key: statistic.key.clone(),
                    value,
                    threshold: statistic.threshold.unwrap_or(value),
                    columns: Vec::new(),
                });
            }
            (Some(end), Some(value)) => {
                let interval = end.saturating_sub(1).div_euclid(self.every);
                self.moved.entry(interval).or_default().push((Arc::clone(&statistic.column), value));
                while self.moved.len() > MOST {
                    self.moved.pop_first();
                }
            }
            _ => {}
        }
    }

    /// Rises seen, forgotten ones included.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The newest rises (at most 1,000) in order of emission, each with the columns concerned.
    pub fn list(&self) -> Vec<Rise> {
        let with_columns = |rise: &Rise| {
            let mut columns = self.moved.get(&rise.event_time.div_euclid(self.every)).cloned().unwrap_or_default();
            columns.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            Rise { columns, ..rise.clone() }
        };
        self.rises.iter().map(with_columns).collect()
    }
}
