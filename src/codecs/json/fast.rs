//! The fast path: one pass over a record, straight into the columns, betting that keys come as they came before.
//!
//! It succeeds only on records that the reference path accepts, and then appends the same row; in all other cases it returns `false` and leaves partial
//! values behind for the caller to take back. It never decides that a record is bad.

use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, append_part};

use super::super::{ColumnBuffer, RowBuffers, Values};
use super::super::{base64, date, decimal, decimal_as_float, in_bounds, is_allowed, timestamp, timestamp_number};
use super::Names;
use super::number;

/// Most entries of the template; beyond it the bet starts anew.
const MAX_SLOTS: usize = 64;
/// Longest run of bytes between values that is remembered.
const MAX_GAP: usize = 256;
/// Deepest nesting of unknown fields that is skipped here; deeper ones are for the reference path.
const MAX_SKIP: usize = 32;

/// The bytes between two values, as seen before: separator, key, colon and the white space around them.
struct Slot {
    bytes: Vec<u8>,
    /// The first 16 of `bytes` as a word, with a mask of what counts.
    word: u128,
    mask: u128,
    /// The last 16 of `bytes`, where they are as many.
    last: u128,
    /// Whether it begins the record (with `{` instead of `,`).
    first: bool,
    /// The declared column; `None` for an unknown field.
    column: Option<usize>,
}

