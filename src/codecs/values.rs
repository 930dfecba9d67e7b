//! Values from text: the one reading of numbers, decimals, dates, timestamps and base64 that JSON and CSV share (S5.1).
//!
//! Nothing here rounds except floats (correctly, as `str::parse`) and timestamps finer than a microsecond (towards the past). Days are counted from the
//! civil calendar as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use crate::data::{DeclaredColumn, LogicalType, TimestampUnit};

/// A type as a pipeline file spells it.
pub fn type_name(kind: &LogicalType) -> String {
    match kind {
        LogicalType::Bool => "bool".into(),
        LogicalType::Int32 => "int32".into(),
        LogicalType::Int64 => "int64".into(),
        LogicalType::Float32 => "float32".into(),
        LogicalType::Float64 => "float64".into(),
        LogicalType::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
        LogicalType::String => "string".into(),
        LogicalType::Bytes => "bytes".into(),
        LogicalType::Date => "date".into(),
        LogicalType::Timestamp(TimestampUnit::Second) => "timestamp_s".into(),
        LogicalType::Timestamp(TimestampUnit::Millisecond) => "timestamp_ms".into(),
        LogicalType::Timestamp(TimestampUnit::Microsecond) => "timestamp_us".into(),
        LogicalType::List(item) => format!("list of {}", type_name(&item.kind)),
        LogicalType::Struct(_) => "struct".into(),
    }
}

/// Why a number is no value of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberFault {
    /// Not a number in decimal notation.
    Malformed,
    /// It has more digits after the point than the column keeps.
    Inexact,
    /// Too large or too small for the type.
    Range,
}

impl NumberFault {
    /// In words, after "the number is".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Malformed => "not written in decimal notation",
            Self::Inexact => "more precise than the column's scale",
            Self::Range => "out of range",
        }
    }
}

/// `mantissa · 10^exponent`, exactly.
struct Scaled {
    mantissa: i128,
    exponent: i64,
}

/// Reads a decimal number with optional sign, fraction and exponent. Zeros at either end do not count towards the 38 digits.
fn scaled(text: &[u8]) -> Result<Scaled, NumberFault> {
    let (negative, unsigned) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mut mantissa, mut zeros, mut fraction, mut digits) = (0i128, 0u32, 0i64, 0usize);
    let mut after_point = false;
    let mut exponent = 0i64;
    for (index, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                fraction += i64::from(after_point);
                let digit = i128::from(byte - b'0');
                if digit == 0 {
                    zeros = zeros.saturating_add(u32::from(mantissa != 0));
                    continue;
                }
                if mantissa != 0 {
                    let factor = 10i128.checked_pow(zeros.saturating_add(1)).ok_or(NumberFault::Range)?;
                    mantissa = mantissa.checked_mul(factor).ok_or(NumberFault::Range)?;
                }
                zeros = 0;
                mantissa = mantissa.checked_add(digit).ok_or(NumberFault::Range)?;
            }
            b'.' if !after_point => after_point = true,
            b'e' | b'E' if digits > 0 => {
                exponent = whole_exponent(&unsigned[index + 1..])?;
                break;
            }
            _ => return Err(NumberFault::Malformed),
        }
    }
    if digits == 0 {
        return Err(NumberFault::Malformed);
    }
    let exponent = exponent.saturating_sub(fraction).saturating_add(i64::from(zeros));
    Ok(Scaled { mantissa: if negative { -mantissa } else { mantissa }, exponent })
}

/// The integer behind `e`, held within ±1e9.
fn whole_exponent(text: &[u8]) -> Result<i64, NumberFault> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Malformed);
    }
    Ok(sign * digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000_000)))
}

/// `value · 10^power`, if it fits.
fn raise(value: i128, power: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    10i128.checked_pow(u32::try_from(power).ok()?)?.checked_mul(value)
}

/// A `decimal(precision, scale)` as the integer that Arrow holds.
pub(super) fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, NumberFault> {
    let number = scaled(text)?;
    let power = number.exponent.saturating_add(i64::from(scale));
    if power < 0 && number.mantissa != 0 {
        return Err(NumberFault::Inexact);
    }
    let value = raise(number.mantissa, power.max(0)).ok_or(NumberFault::Range)?;
    let bound = 10i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if value.abs() < bound { Ok(value) } else { Err(NumberFault::Range) }
}

/// An epoch number in `unit` as UTC microseconds; fractions are kept to the microsecond, rounded towards the past.
pub(super) fn timestamp_number(text: &[u8], unit: TimestampUnit) -> Result<i64, NumberFault> {
    let number = scaled(text)?;
    let shift = match unit {
        TimestampUnit::Second => 6,
        TimestampUnit::Millisecond => 3,
        TimestampUnit::Microsecond => 0,
    };
    let power = number.exponent.saturating_add(shift);
    let micros = if power >= 0 {
        raise(number.mantissa, power).ok_or(NumberFault::Range)?
    } else {
        match raise(1, -power) {
            Some(divisor) => number.mantissa.div_euclid(divisor),
            None => -i128::from(number.mantissa < 0),
        }
    };
    i64::try_from(micros).map_err(|_| NumberFault::Range)
}

