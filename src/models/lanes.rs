//! Eight lanes: the one order in which floats are added up in this folder.
//!
//! Element `j` belongs to lane `j mod 8`; each lane adds its elements in ascending order from +0.0; then halves are folded, as `sum` writes out. Vectors are padded with
//! zeros to whole groups of eight, which adds `+0.0` to lanes and so changes no sum. The order is part of the definition of a model: it is the same
//! on every machine and for every instruction set, and there is no fused multiply-add.

/// Lanes in a group.
pub(crate) const LANES: usize = 8;

/// Eight neighbouring elements.
pub(crate) type Group = [f64; LANES];

/// A vector padded with zeros to whole groups.
pub(crate) type Lanes = Vec<Group>;

/// A zero vector for `width` elements.
pub(crate) fn zeros(width: usize) -> Lanes {
    vec![[0.0; LANES]; width.div_ceil(LANES)]
}

/// The first `width` elements, in order.
pub(crate) fn to_vec(lanes: &[Group], width: usize) -> Vec<f64> {
    lanes.as_flattened().iter().copied().take(width).collect()
}

/// Overwrites the first elements with `values`, which may not be longer than the vector.
pub(crate) fn fill(lanes: &mut [Group], values: &[f64]) {
    for (slot, value) in lanes.as_flattened_mut().iter_mut().zip(values) {
        *slot = *value;
    }
}

/// The lanes added as `((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))`.
#[inline(always)]
pub(crate) fn sum(lanes: &Group) -> f64 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// The products of two vectors, added in the order this file promises.
#[inline]
pub(crate) fn dot(a: &[Group], b: &[Group]) -> f64 {
    let groups = a.len().min(b.len());
    let (a, b, mut acc) = (&a[..groups], &b[..groups], [0.0; LANES]);
    for c in 0..groups {
        for lane in 0..LANES {
            acc[lane] += a[c][lane] * b[c][lane];
        }
    }
    sum(&acc)
}

/// Whether all elements are finite: they are if their sum is, and where it is not, they are looked at one by one.
#[inline]
pub(crate) fn all_finite(values: &[Group]) -> bool {
    let mut acc = [0.0; LANES];
    for group in values {
        for lane in 0..LANES {
            acc[lane] += group[lane];
        }
    }
    sum(&acc).is_finite() || values.as_flattened().iter().all(|value| value.is_finite())
}

/// Finds non-finite numbers without a branch per element: zero times a finite number is zero, times anything else NaN.
#[derive(Clone, Copy)]
pub(crate) struct FiniteCheck(Group);

impl FiniteCheck {
    /// Nothing seen yet.
    #[inline]
    pub(crate) fn new() -> Self {
        Self([0.0; LANES])
    }

    /// Looks at eight elements.
    #[inline(always)]
    pub(crate) fn see_all(&mut self, values: &Group) {
        for (lane, value) in values.iter().enumerate() {
            self.see(lane, *value);
        }
    }

    /// Looks at one element of a group.
    #[inline(always)]
    pub(crate) fn see(&mut self, lane: usize, value: f64) {
        self.0[lane] += value * 0.0;
    }

    /// Whether everything seen was finite.
    #[inline]
    pub(crate) fn passed(&self) -> bool {
        sum(&self.0) == 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_follow_the_written_order() {
        let values: Vec<f64> = (0..21).map(|i| 1.0 / f64::from(i + 3)).collect();
        let mut a = zeros(values.len());
        fill(&mut a, &values);
        let ones = vec![[1.0; LANES]; a.len()];
        let mut by_lane = [0.0f64; LANES];
        for (j, value) in values.iter().enumerate() {
            by_lane[j % LANES] += value;
        }
        let folded = [0, 1, 2, 3].map(|lane| by_lane[lane] + by_lane[lane + 4]);
        let expected = (folded[0] + folded[2]) + (folded[1] + folded[3]);
        assert_eq!(dot(&a, &ones).to_bits(), expected.to_bits());
        assert_eq!(to_vec(&a, values.len()), values);
    }

    #[test]
    fn the_check_sees_every_kind_of_non_finite_number() {
        assert!(all_finite(&[]) && all_finite(&[[f64::MAX; LANES], [f64::MAX; LANES]]));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for lane in 0..LANES {
                let mut check = FiniteCheck::new();
                let mut values = [f64::MAX; LANES];
                check.see_all(&values);
                assert!(check.passed());
                values[lane] = bad;
                check.see_all(&values);
                check.see_all(&[1.0; LANES]);
                assert!(!check.passed() && !all_finite(&[[1.0; LANES], values]));
            }
        }
    }
}
