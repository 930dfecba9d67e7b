//! Area under the ROC curve, exact over the last 10,000 labelled rows, ties counting one half (S12.4): the Mann-Whitney statistic (Hanley and
//! McNeil 1982).
//!
//! A row costs one push into a ring; the value is computed when it is asked for (one sort of the ring, about half a millisecond), because it is
//! asked for once an interval and not once a row. Counting is in integers, so the value does not depend on the order of the sum.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Entry, Metric, Task};

/// Rows that the value looks back on.
pub const AUC_ROWS: usize = 10_000;

pub(super) const ENTRY: Entry = Entry {
    name: "roc_auc",
    task: Task::Classification,
    fades: false,
    about: "the area under the ROC curve of the last 10,000 labelled rows",
    build: |_, _| Box::new(RocAuc::new()),
};

/// ROC AUC over a sliding window of rows; undefined while only one class is in the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RocAuc {
    /// Prediction and class, oldest first.
    window: VecDeque<(f64, bool)>,
}

impl RocAuc {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Metric for RocAuc {
    fn add(&mut self, y: f64, p: f64) {
        if self.window.len() == AUC_ROWS {
            self.window.pop_front();
        }
        self.window.push_back((p, y >= 0.5));
    }

    fn value(&self) -> Option<f64> {
        let mut rows: Vec<(f64, bool)> = self.window.iter().copied().collect();
        rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let (mut negatives, mut positives, mut twice_ranked) = (0u64, 0u64, 0u64);
        for tied in rows.chunk_by(|a, b| a.0 == b.0) {
            let above = tied.iter().filter(|(_, class)| *class).count() as u64;
            let below = tied.len() as u64 - above;
            twice_ranked += above * (2 * negatives + below);
            negatives += below;
            positives += above;
        }
        (negatives > 0 && positives > 0).then(|| twice_ranked as f64 / (2 * negatives * positives) as f64)
    }

    fn rows(&self) -> u64 {
        self.window.len() as u64
    }

    fn snapshot(&self) -> Vec<u8> {
        super::encode(self)
    }

    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        *self = super::decode(version, bytes)?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.capacity() * size_of::<(f64, bool)>()
    }
}
