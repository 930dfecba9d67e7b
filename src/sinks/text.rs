//! JSON text of single values, appended to a byte buffer without allocating.
//!
//! Integers through `itoa`, floats in the shortest form that reads back equal through `zmij` (Schubfach, R. Giulietti 2020; S13.3). Dates use
//! the proleptic Gregorian calendar by Howard Hinnant's `civil_from_days`.

use crate::data::{append_part, append_short};

/// Appends an integer in decimal.
#[inline]
pub(crate) fn integer<I: itoa::Integer>(out: &mut Vec<u8>, value: I) {
    append_short(out, itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a finite double in its shortest form; `false`, with `null` appended, if it is not finite (S13.3).
#[inline]
pub(crate) fn float64(out: &mut Vec<u8>, value: f64) -> bool {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return false;
    }
    append_short(out, zmij::Buffer::new().format_finite(value).as_bytes());
    true
}

/// The same for a single: the shortest form that reads back equal as a single.
#[inline]
pub(crate) fn float32(out: &mut Vec<u8>, value: f32) -> bool {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return false;
    }
    append_short(out, zmij::Buffer::new().format_finite(value).as_bytes());
    true
}

/// Appends a decimal exactly: `unscaled / 10^scale`, with `scale` digits after the point (a negative scale appends zeros).
pub(crate) fn decimal(out: &mut Vec<u8>, unscaled: i128, scale: i8) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(unscaled.unsigned_abs()).as_bytes();
    if scale <= 0 {
        out.extend_from_slice(digits);
        if unscaled != 0 {
            out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs())));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', scale - digits.len()));
        out.extend_from_slice(digits);
    }
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[inline]
fn two(out: &mut Vec<u8>, value: u8) {
    out.extend_from_slice(&[b'0' + value / 10, b'0' + value % 10]);
}

/// Appends `YYYY-MM-DD`, without quotes. Years outside 0..=9999 get a sign and as many digits as they need (ISO 8601 expanded).
pub(crate) fn date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil(days);
    if (0..=9_999).contains(&year) {
        two(out, (year / 100) as u8);
        two(out, (year % 100) as u8);
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let year = year.unsigned_abs();
        if year < 10_000 {
            two(out, (year / 100) as u8);
            two(out, (year % 100) as u8);
        } else {
            integer(out, year);
        }
    }
    out.push(b'-');
    two(out, month);
    out.push(b'-');
    two(out, day);
}

