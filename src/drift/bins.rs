//! Bins at the quantiles of a reference, frozen: what a window is compared in (S12.2).
//!
//! **Quantile rule.** Of m values (nulls and numbers that are not finite apart) sorted ascending, the border i of b bins is the value of rank
//! ⌈i·m/b⌉ (numpy's `inverted_cdf`), i = 1 … b − 1; a value equal to a border belongs to the bin below it.
//!
//! **Heavy ties.** Where a value is two borders in a row (the least and the greatest value count as borders 0 and b), it carries about a bin's
//! share or more by itself, and gets a bin of its own: a border just below it and one at it. So a constant column has three bins, below, at and
//! above the constant, and any move away from it shows. A bin may therefore be empty in the reference; there are at most b + 2, plus one for null.

use serde::{Deserialize, Serialize};

use super::Direction;

/// The reference of one column while it is collected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    values: Vec<f64>,
    nulls: u64,
}

impl Sample {
    /// Adds one value; `None` and numbers that are not finite are nulls.
    pub fn push(&mut self, value: Option<f64>) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => self.values.push(value),
            None => self.nulls += 1,
        }
    }

    /// Values and nulls.
    pub fn rows(&self) -> u64 {
        self.values.len() as u64 + self.nulls
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * size_of::<f64>()
    }

    fn borders(&self, bins: usize) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let m = sorted.len();
        if m == 0 {
            return Vec::new();
        }
        let quantiles: Vec<f64> = (0..=bins).map(|i| sorted[(i * m).div_ceil(bins).max(1) - 1]).collect();
        let mut borders = Vec::with_capacity(bins + 1);
        for (i, tied) in quantiles.chunk_by(|a, b| a == b).scan(0, |at, tied| {
            let first = *at;
            *at += tied.len();
            Some((first, tied))
        }) {
            if tied.len() > 1 {
                borders.push(tied[0].next_down().max(f64::MIN));
                borders.push(tied[0]);
            } else if (1..bins).contains(&i) {
                borders.push(tied[0]);
            }
        }
        borders.dedup();
        borders
    }
}

/// The frozen bins of several columns, and the reference's counts in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bins {
    /// Borders per column; a column with fewer is filled up with `f64::MAX`, which no value exceeds.
    stride: usize,
    borders: Vec<f64>,
    counts: Vec<u64>,
    rows: u64,
}

impl Bins {
    /// Freezes the quantiles of every column's sample, for `bins` bins.
    pub fn freeze(samples: &[Sample], bins: usize) -> Self {
        let columns: Vec<Vec<f64>> = samples.iter().map(|sample| sample.borders(bins)).collect();
        let stride = columns.iter().map(Vec::len).max().unwrap_or(0);
        let mut borders = Vec::with_capacity(stride * columns.len());
        for column in &columns {
            borders.extend_from_slice(column);
            borders.resize(borders.len() + stride - column.len(), f64::MAX);
        }
        let rows = samples.iter().map(Sample::rows).max().unwrap_or(0);
        let mut frozen = Self { stride, borders, counts: vec![0; (stride + 2) * samples.len()], rows };
        let cells = frozen.cells();
        for (column, sample) in samples.iter().enumerate() {
            for value in &sample.values {
                let cell = usize::from(frozen.cell(column, Some(*value)));
                frozen.counts[column * cells + cell] += 1;
            }
            frozen.counts[column * cells + cells - 1] = sample.nulls;
        }
        frozen
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.counts.len() / self.cells()
    }

    /// Cells of every column: bins, then null.
    pub fn cells(&self) -> usize {
        self.stride + 2
    }

    /// Rows of the reference.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The reference's counts of one column.
    pub fn reference(&self, column: usize) -> &[u64] {
        &self.counts[column * self.cells()..(column + 1) * self.cells()]
    }

    /// The cell of a value; `None` and numbers that are not finite are null.
    #[inline]
    pub fn cell(&self, column: usize, value: Option<f64>) -> u16 {
        match value {
            Some(value) if value.is_finite() => {
                let borders = &self.borders[column * self.stride..(column + 1) * self.stride];
                borders.iter().map(|border| u16::from(value > *border)).sum()
            }
            _ => self.stride as u16 + 1,
        }
    }

    /// Whether the values of a window rank higher or lower than the reference's, by the mean number of their bin; nulls left out.
    pub fn direction(&self, column: usize, window: &[u64]) -> Direction {
        let rank = |counts: &[u64]| {
            let bins = counts.iter().take(self.stride + 1).enumerate();
            bins.fold((0u128, 0u128), |(sum, rows), (bin, count)| (sum + bin as u128 * u128::from(*count), rows + u128::from(*count)))
        };
        let ((reference, reference_rows), (window, window_rows)) = (rank(self.reference(column)), rank(window));
        match (window * reference_rows).cmp(&(reference * window_rows)) {
            std::cmp::Ordering::Greater => Direction::Increase,
            std::cmp::Ordering::Less => Direction::Decrease,
            std::cmp::Ordering::Equal => Direction::Shape,
        }
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + (self.borders.capacity() + self.counts.capacity()) * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(values: impl IntoIterator<Item = Option<f64>>, bins: usize) -> Bins {
        let mut sample = Sample::default();
        values.into_iter().for_each(|value| sample.push(value));
        Bins::freeze(&[sample], bins)
    }

    #[test]
    fn quantiles_split_values_evenly_and_nulls_have_a_cell() {
        let values = (1..=100).rev().map(|i| Some(f64::from(i))).chain([None, Some(f64::NAN)]);
        let bins = freeze(values, 10);
        assert_eq!(bins.reference(0), [10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 2]);
        assert_eq!((bins.cell(0, Some(-5.0)), bins.cell(0, Some(10.0)), bins.cell(0, Some(10.5))), (0, 0, 1));
        assert_eq!((bins.cell(0, Some(1e300)), bins.cell(0, None), bins.rows()), (9, 10, 102));
    }

    #[test]
    fn a_constant_column_has_bins_below_at_and_above() {
        let bins = freeze(std::iter::repeat_n(Some(3.0), 50), 10);
        assert_eq!(bins.reference(0), [0, 50, 0, 0]);
        assert_eq!([2.9, 3.0, 3.1].map(|x| bins.cell(0, Some(x))), [0, 1, 2]);
    }

    #[test]
    fn a_value_with_a_bins_share_or_more_has_its_own_bin() {
        let values = (0..100).map(|i| Some(if i < 45 { 0.0 } else { f64::from(i) }));
        let bins = freeze(values, 10);
        assert_eq!(bins.cell(0, Some(-1.0)), 0);
        assert_eq!(bins.cell(0, Some(0.0)), 1);
        assert_eq!(bins.cell(0, Some(0.1)), 2);
        assert_eq!(bins.reference(0), [0, 45, 5, 10, 10, 10, 10, 10, 0]);
    }

    #[test]
    fn nothing_but_nulls_is_one_bin_and_null() {
        let bins = freeze([None, None], 10);
        assert_eq!(bins.reference(0), [0, 2]);
        assert_eq!(bins.cell(0, Some(1.0)), 0);
    }
}
