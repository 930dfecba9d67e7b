//! From a row as it came to the numbers a linear sum takes: imputation (S10.1) and standardisation (S10.3).
//!
//! Per input: the count, mean and population variance of the values observed so far, updated as Welford did (Technometrics 4, 1962) and as River
//! writes it, with one reciprocal of the count a row. Without a scaler only counts and means are kept.
//!
//! *When* a row is observed is the caller's choice, the same for scaler and imputation: `propose` computes the statistics that include the row,
//! `commit` makes them current. With `update = "on_learn"` (and without a scaler) the model observes a row when it learns from it; with `"before"`,
//! when it is asked for.
//!
//! *What* is observed: a value; a constant that stands for a null (so that it equals `coalesce` in SQL); not a null that the mean stands for: that
//! input's statistics stay as they are and, scaled, it is exactly 0.

use super::lanes::{FiniteCheck, Group, LANES, Lanes, all_finite, zeros};
use super::{InputNulls, NoPrediction, Row};

/// How much is kept per input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Track {
    /// Means, for imputation.
    Means,
    /// Means and variances; inputs are scaled by them.
    Standard,
}

/// Statistics of the inputs, now and as proposed.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    nulls: Vec<InputNulls>,
    track: Track,
    /// Bits that are set in the validity words of a row without nulls.
    full: Vec<u64>,
    /// Bits of the inputs whose policy is `skip`.
    skip: Vec<u64>,
    /// Bits of the inputs whose nulls are not observed.
    uncounted: Vec<u64>,
    /// The count of every input, as long as no null has made them differ; else `counts` holds them.
    common: Option<f64>,
    counts: Lanes,
    mean: Lanes,
    var: Lanes,
    next_common: Option<f64>,
    next_counts: Lanes,
    next_mean: Lanes,
    next_var: Lanes,
    /// The row at hand with what stands for its nulls, where it cannot be read in place.
    x: Lanes,
}

/// One step of Welford's update: mean and variance after `x`, if `inverse` is the reciprocal of the count with it.
#[inline(always)]
fn welford(x: f64, inverse: f64, mean: f64, var: f64) -> (f64, f64) {
    let d = x - mean;
    let next = mean + d * inverse;
    (next, var + (d * (x - next) - var) * inverse)
}

/// S10.3: a variance of 0 scales to 0.
#[inline(always)]
fn standardise(x: f64, mean: f64, var: f64) -> f64 {
    let scaled = (x - mean) / var.sqrt();
    if var > 0.0 { scaled } else { 0.0 }
}

/// Group `c` of the values of a row, padded with zeros.
#[inline(always)]
fn group(x: &[f64], c: usize) -> Group {
    let start = c * LANES;
    if let Some(whole) = x.get(start..start + LANES).and_then(|slice| slice.first_chunk::<LANES>()) {
        return *whole;
    }
    let mut padded = [0.0; LANES];
    for (slot, value) in padded.iter_mut().zip(x.iter().skip(start)) {
        *slot = *value;
    }
    padded
}

/// Whether an input of `mask` is null in the row.
#[inline]
fn misses(mask: &[u64], row: Row<'_>) -> bool {
    mask.iter().enumerate().any(|(word, mask)| mask & !row.valid.get(word).copied().unwrap_or(0) != 0)
}

/// Group `c` of a row with what stands for its nulls, and 1 where that is to be observed, 0 where not.
#[inline]
fn imputed(nulls: &[InputNulls], mean: &[Group], row: Row<'_>, c: usize) -> (Group, Group) {
    let (mut x, mut observed) = (group(row.x, c), [1.0; LANES]);
    // A group lies within one word, because 64 is a multiple of its lanes. Most groups of a row have no null.
    let start = c * LANES;
    let word = row.valid.get(start / 64).copied().unwrap_or(0);
    let mut missing = !(word >> (start % 64)) & ((1 << LANES) - 1);
    while missing != 0 {
        let lane = missing.trailing_zeros() as usize;
        missing &= missing - 1;
        match nulls.get(start + lane) {
            Some(InputNulls::Constant(value)) => x[lane] = *value,
            Some(InputNulls::Mean | InputNulls::Skip) => (x[lane], observed[lane]) = (mean[c][lane], 0.0),
            None => break,
        }
    }
    (x, observed)
}

/// Copies a row to `out`, where its inputs, which are the bits of `full`, are not null; where they are, what stands for them.
#[inline(never)]
fn fill_in(out: &mut [Group], full: &[u64], nulls: &[InputNulls], mean: &[Group], row: Row<'_>) {
    out.as_flattened_mut()[..row.x.len()].copy_from_slice(row.x);
    for (word, full) in full.iter().enumerate() {
        let mut missing = full & !row.valid.get(word).copied().unwrap_or(0);
        while missing != 0 {
            let input = word * 64 + missing.trailing_zeros() as usize;
            missing &= missing - 1;
            out[input / LANES][input % LANES] = match nulls[input] {
                InputNulls::Constant(value) => value,
                InputNulls::Mean | InputNulls::Skip => mean[input / LANES][input % LANES],
            };
        }
    }
}

