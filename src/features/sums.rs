//! Sums of values under an aggregate, exactly: count, Σx and Σx², so that what leaves a window is subtracted without a trace (S7.5).
//!
//! Most values are integers or short decimals (`12.34`): they are summed as integers in units of 10⁻², 10⁻⁴ or 10⁻⁶. A float counts as the decimal it
//! prints as, which is nearer to the truth than its bits. All others go to fixed-point sums of any width (`wide`). Which of the two a value
//! belongs to is a function of the value and of the scale; the scale only grows finer while there are values, and never so fine that a value present no
//! longer fits, so a value that leaves is found where it was put.

use super::exact::{Dd, LIMIT, POWERS, decimal, integer, integer_words, rounded, to_float};
use super::wide::{Layout, Sum, Wide};
use crate::data::Arena;

/// Sums of integers and short decimals, in units of the scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exact {
    /// Number of values.
    pub n: u64,
    /// Σk.
    pub sum: i128,
    /// Σk².
    pub square: i128,
}

impl Exact {
    /// Puts a value in.
    #[inline]
    pub fn add(&mut self, k: i64) {
        self.n = self.n.wrapping_add(1);
        self.sum = self.sum.wrapping_add(i128::from(k));
        self.square = self.square.wrapping_add(i128::from(k) * i128::from(k));
    }

    /// Takes a value out.
    #[inline]
    pub fn remove(&mut self, k: i64) {
        self.n = self.n.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(i128::from(k));
        self.square = self.square.wrapping_sub(i128::from(k) * i128::from(k));
    }

    /// In units that are `factor` times finer.
    #[inline]
    pub fn refine(&mut self, factor: i64) {
        self.sum = self.sum.wrapping_mul(i128::from(factor));
        self.square = self.square.wrapping_mul(i128::from(factor) * i128::from(factor));
    }

    /// Whether Σk is a float without rounding.
    #[inline]
    fn is_float(&self) -> bool {
        self.sum.unsigned_abs() <= 1 << 53
    }

    /// From the words that `store` wrote.
    #[inline]
    pub fn load(n: u64, words: &[u64]) -> Self {
        match words {
            [s0, s1, q0, q1, ..] => Self { n, sum: integer([*s0, *s1]), square: integer([*q0, *q1]) },
            [s0, s1, ..] => Self { n, sum: integer([*s0, *s1]), square: 0 },
            _ => Self { n, sum: 0, square: 0 },
        }
    }

    /// Σk and, if there is room, Σk² to `words`.
    #[inline]
    pub fn store(&self, words: &mut [u64]) {
        let ([s0, s1], [q0, q1]) = (integer_words(self.sum), integer_words(self.square));
        match words {
            [a, b, c, d, ..] => (*a, *b, *c, *d) = (s0, s1, q0, q1),
            [a, b, ..] => (*a, *b) = (s0, s1),
            _ => {}
        }
    }
}

/// The unit of `Exact` sums and the greatest magnitude so far, as one word; 0 at first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale(pub u64);

impl Scale {
    /// Position in `POWERS`.
    #[inline]
    pub fn power(self) -> usize {
        (self.0 & 3) as usize
    }

    /// How many of the integers are one.
    #[inline]
    pub fn unit(self) -> f64 {
        POWERS[self.power()]
    }

    /// The value as an integer in this scale; `None`: it belongs to the wide sums.
    #[inline]
    pub fn number(self, float: bool, word: u64) -> Option<i64> {
        if float {
            return decimal(f64::from_bits(word), self.power());
        }
        Some(word as i64).filter(|value| value.unsigned_abs() <= LIMIT as u64)
    }

    /// The same of a value that is known not to belong to the wide sums.
    #[inline]
    pub fn certain(self, float: bool, word: u64) -> i64 {
        if float { rounded(f64::from_bits(word) * POWERS[self.power()]) } else { word as i64 }
    }

    /// Makes the scale as fine as a new value needs; returns the value as an integer, and by which factor the unit has become finer.
    #[inline]
    pub fn admit(&mut self, float: bool, word: u64) -> Option<(i64, i64)> {
        if let Some(k) = self.number(float, word) {
            self.0 = self.0 & 3 | (self.0 >> 2).max(k.unsigned_abs()) << 2;
            return Some((k, 1));
        }
        if float { self.refine(f64::from_bits(word)) } else { None }
    }

    fn refine(&mut self, value: f64) -> Option<(i64, i64)> {
        let (scale, largest) = (self.power(), self.0 >> 2);
        for (finer, power) in POWERS.iter().enumerate().skip(scale + 1) {
            let factor = power / POWERS[scale];
            if largest as f64 * factor > LIMIT as f64 {
                return None;
            }
            if let Some(k) = decimal(value, finer) {
                self.0 = finer as u64 | (largest * factor as u64).max(k.unsigned_abs()) << 2;
                return Some((k, factor as i64));
            }
        }
        None
    }
}

