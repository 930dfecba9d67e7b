//! JSON numbers in one pass: digits gathered as they are scanned, floats correctly rounded. The usual shapes, integers of up to 15 digits and decimals
//! of up to 18, are read eight digits at a time (D. Lemire, "Number Parsing at a Gigabyte per Second", SPE 2021, §4), all others digit by digit.
//!
//! Floats with at most 2^53 as digits and a power of ten within ±22 take one exact multiplication or division (W. D. Clinger, "How to Read Floating
//! Point Numbers Accurately", PLDI 1990); all others go through `str::parse`.

use super::bytes::{byte, word};

/// A number as scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    negative: bool,
    /// All digits as an integer; only exact if `digits` ≤ 19.
    mantissa: u64,
    /// Digits gathered, leading zeros included.
    digits: usize,
    /// Power of ten.
    exponent: i32,
    /// Whether there is neither fraction nor exponent.
    whole: bool,
    /// First byte.
    pub start: usize,
    /// Byte behind the last.
    pub end: usize,
}

const POWERS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];
const POWERS_32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

const TENS: [u64; 20] = {
    let mut tens = [1; 20];
    let mut power = 1;
    while power < 20 {
        tens[power] = tens[power - 1] * 10;
        power += 1;
    }
    tens
};

/// How many of the eight bytes of `values`, lowest first, are values of digits up to the first that is none. A carry can only touch bytes above the lowest
/// that is no digit, so that one is always right.
#[inline(always)]
fn leading_digits(values: u64) -> usize {
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    (others.trailing_zeros() / 8) as usize
}

