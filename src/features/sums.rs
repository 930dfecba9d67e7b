//! Sums of values under an aggregate: count, Σx and Σx², as exact integers while the values allow it and as double-doubles otherwise (S7.5).
//!
//! Which of the two, and the decimal scale, is part of the sums and a function of the values added, in their order, and of nothing else.

use super::exact::{Dd, LIMIT, POWERS, decimal, integer, integer_words, to_float};

/// Bit of `mode`: the sums are double-doubles (floats only).
pub const SUM_DD: u64 = 4;
/// Bit of `mode`: the squares are double-doubles.
pub const SQUARE_DD: u64 = 8;

/// Sums of some values: (n, Σx, Σx²), as scaled integers or as double-doubles around a centre. `mode & 3` is the scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Scale of the integers (bits 0–1), `SUM_DD`, `SQUARE_DD`.
    pub mode: u64,
    /// Greatest magnitude of a scaled integer so far.
    pub largest: u64,
    /// Centre: the bits of the value.
    pub centre: u64,
    /// Number of values; of prefix sums behind the point where they are zero, minus that (wrapping).
    pub n: u64,
    /// Σx as an integer, or Σ(x − centre) as a double-double.
    pub sum: [u64; 2],
    /// Σx² as an integer, or Σ(x − centre)² as a double-double.
    pub square: [u64; 2],
}

/// Words of stored `Sums`.
pub const WORDS: usize = 8;
/// `a + b` or, if `minus`, `a − b`: of double-doubles if `dd`, else of wrapping integers.
#[inline]
pub fn combine(dd: bool, a: [u64; 2], b: [u64; 2], minus: bool) -> [u64; 2] {
    match (dd, minus) {
        (false, false) => integer_words(integer(a).wrapping_add(integer(b))),
        (false, true) => integer_words(integer(a).wrapping_sub(integer(b))),
        (true, false) => Dd::from_words(a).plus(Dd::from_words(b)).words(),
        (true, true) => Dd::from_words(a).minus(Dd::from_words(b)).words(),
    }
}

impl Sums {
    /// From stored words.
    pub fn load(words: &[u64]) -> Self {
        Self { mode: words[0], largest: words[1], centre: words[2], n: words[3], sum: [words[4], words[5]], square: [words[6], words[7]] }
    }

    /// To the first `WORDS` of `words`.
    pub fn store(&self, words: &mut [u64]) {
        let [s0, s1] = self.sum;
        let [q0, q1] = self.square;
        words[..WORDS].copy_from_slice(&[self.mode, self.largest, self.centre, self.n, s0, s1, q0, q1]);
    }

    /// The mode in which a value can be added: the present one, or one of which nothing present is lost.
    #[inline]
    pub fn fitting(&self, float: bool, word: u64) -> u64 {
        if !float {
            let small = (word as i64).unsigned_abs() <= LIMIT as u64;
            return if small { self.mode } else { self.mode | SQUARE_DD };
        }
        if self.mode & SUM_DD != 0 {
            return self.mode;
        }
        let value = f64::from_bits(word);
        let scale = (self.mode & 3) as usize;
        for (finer, power) in POWERS.iter().enumerate().skip(scale) {
            let grown = self.largest as f64 * (power / POWERS[scale]);
            if grown > LIMIT as f64 {
                break;
            }
            if decimal(value, finer).is_some() {
                return finer as u64;
            }
        }
        SUM_DD | SQUARE_DD
    }

    /// Goes over to another mode, of the value that asks for it.
    #[cold]
    pub fn convert(&mut self, float: bool, mode: u64, word: u64) {
        let (old, n) = (self.mode, self.n as f64);
        self.mode = mode;
        if mode & SQUARE_DD == 0 {
            let factor = (POWERS[(mode & 3) as usize] / POWERS[(old & 3) as usize]) as i128;
            self.sum = integer_words(integer(self.sum).wrapping_mul(factor));
            self.square = integer_words(integer(self.square).wrapping_mul(factor * factor));
            self.largest = self.largest.saturating_mul(factor as u64);
            return;
        }
        self.centre = word;
        let power = POWERS[(old & 3) as usize];
        let centre = if float { Dd::sum(f64::from_bits(word), 0.0) } else { Dd::integer(i128::from(word as i64)) };
        let sum = Dd::integer(integer(self.sum)).over(power);
        let square = Dd::integer(integer(self.square)).over(power).over(power);
        let shift = centre.times(Dd::sum(n, 0.0));
        let twice = centre.times(sum).times(Dd::sum(2.0, 0.0));
        self.square = square.minus(twice).plus(centre.times(shift)).words();
        if float {
            self.sum = sum.minus(shift).words();
        }
    }