/// An integer: digits with an optional sign, nothing else.
pub(super) fn integer(text: &[u8]) -> Result<i64, NumberFault> {
    let digits = match text {
        [b'-' | b'+', rest @ ..] => rest,
        rest => rest,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberFault::Malformed);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(NumberFault::Range)
}

/// Whether `text` is a number in decimal notation: no names, no hexadecimal, at least one digit.
pub(super) fn is_number(text: &[u8]) -> bool {
    text.iter().any(u8::is_ascii_digit) && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// A float64, correctly rounded; a number that float64 cannot hold is out of range.
pub(super) fn float64(text: &[u8]) -> Result<f64, NumberFault> {
    let value: f64 = number_text(text)?.parse().map_err(|_| NumberFault::Malformed)?;
    if value.is_finite() { Ok(value) } else { Err(NumberFault::Range) }
}

/// A float32, rounded once from the text.
pub(super) fn float32(text: &[u8]) -> Result<f32, NumberFault> {
    let value: f32 = number_text(text)?.parse().map_err(|_| NumberFault::Malformed)?;
    if value.is_finite() { Ok(value) } else { Err(NumberFault::Range) }
}

/// The text of a number.
fn number_text(text: &[u8]) -> Result<&str, NumberFault> {
    if is_number(text) { std::str::from_utf8(text).map_err(|_| NumberFault::Malformed) } else { Err(NumberFault::Malformed) }
}

/// Days from 1970-01-01 of a day of the proleptic Gregorian calendar; `None` if there is no such day.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// `count` decimal digits at the front of `text`, and the rest.
#[inline]
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (head, tail) = text.split_at_checked(count)?;
    let mut value = 0i64;
    for byte in head {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some((value, tail))
}

/// The rest of `text` behind `byte`.
#[inline]
fn behind(text: &[u8], byte: u8) -> Option<&[u8]> {
    match text {
        [first, rest @ ..] if *first == byte => Some(rest),
        _ => None,
    }
}

/// `YYYY-MM-DD` at the front of `text` as days from 1970, and the rest.
fn leading_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, text) = digits(text, 4)?;
    let (month, text) = digits(behind(text, b'-')?, 2)?;
    let (day, text) = digits(behind(text, b'-')?, 2)?;
    Some((days(year, month, day)?, text))
}

/// A date `YYYY-MM-DD` as days from 1970-01-01.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    match leading_date(text)? {
        (days, []) => i32::try_from(days).ok(),
        _ => None,
    }
}

/// RFC 3339 text as UTC microseconds; without an offset it is UTC, `T` may be a space, digits beyond microseconds are dropped.
pub(super) fn timestamp(text: &[u8]) -> Option<i64> {
    let (days, text) = leading_date(text)?;
    let text = match text {
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return None,
    };
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(behind(text, b':')?, 2)?;
    let (second, mut text) = digits(behind(text, b':')?, 2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = 0i64;
    if let Some(fraction) = behind(text, b'.') {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + fraction[..count].get(place).map_or(0, |digit| i64::from(digit - b'0'));
        }
        text = &fraction[count..];
    }
    let offset = match text {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, rest) = digits(rest, 2)?;
            let (minutes, rest) = digits(behind(rest, b':')?, 2)?;
            if hours > 23 || minutes > 59 || !rest.is_empty() {
                return None;
            }
            (if *sign == b'-' { -60 } else { 60 }) * (hours * 60 + minutes)
        }
        _ => return None,
    };
    Some((((days * 24 + hour) * 60 + minute) * 60 + second - offset) * 1_000_000 + micros)
}

/// Appends the bytes that `text` spells in base64 (RFC 4648 §4, padded, canonical); `false`, with nothing appended, if it is none.
pub(super) fn base64(text: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let decoded = text.len().is_multiple_of(4) && decode_base64(text, out).is_some();
    if !decoded {
        out.truncate(before);
    }
    decoded
}

fn decode_base64(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let groups = text.len() / 4;
    for (index, group) in text.chunks_exact(4).enumerate() {
        let padding = if index + 1 == groups { group.iter().rev().take_while(|byte| **byte == b'=').count() } else { 0 };
        if padding > 2 {
            return None;
        }
        let mut bits = 0u32;
        for byte in &group[..4 - padding] {
            bits = bits << 6 | sextet(*byte)?;
        }
        bits <<= 6 * padding as u32;
        let bytes = bits.to_be_bytes();
        let used = 3 - padding;
        if bytes[1 + used..].iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(&bytes[1..1 + used]);
    }
    Some(())
}

