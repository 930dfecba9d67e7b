//! R²: the share of the labels' variance that the predictions explain, 1 − Σ(y − p)² / Σ(y − ȳ)².
//!
//! The sum of squares around the mean is Welford's (1962), with faded weights as West (1979) has them: never a difference of large sums.

use serde::{Deserialize, Serialize};

use super::{Entry, Metric, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "r2",
    task: Task::Regression,
    fades: true,
    about: "the share of the labels' variance that is explained",
    build: |_, factor| Box::new(R2::new(factor)),
};

/// Coefficient of determination; undefined while all labels are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct R2 {
    #[serde(with = "super::bits")]
    factor: f64,
    #[serde(with = "super::bits")]
    weight: f64,
    #[serde(with = "super::bits")]
    mean: f64,
    #[serde(with = "super::bits")]
    around_mean: f64,
    #[serde(with = "super::bits")]
    squared_error: f64,
    rows: u64,
}

impl R2 {
    /// `factor` 1 or the fading factor.
    pub fn new(factor: f64) -> Self {
        Self { factor, weight: 0.0, mean: 0.0, around_mean: 0.0, squared_error: 0.0, rows: 0 }
    }
}

impl Metric for R2 {
    fn add(&mut self, y: f64, p: f64) {
        self.weight = self.factor * self.weight + 1.0;
        let before = y - self.mean;
        self.mean += before / self.weight;
        self.around_mean = self.factor * self.around_mean + before * (y - self.mean);
        self.squared_error = self.factor * self.squared_error + (y - p) * (y - p);
        self.rows += 1;
    }

    fn value(&self) -> Option<f64> {
        let value = 1.0 - self.squared_error / self.around_mean;
        (self.around_mean > 0.0 && value.is_finite()).then_some(value)
    }

    fn rows(&self) -> u64 {
        self.rows
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
