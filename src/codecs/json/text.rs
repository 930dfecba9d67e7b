//! JSON strings, eight bytes at a time.

use super::bytes::byte;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The highest bits of those of eight bytes that are a quote, a backslash, a control character or beyond ASCII, up to the first of them; those of later
/// ones may be wrong.
///
/// A borrow in the subtractions can only mark bytes above the lowest marked one, so the lowest is always right.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let (quote, slash) = (word ^ (LOW * u64::from(b'"')), word ^ (LOW * u64::from(b'\\')));
    let found = (quote.wrapping_sub(LOW) & !quote) | (slash.wrapping_sub(LOW) & !slash) | (word.wrapping_sub(LOW * 0x20) & !word) | word;
    found & HIGH
}

/// The first position from `at` of a quote, a backslash, a control character or a byte beyond ASCII; the end of `data` if there is none.
#[inline]
fn special(data: &[u8], mut at: usize) -> usize {
    while let Some(window) = data.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = marks(u64::from_le_bytes(*window));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < data.len() && !matches!(data[at], b'"' | b'\\' | 0..0x20 | 0x80..) {
        at += 1;
    }
    at
}

/// The plain string of up to 15 bytes that `rest` begins with: its length, and the sixteen bytes that begin with it. `None` where what stands there is
/// none, or too near to the end.
#[inline(always)]
pub(super) fn short_string(rest: &[u8]) -> Option<(usize, &[u8; 16])> {
    let [quote, text @ ..] = rest.first_chunk::<17>()?;
    let (first, second) = (text.first_chunk::<8>()?, text.last_chunk::<8>()?);
    let mut length = 0;
    let mut word = u64::from_le_bytes(*first);
    let mut found = marks(word);
    if found == 0 {
        length = 8;
        word = u64::from_le_bytes(*second);
        found = marks(word);
    }
    // Of no mark there are 64 trailing zeros, and the byte at the end of the word is no quote.
    let at = found.trailing_zeros() & 56;
    (*quote == b'"' && found != 0 && (word >> at) as u8 == b'"').then_some((length + (at / 8) as usize, text))
}

/// The bytes of the string without escapes that begins with the quote at `at`, which are UTF-8, and the position behind it.
#[inline]
pub(super) fn plain_string(data: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if byte(data, at) != b'"' {
        return None;
    }
    let end = special(data, at + 1);
    if byte(data, end) == b'"' {
        return Some((data.get(at + 1..end)?, end + 1));
    }
    beyond_ascii(data, at, end)
}

/// `plain_string` for a string that has something special at `end`: only bytes beyond ASCII will do, and they are checked.
#[cold]
fn beyond_ascii(data: &[u8], at: usize, mut end: usize) -> Option<(&[u8], usize)> {
    while byte(data, end) >= 0x80 {
        end = special(data, end + 1);
    }
    if byte(data, end) != b'"' {
        return None;
    }
    let text = data.get(at + 1..end)?;
    std::str::from_utf8(text).ok().map(|_| (text, end + 1))
}

/// Appends the string that begins with the quote at `at`, escapes resolved; returns the position behind it.
#[cold]
pub(super) fn escaped_string(data: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    if byte(data, at) != b'"' {
        return None;
    }
    let (mut at, begin) = (at + 1, out.len());
    loop {
        let stop = special(data, at);
        out.extend_from_slice(data.get(at..stop)?);
        at = stop + 1;
        match byte(data, stop) {
            b'"' => break,
            b'\\' => {
                at += 1;
                out.push(match byte(data, stop + 1) {
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'f' => 12,
                    b'r' => b'\r',
                    plain @ (b'"' | b'\\' | b'/') => plain,
                    b'u' => {
                        let (letter, behind) = unicode(data, at)?;
                        at = behind;
                        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                        continue;
                    }
                    _ => return None,
                });
            }
            beyond @ 0x80.. => out.push(beyond),
            _ => return None,
        }
    }
    std::str::from_utf8(out.get(begin..)?).ok().map(|_| at)
}

/// The character whose four hexadecimal digits begin at `at`, with its second half if it is a surrogate pair, and the position behind.
fn unicode(data: &[u8], at: usize) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = data.get(at..at + 4)?;
        digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
    };
    let high = unit(at)?;
    if !(0xD800..0xDC00).contains(&high) {
        return char::from_u32(high).map(|letter| (letter, at + 4));
    }
    if (byte(data, at + 4), byte(data, at + 5)) != (b'\\', b'u') {
        return None;
    }
    let low = unit(at + 6)?;
    if !(0xDC00..0xE000).contains(&low) {
        return None;
    }
    char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)).map(|letter| (letter, at + 10))
}