/// The six bits of a base64 digit.
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// Whether a number lies within the declared bounds of its column.
#[inline]
pub(super) fn in_bounds(column: &DeclaredColumn, value: f64) -> bool {
    column.minimum.is_none_or(|minimum| value >= minimum) && column.maximum.is_none_or(|maximum| value <= maximum)
}

/// Whether a text is among the declared values of its column.
#[inline]
pub(super) fn is_allowed(column: &DeclaredColumn, text: &str) -> bool {
    column.allowed.is_empty() || column.allowed.iter().any(|allowed| allowed == text)
}

/// A decimal as a float, for comparing with bounds.
pub(super) fn decimal_as_float(value: i128, scale: i8) -> f64 {
    let mut power = 1.0f64;
    for _ in 0..scale.max(0) {
        power *= 10.0;
    }
    value as f64 / power
}

/// What is wrong with a value outside its bounds, in words.
pub(super) fn bounds_in_words(column: &DeclaredColumn) -> String {
    match (column.minimum, column.maximum) {
        (Some(minimum), Some(maximum)) => format!("outside {minimum} to {maximum}"),
        (Some(minimum), None) => format!("below the minimum {minimum}"),
        (None, Some(maximum)) => format!("above the maximum {maximum}"),
        (None, None) => "outside its bounds".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_timestamps_agree_with_chrono() {
        let mut day = chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap();
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        while day < chrono::NaiveDate::from_ymd_opt(9999, 1, 1).unwrap() {
            assert_eq!(date(day.to_string().as_bytes()).map(i64::from), Some((day - epoch).num_days()), "{day}");
            day = day.checked_add_days(chrono::Days::new(97)).unwrap();
        }
        for text in ["2001-02-29", "2001-13-01", "2001-00-01", "2001-01-00", "2001-1-01", "01-01-2001", "2001-01-01T", ""] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
        for text in
            ["2024-02-29T23:59:59Z", "2024-02-29t23:59:59.5+05:30", "1969-12-31 23:59:59.999999-08:00", "2024-01-01T00:00:00.123456789Z"]
        {
            let expected = chrono::DateTime::parse_from_rfc3339(&text.replace(' ', "T")).unwrap().timestamp_micros();
            assert_eq!(timestamp(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(timestamp(b"1970-01-01T00:00:01"), Some(1_000_000));
        for text in [
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+0100",
            "yesterday",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, value) in [
            ("12.34", 1234),
            ("-0.5", -50),
            ("1e2", 10_000),
            ("0.0100", 1),
            ("1200e-2", 1200),
            ("0", 0),
            ("-0.000", 0),
            ("0e999999999999", 0),
        ] {
            assert_eq!(decimal(text.as_bytes(), 10, 2), Ok(value), "{text}");
        }
        assert_eq!(decimal(b"0.001", 10, 2), Err(NumberFault::Inexact));
        assert_eq!(decimal(b"100000000", 10, 2), Err(NumberFault::Range));
        assert_eq!(decimal(b"1e999999999999", 38, 0), Err(NumberFault::Range));
        assert_eq!(decimal(b"99999999999999999999999999999999999999", 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(decimal(b"1..2", 10, 2), Err(NumberFault::Malformed));
    }

    #[test]
    fn epoch_numbers_keep_microseconds() {
        assert_eq!(timestamp_number(b"1700000000", TimestampUnit::Second), Ok(1_700_000_000_000_000));
        assert_eq!(timestamp_number(b"1700000000.1234567", TimestampUnit::Second), Ok(1_700_000_000_123_456));
        assert_eq!(timestamp_number(b"-0.0000001", TimestampUnit::Second), Ok(-1));
        assert_eq!(timestamp_number(b"1.7e12", TimestampUnit::Millisecond), Ok(1_700_000_000_000_000));
        assert_eq!(timestamp_number(b"9223372036854775808", TimestampUnit::Microsecond), Err(NumberFault::Range));
        assert_eq!(timestamp_number(b"-1e-99", TimestampUnit::Second), Ok(-1));
    }

    #[test]
    fn base64_is_strict() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("Zm9vYg==", b"foob"), ("/+8=", b"\xff\xef")]
        {
            let mut out = b"x".to_vec();
            assert!(base64(text.as_bytes(), &mut out), "{text}");
            assert_eq!(&out[1..], bytes);
        }
        for text in ["Zg", "Zg=", "Zh==", "Zg==Zg==", "====", "Z===", "Zm 9", "Zm9v\n"] {
            let mut out = b"x".to_vec();
            assert!(!base64(text.as_bytes(), &mut out), "{text}");
            assert_eq!(out, b"x");
        }
    }
}
