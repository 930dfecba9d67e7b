//! The reference path: a record through serde_json, checked in full before anything is decided, with the reason and place of what is wrong.
//!
//! Numbers are read from their text, not from serde_json's idea of them, so nothing is rounded on the way. Nesting is limited to 128 levels here,
//! because serde_json does not count the levels it skips. Of several faults the first in the record is told; damage of the JSON itself before all
//! others, values outside their bounds after all others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType};

use super::super::{ColumnBuffer, EventTimeFrom, Fault, RowBuffers, Values};
use super::super::{
    NumberFault, base64, bounds_in_words, date, decimal, decimal_as_float, float32, float64, in_bounds, integer, is_allowed, timestamp,
    timestamp_number, type_name,
};
use super::Names;

/// Deepest nesting of arrays and objects (S5.2).
const MAX_DEPTH: usize = 128;

/// The members of an object in their order, values unread, keys not made unique.
struct Members<'a>(Vec<(Key<'a>, &'a RawValue)>);

/// A key, copied only where escapes had to be resolved.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(key) = map.next_key::<Key<'de>>()? {
                    members.push((key, map.next_value::<&RawValue>()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Gather)
    }
}

/// A record being decoded: where it begins in memory, and the first value found outside its bounds.
struct Reading<'a> {
    record: &'a str,
    check: Option<Box<Fault>>,
}