/// The number that the first `count` of eight digits spell, eight at a time: pairs, then fours, then all.
#[inline(always)]
fn number_of(values: u64, count: usize) -> u64 {
    // Leading zeros in place of what does not count; in two steps, as there may be nothing that counts.
    let half = 32 - 4 * count as u32;
    let values = values << half << half;
    let pairs = (values.wrapping_mul(10).wrapping_add(values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff
}

/// The digits that begin at `at` as a number, and how many they are; 16 stands for 16 or more.
#[inline(always)]
fn run(data: &[u8], at: usize) -> (u64, usize) {
    let first = word(data, at) ^ ZEROS;
    let count = leading_digits(first);
    let value = number_of(first, count);
    if count < 8 {
        return (value, count);
    }
    let second = word(data, at + 8) ^ ZEROS;
    let more = leading_digits(second);
    (value * TENS[more] + number_of(second, more), 8 + more)
}

/// The character '0' eight times.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Whether a value can end before this byte: what follows one in an object without white space, or in an array.
#[inline(always)]
fn ends_value(byte: u8) -> bool {
    byte == b',' || byte == b'}'
}

/// A sign, fifteen digits and what ends them, at least.
type Window = [u8; 18];

/// Eight bytes of the window from `at`, which is at most 10, as values of digits where they are digits.
#[inline(always)]
fn values_at(window: &Window, at: usize) -> u64 {
    window.get(at..).and_then(|rest| rest.first_chunk::<8>()).map_or(ZEROS, |bytes| u64::from_le_bytes(*bytes) ^ ZEROS)
}

/// The integer that `rest` begins with and its length, for the usual: up to 15 digits and a comma or a brace. `None` for all else.
#[inline(always)]
pub(super) fn short_integer(rest: &[u8]) -> Option<(i64, usize)> {
    let window: &Window = rest.first_chunk()?;
    let sign = usize::from(window[0] == b'-');
    let first = values_at(window, sign);
    let mut count = leading_digits(first);
    let mut value = number_of(first, count);
    if count == 8 {
        let second = values_at(window, sign + 8);
        let more = leading_digits(second);
        value = value * TENS[more] + number_of(second, more);
        count += more;
    }
    let length = sign + count;
    let starts_with_zero = first as u8 == 0 && count > 1;
    if count == 0 || count == 16 || starts_with_zero || !ends_value(window[length]) {
        return None;
    }
    Some((if sign == 1 { -(value as i64) } else { value as i64 }, length))
}

/// The nearest float64 to the number that `rest` begins with and its length, for the usual: fewer than eight digits with a point among them and a comma or
/// a brace. `None` for all else.
#[inline(always)]
pub(super) fn short_float64(rest: &[u8]) -> Option<(f64, usize)> {
    let window: &Window = rest.first_chunk()?;
    let sign = usize::from(window[0] == b'-');
    let first = values_at(window, sign);
    let whole = leading_digits(first);
    // The digits before the point and those behind it as one number: what stands behind the point moves to its place.
    let before = (1u64 << ((8 * whole) & 63)) - 1;
    let digits = (first & before) | (first >> 8 & !before) | 0xff << 56;
    let count = leading_digits(digits);
    let (places, length) = (count.wrapping_sub(whole), sign + count + 1);
    let plain = whole != 0 && whole < count && (first as u8 != 0 || whole == 1) && (first >> ((8 * whole) & 63)) as u8 == b'.' ^ b'0';
    if !plain || !ends_value(window[length]) {
        return None;
    }
    // Below 10^7 over a power of ten: one exact division.
    let value = number_of(digits, count) as i64 as f64 / POWERS[places & 7];
    Some((if sign == 1 { -value } else { value }, length))
}

/// The integer at `at` and the position behind it; `None` if what stands there is none, or does not fit.
#[inline(always)]
pub(super) fn integer(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = byte(data, at) == b'-';
    let first = at + usize::from(negative);
    let (value, count) = run(data, first);
    let end = first + count;
    if count >= 16 {
        return scan(data, at).and_then(|number| Some((number.integer()?, number.end)));
    }
    if count == 0 || (count > 1 && byte(data, first) == b'0') || matches!(byte(data, end), b'.' | b'e' | b'E') {
        return None;
    }
    Some((if negative { -(value as i64) } else { value as i64 }, end))
}

/// The nearest float64 to the number at `at` and the position behind it; `None` if what stands there is none, or beyond the range.
#[inline(always)]
pub(super) fn float64(data: &[u8], at: usize) -> Option<(f64, usize)> {
    let negative = byte(data, at) == b'-';
    let first = at + usize::from(negative);
    let (whole, count) = run(data, first);
    let mut end = first + count;
    let (mut mantissa, mut places) = (whole, 0);
    if byte(data, end) == b'.' {
        let (fraction, digits) = run(data, end + 1);
        if digits == 0 || digits >= 16 || count + digits > 18 {
            return slow_float64(data, at);
        }
        mantissa = whole * TENS[digits] + fraction;
        places = digits;
        end += 1 + digits;
    }
    let plain = count != 0 && count < 16 && (count == 1 || byte(data, first) != b'0') && mantissa <= 1 << 53;
    if !plain || matches!(byte(data, end), b'e' | b'E') {
        return slow_float64(data, at);
    }
    let value = mantissa as i64 as f64 / POWERS[places];
    Some((if negative { -value } else { value }, end))
}

#[cold]
fn slow_float64(data: &[u8], at: usize) -> Option<(f64, usize)> {
    let number = scan(data, at)?;
    Some((number.float64(data)?, number.end))
}

/// The value of the digit at `at`, or more than 9.
#[inline(always)]
fn digit(data: &[u8], at: usize) -> u8 {
    data.get(at).map_or(255, |byte| byte.wrapping_sub(b'0'))
}

/// Scans the number that begins at `start`; `None` if JSON's grammar has none there.
#[inline]
pub(super) fn scan(data: &[u8], start: usize) -> Option<Number> {
    let negative = data.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let mut at = first;
    let mut mantissa = 0u64;
    loop {
        let value = digit(data, at);
        if value > 9 {
            break;
        }
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(value));
        at += 1;
    }
    let mut digits = at - first;
    if digits == 0 || (digits > 1 && data.get(first) == Some(&b'0')) {
        return None;
    }
    let (mut exponent, mut whole) = (0i32, true);
    if data.get(at) == Some(&b'.') {
        whole = false;
        at += 1;
        let fraction = at;
        loop {
            let value = digit(data, at);
            if value > 9 {
                break;
            }
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(value));
            at += 1;
        }
        if at == fraction {
            return None;
        }
        digits += at - fraction;
        exponent = -(i32::try_from(at - fraction).ok()?);
    }
    if matches!(data.get(at), Some(b'e' | b'E')) {
        whole = false;
        at += 1;
        let minus = data.get(at) == Some(&b'-');
        at += usize::from(matches!(data.get(at), Some(b'-' | b'+')));
        let first = at;
        let mut power = 0i32;
        loop {
            let value = digit(data, at);
            if value > 9 {
                break;
            }
            power = (power * 10 + i32::from(value)).min(99_999_999);
            at += 1;
        }
        if at == first {
            return None;
        }
        exponent = exponent.saturating_add(if minus { -power } else { power });
    }
    Some(Number { negative, mantissa, digits, exponent, whole, start, end: at })
}

