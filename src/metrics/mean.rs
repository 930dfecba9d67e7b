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

    /// Adds values one after another.
    pub fn add_all(&mut self, values: &[f64]) {
        if self.factor == 1.0 {
            // A factor of 1 multiplies nothing, and counting in steps of 1 is exact: only the sum has to go row by row.
            self.sum = values.iter().fold(self.sum, |sum, value| sum + value);
            self.weigh(values.len());
        } else {
            values.iter().for_each(|value| self.add(*value));
        }
    }

    /// Adds 1 for what is true, 0 for what is not.
    pub fn add_truths(&mut self, truths: impl ExactSizeIterator<Item = bool>) {
        if self.factor == 1.0 {
            let rows = truths.len();
            // Whole numbers: their sum does not depend on its order.
            self.sum += truths.fold(0u64, |count, is_true| count + u64::from(is_true)) as f64;
            self.weigh(rows);
        } else {
            truths.for_each(|is_true| self.add(f64::from(u8::from(is_true))));
        }
    }

    fn weigh(&mut self, rows: usize) {
        self.weight += rows as f64;
        self.rows += rows as u64;
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
