//! Mean absolute error, in the unit of the label.

use serde::{Deserialize, Serialize};

use super::{Entry, FadingMean, Metric, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "mae",
    task: Task::Regression,
    fades: true,
    about: "the mean absolute error",
    build: |_, factor| Box::new(Mae::new(factor)),
};

/// Mean of |y − p|.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mae {
    mean: FadingMean,
}

impl Mae {
    /// `factor` 1 or the fading factor.
    pub fn new(factor: f64) -> Self {
        Self { mean: FadingMean::new(factor) }
    }
}

impl Metric for Mae {
    fn add(&mut self, y: f64, p: f64) {
        self.mean.add((y - p).abs());
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
