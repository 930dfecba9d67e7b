//! One JSON value of a declared type, appended to its column.

use crate::data::{DeclaredColumn, LogicalType, append_part};

use super::super::{ColumnBuffer, Values, base64, date, decimal, decimal_as_float, in_bounds, is_allowed, timestamp, timestamp_number};
use super::bytes::{byte, literal, skip_space};
use super::number;
use super::text::{escaped_string, plain_string, short_string};

/// Deepest nesting of unknown fields that is skipped here; deeper ones are for the reference path.
const MAX_SKIP: usize = 32;

/// Appends the value that `rest`, the end of `data`, begins with, perhaps behind white space, to its column; returns its length. What most values look like
/// is read in place.
#[inline(always)]
pub(super) fn value(data: &[u8], rest: &[u8], column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    let length = match &mut buffer.values {
        Values::Int64(values) => {
            let Some((value, length)) = number::short_integer(rest) else { return any_value(data, rest, column, buffer) };
            in_bounds(column, value as f64).then_some(())?;
            values.push(value);
            length
        }
        Values::Float64(values) => {
            let Some((value, length)) = number::short_float64(rest) else { return any_value(data, rest, column, buffer) };
            in_bounds(column, value).then_some(())?;
            values.push(value);
            length
        }
        Values::Timestamp(values) => {
            let (Some((value, length)), LogicalType::Timestamp(unit)) = (number::short_integer(rest), &column.kind) else {
                return any_value(data, rest, column, buffer);
            };
            values.push(value.checked_mul(unit.micros())?);
            length
        }
        Values::Text { ends, bytes } if column.allowed.is_empty() => {
            let Some((length, text)) = short_string(rest) else { return any_value(data, rest, column, buffer) };
            let behind = bytes.len() + length;
            bytes.extend_from_slice(text);
            bytes.truncate(behind);
            ends.push(behind as i32);
            length + 2
        }
        _ => return any_value(data, rest, column, buffer),
    };
    buffer.nulls.append_non_null();
    Some(length)
}

/// `value` for all that can stand there.
#[inline(never)]
fn any_value(data: &[u8], rest: &[u8], column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    let start = data.len() - rest.len();
    let at = skip_space(data, start);
    if byte(data, at) == b'n' {
        let end = literal(data, at, b"null")?;
        if !column.nullable {
            return None;
        }
        buffer.push_null();
        return Some(end - start);
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
    Some(end - start)
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

/// Appends the value at `at` to its column; returns the position behind it. For what lies inside of lists and structs, and for records that the template
/// is not.
#[inline(never)]
pub(super) fn nested(data: &[u8], at: usize, column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Option<usize> {
    Some(at + value(data, data.get(at..)?, column, buffer)?)
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

/// The length of the value of a field that is not declared, which mostly is a short text, at the beginning of `rest`, the end of `data`.
#[inline(always)]
pub(super) fn skip_unknown(data: &[u8], rest: &[u8]) -> Option<usize> {
    match short_string(rest) {
        Some((length, _)) => Some(length + 2),
        None => {
            let start = data.len() - rest.len();
            Some(skip_value(data, skip_space(data, start), 0)? - start)
        }
    }
}

/// The position behind the value at `at`, whatever it is; `None` where it is not plainly right.
pub(super) fn skip_value(data: &[u8], at: usize, depth: usize) -> Option<usize> {
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
