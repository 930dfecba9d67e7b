//! The distribution of predicted probabilities by class, in bounded memory: ROC AUC and precision at the top over a whole run.
//!
//! A probability falls into the bin numbered by the sum of three counts that never decrease with p: steps of 2⁻¹⁶ in p, steps of 1/256 octave in
//! p and the same in 1 − p (down to 2⁻⁶⁴). Two probabilities therefore share a bin only if they agree in all three: at least 65,536 equal
//! bins everywhere, and relative precision at both ends, where rare events put all their rows.
//!
//! **Error bound.** Rows of one bin count as tied, so the AUC is off by at most Σ pos·neg over the bins / (2 · positives · negatives):
//! [`ScoreHistogram::auc_error`] is that number for the counts at hand. Precision at the top is exact but for the bin that holds the border,
//! whose rows count pro rata: so do true ties.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Scored;

const STEPS: u64 = 1 << 16;
/// Octaves below 1 that are told apart; probabilities under 2⁻⁶⁴ share a bin.
const OCTAVES: u64 = 64;
const PER_OCTAVE: u32 = 8;
const TAIL: u64 = OCTAVES << PER_OCTAVE;
const BINS: usize = (STEPS + 2 * TAIL + 1) as usize;
const PAGE: usize = 256;

type Page = Box<[[u64; 2]; PAGE]>;

/// Rows by bin of p and class. Pages of bins are allocated when first used: at most 1.6 MB, a few KB where p takes few values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Filled", into = "Filled")]
pub struct ScoreHistogram {
    pages: Vec<Option<Page>>,
    /// Whether any p was neither 0 nor 1.
    graded: bool,
}

/// A histogram as it is stored: the filled bins only (bin, rows without and with the class).
#[derive(Serialize, Deserialize)]
struct Filled {
    graded: bool,
    bins: Vec<(u32, u64, u64)>,
}

impl Default for ScoreHistogram {
    fn default() -> Self {
        Self { pages: vec![None; BINS.div_ceil(PAGE)], graded: false }
    }
}

/// Steps of 1/256 octave from 2⁻⁶⁴ up to p in [0, 1]: the exponent and first mantissa bits of the float, read as a number.
fn tail(p: f64) -> u64 {
    let floor = (1023 - OCTAVES) << 52;
    (p.max(f64::from_bits(floor)).to_bits() - floor) >> (52 - PER_OCTAVE)
}

/// The bin of a probability; values beyond [0, 1] count as its ends.
fn bin(p: f64) -> usize {
    let p = p.clamp(0.0, 1.0);
    ((p * STEPS as f64) as u64 + tail(p) + (TAIL - tail(1.0 - p))) as usize
}

/// The bin of a probability and the class that came, in one number.
#[inline]
pub(super) fn place(p: f64, class: bool) -> u32 {
    (bin(p) << 1 | usize::from(class)) as u32
}

impl ScoreHistogram {
    /// Counts the rows of `range`.
    pub fn add_all(&mut self, rows: &mut Scored, range: Range<usize>) {
        self.graded = self.graded || rows.rows(range.clone()).any(|(_, p)| p != 0.0 && p != 1.0);
        // Nothing but counting: the memory of many bins, which are far apart, is asked for at the same time.
        for place in rows.places(range) {
            self.put(*place as usize, 1);
        }
    }

    #[inline]
    fn put(&mut self, place: usize, rows: u64) {
        let (bin, class) = (place >> 1, place & 1);
        if let Some(page) = self.pages.get_mut(bin / PAGE) {
            page.get_or_insert_with(|| Box::new([[0; 2]; PAGE]))[bin % PAGE][class] += rows;
        }
    }

    /// Bins that hold rows, from the lowest p: bin, rows without and with the class.
    fn filled(&self) -> impl DoubleEndedIterator<Item = (usize, [u64; 2])> {
        let pages = self.pages.iter().enumerate().filter_map(|(at, page)| page.as_ref().map(|page| (at, page)));
        pages
            .flat_map(|(at, page)| page.iter().enumerate().map(move |(i, counts)| (at * PAGE + i, *counts)))
            .filter(|(_, [a, b])| a + b > 0)
    }

    /// Rows without and with the class.
    pub fn totals(&self) -> [u64; 2] {
        self.filled().fold([0, 0], |[n, p], (_, [a, b])| [n + a, p + b])
    }

    /// ROC AUC, rows of one bin tied; `None` while only one class has come.
    pub fn auc(&self) -> Option<f64> {
        let (mut below, mut positives, mut twice_ranked) = (0u128, 0u128, 0u128);
        for (_, [negative, positive]) in self.filled() {
            twice_ranked += u128::from(positive) * (2 * below + u128::from(negative));
            below += u128::from(negative);
            positives += u128::from(positive);
        }
        (below > 0 && positives > 0).then(|| twice_ranked as f64 / (2 * below * positives) as f64)
    }