    /// What one value adds to Σx and Σx² in the present mode.
    #[inline]
    pub fn terms(&self, float: bool, word: u64) -> ([u64; 2], [u64; 2]) {
        if float && self.mode & SUM_DD != 0 {
            let distance = Dd::sum(f64::from_bits(word), -f64::from_bits(self.centre));
            return (distance.words(), distance.times(distance).words());
        }
        let k = if float { decimal(f64::from_bits(word), (self.mode & 3) as usize).unwrap_or(0) } else { word as i64 };
        let square = if self.mode & SQUARE_DD == 0 {
            integer_words(i128::from(k).wrapping_mul(i128::from(k)))
        } else {
            let distance = Dd::integer(i128::from(k) - i128::from(self.centre as i64));
            distance.times(distance).words()
        };
        (integer_words(i128::from(k)), square)
    }

    /// Adds one value in the present mode, which must fit it.
    #[inline]
    pub fn apply(&mut self, float: bool, word: u64) {
        let (sum, square) = self.terms(float, word);
        self.n = self.n.wrapping_add(1);
        self.sum = combine(self.mode & SUM_DD != 0, self.sum, sum, false);
        self.square = combine(self.mode & SQUARE_DD != 0, self.square, square, false);
        if self.mode & SUM_DD == 0 {
            self.largest = self.largest.max(integer(sum).unsigned_abs() as u64);
        }
    }

    /// Adds one value: a function of the values added before and of nothing else.
    #[inline]
    pub fn add(&mut self, float: bool, word: u64) {
        let mode = self.fitting(float, word);
        if mode != self.mode {
            self.convert(float, mode, word);
        }
        self.apply(float, word);
    }

    /// Σx.
    pub fn total(&self, float: bool) -> Dd {
        if float && self.mode & SUM_DD != 0 {
            let centre = Dd::product(f64::from_bits(self.centre), self.n as f64);
            return Dd::from_words(self.sum).plus(centre);
        }
        Dd::integer(integer(self.sum)).over(POWERS[(self.mode & 3) as usize])
    }

    /// Σx of floats, rounded.
    #[inline]
    pub fn sum_float(&self, float: bool) -> f64 {
        if float && self.mode & SUM_DD != 0 { self.total(float).hi } else { to_float(integer(self.sum)) / POWERS[(self.mode & 3) as usize] }
    }

    /// Σx / n, rounded; n > 0.
    #[inline]
    pub fn mean(&self, float: bool) -> f64 {
        let n = self.n as f64;
        if float && self.mode & SUM_DD != 0 {
            return self.total(float).over(n).hi;
        }
        to_float(integer(self.sum)) / (n * POWERS[(self.mode & 3) as usize])
    }

    /// Σ(x − mean)² as a quotient `(numerator, divisor)`; 0 below the resolution; n > 0.
    #[inline]
    pub fn deviation(&self, float: bool) -> (f64, f64) {
        let n = self.n as f64;
        if self.mode & SQUARE_DD == 0 {
            let (sum, square) = (integer(self.sum), integer(self.square));
            let power = POWERS[(self.mode & 3) as usize];
            let divisor = n * power * power;
            if self.n < 1 << 36 && square < 1 << 90 && i64::try_from(sum).is_ok() {
                return (to_float(square * i128::from(self.n) - sum * sum).max(0.0), divisor);
            }
            let exact = Dd::integer(sum);
            let rest = Dd::integer(square).minus(exact.times(exact).over(n)).hi;
            return (if rest > to_float(square) * RESOLUTION { rest } else { 0.0 }, power * power);
        }
        let sum = self.centred(float);
        let square = Dd::from_words(self.square);
        let rest = square.minus(sum.times(sum).over(n)).hi;
        (if rest > square.hi * RESOLUTION { rest } else { 0.0 }, 1.0)
    }

    /// These sums with Σ(x − mean)² = 0, in `SQUARE_DD` mode.
    pub fn flat(self, float: bool) -> Self {
        let sum = self.centred(float);
        Self { square: sum.times(sum).over(self.n as f64).words(), ..self }
    }

    /// Σ(x − centre), in `SQUARE_DD` mode.
    pub fn centred(&self, float: bool) -> Dd {
        if float {
            return Dd::from_words(self.sum);
        }
        Dd::integer(integer(self.sum).wrapping_sub(i128::from(self.centre as i64).wrapping_mul(i128::from(self.n))))
    }
}

/// 2^-98: relative error of one double-double result with slack.
const RESOLUTION: f64 = 3.2e-30;
/// 2^-102: relative error of one double-double addition with slack.
pub const STEP: f64 = 2e-31;
