//! The fast path: one pass over a record, straight into the columns, betting that keys come as they came before.
//!
//! It succeeds only on records that the reference path accepts, and then appends the same row; in all other cases it returns `false` and leaves partial
//! values behind for the caller to take back. It never decides that a record is bad.

use crate::data::DeclaredSchema;

use super::super::RowBuffers;
use super::Names;
use super::bytes::{byte, skip_space};
use super::text::plain_string;
use super::value::{nested, skip_unknown, skip_value, value};

/// Most entries of the template; beyond it the bet starts anew.
const MAX_SLOTS: usize = 64;
/// Longest run of bytes between values that is remembered.
const MAX_GAP: usize = 256;

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

    /// What stands behind these bytes, if `rest` begins with them. One spacing may be the beginning of another, so there may be white space.
    #[inline(always)]
    fn behind<'d>(&self, rest: &'d [u8]) -> Option<&'d [u8]> {
        let matches = match rest.first_chunk::<16>() {
            Some(window) => (u128::from_le_bytes(*window) ^ self.word) & self.mask == 0 && (self.bytes.len() <= 16 || self.ends(rest)),
            None => rest.starts_with(&self.bytes),
        };
        if matches { rest.get(self.bytes.len()..) } else { None }
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
        let (mut rest, mut slot, mut found) = (data.get(start..)?, 0, 0);
        if self.is_record {
            // The record that all of the template is: nothing to look for, and no column to come twice.
            for known in &self.template {
                let Some(behind) = known.behind(rest) else { break };
                let length = match known.column {
                    Some(index) => {
                        found += 1;
                        value(data, behind, schema.columns.get(index)?, rows.columns.get_mut(index)?)?
                    }
                    None if schema.closed => return None,
                    None => skip_unknown(data, behind)?,
                };
                rest = behind.get(length..)?;
                slot += 1;
            }
            if slot < self.template.len() || found < schema.columns.len() || byte(rest, 0) != b'}' {
                let record = self.record;
                self.template.iter().take(slot).filter_map(|known| known.column).for_each(|column| self.seen[column] = record);
            }
        }
        let (mut at, mut first) = (data.len() - rest.len(), slot == 0);
        loop {
            if !first && byte(data, at) == b'}' {
                break;
            }
            let column = match self.template.get(slot) {
                Some(known)
                    if known.first == first
                        && let Some(behind) = known.behind(data.get(at..)?) =>
                {
                    at = data.len() - behind.len();
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
                None => at = skip_value(data, skip_space(data, at), 0)?,
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