impl Reading<'_> {
    /// Byte position of a part of the record.
    fn position(&self, part: &str) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.record.as_ptr() as usize)
    }

    /// Where a value stands, in words.
    fn place(&self, path: &str, raw: &RawValue) -> String {
        format!("field `{path}` at byte {}", self.position(raw.get()))
    }

    /// Notes a value outside its bounds, unless one was found before.
    fn out_of_bounds(&mut self, path: &str, raw: &RawValue, words: &str) {
        if self.check.is_none() {
            self.check = Some(Fault::check(format!("{}: {} is {words}", self.place(path, raw), shorten(raw.get()))));
        }
    }

    fn mismatch(&self, path: &str, raw: &RawValue, kind: &LogicalType) -> Box<Fault> {
        Fault::decode(format!("{}: expected {}, found {}", self.place(path, raw), type_name(kind), found(raw.get())))
    }

    fn number_fault(&self, path: &str, raw: &RawValue, kind: &LogicalType, fault: NumberFault) -> Box<Fault> {
        match fault {
            NumberFault::Malformed => self.mismatch(path, raw, kind),
            _ => {
                Fault::decode(format!("{}: {} is {} for {}", self.place(path, raw), shorten(raw.get()), fault.describe(), type_name(kind)))
            }
        }
    }

    /// The text of a JSON string.
    fn text(&self, path: &str, raw: &RawValue, kind: &LogicalType) -> Result<String, Box<Fault>> {
        if !raw.get().starts_with('"') {
            return Err(self.mismatch(path, raw, kind));
        }
        serde_json::from_str(raw.get()).map_err(|error| Fault::decode(format!("{}: {}", self.place(path, raw), message(&error))))
    }

    /// Appends one value to its column.
    fn value(&mut self, path: &str, raw: &RawValue, column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Result<(), Box<Fault>> {
        let (kind, json) = (&column.kind, raw.get());
        if json == "null" {
            if !column.nullable {
                return Err(Fault::decode(format!("{}: null, but it is required", self.place(path, raw))));
            }
            buffer.push_null();
            return Ok(());
        }
        let is_number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let written = json.as_bytes();
        match (kind, &mut buffer.values) {
            (LogicalType::Bool, Values::Bool(values)) => match json {
                "true" => values.push(true),
                "false" => values.push(false),
                _ => return Err(self.mismatch(path, raw, kind)),
            },
            (LogicalType::Int32, Values::Int32(values)) if is_number => {
                let value = integer(written).and_then(|value| i32::try_from(value).map_err(|_| NumberFault::Range));
                let value = value.map_err(|fault| self.number_fault(path, raw, kind, fault))?;
                if !in_bounds(column, f64::from(value)) {
                    self.out_of_bounds(path, raw, &bounds_in_words(column));
                }
                values.push(value);
            }
            (LogicalType::Int64, Values::Int64(values)) if is_number => {
                let value = integer(written).map_err(|fault| self.number_fault(path, raw, kind, fault))?;
                if !in_bounds(column, value as f64) {
                    self.out_of_bounds(path, raw, &bounds_in_words(column));
                }
                values.push(value);
            }
            (LogicalType::Float32, Values::Float32(values)) if is_number => {
                let value = float32(written).map_err(|fault| self.number_fault(path, raw, kind, fault))?;
                if !in_bounds(column, f64::from(value)) {
                    self.out_of_bounds(path, raw, &bounds_in_words(column));
                }
                values.push(value);
            }
            (LogicalType::Float64, Values::Float64(values)) if is_number => {
                let value = float64(written).map_err(|fault| self.number_fault(path, raw, kind, fault))?;
                if !in_bounds(column, value) {
                    self.out_of_bounds(path, raw, &bounds_in_words(column));
                }
                values.push(value);
            }
            (LogicalType::Decimal(precision, scale), Values::Decimal(values)) if is_number => {
                let value = decimal(written, *precision, *scale).map_err(|fault| self.number_fault(path, raw, kind, fault))?;
                if !in_bounds(column, decimal_as_float(value, *scale)) {
                    self.out_of_bounds(path, raw, &bounds_in_words(column));
                }
                values.push(value);
            }
            (LogicalType::Timestamp(unit), Values::Timestamp(values)) => {
                if is_number {
                    values.push(timestamp_number(written, *unit).map_err(|fault| self.number_fault(path, raw, kind, fault))?);
                } else {
                    let text = self.text(path, raw, kind)?;
                    let value = timestamp(text.as_bytes());
                    values.push(
                        value.ok_or_else(|| {
                            Fault::decode(format!("{}: {} is no RFC 3339 timestamp", self.place(path, raw), shorten(json)))
                        })?,
                    );
                }
            }
            (LogicalType::Date, Values::Date(values)) => {
                let text = self.text(path, raw, kind)?;
                let value = date(text.as_bytes());
                values.push(
                    value.ok_or_else(|| Fault::decode(format!("{}: {} is no date YYYY-MM-DD", self.place(path, raw), shorten(json))))?,
                );
            }
            (LogicalType::String, Values::Text { ends, bytes }) => {
                let text = self.text(path, raw, kind)?;
                if !is_allowed(column, &text) {
                    self.out_of_bounds(path, raw, "none of the values allowed");
                }
                bytes.extend_from_slice(text.as_bytes());
                ends.push(bytes.len() as i32);
            }
            (LogicalType::Bytes, Values::Binary { ends, bytes }) => {
                let text = self.text(path, raw, kind)?;
                if !base64(text.as_bytes(), bytes) {
                    return Err(Fault::decode(format!("{}: {} is no base64", self.place(path, raw), shorten(json))));
                }
                ends.push(bytes.len() as i32);
            }
            (LogicalType::List(item), Values::List { ends, item: items }) if json.starts_with('[') => {
                let parts: Vec<&RawValue> = serde_json::from_str(json).map_err(|error| self.damaged(raw, &error))?;
                for (index, part) in parts.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), part, item, items)?;
                }
                ends.push(items.len() as i32);
            }
            (LogicalType::Struct(columns), Values::Struct(buffers)) if json.starts_with('{') => {
                let members: Members<'_> = serde_json::from_str(json).map_err(|error| self.damaged(raw, &error))?;
                let find = |name: &str| columns.iter().position(|column| column.name == name);
                self.fields(&format!("{path}."), &members, columns, &find, false, buffers)?;
            }
            _ => return Err(self.mismatch(path, raw, kind)),
        }
        buffer.nulls.append_non_null();
        Ok(())
    }

    /// Damage inside a value, which a check of the whole record has missed (a lone surrogate in a key).
    fn damaged(&self, raw: &RawValue, error: &serde_json::Error) -> Box<Fault> {
        Fault::decode(format!("{} at byte {}", message(error), self.position(raw.get())))
    }

    /// Appends the members of an object to its columns: values in the order of the record, then nulls for what is missing.
    fn fields(
        &mut self,
        path: &str,
        members: &Members<'_>,
        columns: &[DeclaredColumn],
        find: &dyn Fn(&str) -> Option<usize>,
        closed: bool,
        buffers: &mut [ColumnBuffer],
    ) -> Result<(), Box<Fault>> {
        let mut seen = vec![false; columns.len()];
        for (Key(key), raw) in &members.0 {
            let Some(index) = find(key) else {
                if closed {
                    let name = format!("{path}{key}");
                    return Err(Fault::decode(format!("{}: the schema has no such field and allows no others", self.place(&name, raw))));
                }
                continue;
            };
            let name = if path.is_empty() { Cow::Borrowed(&**key) } else { Cow::Owned(format!("{path}{key}")) };
            let (Some(column), Some(buffer), Some(seen)) = (columns.get(index), buffers.get_mut(index), seen.get_mut(index)) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                return Err(Fault::decode(format!("{}: the key stands twice", self.place(&name, raw))));
            }
            self.value(&name, raw, column, buffer)?;
        }
        for ((column, buffer), seen) in columns.iter().zip(buffers).zip(seen) {
            if !seen {
                if !column.nullable {
                    return Err(Fault::decode(format!("field `{path}{}` is missing", column.name)));
                }
                buffer.push_null();
            }
        }
        Ok(())
    }
}

