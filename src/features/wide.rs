//! Sums of any floats, exactly: fixed-point numbers of as many words as the values present have ever needed.
//!
//! The idea is Kulisch's accumulator ("Very fast and exact accumulation of products", Computing 91, 2011; fast in software by Neal, "Fast exact
//! summation using small and large superaccumulators", arXiv 1505.05571, 2015), with the window of exponents kept as small as the data allows. Being exact,
//! a sum is a function of the values in it and of nothing else: what a window loses can be subtracted, in any order, for ever (S7.5).
//!
//! The sums of one key lie in one extent of its view's arena: per slot the number of values, Σx and Σx², two's complement, lowest word first. All slots
//! share the exponent of the lowest bit and the numbers of words, and are moved to a larger extent when a value does not fit.

use super::exact::Dd;
use crate::data::{Address, Arena};

/// Bits kept free above the greatest value: sums of up to 2⁴⁰ of them fit.
const HEADROOM: i32 = 40;
/// Most words of one sum: Σx² of all that floats can be, and room.
const MOST: usize = 76;

/// Where the sums of a key are and what they can hold, as one word of the key's state; 0: nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    at: Address,
    /// Words of Σx and Σx².
    sum: usize,
    square: usize,
    /// Exponent of the lowest bit of Σx, in words of 64 bits; of Σx² twice that.
    base: i32,
}

/// A value as an integer `mantissa · 2^exponent`.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    mantissa: u64,
    negative: bool,
    exponent: i32,
}

impl Scaled {
    #[inline]
    fn float(value: f64) -> Self {
        let bits = value.to_bits();
        let (exponent, fraction) = ((bits >> 52 & 0x7FF) as i32, bits & ((1 << 52) - 1));
        let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        Self { mantissa, negative: bits >> 63 == 1, exponent }
    }

    #[inline]
    fn of(float: bool, word: u64) -> Self {
        if float {
            return Self::float(f64::from_bits(word));
        }
        Self { mantissa: (word as i64).unsigned_abs(), negative: (word as i64) < 0, exponent: 0 }
    }
}

/// Adds (or subtracts) `value · 2^shift` to a two's complement number; what does not fit is cut off at the top.
#[inline]
fn add_shifted(words: &mut [u64], value: u128, shift: u32, subtract: bool) {
    let (first, bits) = ((shift / 64) as usize, shift % 64);
    let low = value << bits;
    let high = if bits == 0 { 0 } else { (value >> (128 - bits)) as u64 };
    let parts = [low as u64, (low >> 64) as u64, high];
    let mut carry = false;
    for (nth, word) in words.iter_mut().enumerate().skip(first) {
        let part = parts.get(nth - first).copied().unwrap_or(0);
        if nth - first >= 3 && !carry {
            return;
        }
        let (value, one) = if subtract { word.overflowing_sub(part) } else { word.overflowing_add(part) };
        let (value, two) = if subtract { value.overflowing_sub(u64::from(carry)) } else { value.overflowing_add(u64::from(carry)) };
        (*word, carry) = (value, one | two);
    }
}

/// A two's complement number as `(fraction, exponent)`: the float nearest to it is `fraction · 2^exponent`, with 1 ≤ |fraction| · 2⁻⁶³ < 2 or 0.
fn rounded(words: &[u64]) -> (f64, i32) {
    let (top, exponent, sticky) = leading(words, 128);
    let negative = top < 0;
    let magnitude = top.unsigned_abs() | u128::from(sticky);
    let value = magnitude as f64;
    (if negative { -value } else { value }, exponent)
}

/// The leading `bits` (127 at most are used) of a number as an integer and the exponent of its lowest bit; whether anything below was cut off.
fn leading(words: &[u64], bits: u32) -> (i128, i32, bool) {
    let negative = words.last().is_some_and(|word| *word >> 63 == 1);
    let mut magnitude = [0u64; MOST];
    let magnitude = &mut magnitude[..words.len().min(MOST)];
    magnitude.copy_from_slice(&words[..magnitude.len()]);
    if negative {
        let mut carry = true;
        for word in magnitude.iter_mut() {
            (*word, carry) = (!*word).overflowing_add(u64::from(carry));
        }
    }
    let Some(highest) = magnitude.iter().rposition(|word| *word != 0) else { return (0, 0, false) };
    let length = highest as u32 * 64 + 64 - magnitude[highest].leading_zeros();
    let wanted = bits.min(126);
    let cut = length.saturating_sub(wanted);
    let mut value = 0u128;
    let (first, shift) = ((cut / 64) as usize, cut % 64);
    for (nth, word) in magnitude[first..].iter().take(3).enumerate() {
        let place = nth as i32 * 64 - shift as i32;
        let wide = u128::from(*word);
        value |= if place >= 128 {
            0
        } else if place >= 0 {
            wide << place
        } else {
            wide >> -place
        };
    }
    let sticky = magnitude[..first].iter().any(|word| *word != 0) || (shift > 0 && magnitude[first] << (64 - shift) != 0);
    let value = value as i128;
    (if negative { -value } else { value }, cut as i32, sticky)
}