/// Sums apart from a key: started from some of a key's, then changed record by record.
#[derive(Clone, Debug)]
pub struct Apart {
    float: bool,
    /// Unit of `exact`.
    scale: Scale,
    /// Sums of integers and decimals.
    exact: Exact,
    wide: Option<Wide>,
}

impl Apart {
    /// Those with these parts.
    pub fn new(float: bool, scale: Scale, exact: Exact, wide: Option<Wide>) -> Self {
        Self { float, scale, exact, wide }
    }

    /// Puts a value in, or takes one out, in the present scale.
    pub fn apply(&mut self, word: u64, remove: bool) {
        match self.scale.number(self.float, word) {
            Some(k) if remove => self.exact.remove(k),
            Some(k) => self.exact.add(k),
            None => self.wide.iter_mut().for_each(|wide| wide.apply(self.float, word, remove)),
        }
    }

    /// Puts a value in; the scale grows finer where it needs to.
    pub fn add(&mut self, word: u64) {
        match self.scale.admit(self.float, word) {
            Some((k, factor)) => {
                self.exact.refine(factor);
                self.exact.add(k);
            }
            None => self.wide.iter_mut().for_each(|wide| wide.apply(self.float, word, false)),
        }
    }

    /// To look at.
    pub fn total(&self) -> Total<'_> {
        let wide = self.wide.as_ref().map(Wide::view).filter(|wide| wide.n() != 0);
        Total { power: self.scale.power(), exact: self.exact, wide }
    }
}

/// Some sums, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Total<'a> {
    power: usize,
    exact: Exact,
    wide: Option<Sum<'a>>,
}

/// 2^-98: relative error of one double-double result with slack.
const RESOLUTION: f64 = 3.2e-30;

impl<'a> Total<'a> {
    /// Sums of a key: `exact` in the unit of `scale`, and slot `slot` of the wide sums that `layout` places.
    #[inline]
    pub fn of(scale: Scale, exact: Exact, layout: u64, slot: usize, arena: &'a Arena) -> Self {
        let wide = Layout::load(layout).map(|layout| Sum::of(layout, slot, arena)).filter(|wide| wide.n() != 0);
        Self { power: scale.power(), exact, wide }
    }

    /// Number of values.
    #[inline]
    pub fn n(&self) -> u64 {
        self.exact.n + self.wide.map_or(0, |wide| wide.n())
    }

    /// Σx and Σx² to 106 bits.
    fn doubles(&self) -> (Dd, Dd) {
        let power = POWERS[self.power];
        let (sum, square) = (Dd::integer(self.exact.sum).over(power), Dd::integer(self.exact.square).over(power).over(power));
        self.wide.map_or((sum, square), |wide| {
            let (wide_sum, wide_square) = wide.doubles();
            (sum.plus(wide_sum), square.plus(wide_square))
        })
    }

    /// Σx, rounded.
    #[inline]
    pub fn sum(&self) -> f64 {
        match self.wide {
            None if self.exact.is_float() => to_float(self.exact.sum) / POWERS[self.power],
            Some(wide) if self.exact.n == 0 => wide.sum(),
            _ => self.doubles().0.hi,
        }
    }

    /// Σx of integers, if it fits.
    pub fn integer(&self) -> Option<i64> {
        let wide = self.wide.map_or(0, |wide| wide.integer());
        i64::try_from(self.exact.sum.checked_add(wide)?).ok()
    }

    /// Σx / n, rounded; n > 0.
    #[inline]
    pub fn mean(&self) -> f64 {
        let n = self.n() as f64;
        match self.wide {
            None if self.exact.is_float() => to_float(self.exact.sum) / (n * POWERS[self.power]),
            None => Dd::integer(self.exact.sum).over(n * POWERS[self.power]).hi,
            Some(_) => self.doubles().0.over(n).hi,
        }
    }

    /// Σ(x − mean)² as a quotient `(numerator, divisor)`; n > 0.
    #[inline]
    pub fn deviation(&self) -> (f64, f64) {
        let n = self.n() as f64;
        let Some(wide) = self.wide else {
            let Exact { n: count, sum, square } = self.exact;
            let power = POWERS[self.power];
            if count < 1 << 36 && square < 1 << 90 && i64::try_from(sum).is_ok() {
                return (to_float(square * i128::from(count) - sum * sum).max(0.0), n * power * power);
            }
            let exact = Dd::integer(sum);
            let rest = Dd::integer(square).minus(exact.times(exact).over(n)).hi;
            return (if rest > to_float(square) * RESOLUTION { rest } else { 0.0 }, power * power);
        };
        if self.exact.n == 0 {
            return (wide.deviation().max(0.0), 1.0);
        }
        let (sum, square) = self.doubles();
        (square.minus(sum.times(sum).over(n)).hi.max(0.0), 1.0)
    }
}
