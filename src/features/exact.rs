//! The numbers that sums are made of (S7.5).
//!
//! * Integers, and floats that are short decimals (`12.34`), are summed as scaled integers in `i128`: subtraction is exact, so the result depends on
//!   the present values only. A float counts as the decimal it prints as, which is nearer to the truth than its bits.
//! * Where sums of both kinds meet (see `sums`), they are added as double-doubles (106 bits). Methods: Knuth's two-sum and Dekker's product, as
//!   in Dekker, "A floating-point technique for extending the available precision" (1971); no fused multiply-add, so bits are the same everywhere.

/// An unevaluated sum of two floats, `hi + lo`, with |lo| ≤ ulp(hi) / 2.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dd {
    /// Leading part.
    pub hi: f64,
    /// Rest.
    pub lo: f64,
}

impl Dd {
    /// `a + b`, exactly.
    #[inline]
    pub fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let part = hi - a;
        Self { hi, lo: (a - (hi - part)) + (b - part) }
    }

    /// `a · b`, exactly as long as nothing overflows.
    #[inline]
    pub fn product(a: f64, b: f64) -> Self {
        let hi = a * b;
        let ((ah, al), (bh, bl)) = (halves(a), halves(b));
        Self { hi, lo: ((ah * bh - hi) + ah * bl + al * bh) + al * bl }
    }

    /// An integer, to 106 bits.
    pub fn integer(value: i128) -> Self {
        let hi = value as f64;
        let rest = value.wrapping_sub(hi as i128);
        Self::sum(hi, rest as f64)
    }

    /// Sum of two.
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        let (high, low) = (Self::sum(self.hi, other.hi), Self::sum(self.lo, other.lo));
        let middle = Self::sum(high.hi, high.lo + low.hi);
        Self::sum(middle.hi, middle.lo + low.lo)
    }

    /// Difference of two.
    #[inline]
    pub fn minus(self, other: Self) -> Self {
        self.plus(Self { hi: -other.hi, lo: -other.lo })
    }

    /// Product of two.
    #[inline]
    pub fn times(self, other: Self) -> Self {
        let main = Self::product(self.hi, other.hi);
        Self::sum(main.hi, main.lo + (self.hi * other.lo + self.lo * other.hi))
    }

    /// Quotient by a float.
    #[inline]
    pub fn over(self, divisor: f64) -> Self {
        let first = self.hi / divisor;
        let rest = self.minus(Self::product(first, divisor));
        Self::sum(first, rest.hi / divisor)
    }
}

#[inline]
fn halves(value: f64) -> (f64, f64) {
    let scaled = value * 134_217_729.0;
    let high = scaled - (scaled - value);
    (high, value - high)
}

/// An `i128` from two words, low first.
#[inline]
pub fn integer(words: [u64; 2]) -> i128 {
    (u128::from(words[0]) | u128::from(words[1]) << 64) as i128
}

/// An `i128` as two words, low first.
#[inline]
pub fn integer_words(value: i128) -> [u64; 2] {
    [value as u64, (value as u128 >> 64) as u64]
}

/// An `i128` as a float, to one rounding more than the nearest one; small integers exactly.
#[inline]
pub fn to_float(value: i128) -> f64 {
    let (high, low) = ((value >> 64) as i64, value as u64);
    if high == (low as i64) >> 63 {
        return low as i64 as f64;
    }
    high as f64 * 18_446_744_073_709_551_616.0 + low as f64
}

/// The powers of ten that decimals are tried with, by scale.
pub const POWERS: [f64; 4] = [1.0, 1e2, 1e4, 1e6];
/// Largest scaled integer: its squares over 2^35 records fit into an `i128`.
pub const LIMIT: i64 = 1 << 46;

/// The integer `k` with |k| ≤ `LIMIT` of which `value` is the float nearest to `k / POWERS[scale]`.
#[inline]
pub fn decimal(value: f64, scale: usize) -> Option<i64> {
    let power = POWERS[scale & 3];
    let scaled = value * power;
    if scaled.abs() > LIMIT as f64 {
        return None;
    }
    let k = rounded(scaled);
    (k as f64 / power == value).then_some(k)
}

/// The integer nearest to a float below 2^62, halves away from zero.
#[inline]
pub fn rounded(value: f64) -> i64 {
    (value + 0.5f64.copysign(value)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_decimals_are_integers_and_others_are_not() {
        for k in (-2_000_000i64..2_000_000).step_by(97) {
            assert_eq!(decimal(k as f64 / 100.0, 1), Some(k));
            assert_eq!(decimal(k as f64 / 100.0, 3), Some(k * 10_000));
        }
        assert_eq!(decimal(0.1 + 0.2, 3), None);
        assert_eq!(decimal(1e15, 0), None);
        assert_eq!(decimal(-0.0, 0), Some(0));
    }

    #[test]
    fn double_doubles_keep_what_floats_lose() {
        let mut sum = Dd::default();
        for _ in 0..1000 {
            sum = sum.plus(Dd::sum(1e16, 0.0)).plus(Dd::sum(0.1, 0.0)).minus(Dd::sum(1e16, 0.0));
        }
        assert!((sum.hi - 100.0).abs() < 1e-11);
        let third = Dd::sum(1.0, 0.0).over(3.0);
        assert!((third.times(Dd::sum(3.0, 0.0)).minus(Dd::sum(1.0, 0.0))).hi.abs() < 1e-30);
        assert_eq!(Dd::integer((1 << 80) + 1).minus(Dd::integer(1 << 80)).hi, 1.0);
    }
}
