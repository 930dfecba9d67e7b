//! PSI, the population stability index: Σ (window − reference) · ln(window / reference) over the shares of the bins (S12.2); the symmetric
//! divergence of Kullback and Leibler (1951) under the name that credit scoring gave it (Siddiqi 2006).
//!
//! An empty cell counts as a share of 1e-4, on either side; shares are not renormalised after that. Usual reading: below 0.1 stable, from 0.2 (the
//! default threshold) changed. With n rows in the window and b bins, noise alone is about (b − 1) · (1 / n + 1 / reference rows).

use super::{Built, Comparison, Entry};
use crate::config::declaration;

/// What an empty cell counts as.
const EMPTY: f64 = 1e-4;
/// Most bins that may be asked for.
const MOST_BINS: usize = 1000;

pub(super) const ENTRY: Entry = Entry {
    name: "psi",
    about: "population stability index against a reference, over its quantile bins and null",
    build: |declared| match declared {
        declaration::Detector::Psi { threshold, bins } => Some(Psi::new(*threshold, *bins).map(|psi| Built::Comparison(Box::new(psi)))),
        _ => None,
    },
};

/// The statistic with its options.
#[derive(Clone, Debug, PartialEq)]
pub struct Psi {
    threshold: f64,
    bins: usize,
}

impl Psi {
    /// Alarm at `threshold` or above, over `bins` quantile bins; `Err` with the reason if either makes no sense.
    pub fn new(threshold: f64, bins: usize) -> Result<Self, String> {
        if !(threshold.is_finite() && threshold > 0.0) {
            return Err(format!("`threshold` must be a number above 0, such as 0.2, and not {threshold}"));
        }
        if !(2..=MOST_BINS).contains(&bins) {
            return Err(format!("`bins` must be between 2 and {MOST_BINS}, and not {bins}"));
        }
        Ok(Self { threshold, bins })
    }
}

impl Comparison for Psi {
    fn bins(&self) -> usize {
        self.bins
    }

    fn value(&self, reference: &[u64], window: &[u64]) -> Option<f64> {
        let rows = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        let (reference_rows, window_rows) = (rows(reference), rows(window));
        if reference_rows == 0.0 || window_rows == 0.0 {
            return None;
        }
        let share = |count: u64, rows: f64| if count == 0 { EMPTY } else { count as f64 / rows };
        let mut sum = 0.0;
        for (r, w) in reference.iter().zip(window) {
            let (r, w) = (share(*r, reference_rows), share(*w, window_rows));
            sum += (w - r) * libm::log(w / r);
        }
        Some(sum)
    }

    fn threshold(&self) -> f64 {
        self.threshold
    }
}
