//! Accuracy: the share of rows whose class, true at p ≥ threshold, is the label (S12.4).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Entry, FadingMean, Metric, Scored, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "accuracy",
    task: Task::Classification,
    fades: true,
    about: "the share of rows whose class is right",
    build: |threshold, factor| Box::new(Accuracy::new(threshold, factor)),
};

/// Share of rows classified right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    #[serde(with = "super::bits")]
    threshold: f64,
    mean: FadingMean,
}

impl Accuracy {
    /// `threshold` as the model declares it, `factor` 1 or the fading factor.
    pub fn new(threshold: f64, factor: f64) -> Self {
        Self { threshold, mean: FadingMean::new(factor) }
    }
}

impl Metric for Accuracy {
    fn add(&mut self, y: f64, p: f64) {
        let right = (p >= self.threshold) == (y >= 0.5);
        self.mean.add(f64::from(u8::from(right)));
    }

    fn add_all(&mut self, rows: &mut Scored, range: Range<usize>) {
        let threshold = self.threshold;
        self.mean.add_truths(rows.rows(range).map(|(y, p)| (p >= threshold) == (y >= 0.5)));
    }

    fn value(&self) -> Option<f64> {
        self.mean.value()
    }

    fn rows(&self) -> u64 {
        self.mean.rows()
    }

    fn snapshot(&self) -> Vec<u8> {
        super::encode(self)
    }

    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        *self = super::decode(version, bytes)?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}
