//! Root mean squared error, in the unit of the label.

use serde::{Deserialize, Serialize};

use super::{Entry, FadingMean, Metric, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "rmse",
    task: Task::Regression,
    fades: true,
    about: "the root of the mean squared error",
    build: |_, factor| Box::new(Rmse::new(factor)),
};

/// Square root of the mean of (y − p)².
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rmse {
    mean: FadingMean,
}

impl Rmse {
    /// `factor` 1 or the fading factor.
    pub fn new(factor: f64) -> Self {
        Self { mean: FadingMean::new(factor) }
    }
}

impl Metric for Rmse {
    fn add(&mut self, y: f64, p: f64) {
        self.mean.add((y - p) * (y - p));
    }

    fn value(&self) -> Option<f64> {
        self.mean.value().map(f64::sqrt)
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