    /// How far [`auc`](Self::auc) can be from the exact one; 0 if every p was 0 or 1, so that rows of one bin are true ties.
    pub fn auc_error(&self) -> Option<f64> {
        let [negatives, positives] = self.totals();
        if !self.graded {
            return (negatives > 0 && positives > 0).then_some(0.0);
        }
        let tied: u128 = self.filled().map(|(_, [a, b])| u128::from(a) * u128::from(b)).sum();
        (negatives > 0 && positives > 0).then(|| tied as f64 / (2 * u128::from(negatives) * u128::from(positives)) as f64)
    }

    /// The share with the class among the `share` of rows with the greatest p; ties at the border count pro rata. `None` without rows.
    pub fn precision_top(&self, share: f64) -> Option<f64> {
        let [negatives, positives] = self.totals();
        let wanted = share * (negatives + positives) as f64;
        let (mut left, mut hits) = (wanted, 0.0);
        for (_, [negative, positive]) in self.filled().rev() {
            let rows = (negative + positive) as f64;
            let taken = rows.min(left);
            hits += positive as f64 * (taken / rows);
            left -= taken;
            if left <= 0.0 {
                break;
            }
        }
        (wanted > 0.0).then(|| hits / wanted)
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        let used = self.pages.iter().flatten().count();
        size_of::<Self>() + self.pages.len() * size_of::<Option<Page>>() + used * PAGE * size_of::<[u64; 2]>()
    }
}

impl From<Filled> for ScoreHistogram {
    fn from(stored: Filled) -> Self {
        let mut histogram = Self { graded: stored.graded, ..Self::default() };
        for (bin, negative, positive) in stored.bins {
            histogram.put((bin as usize) << 1, negative);
            histogram.put((bin as usize) << 1 | 1, positive);
        }
        histogram
    }
}

impl From<ScoreHistogram> for Filled {
    fn from(histogram: ScoreHistogram) -> Self {
        let bins = histogram.filled().map(|(bin, [negative, positive])| (bin as u32, negative, positive)).collect();
        Self { graded: histogram.graded, bins }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metric, RocAuc};

    fn add(histogram: &mut ScoreHistogram, p: f64, class: bool) {
        let mut rows = Scored::default();
        rows.push(f64::from(u8::from(class)), p);
        histogram.add_all(&mut rows, 0..1);
    }

    #[test]
    fn bins_never_decrease_and_tell_rare_probabilities_apart() {
        let mut last = 0;
        for i in 0..=2_000_000u32 {
            let at = bin(f64::from(i) / 2_000_000.0);
            assert!(at >= last && at < BINS);
            last = at;
        }
        assert_eq!((bin(0.0), bin(-1.0), bin(1.0), bin(2.0)), (0, 0, BINS - 1, BINS - 1));
        assert!(bin(1e-9) < bin(1.01e-9) && bin(1.0 - 1.01e-9) < bin(1.0 - 1e-9) && bin(0.5) < bin(0.500_016));
    }

    #[test]
    fn auc_is_within_its_own_bound_of_the_exact_one() {
        for scale in [1.0, 1e-6] {
            let (mut histogram, mut exact) = (ScoreHistogram::default(), RocAuc::new());
            let mut seed = 7u64;
            for _ in 0..9_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let p = (seed >> 11) as f64 / (1u64 << 53) as f64;
                let class = (seed >> 3) % 1000 < (p * 700.0) as u64;
                add(&mut histogram, p * scale, class);
                exact.observe(f64::from(u8::from(class)), p * scale);
            }
            let (auc, exact, bound) = (histogram.auc().unwrap(), exact.value().unwrap(), histogram.auc_error().unwrap());
            let mut classes = ScoreHistogram::default();
            [(0.0, false), (0.0, true), (1.0, true)].iter().for_each(|(p, class)| add(&mut classes, *p, *class));
            assert_eq!((classes.auc(), classes.auc_error()), (Some(0.75), Some(0.0)));
            assert!((auc - exact).abs() <= bound + 1e-15 && bound < 1e-3, "{auc} {exact} {bound}");
        }
    }

    #[test]
    fn precision_at_the_top_shares_ties() {
        let mut histogram = ScoreHistogram::default();
        assert_eq!(histogram.precision_top(0.1), None);
        for i in 0..20 {
            add(&mut histogram, 0.5, i % 4 == 0);
        }
        assert_eq!(histogram.precision_top(0.1), Some(0.25));
        add(&mut histogram, 0.9, true);
        assert!((histogram.precision_top(0.1).unwrap() - (1.0 + 1.1 * 0.25) / 2.1).abs() < 1e-12);
        assert_eq!(ScoreHistogram::from(Filled::from(histogram.clone())), histogram);
    }
}