/// Means and variances after a row, if `inverse` is the reciprocal of every count with it, and the row scaled by them. All are of one length. Flat, and a
/// function of its own, so that the compiler sees neighbours and nothing that overlaps.
#[inline(never)]
fn advance(x: &[f64], inverse: f64, mean: &[f64], var: &[f64], next_mean: &mut [f64], next_var: &mut [f64], z: &mut [f64]) {
    let width = x.len();
    let (mean, var) = (&mean[..width], &var[..width]);
    let (next_mean, next_var, z) = (&mut next_mean[..width], &mut next_var[..width], &mut z[..width]);
    for at in 0..width {
        let (m, v) = welford(x[at], inverse, mean[at], var[at]);
        (next_mean[at], next_var[at], z[at]) = (m, v, standardise(x[at], m, v));
    }
}

impl Inputs {
    /// Nothing observed yet.
    pub(crate) fn new(nulls: &[InputNulls], standard: bool) -> Self {
        let width = nulls.len();
        let mask = |chosen: fn(&InputNulls) -> bool| {
            let mut words = vec![0u64; width.div_ceil(64)];
            nulls.iter().enumerate().filter(|(_, policy)| chosen(policy)).for_each(|(i, _)| words[i / 64] |= 1 << (i % 64));
            words
        };
        let (full, skip) = (mask(|_| true), mask(|policy| *policy == InputNulls::Skip));
        let uncounted = mask(|policy| matches!(policy, InputNulls::Skip | InputNulls::Mean));
        Self {
            nulls: nulls.to_vec(),
            track: if standard { Track::Standard } else { Track::Means },
            full,
            skip,
            uncounted,
            common: Some(0.0),
            counts: zeros(width),
            mean: zeros(width),
            var: zeros(width),
            next_common: Some(0.0),
            next_counts: zeros(width),
            next_mean: zeros(width),
            next_var: zeros(width),
            x: zeros(width),
        }
    }

    /// Number of groups.
    #[inline]
    pub(crate) fn groups(&self) -> usize {
        self.mean.len()
    }

    /// Whether no input of the row is null.
    #[inline]
    pub(crate) fn is_complete(&self, row: Row<'_>) -> bool {
        debug_assert_eq!(row.x.len(), self.nulls.len());
        row.valid.len() >= self.full.len() && self.full.iter().zip(row.valid).all(|(full, valid)| full & !valid == 0)
    }

    /// Group `c` of a row, imputed and scaled by the current statistics; `check` sees its values before scaling.
    #[inline(always)]
    pub(crate) fn scaled(&self, row: Row<'_>, complete: bool, c: usize, check: &mut FiniteCheck) -> Group {
        let x = if complete { group(row.x, c) } else { imputed(&self.nulls, &self.mean, row, c).0 };
        check.see_all(&x);
        match self.track {
            Track::Means => x,
            Track::Standard => std::array::from_fn(|lane| standardise(x[lane], self.mean[c][lane], self.var[c][lane])),
        }
    }

    /// The whole row by the current statistics.
    pub(crate) fn scale(&self, row: Row<'_>, z: &mut [Group]) -> Result<(), NoPrediction> {
        let complete = self.is_complete(row);
        let mut check = FiniteCheck::new();
        for (c, z) in z.iter_mut().enumerate() {
            *z = self.scaled(row, complete, c, &mut check);
        }
        if check.passed() && (complete || !self.must_skip(row)) { Ok(()) } else { Err(self.blame(row)) }
    }

    /// Computes the statistics that include the row, and the row scaled by them into `z`. Nothing changes until `commit`.
    #[inline]
    pub(crate) fn propose(&mut self, row: Row<'_>, z: &mut [Group]) -> Result<(), NoPrediction> {
        let complete = self.is_complete(row);
        let passed = match self.common {
            Some(count) if complete || !misses(&self.uncounted, row) => self.propose_common(row, complete, count + 1.0, z),
            _ if self.must_skip(row) => false,
            _ => self.propose_with_nulls(row, z),
        };
        if passed { Ok(()) } else { Err(self.blame(row)) }
    }