/// Appends an instant as RFC 3339 in UTC with 0, 3, 6 or 9 digits after the second, as few as are exact; without quotes.
/// `per_second` is the number of units in a second: 1, 10^3, 10^6 or 10^9.
pub(crate) fn instant(out: &mut Vec<u8>, units: i64, per_second: i64) {
    let seconds = units.div_euclid(per_second);
    let nanos = units.rem_euclid(per_second) * (1_000_000_000 / per_second);
    date(out, seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    out.push(b'T');
    two(out, (of_day / 3_600) as u8);
    out.push(b':');
    two(out, (of_day / 60 % 60) as u8);
    out.push(b':');
    two(out, (of_day % 60) as u8);
    if nanos != 0 {
        let (mut left, digits) = match (nanos % 1_000_000, nanos % 1_000) {
            (0, _) => (nanos / 1_000_000, 3),
            (_, 0) => (nanos / 1_000, 6),
            _ => (nanos, 9),
        };
        let mut text = *b".000000000";
        for place in (1..=digits).rev() {
            text[place] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        out.extend_from_slice(&text[..=digits]);
    }
    out.push(b'Z');
}

/// How a byte is escaped inside a JSON string: 0 = as it is, `u` = `\u00XX`, else the letter after the backslash.
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Eight spaces.
const SPACES: u64 = 0x2020_2020_2020_2020;

/// Whether one of eight bytes has to be escaped inside a JSON string. A borrow in the subtractions can only mark more bytes where one is marked already.
#[inline(always)]
fn has_escape(word: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (quote, slash) = (word ^ (LOW * u64::from(b'"')), word ^ (LOW * u64::from(b'\\')));
    let found = (quote.wrapping_sub(LOW) & !quote) | (slash.wrapping_sub(LOW) & !slash) | (word.wrapping_sub(LOW * 0x20) & !word);
    found & HIGH != 0
}

/// Appends a JSON string with its quotes.
#[inline]
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    string_part(out, text.as_bytes(), 0, text.len());
}

/// The same for the text that is `data[start..end]`; fastest where `data` goes on behind `end`.
#[inline]
pub(crate) fn string_part(out: &mut Vec<u8>, data: &[u8], start: usize, end: usize) {
    let text = &data[start..end];
    let (words, rest) = text.as_chunks::<8>();
    let window = data.get(end - rest.len()..).and_then(|rest| rest.first_chunk::<8>());
    // The last bytes as a word: with spaces, which need no escape, in place of what stands behind them; or with those before them; or behind spaces.
    let last = match (rest, window, text.last_chunk::<8>()) {
        ([], ..) => SPACES,
        (_, Some(window), _) => {
            let counts = !0 >> (64 - 8 * rest.len());
            (u64::from_le_bytes(*window) & counts) | (SPACES & !counts)
        }
        (_, None, Some(last)) => u64::from_le_bytes(*last),
        _ => rest.iter().fold(SPACES, |word, byte| word << 8 | u64::from(*byte)),
    };
    if has_escape(last) || words.iter().any(|word| has_escape(u64::from_le_bytes(*word))) {
        return escaped(out, text);
    }
    out.push(b'"');
    append_part(out, data, start, end);
    out.push(b'"');
}

/// Appends a JSON string in which something has to be escaped.
#[cold]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape = ESCAPE[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        if escape == b'u' {
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// Appends base64 (RFC 4648 §4, padded), without quotes.
pub(crate) fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            out.push(if place <= chunk.len() { ALPHABET[(group >> (18 - 6 * place) & 63) as usize] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn instants_print_the_digits_they_need_and_agree_with_chrono() {
        for t in
            [0, 1_500_000, -1, 1, 999_999, 951_782_400_000_000, -62_135_596_800_000_000, 253_402_300_799_999_999, 1_732_341_000_123_000]
        {
            let chrono = chrono::DateTime::from_timestamp_micros(t).unwrap().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            assert_eq!(text(|o| instant(o, t, 1_000_000)), chrono);
        }
        assert_eq!(text(|o| instant(o, 1, 1_000_000_000)), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(text(|o| instant(o, -1, 1)), "1969-12-31T23:59:59Z");
        assert_eq!(text(|o| date(o, 2_932_897)), "+10000-01-01");
        for t in [i64::MIN, i64::MAX] {
            assert!(text(|o| instant(o, t, 1)).ends_with('Z'));
        }
    }

    #[test]
    fn every_day_of_eight_centuries_agrees_with_chrono() {
        let first = chrono::NaiveDate::from_ymd_opt(1700, 1, 1).unwrap();
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for (index, day) in first.iter_days().take(292_194).enumerate() {
            let days = (first - epoch).num_days() + index as i64;
            let (year, month, of_month) = civil(days);
            use chrono::Datelike;
            assert_eq!((year, u32::from(month), u32::from(of_month)), (i64::from(day.year()), day.month(), day.day()));
        }
    }

    #[test]
    fn decimals_are_exact() {
        for (unscaled, scale, want) in
            [(12_345, 2, "123.45"), (-5, 2, "-0.05"), (0, 2, "0.00"), (7, 0, "7"), (7, -3, "7000"), (0, -3, "0"), (-100, 2, "-1.00")]
        {
            assert_eq!(text(|o| decimal(o, unscaled, scale)), want);
        }
        assert_eq!(text(|o| decimal(o, i128::MIN, 38)), "-1.70141183460469231731687303715884105728");
    }

    #[test]
    fn floats_read_back_equal_and_non_finite_ones_are_null() {
        for value in [0.0, -0.0, 0.1, 1e300, 5e-324, 1.0, 123_456_789.123, f64::MAX, 1e15, 1e16, 1e17, 1e-7] {
            let shown = text(|o| assert!(float64(o, value)));
            assert_eq!(serde_json::from_str::<f64>(&shown).unwrap().to_bits(), value.to_bits(), "{shown}");
        }
        assert_eq!(text(|o| assert!(float32(o, 0.1))), "0.1");
        assert_eq!(text(|o| assert!(!float64(o, f64::NAN))), "null");
        assert_eq!(text(|o| assert!(!float32(o, f32::INFINITY))), "null");
    }

    /// Significant digits and the power of ten of the first: what all spellings of a number share.
    fn digits(text: &str) -> (bool, String, i32) {
        let (negative, text) = (text.starts_with('-'), text.trim_start_matches('-'));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let zeros = all.len() - all.trim_start_matches('0').len();
        let power = exponent.parse::<i32>().unwrap() + whole.len() as i32 - 1 - zeros as i32;
        let significant = all.trim_matches('0').to_string();
        if significant.is_empty() { (negative, significant, 0) } else { (negative, significant, power) }
    }

    /// Whether a number has the digits that std gives it. Of two spellings as short and as near, either will do: then one digit more, a five, is the exact
    /// value, and as many digits are right.
    fn is_as_std(shown: &str, std: &str, exact: &str) -> bool {
        let (shown, std, exact) = (digits(shown), digits(std), digits(exact));
        shown == std
            || ((shown.0, shown.1.len(), shown.2) == (std.0, std.1.len(), std.2)
                && exact.1.len() == std.1.len() + 1
                && exact.1.ends_with('5'))
    }

    #[test]
    fn numbers_have_the_digits_that_std_prints() {
        use rand_chacha::ChaCha8Rng;
        use rand_chacha::rand_core::{RngCore, SeedableRng};
        let mut random = ChaCha8Rng::from_seed([5; 32]);
        for round in 0..60_000 {
            let bits = random.next_u64();
            let power = 10f64.powi((random.next_u32() % 12) as i32);
            let double = match round % 4 {
                0 => f64::from_bits(bits),
                1 => ((bits >> (random.next_u32() % 64)) as i64 >> 1) as f64 / power,
                2 => f64::from_bits(bits & 0x7FF << 52 | bits & 3) * if bits & 4 == 0 { 1.0 } else { -1.0 },
                _ => (bits % 2_000_000) as f64 / 100.0,
            };
            if double.is_finite() {
                let shown = text(|o| assert!(float64(o, double)));
                assert_eq!(shown.parse::<f64>().unwrap().to_bits(), double.to_bits(), "{shown}");
                assert!(is_as_std(&shown, &format!("{double:e}"), &format!("{double:.800e}")), "{shown}");
                assert_eq!(serde_json::to_string(&double).unwrap(), shown);
            }
            let single = if round % 2 == 0 { f32::from_bits(bits as u32) } else { (bits % 100_000) as f32 / 100.0 };
            if single.is_finite() {
                let shown = text(|o| assert!(float32(o, single)));
                assert_eq!(shown.parse::<f32>().unwrap().to_bits(), single.to_bits(), "{shown}");
                assert!(is_as_std(&shown, &format!("{single:e}"), &format!("{single:.200e}")), "{shown}");
            }
            let shift = random.next_u32() % 128;
            let wide = (i128::from(bits as i64) << 64 | i128::from(random.next_u64())) >> shift;
            assert_eq!(text(|o| integer(o, wide as i64)), format!("{}", wide as i64));
            assert_eq!(text(|o| integer(o, wide as u64)), format!("{}", wide as u64));
            assert_eq!(text(|o| integer(o, wide as i32)), format!("{}", wide as i32));
            let scale = (random.next_u32() % 39) as usize;
            let padded = format!("{:0>width$}", wide.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = padded.split_at(padded.len() - scale);
            let want = format!("{}{whole}{}{fraction}", if wide < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
            assert_eq!(text(|o| decimal(o, wide, scale as i8)), want);
        }
    }

    #[test]
    fn strings_escape_what_json_demands() {
        let all: String = (0..0x250u32).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        assert_eq!(serde_json::from_str::<String>(&text(|o| string(o, &all))).unwrap(), all);
        assert_eq!(text(|o| string(o, "a\"b\\\n\u{1}")), r#""a\"b\\\n\u0001""#);
        // Every byte at every place of texts of every length, alone and as a part of more.
        for length in 0..40 {
            for at in 0..length {
                for letter in (0..0x80u8).chain([0xc3]) {
                    let mut bytes = vec![b'a'; length];
                    bytes[at] = letter;
                    let shown = String::from_utf8_lossy(&bytes).into_owned();
                    let want = serde_json::to_string(&shown).unwrap();
                    assert_eq!(text(|o| string(o, &shown)), want);
                    let around = format!("\"{shown}\\ and more behind it");
                    assert_eq!(text(|o| string_part(o, around.as_bytes(), 1, 1 + shown.len())), want);
                }
            }
        }
    }

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (plain, want) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(text(|o| base64(o, plain.as_bytes())), want);
        }
    }
}
