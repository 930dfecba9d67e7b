//! Log loss in nats, with p clipped to [1e-15, 1 − 1e-15] (S12.4).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Entry, FadingMean, Metric, Scored, Task};

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

    fn add_all(&mut self, rows: &mut Scored, range: Range<usize>) {
        self.mean.add_all(rows.losses(range));
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

/// The least probability that counts.
const LEAST: f64 = 1e-15;

/// The log losses of bare classes, p of 0 and of 1, at labels false and true.
const OF_CLASSES: [[f64; 2]; 2] = [[9.992_007_221_626_415e-16, 34.538_776_394_910_684], [34.539_575_992_340_88, 9.992_007_221_626_415e-16]];

/// The log loss of one row: −ln p where `y` is true, −ln(1 − p) otherwise, p clipped (S12.4).
#[inline]
pub fn log_loss(y: f64, p: f64) -> f64 {
    let is_true = y >= 0.5;
    if p == 0.0 || p == 1.0 {
        return OF_CLASSES[usize::from(p == 1.0)][usize::from(is_true)];
    }
    let p = p.clamp(LEAST, 1.0 - LEAST);
    -libm::log(if is_true { p } else { 1.0 - p })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_of_classes_are_those_of_clipped_probabilities() {
        for (p, clipped) in [(0.0, LEAST), (-0.0, LEAST), (1.0, 1.0 - LEAST)] {
            assert_eq!(log_loss(1.0, p).to_bits(), (-libm::log(clipped)).to_bits(), "{:?}", -libm::log(clipped));
            assert_eq!(log_loss(0.0, p).to_bits(), (-libm::log(1.0 - clipped)).to_bits(), "{:?}", -libm::log(1.0 - clipped));
        }
    }
}