impl Slot {
    fn new(bytes: &[u8], first: bool, column: Option<usize>) -> Self {
        let (mut word, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in bytes.iter().take(16).enumerate() {
            (word[at], mask[at]) = (*byte, u8::MAX);
        }
        let (word, mask) = (u128::from_le_bytes(word), u128::from_le_bytes(mask));
        let last = bytes.last_chunk::<16>().map_or(0, |last| u128::from_le_bytes(*last));
        Self { bytes: bytes.to_vec(), word, mask, last, first, column }
    }

    /// The position of the value behind these bytes, if they stand at `at`.
    #[inline(always)]
    fn behind(&self, data: &[u8], at: usize) -> Option<usize> {
        let rest = data.get(at..)?;
        let matches = match rest.first_chunk::<16>() {
            Some(window) => (u128::from_le_bytes(*window) ^ self.word) & self.mask == 0 && (self.bytes.len() <= 16 || self.ends(rest)),
            None => rest.starts_with(&self.bytes),
        };
        // One spacing may be the beginning of another.
        matches.then(|| skip_space(data, at + self.bytes.len()))
    }

    /// Whether `rest`, of which the first 16 bytes are right, begins with these bytes, which are more.
    fn ends(&self, rest: &[u8]) -> bool {
        match rest.get(self.bytes.len() - 16..).and_then(|rest| rest.first_chunk::<16>()) {
            Some(last) if self.bytes.len() <= 32 => u128::from_le_bytes(*last) == self.last,
            _ => rest.starts_with(&self.bytes),
        }
    }
}

/// What the fast path remembers between records. It changes speed, never results.
pub(super) struct Fast {
    template: Vec<Slot>,
    /// Whether the slots, from the first to the last, are those of one record: it begins once, and no column comes twice.
    is_record: bool,
    /// Per column the number of the record that last had it.
    seen: Vec<u64>,
    record: u64,
}

/// The byte at `at`; 0, which JSON never has outside of strings, behind the end.
#[inline(always)]
fn byte(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or(0)
}

/// The first position from `at` that is not white space.
#[inline(always)]
fn skip_space(data: &[u8], at: usize) -> usize {
    if byte(data, at) > b' ' { at } else { skip_more_space(data, at) }
}

fn skip_more_space(data: &[u8], mut at: usize) -> usize {
    while matches!(byte(data, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

impl Fast {
    pub fn new(columns: usize) -> Self {
        Self { template: Vec::new(), is_record: false, seen: vec![0; columns], record: 0 }
    }

    /// Appends the record `data[start..end]`; `false`: it gave up. What stands behind `end` is read, so that a record's last bytes need no other
    /// treatment than the rest, but never decides: a record that seems to end elsewhere is given up.
    #[inline]
    pub fn record(
        &mut self,
        data: &[u8],
        (start, end): (usize, usize),
        schema: &DeclaredSchema,
        names: &Names,
        rows: &mut RowBuffers,
    ) -> bool {
        self.try_record(data, start, end, schema, names, rows).is_some()
    }

    #[inline(always)]
    fn try_record(
        &mut self,
        data: &[u8],
        start: usize,
        end: usize,
        schema: &DeclaredSchema,
        names: &Names,
        rows: &mut RowBuffers,
    ) -> Option<()> {
        self.record += 1;
        let (mut at, mut slot, mut found) = (start, 0, 0);
        if self.is_record {
            // The record that all of the template is: nothing to look for, and no column to come twice.
            for known in &self.template {
                let Some(from) = known.behind(data, at) else { break };
                at = match known.column {
                    Some(index) => {
                        found += 1;
                        value(data, from, schema.columns.get(index)?, rows.columns.get_mut(index)?)?
                    }
                    None if schema.closed => return None,
                    None => skip_unknown(data, from)?,
                };
                slot += 1;
            }
            if slot < self.template.len() || found < schema.columns.len() || byte(data, at) != b'}' {
                let record = self.record;
                self.template.iter().take(slot).filter_map(|known| known.column).for_each(|column| self.seen[column] = record);
            }
        }
        let mut first = slot == 0;
        loop {
            if !first && byte(data, at) == b'}' {
                break;
            }
            let column = match self.template.get(slot) {
                Some(known)
                    if known.first == first
                        && let Some(value) = known.behind(data, at) =>
                {
                    at = value;
                    slot += 1;
                    known.column
                }
                _ => match self.key(data, at, first, slot, names)? {
                    Key::End(end) => {
                        at = end;
                        break;
                    }
                    Key::Field { column, value, next } => {
                        at = value;
                        slot = next;
                        column
                    }
                },
            };
            first = false;
            match column {
                Some(index) => {
                    let seen = self.seen.get_mut(index)?;
                    if *seen == self.record {
                        return None;
                    }
                    *seen = self.record;
                    found += 1;
                    at = nested(data, at, schema.columns.get(index)?, rows.columns.get_mut(index)?)?;
                }
                None if schema.closed => return None,
                None => at = skip_value(data, at, 0)?,
            }
        }
        at += 1;
        if at != end && (at > end || skip_space(data.get(..end)?, at) < end) {
            return None;
        }
        if found < schema.columns.len() {
            for ((column, buffer), seen) in schema.columns.iter().zip(&mut rows.columns).zip(&self.seen) {
                if *seen != self.record {
                    if !column.nullable {
                        return None;
                    }
                    buffer.push_null();
                }
            }
        }
        Some(())
    }

    /// Parses what lies before a value, and remembers it.
    #[cold]
    fn key(&mut self, data: &[u8], from: usize, first: bool, slot: usize, names: &Names) -> Option<Key> {
        let mut at = skip_space(data, from);
        match (first, byte(data, at)) {
            (true, b'{') => {
                let next = skip_space(data, at + 1);
                if byte(data, next) == b'}' {
                    return Some(Key::End(next));
                }
            }
            (false, b',') => {}
            (false, b'}') => return Some(Key::End(at)),
            _ => return None,
        }
        at = skip_space(data, at + 1);
        let (key, behind) = plain_string(data, at)?;
        at = skip_space(data, behind);
        if byte(data, at) != b':' {
            return None;
        }
        let value = skip_space(data, at + 1);
        let column = names.find(key);
        let bytes = data.get(from..value)?;
        if bytes.len() > MAX_GAP {
            return Some(Key::Field { column, value, next: slot });
        }
        if let Some(known) = self.template.iter().position(|slot| slot.bytes == bytes) {
            return Some(Key::Field { column, value, next: known + 1 });
        }
        let next = if self.template.len() < MAX_SLOTS {
            let place = slot.min(self.template.len());
            self.template.insert(place, Slot::new(bytes, first, column));
            place + 1
        } else {
            self.template.clear();
            0
        };
        let slots = self.template.iter().enumerate();
        let comes_twice = |at: usize, column: usize| self.template.iter().take(at).any(|earlier| earlier.column == Some(column));
        self.is_record =
            slots.into_iter().all(|(at, slot)| slot.first == (at == 0) && !slot.column.is_some_and(|column| comes_twice(at, column)));
        Some(Key::Field { column, value, next })
    }
}

/// What lies before a value.
enum Key {
    /// Nothing: the record's closing brace is here.
    End(usize),
    /// A key, with the column it names, where its value begins and which slot comes next.
    Field { column: Option<usize>, value: usize, next: usize },
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first position from `at` of a quote, a backslash, a control character or a byte beyond ASCII; the end of `data` if there is none.
///
/// Eight bytes at a time; a borrow in the subtractions can only mark bytes above the lowest marked one, so the lowest is always right.
#[inline(always)]
fn special(data: &[u8], mut at: usize) -> usize {
    while let Some(window) = data.get(at..at + 8) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(window);
        let word = u64::from_le_bytes(bytes);
        let (quote, slash) = (word ^ (LOW * u64::from(b'"')), word ^ (LOW * u64::from(b'\\')));
        let found =
            (quote.wrapping_sub(LOW) & !quote) | (slash.wrapping_sub(LOW) & !slash) | (word.wrapping_sub(LOW * 0x20) & !word) | word;
        if found & HIGH != 0 {
            return at + ((found & HIGH).trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while at < data.len() && !matches!(data[at], b'"' | b'\\' | 0..0x20 | 0x80..) {
        at += 1;
    }
    at
}

/// The bytes of the string without escapes that begins with the quote at `at`, which are UTF-8, and the position behind it.
#[inline(always)]
fn plain_string(data: &[u8], at: usize) -> Option<(&[u8], usize)> {
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
fn escaped_string(data: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
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

/// The position behind `word`, if it stands at `at`.
#[inline(always)]
fn literal(data: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    (data.get(at..at + word.len())? == word).then_some(at + word.len())
}

/// Appends the value at `at` to its column; returns the position behind it.
#[inline(always)]
fn value(data: &[u8], at: usize, column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    if byte(data, at) == b'n' {
        let end = literal(data, at, b"null")?;
        if !column.nullable {
            return None;
        }
        buffer.push_null();
        return Some(end);
    }
    let end = match &mut buffer.values {
        Values::Int64(values) => {
            let (value, end) = number::integer(data, at)?;
            in_bounds(column, value as f64).then_some(())?;
            values.push(value);
            end
        }
        Values::Float64(values) => {
            let (value, end) = number::float64(data, at)?;
            in_bounds(column, value).then_some(())?;
            values.push(value);
            end
        }
        Values::Text { ends, bytes } => {
            let begin = bytes.len();
            let end = match plain_string(data, at) {
                Some((text, end)) => {
                    append_part(bytes, data, at + 1, at + 1 + text.len());
                    end
                }
                None => escaped_string(data, at, bytes)?,
            };
            if !column.allowed.is_empty() && !is_allowed(column, std::str::from_utf8(bytes.get(begin..)?).ok()?) {
                return None;
            }
            ends.push(bytes.len() as i32);
            end
        }
        Values::Timestamp(values) if byte(data, at) != b'"' => {
            let LogicalType::Timestamp(unit) = &column.kind else { return None };
            match number::integer(data, at) {
                Some((value, end)) => {
                    values.push(value.checked_mul(unit.micros())?);
                    end
                }
                None => {
                    let number = number::scan(data, at)?;
                    values.push(timestamp_number(data.get(number.start..number.end)?, *unit).ok()?);
                    number.end
                }
            }
        }
        _ => other_value(data, at, column, buffer)?,
    };
    buffer.nulls.append_non_null();
    Some(end)
}

/// Appends a value of one of the less frequent types, without its validity.
fn other_value(data: &[u8], at: usize, column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    Some(match (&column.kind, &mut buffer.values) {
        (LogicalType::Timestamp(_), Values::Timestamp(values)) => {
            let (text, end) = plain_string(data, at)?;
            values.push(timestamp(text)?);
            end
        }
        (LogicalType::Int32, Values::Int32(values)) => {
            let (value, end) = number::integer(data, at)?;
            let value = i32::try_from(value).ok()?;
            in_bounds(column, f64::from(value)).then_some(())?;
            values.push(value);
            end
        }
        (LogicalType::Float32, Values::Float32(values)) => {
            let number = number::scan(data, at)?;
            let value = number.float32(data)?;
            in_bounds(column, f64::from(value)).then_some(())?;
            values.push(value);
            number.end
        }
        (LogicalType::Bool, Values::Bool(values)) => {
            let held = byte(data, at) == b't';
            let end = literal(data, at, if held { b"true" } else { b"false" })?;
            values.push(held);
            end
        }
        (LogicalType::Decimal(precision, scale), Values::Decimal(values)) => {
            let number = number::scan(data, at)?;
            let value = decimal(data.get(number.start..number.end)?, *precision, *scale).ok()?;
            in_bounds(column, decimal_as_float(value, *scale)).then_some(())?;
            values.push(value);
            number.end
        }
        (LogicalType::Date, Values::Date(values)) => {
            let (text, end) = plain_string(data, at)?;
            values.push(date(text)?);
            end
        }
        (LogicalType::Bytes, Values::Binary { ends, bytes }) => {
            let (text, end) = plain_string(data, at)?;
            base64(text, bytes).then_some(())?;
            ends.push(bytes.len() as i32);
            end
        }
        (LogicalType::List(item), Values::List { ends, item: items }) => {
            let end = list(data, at, item, items)?;
            ends.push(items.len() as i32);
            end
        }
        (LogicalType::Struct(columns), Values::Struct(buffers)) => fields(data, at, columns, buffers)?,
        _ => return None,
    })
}

/// `value` as a call, for what lies inside of lists and structs, and for records that the template is not.
#[inline(never)]
fn nested(data: &[u8], at: usize, column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    value(data, at, column, buffer)
}

/// Appends the items of the array at `at`.
fn list(data: &[u8], at: usize, item: &DeclaredColumn, items: &mut ColumnBuffer) -> Option<usize> {
    if byte(data, at) != b'[' {
        return None;
    }
    let mut at = skip_space(data, at + 1);
    if byte(data, at) == b']' {
        return Some(at + 1);
    }
    loop {
        at = skip_space(data, nested(data, at, item, items)?);
        match byte(data, at) {
            b',' => at = skip_space(data, at + 1),
            b']' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Appends the fields of the object at `at`. Structs of more than 64 columns are for the reference path.
fn fields(data: &[u8], at: usize, columns: &[DeclaredColumn], buffers: &mut [ColumnBuffer]) -> Option<usize> {
    if byte(data, at) != b'{' || columns.len() > 64 {
        return None;
    }
    let mut seen = 0u64;
    let mut at = skip_space(data, at + 1);
    if byte(data, at) != b'}' {
        loop {
            let (key, behind) = plain_string(data, at)?;
            at = skip_space(data, behind);
            if byte(data, at) != b':' {
                return None;
            }
            at = skip_space(data, at + 1);
            at = match columns.iter().position(|column| column.name.as_bytes() == key) {
                Some(index) if seen & (1 << index) != 0 => return None,
                Some(index) => {
                    seen |= 1 << index;
                    nested(data, at, columns.get(index)?, buffers.get_mut(index)?)?
                }
                None => skip_value(data, at, 0)?,
            };
            at = skip_space(data, at);
            match byte(data, at) {
                b',' => at = skip_space(data, at + 1),
                b'}' => break,
                _ => return None,
            }
        }
    }
    for (index, (column, buffer)) in columns.iter().zip(buffers).enumerate() {
        if seen & (1 << index) == 0 {
            if !column.nullable {
                return None;
            }
            buffer.push_null();
        }
    }
    Some(at + 1)
}

/// `skip_value` for a field that is not declared, which mostly is a short text.
#[inline(always)]
fn skip_unknown(data: &[u8], at: usize) -> Option<usize> {
    match plain_string(data, at) {
        Some((_, end)) => Some(end),
        None => skip_value(data, at, 0),
    }
}

/// The position behind the value at `at`, whatever it is; `None` where it is not plainly right.
fn skip_value(data: &[u8], at: usize, depth: usize) -> Option<usize> {
    match byte(data, at) {
        b'"' => plain_string(data, at).map(|(_, end)| end),
        b't' => literal(data, at, b"true"),
        b'f' => literal(data, at, b"false"),
        b'n' => literal(data, at, b"null"),
        open @ (b'{' | b'[') => {
            if depth == MAX_SKIP {
                return None;
            }
            let close = open + 2;
            let mut at = skip_space(data, at + 1);
            if byte(data, at) == close {
                return Some(at + 1);
            }
            loop {
                if open == b'{' {
                    let (_, behind) = plain_string(data, at)?;
                    at = skip_space(data, behind);
                    if byte(data, at) != b':' {
                        return None;
                    }
                    at = skip_space(data, at + 1);
                }
                at = skip_space(data, skip_value(data, at, depth + 1)?);
                match byte(data, at) {
                    b',' => at = skip_space(data, at + 1),
                    end if end == close => return Some(at + 1),
                    _ => return None,
                }
            }
        }
        _ => number::scan(data, at).map(|number| number.end),
    }
}