/// `value · 2^exponent` without intermediate overflow or loss, as far as a float can hold it.
fn scale(value: f64, exponent: i32) -> f64 {
    libm::ldexp(value, exponent)
}

impl Layout {
    /// From a word of the key's state.
    #[inline]
    pub fn load(word: u64) -> Option<Self> {
        (word != 0).then_some(Self {
            at: word as Address,
            sum: (word >> 32 & 0x7F) as usize,
            square: (word >> 39 & 0x7F) as usize,
            base: (word >> 48) as i16 as i32,
        })
    }

    /// As a word that is not 0: a sum has at least one word.
    #[inline]
    pub fn word(&self) -> u64 {
        u64::from(self.at) | (self.sum as u64) << 32 | (self.square as u64) << 39 | u64::from(self.base as i16 as u16) << 48
    }

    fn width(&self) -> usize {
        1 + self.sum + self.square
    }

    /// The layout that holds what this one holds, and one more value.
    fn with(layout: Option<Self>, value: Scaled) -> Self {
        let known = layout.unwrap_or(Self { at: 0, sum: 0, square: 0, base: value.exponent.div_euclid(64) });
        let base = known.base.min(value.exponent.div_euclid(64));
        let (deeper, low) = ((known.base - base) as usize, base * 64);
        let need = |bits: i32| (bits + HEADROOM + 2).div_euclid(64) as usize + 1;
        let top = value.exponent + 64 - value.mantissa.leading_zeros() as i32 - low;
        Self { at: known.at, sum: (known.sum + deeper).max(need(top)), square: (known.square + 2 * deeper).max(need(2 * top)), base }
    }

    /// A layout with room for `word`; the extent is moved, with all its `slots`, if it has to be.
    fn fitting(layout: Option<Self>, slots: usize, value: Scaled, arena: &mut Arena) -> Self {
        if let (0, Some(known)) = (value.mantissa, layout) {
            return known;
        }
        let wanted = Self::with(layout, value);
        if layout == Some(wanted) {
            return wanted;
        }
        let grown = Self { at: arena.allocate(slots * wanted.width()), ..wanted };
        arena.words_mut(grown.at, slots * grown.width()).fill(0);
        if let Some(known) = layout {
            let deeper = (known.base - grown.base) as usize;
            for slot in 0..slots {
                let old = known.slot(slot, arena).to_vec();
                let fresh = &mut arena.words_mut(grown.at, slots * grown.width())[slot * grown.width()..][..grown.width()];
                fresh[0] = old[0];
                let (sum, square) = fresh[1..].split_at_mut(grown.sum);
                extend(&old[1..1 + known.sum], sum, deeper);
                extend(&old[1 + known.sum..], square, 2 * deeper);
            }
            arena.free(known.at, slots * known.width());
        }
        grown
    }

    /// The words of a slot.
    #[inline]
    pub fn slot<'a>(&self, slot: usize, arena: &'a Arena) -> &'a [u64] {
        &arena.words(self.at, (slot + 1) * self.width())[slot * self.width()..][..self.width()]
    }

    #[inline]
    fn slot_mut<'a>(&self, slot: usize, arena: &'a mut Arena) -> &'a mut [u64] {
        &mut arena.words_mut(self.at, (slot + 1) * self.width())[slot * self.width()..]
    }

    /// Gives the extent back.
    pub fn release(&self, slots: usize, arena: &mut Arena) {
        arena.free(self.at, slots * self.width());
    }

    /// Empties a slot.
    pub fn clear(&self, slot: usize, arena: &mut Arena) {
        self.slot_mut(slot, arena).fill(0);
    }

    /// A slot as sums of their own, to be changed without changing the key's.
    pub fn sums(&self, slot: usize, arena: &Arena) -> Wide {
        Wide { layout: *self, words: self.slot(slot, arena).to_vec() }
    }

    /// Sums of nothing in this layout.
    pub fn empty(&self) -> Wide {
        Wide { layout: *self, words: vec![0; self.width()] }
    }
}

