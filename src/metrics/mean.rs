//! A mean in which earlier rows may fade: the building block of the metrics.
//!
//! With factor `a` the row `k` rows ago weighs `a^k` (Gama, Sebastião and Rodrigues 2009, "Issues in evaluation of stream learning algorithms");
//! with factor 1 it is the plain mean of all rows. Sums are kept in row order, so the result is a function of the sequence alone.

use serde::{Deserialize, Serialize};

/// Weighted mean of everything added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FadingMean {
    #[serde(with = "super::bits")]
    factor: f64,
    #[serde(with = "super::bits")]
    sum: f64,
    #[serde(with = "super::bits")]
    weight: f64,
    rows: u64,
}

impl FadingMean {
    /// An empty mean; `factor` in (0, 1].
    pub fn new(factor: f64) -> Self {
        Self { factor, sum: 0.0, weight: 0.0, rows: 0 }
    }

    /// Adds one value.
    #[inline]
    pub fn add(&mut self, value: f64) {
        self.sum = self.factor * self.sum + value;
        self.weight = self.factor * self.weight + 1.0;
        self.rows += 1;
    }

    /// The mean; `None` before any value, or when the sum has overflowed.
    pub fn value(&self) -> Option<f64> {
        let mean = self.sum / self.weight;
        mean.is_finite().then_some(mean)
    }

    /// Values added.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}
