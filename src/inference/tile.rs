//! Rows into tiles (S11.1): normalised in float64, rounded to float32 once, padded with zeros. A row depends on nothing but itself.

use crate::models::{InputNulls, NoPrediction};

/// Rows of one epoch, to be asked.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Inputs in byte order of their names, row-major; what stands at a null is ignored.
    pub x: Vec<f64>,
    /// Bit `i` (word `i / 64`) is set when input `i` is not null; `inputs.div_ceil(64)` words a row.
    pub valid: Vec<u64>,
    /// Number of rows.
    pub count: usize,
}

/// What a network answered, one entry a row.
#[derive(Clone, Debug, Default)]
pub struct Predicted {
    /// Probability or value; NaN where there is none.
    pub values: Vec<f64>,
    /// Why there is none.
    pub missing: Vec<Option<NoPrediction>>,
}

/// One tile, ready for the device.
#[derive(Clone, Debug)]
pub struct Tile {
    /// `tile × inputs` numbers, columns in the order of the first layer.
    pub(super) values: Vec<f32>,
    /// Per row in use why it will have no prediction; the others are padding.
    pub(super) missing: Vec<Option<NoPrediction>>,
}

impl Tile {
    /// Rows in use.
    pub fn rows(&self) -> usize {
        self.missing.len()
    }
}

/// How one input becomes a column of the tile.
#[derive(Clone, Debug)]
pub(super) struct Normal {
    /// Its column.
    pub(super) column: usize,
    /// Subtracted; stands for a null.
    pub(super) mean: f64,
    /// Divides; 0 makes 0 of everything (S10.3).
    pub(super) scale: f64,
}

impl Normal {
    fn apply(&self, value: f64) -> f32 {
        if self.scale == 0.0 { 0.0 } else { ((value - self.mean) / self.scale) as f32 }
    }
}

/// Writes one row, or zeros with the reason (S10.1). A null is judged before a number that is not finite.
pub(super) fn normalise(inputs: &[Normal], nulls: &[InputNulls], x: &[f64], valid: &[u64], row: &mut [f32]) -> Option<NoPrediction> {
    let mut missing = None;
    for (index, (input, policy)) in inputs.iter().zip(nulls).enumerate() {
        let present = valid[index / 64] >> (index % 64) & 1 == 1;
        let value = match (present, policy) {
            (true, _) => x[index],
            (false, InputNulls::Mean) => input.mean,
            (false, InputNulls::Constant(constant)) => *constant,
            (false, InputNulls::Skip) => {
                missing = Some(NoPrediction::NullInput(index));
                break;
            }
        };
        row[input.column] = input.apply(value);
        if !value.is_finite() {
            missing = missing.or(Some(NoPrediction::NonFiniteInput(index)));
        } else if !row[input.column].is_finite() {
            missing = missing.or(Some(NoPrediction::OutOfRange));
        }
    }
    if missing.is_some() {
        row.fill(0.0);
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(nulls: InputNulls, x: f64, valid: bool) -> (Vec<f32>, Option<NoPrediction>) {
        let inputs = [Normal { column: 1, mean: 10.0, scale: 4.0 }, Normal { column: 0, mean: 3.0, scale: 0.0 }];
        let mut row = vec![0.0; 2];
        let missing = normalise(&inputs, &[nulls, InputNulls::Mean], &[x, 99.0], &[u64::from(valid) | 2], &mut row);
        (row, missing)
    }

    #[test]
    fn values_are_normalised_into_their_columns_and_a_scale_of_zero_gives_zero() {
        assert_eq!(asked(InputNulls::Skip, 12.0, true), (vec![0.0, 0.5], None));
    }

    #[test]
    fn nulls_follow_their_policy() {
        assert_eq!(asked(InputNulls::Mean, f64::NAN, false), (vec![0.0, 0.0], None));
        assert_eq!(asked(InputNulls::Constant(2.0), f64::NAN, false), (vec![0.0, -2.0], None));
        assert_eq!(asked(InputNulls::Skip, 1.0, false), (vec![0.0, 0.0], Some(NoPrediction::NullInput(0))));
    }

    #[test]
    fn what_is_not_finite_never_reaches_the_device() {
        assert_eq!(asked(InputNulls::Mean, f64::NAN, true), (vec![0.0, 0.0], Some(NoPrediction::NonFiniteInput(0))));
        assert_eq!(asked(InputNulls::Mean, f64::INFINITY, true), (vec![0.0, 0.0], Some(NoPrediction::NonFiniteInput(0))));
        assert_eq!(asked(InputNulls::Mean, 1e300, true), (vec![0.0, 0.0], Some(NoPrediction::OutOfRange)));
    }
}