/// Copies a two's complement number to `to`, `deeper` words higher, and extends its sign.
fn extend(from: &[u64], to: &mut [u64], deeper: usize) {
    let sign = if from.last().is_some_and(|word| *word >> 63 == 1) { u64::MAX } else { 0 };
    to[deeper..deeper + from.len()].copy_from_slice(from);
    to[deeper + from.len()..].fill(sign);
}

/// Adds a value to the words of a slot, or takes it out.
fn apply(layout: &Layout, words: &mut [u64], value: Scaled, remove: bool) {
    words[0] = if remove { words[0].wrapping_sub(1) } else { words[0].wrapping_add(1) };
    let shift = (value.exponent - layout.base * 64).max(0) as u32;
    let (sum, square) = words[1..].split_at_mut(layout.sum);
    if value.mantissa != 0 {
        add_shifted(sum, u128::from(value.mantissa), shift, remove != value.negative);
        add_shifted(square, u128::from(value.mantissa) * u128::from(value.mantissa), 2 * shift, remove);
    }
}

/// Adds `word` to a slot of a key whose layout is `layout` (and may be another afterwards).
pub fn add(layout: &mut u64, slots: usize, slot: usize, float: bool, word: u64, arena: &mut Arena) {
    let value = Scaled::of(float, word);
    let fitting = Layout::fitting(Layout::load(*layout), slots, value, arena);
    *layout = fitting.word();
    apply(&fitting, fitting.slot_mut(slot, arena), value, false);
}

/// Sees to it that `word` would fit, so that it can be put into [`Wide`] sums taken from the key.
pub fn reserve(layout: &mut u64, slots: usize, float: bool, word: u64, arena: &mut Arena) {
    *layout = Layout::fitting(Layout::load(*layout), slots, Scaled::of(float, word), arena).word();
}

/// Takes `word`, which was added before, out of a slot.
pub fn remove(layout: u64, slot: usize, float: bool, word: u64, arena: &mut Arena) {
    if let Some(layout) = Layout::load(layout) {
        apply(&layout, layout.slot_mut(slot, arena), Scaled::of(float, word), true);
    }
}

/// The sums of a slot, apart from the key.
#[derive(Clone, Debug)]
pub struct Wide {
    layout: Layout,
    words: Vec<u64>,
}

impl Wide {
    /// Adds a value for which there is room (`reserve`), or takes it out.
    pub fn apply(&mut self, float: bool, word: u64, remove: bool) {
        let value = Scaled::of(float, word);
        apply(&self.layout, &mut self.words, value, remove);
    }

    /// The same to look at.
    pub fn view(&self) -> Sum<'_> {
        Sum { layout: self.layout, words: &self.words }
    }
}

/// The sums of a slot, to be read.
#[derive(Clone, Copy, Debug)]
pub struct Sum<'a> {
    layout: Layout,
    words: &'a [u64],
}

impl<'a> Sum<'a> {
    /// Those of a key.
    #[inline]
    pub fn of(layout: Layout, slot: usize, arena: &'a Arena) -> Self {
        Self { layout, words: layout.slot(slot, arena) }
    }

    /// Number of values.
    #[inline]
    pub fn n(&self) -> u64 {
        self.words[0]
    }

    fn parts(&self) -> (&'a [u64], &'a [u64]) {
        self.words[1..].split_at(self.layout.sum)
    }

    /// Σx, rounded once.
    pub fn sum(&self) -> f64 {
        let (value, exponent) = rounded(self.parts().0);
        scale(value, exponent + 64 * self.layout.base)
    }

    /// Σx where it is an integer of at most 126 bits (integers are summed with exponent 0).
    pub fn integer(&self) -> i128 {
        let (value, exponent, _) = leading(self.parts().0, 126);
        value.checked_shl((exponent + 64 * self.layout.base).max(0) as u32).unwrap_or(0)
    }

    /// Σx and Σx² to 106 bits.
    pub fn doubles(&self) -> (Dd, Dd) {
        let (sum, square) = self.parts();
        let double = |words: &[u64], base: i32| {
            let (value, exponent, _) = leading(words, 126);
            let whole = Dd::integer(value);
            Dd { hi: scale(whole.hi, exponent + base), lo: scale(whole.lo, exponent + base) }
        };
        (double(sum, 64 * self.layout.base), double(square, 128 * self.layout.base))
    }

