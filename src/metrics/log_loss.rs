//! Log loss in nats, with p clipped to [1e-15, 1 − 1e-15] (S12.4).

use serde::{Deserialize, Serialize};

use super::{Entry, FadingMean, Metric, Task};

pub(super) const ENTRY: Entry = Entry {
    name: "log_loss",
    task: Task::Classification,
    fades: true,
    about: "the mean negative log likelihood, in nats",
    build: |_, factor| Box::new(LogLoss::new(factor)),
};

/// Mean of −ln of the probability given to the class that came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLoss {
    mean: FadingMean,
}

impl LogLoss {
    /// `factor` 1 or the fading factor.
    pub fn new(factor: f64) -> Self {
        Self { mean: FadingMean::new(factor) }
    }
}

impl Metric for LogLoss {
    fn add(&mut self, y: f64, p: f64) {
        self.mean.add(log_loss(y, p));
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

/// The log loss of one row: −ln p where `y` is true, −ln(1 − p) otherwise, p clipped (S12.4).
#[inline]
pub fn log_loss(y: f64, p: f64) -> f64 {
    let p = p.clamp(1e-15, 1.0 - 1e-15);
    -libm::log(if y >= 0.5 { p } else { 1.0 - p })
}