    /// The usual case: every input counts this row, and has counted all so far.
    #[inline]
    fn propose_common(&mut self, row: Row<'_>, complete: bool, count: f64, z: &mut [Group]) -> bool {
        self.next_common = Some(count);
        let x = match row.x.as_chunks::<LANES>() {
            (whole, []) if complete => whole,
            _ => {
                fill_in(&mut self.x, &self.full, &self.nulls, &self.mean, row);
                &self.x
            }
        };
        let inverse = 1.0 / count;
        match self.track {
            Track::Standard => {
                let (mean, var) = (self.mean.as_flattened(), self.var.as_flattened());
                let (next_mean, next_var) = (self.next_mean.as_flattened_mut(), self.next_var.as_flattened_mut());
                advance(x.as_flattened(), inverse, mean, var, next_mean, next_var, z.as_flattened_mut());
                // What is not finite in a row or its mean is not finite in its variance.
                all_finite(&self.next_var)
            }
            Track::Means => {
                for ((x, mean), next) in x.iter().zip(&self.mean).zip(&mut self.next_mean) {
                    *next = std::array::from_fn(|lane| welford(x[lane], inverse, mean[lane], 0.0).0);
                }
                z.copy_from_slice(x);
                all_finite(x) && all_finite(&self.next_mean)
            }
        }
    }

    /// Counts differ between inputs, or are about to.
    fn propose_with_nulls(&mut self, row: Row<'_>, z: &mut [Group]) -> bool {
        if let Some(count) = self.common.take() {
            self.counts.as_flattened_mut().fill(count);
        }
        self.next_common = None;
        let mut check = FiniteCheck::new();
        for (c, z) in z.iter_mut().enumerate() {
            let (x, observed) = imputed(&self.nulls, &self.mean, row, c);
            for lane in 0..LANES {
                let count = self.counts[c][lane] + observed[lane];
                let inverse = if observed[lane] > 0.0 { 1.0 / count } else { 0.0 };
                let (m, v) = welford(x[lane], inverse, self.mean[c][lane], self.var[c][lane]);
                (self.next_counts[c][lane], self.next_mean[c][lane]) = (count, m);
                check.see(lane, x[lane]);
                check.see(lane, m);
                z[lane] = x[lane];
                if self.track == Track::Standard {
                    check.see(lane, v);
                    (self.next_var[c][lane], z[lane]) = (v, standardise(x[lane], m, v));
                }
            }
        }
        check.passed()
    }

    /// The last proposal becomes current.
    #[inline]
    pub(crate) fn commit(&mut self) {
        self.common = self.next_common;
        if self.common.is_none() {
            std::mem::swap(&mut self.counts, &mut self.next_counts);
        }
        std::mem::swap(&mut self.mean, &mut self.next_mean);
        std::mem::swap(&mut self.var, &mut self.next_var);
    }

    /// Whether a null of the row forbids its use.
    pub(crate) fn must_skip(&self, row: Row<'_>) -> bool {
        misses(&self.skip, row)
    }

    /// Why a row cannot be used: the first null under `skip`, else the first non-finite input, else its size.
    #[cold]
    pub(crate) fn blame(&self, row: Row<'_>) -> NoPrediction {
        let valid = |i: usize| row.valid.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1);
        let skipped = (0..self.nulls.len()).find(|i| !valid(*i) && self.nulls[*i] == InputNulls::Skip);
        let non_finite = (0..self.nulls.len()).find(|i| valid(*i) && row.x.get(*i).is_none_or(|x| !x.is_finite()));
        match (skipped, non_finite) {
            (Some(i), _) => NoPrediction::NullInput(i),
            (None, Some(i)) => NoPrediction::NonFiniteInput(i),
            (None, None) => NoPrediction::OutOfRange,
        }
    }

    /// Counts, means and, with a scaler, variances: names and values, of `width` elements.
    pub(crate) fn state(&self) -> Vec<(&'static str, Vec<f64>)> {
        let width = self.nulls.len();
        let counts = match self.common {
            Some(count) => vec![count; width],
            None => super::lanes::to_vec(&self.counts, width),
        };
        let mut state = vec![(self.names()[0], counts), (self.names()[1], super::lanes::to_vec(&self.mean, width))];
        if self.track == Track::Standard {
            state.push((self.names()[2], super::lanes::to_vec(&self.var, width)));
        }
        state
    }

    /// Names of the counts, means and variances.
    fn names(&self) -> [&'static str; 3] {
        match self.track {
            Track::Means => ["imputer.count", "imputer.mean", ""],
            Track::Standard => ["scaler.count", "scaler.mean", "scaler.var"],
        }
    }

    /// Takes over a state with the names and lengths of `state`.
    pub(crate) fn set(&mut self, name: &str, values: &[f64]) {
        let names = self.names();
        if name == names[0] {
            let first = values.first().copied().unwrap_or(0.0);
            self.common = values.iter().all(|count| *count == first).then_some(first);
            super::lanes::fill(&mut self.counts, values);
        } else if name == names[1] {
            super::lanes::fill(&mut self.mean, values);
        } else if name == names[2] {
            super::lanes::fill(&mut self.var, values);
        }
    }

    /// Estimated memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        7 * self.groups() * size_of::<Group>() + self.nulls.len() * size_of::<InputNulls>() + 16 * self.full.len()
    }
}