/// Appends one record to `rows`, without making it a row; on a fault partial values are left behind for the caller to take back.
pub(super) fn record(
    bytes: &[u8],
    schema: &DeclaredSchema,
    names: &Names,
    event_time: EventTimeFrom,
    rows: &mut RowBuffers,
) -> Result<(), Box<Fault>> {
    let text = checked_text(bytes)?;
    let members = members(text)?;
    let mut reading = Reading { record: text, check: None };
    let find = |name: &str| names.find(name.as_bytes());
    let outcome = reading.fields("", &members, &schema.columns, &find, schema.closed, &mut rows.columns);
    let fault = match (outcome, reading.check.take()) {
        (Ok(()), None) => return Ok(()),
        (Ok(()), Some(fault)) | (Err(fault), _) => fault,
    };
    Err(Box::new(Fault { event_time: time_of(&members, schema, event_time, text), ..*fault }))
}

/// The event time of a record that cannot be used, where it can be read.
fn time_of(members: &Members<'_>, schema: &DeclaredSchema, event_time: EventTimeFrom, text: &str) -> Option<i64> {
    let EventTimeFrom::Column(index) = event_time else { return None };
    let column = schema.columns.get(index)?;
    let (_, raw) = members.0.iter().find(|(Key(key), _)| *key == column.name)?;
    let mut buffer = ColumnBuffer::new(column);
    Reading { record: text, check: None }.value(&column.name, raw, column, &mut buffer).ok()?;
    buffer.last_time()
}

/// Appends the value that a whole text is (lists and structs in CSV fields).
pub(in super::super) fn decode_value(bytes: &[u8], column: &DeclaredColumn, buffer: &mut ColumnBuffer) -> Result<(), Box<Fault>> {
    let text = checked_text(bytes)?;
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| syntax(text, &error))?;
    let mut reading = Reading { record: text, check: None };
    reading.value(&column.name, raw, column, buffer)?;
    reading.check.map_or(Ok(()), Err)
}

/// The record as text, if its encoding and its nesting are right.
fn checked_text(bytes: &[u8]) -> Result<&str, Box<Fault>> {
    let text = std::str::from_utf8(bytes).map_err(|error| Fault::decode(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
    if text.starts_with('\u{feff}') {
        return Err(Fault::decode("a byte order mark at byte 0: JSON is UTF-8 without one"));
    }
    match too_deep(bytes) {
        Some(at) => Err(Fault::decode(format!("nested deeper than {MAX_DEPTH} levels at byte {at}"))),
        None => Ok(text),
    }
}

/// Where nesting first goes beyond the limit; brackets inside strings do not count.
fn too_deep(bytes: &[u8]) -> Option<usize> {
    // Without so many brackets in all there is nothing to look at closely.
    if bytes.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= MAX_DEPTH {
        return None;
    }
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// The members of a record.
fn members(text: &str) -> Result<Members<'_>, Box<Fault>> {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r']);
    if trimmed.starts_with('{') || trimmed.is_empty() {
        return serde_json::from_str(text).map_err(|error| syntax(text, &error));
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => Err(syntax(text, &error)),
        Ok(_) => Err(Fault::decode(format!("a record is a JSON object; found {} at byte {}", found(trimmed), text.len() - trimmed.len()))),
    }
}

/// What serde_json says is wrong, with the byte instead of line and column.
fn syntax(text: &str, error: &serde_json::Error) -> Box<Fault> {
    let line = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let at = (line + error.column().saturating_sub(1)).min(text.len());
    let kind = if error.is_eof() { "truncated JSON" } else { "not JSON" };
    Fault::decode(format!("{kind}: {} at byte {at}", message(error)))
}

/// serde_json's message without its position.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

/// What kind of value a JSON text begins with, for people.
fn found(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'"') => format!("the string {}", shorten(json)),
        Some(b'{') => "an object".to_string(),
        Some(b'[') => "an array".to_string(),
        Some(b't' | b'f') => "a bool".to_string(),
        Some(b'n') => "null".to_string(),
        _ => format!("the number {}", shorten(json)),
    }
}

/// A value cut to what fits in a line.
fn shorten(json: &str) -> String {
    match json.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", &json[..at]),
        None => json.to_string(),
    }
}