    /// Σ(x − mean)², rounded three times; n > 0.
    pub fn deviation(&self) -> f64 {
        let (sum, square) = self.parts();
        let mut total = [0u64; MOST + 2];
        let length = (square.len() + 1).max(2 * sum.len()).min(total.len());
        let total = &mut total[..length];
        // n · Σx², which is not negative, less (Σx)².
        multiply(square, &[self.n()], total, false);
        let mut magnitude = [0u64; MOST];
        let magnitude = &mut magnitude[..sum.len()];
        magnitude.copy_from_slice(sum);
        if sum.last().is_some_and(|word| word >> 63 == 1) {
            let mut carry = true;
            for word in magnitude.iter_mut() {
                (*word, carry) = (!*word).overflowing_add(u64::from(carry));
            }
        }
        multiply(magnitude, magnitude, total, true);
        let (value, exponent) = rounded(total);
        scale(value / self.n() as f64, exponent + 128 * self.layout.base)
    }
}

/// Adds `a · b` (neither negative) to `to`, or subtracts it.
fn multiply(a: &[u64], b: &[u64], to: &mut [u64], subtract: bool) {
    for (i, a) in a.iter().enumerate().filter(|(_, a)| **a != 0) {
        for (j, b) in b.iter().enumerate().filter(|(_, b)| **b != 0) {
            add_shifted(to, u128::from(*a) * u128::from(*b), 64 * (i + j) as u32, subtract);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(values: &[f64]) -> (Arena, u64) {
        let (mut arena, mut layout) = (Arena::default(), 0);
        arena.allocate(2);
        values.iter().for_each(|value| add(&mut layout, 2, 1, true, value.to_bits(), &mut arena));
        (arena, layout)
    }

    fn seen(arena: &Arena, layout: u64) -> (u64, f64, f64) {
        let sum = Sum::of(Layout::load(layout).unwrap(), 1, arena);
        (sum.n(), sum.sum(), sum.deviation())
    }

    #[test]
    fn sums_are_exact_whatever_comes_and_goes() {
        let extremes = [1e300, -1e300, 5e-324, 1e-300, 0.1, -0.1, 1.0 / 3.0, 2e-308, f64::MAX, -0.0, 7.0];
        for turn in 0..extremes.len() {
            let mut values: Vec<f64> = extremes.to_vec();
            values.rotate_left(turn);
            let (mut arena, mut layout) = sums(&values);
            for value in &values[1..] {
                remove(layout, 1, true, value.to_bits(), &mut arena);
            }
            assert_eq!(seen(&arena, layout), (1, values[0], 0.0));
            remove(layout, 1, true, values[0].to_bits(), &mut arena);
            add(&mut layout, 2, 1, true, 2.5f64.to_bits(), &mut arena);
            add(&mut layout, 2, 1, true, 3.5f64.to_bits(), &mut arena);
            assert_eq!(seen(&arena, layout), (2, 6.0, 0.5));
            assert_eq!(Sum::of(Layout::load(layout).unwrap(), 0, &arena).n(), 0);
        }
    }

    #[test]
    fn equal_values_have_no_spread_and_cancellation_loses_nothing() {
        for value in [1.0 / 3.0, 1e17, -1e-9, 123_456.789_012_3] {
            let (arena, layout) = sums(&vec![value; 1001]);
            assert_eq!(seen(&arena, layout).2, 0.0);
        }
        let (arena, layout) = sums(&[1e16, 1.0 / 3.0, -1e16]);
        assert_eq!(seen(&arena, layout).1, 1.0 / 3.0);
        let shifted: Vec<f64> = (0..1000).map(|i| 1e15 + f64::from(i % 7)).collect();
        let plain: Vec<f64> = (0..1000).map(|i| f64::from(i % 7)).collect();
        let ((a, one), (b, two)) = (sums(&shifted), sums(&plain));
        assert_eq!(seen(&a, one).2, seen(&b, two).2);
    }

    #[test]
    fn integers_too_large_for_decimals_are_exact() {
        let (mut arena, mut layout) = (Arena::default(), 0);
        for value in [i64::MAX, i64::MIN, i64::MAX, 5] {
            add(&mut layout, 1, 0, false, value as u64, &mut arena);
        }
        let sum = Sum::of(Layout::load(layout).unwrap(), 0, &arena);
        assert_eq!(sum.integer(), i128::from(i64::MAX) + 4);
        assert_eq!(sum.doubles().0.hi, i64::MAX as f64);
    }
}