impl Number {
    /// The integer it is; `None` if it is not written as one or does not fit.
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        if !self.whole || self.digits > 19 {
            return None;
        }
        if self.negative { 0i64.checked_sub_unsigned(self.mantissa) } else { i64::try_from(self.mantissa).ok() }
    }

    /// The nearest float64; `None` beyond its range.
    #[inline]
    pub fn float64(&self, data: &[u8]) -> Option<f64> {
        if self.digits <= 19 && self.mantissa <= 1 << 53 && (-22..=22).contains(&self.exponent) {
            let value = self.mantissa as f64;
            let power = POWERS[self.exponent.unsigned_abs() as usize];
            let value = if self.exponent < 0 { value / power } else { value * power };
            return Some(if self.negative { -value } else { value });
        }
        super::super::float64(data.get(self.start..self.end)?).ok()
    }

    /// The nearest float32; `None` beyond its range.
    #[inline]
    pub fn float32(&self, data: &[u8]) -> Option<f32> {
        if self.digits <= 19 && self.mantissa <= 1 << 24 && (-10..=10).contains(&self.exponent) {
            let value = self.mantissa as f32;
            let power = POWERS_32[self.exponent.unsigned_abs() as usize];
            let value = if self.exponent < 0 { value / power } else { value * power };
            return Some(if self.negative { -value } else { value });
        }
        super::super::float32(data.get(self.start..self.end)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    #[test]
    fn floats_equal_std_for_every_shape_of_number() {
        let mut random = ChaCha8Rng::from_seed([3; 32]);
        let mut texts: Vec<String> =
            ["0", "-0", "0.0", "-0.0", "1e22", "1e23", "9007199254740993", "9007199254740992", "1e-323", "2.2250738585072011e-308"]
                .map(String::from)
                .to_vec();
        texts.extend(
            ["1.7976931348623157e308", "0.1", "123456789012345678901234567890", "8.5e-2", "16777217", "3.4028235e38", "1e-46"]
                .map(String::from),
        );
        for _ in 0..20_000 {
            let whole = random.next_u64() >> (random.next_u32() % 64);
            let mut text = format!("{}{whole}", if random.next_u32() % 2 == 0 { "-" } else { "" });
            if random.next_u32() % 3 > 0 {
                text.push_str(&format!(
                    ".{:0width$}",
                    random.next_u64() >> (random.next_u32() % 64),
                    width = (random.next_u32() % 24) as usize
                ));
            }
            if random.next_u32() % 4 == 0 {
                text.push_str(&format!("e{}", (random.next_u32() % 700) as i32 - 350));
            }
            texts.push(text);
        }
        for text in texts {
            let number = scan(text.as_bytes(), 0).unwrap();
            assert_eq!(number.end, text.len(), "{text}");
            let expected: f64 = text.parse().unwrap();
            assert_eq!(number.float64(text.as_bytes()).map(f64::to_bits), expected.is_finite().then_some(expected.to_bits()), "{text}");
            let expected: f32 = text.parse().unwrap();
            assert_eq!(number.float32(text.as_bytes()).map(f32::to_bits), expected.is_finite().then_some(expected.to_bits()), "{text}");
            assert_eq!(number.integer(), text.parse::<i64>().ok(), "{text}");
            for tail in ["", ",", "}          ", ",\"a\":1234567890123456}", "\n123456789"] {
                let data = format!("{text}{tail}");
                let quick = float64(data.as_bytes(), 0).map(|(value, end)| (value.to_bits(), end));
                assert_eq!(quick, number.float64(text.as_bytes()).map(|value| (value.to_bits(), text.len())), "{data}");
                assert_eq!(integer(data.as_bytes(), 0), number.integer().map(|value| (value, text.len())), "{data}");
                if let Some((value, length)) = short_float64(data.as_bytes()) {
                    assert_eq!(Some((value.to_bits(), length)), quick, "{data}");
                }
                if let Some(short) = short_integer(data.as_bytes()) {
                    assert_eq!(Some(short), integer(data.as_bytes(), 0), "{data}");
                }
            }
        }
    }

    #[test]
    fn what_most_numbers_look_like_is_short() {
        for (text, value) in [("0", 0), ("7", 7), ("-12345678", -12_345_678), ("999999999999999", 999_999_999_999_999)] {
            assert_eq!(short_integer(format!("{text},\"a\":\"some more text\"").as_bytes()), Some((value, text.len())), "{text}");
        }
        for text in ["0.5", "-0.0", "20.25", "-1234.567", "123456.7", "1.234567"] {
            let value: f64 = text.parse().unwrap();
            let found = short_float64(format!("{text}}}\n{{\"a\":\"some more text\"").as_bytes());
            assert_eq!(found.map(|(value, length)| (value.to_bits(), length)), Some((value.to_bits(), text.len())), "{text}");
        }
        for text in ["01", "-", "1234567890123456", "1 ", "1.", ".5", "01.5", "1.5e3", "1..5", "12345678.5", "1.5-", "1-5"] {
            let data = format!("{text},\"a\":\"some more text\"");
            assert_eq!((short_integer(data.as_bytes()), short_float64(data.as_bytes())), (None, None), "{text}");
        }
    }

    #[test]
    fn the_grammar_is_that_of_json() {
        for text in ["", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+", "NaN", "Infinity", "0x10"] {
            assert!(scan(text.as_bytes(), 0).is_none_or(|number| number.end < text.len()), "{text}");
            assert!(float64(text.as_bytes(), 0).is_none_or(|(_, end)| end < text.len()), "{text}");
            assert!(integer(text.as_bytes(), 0).is_none_or(|(_, end)| end < text.len()), "{text}");
        }
    }
}
