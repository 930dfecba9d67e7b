//! What one would predict without a model (S12.4): the label rate so far, the most frequent class so far, the last known label.
//!
//! A baseline may only use labels that were known when the row was predicted. So its guesses are frozen at prediction and wait with the row.
//! Before any label is known they are rate 0.5, class false, last label false (regression: mean and last label 0), and the row is `cold`.

use serde::{Deserialize, Serialize};

/// The guesses of the baselines for one row, made when it was predicted: waits with the row for its label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineGuess {
    /// Mean of the labels known: the label rate for classes.
    pub mean: f64,
    /// The last known label.
    pub last: f64,
    /// Whether most labels known were true; a tie counts as false.
    pub frequent: bool,
    /// No label was known yet.
    pub cold: bool,
    /// The model had learned nothing yet (S10.2).
    pub model_cold: bool,
}

/// The labels known so far, as far as the baselines need them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    classification: bool,
    labels: u64,
    positives: u64,
    /// Of values; for classes it is the share of positives.
    #[serde(with = "super::bits")]
    mean: f64,
    #[serde(with = "super::bits")]
    last: f64,
}

impl Baselines {
    /// No labels yet.
    pub fn new(classification: bool) -> Self {
        Self { classification, labels: 0, positives: 0, mean: 0.0, last: 0.0 }
    }

    /// The guesses for a row that is predicted now.
    #[inline]
    pub fn guess(&self, model_cold: bool) -> BaselineGuess {
        let cold = self.labels == 0;
        let mean = match (self.classification, cold) {
            (true, true) => 0.5,
            // Both are far below 2^63, from where on signed numbers would be others.
            (true, false) => self.positives as i64 as f64 / self.labels as i64 as f64,
            (false, _) => self.mean,
        };
        BaselineGuess { mean, last: self.last, frequent: 2 * self.positives > self.labels, cold, model_cold }
    }

    /// A label becomes known. Labels that are not finite are ignored.
    #[inline]
    pub fn learn(&mut self, y: f64) {
        if !y.is_finite() {
            return;
        }
        self.labels += 1;
        self.positives += u64::from(y >= 0.5);
        if !self.classification {
            self.mean += (y - self.mean) / self.labels as f64;
        }
        self.last = y;
    }

    /// Labels known so far.
    pub fn labels(&self) -> u64 {
        self.labels
    }
}
