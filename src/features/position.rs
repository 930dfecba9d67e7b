//! `first`, `last`, `lag`, `time_since_last`: where a record stands among its key's records.
//!
//! Nulls and records that do not pass the filter are skipped (S7.4): `last(x)` and `lag(x)` are the newest value that is not null. `lag` and
//! `time_since_last` look at what precedes the record in canonical order, and reach back for ever. Each record has the number of earlier ones that count
//! and the distance to the newest one that does, so `last` is O(1) and `first` a binary search when the head itself does not count.

use std::any::Any;
use std::collections::VecDeque;

use super::argument::Updates;
use super::bytes::{Reader, put, put_text};
use super::call::{FunctionParameter, Resolved, plain};
use super::part::{Bounds, Builder, Emit, Heap, Kept, KeyMut, Part, Read, Source, bucket, reads};
use super::registry::{Family, Row};
use super::ring::Rows;
use super::{FeatureSpec, Function};
use crate::config::declaration::Window;
use crate::data::CellType;

/// See the module.
pub static FAMILY: Family = Family { name: "position", group: |_| 0, build };

/// `first(x)`, `last(x)`, `lag(x)` of any type.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64, Text, Timestamp};
    plain(row, argument, parameters, &[Float64, Int64, Bool, Timestamp, Text], |kind| kind)
}

/// `time_since_last()`, in seconds.
pub fn resolve_gap(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    if argument.is_some() || !parameters.is_empty() {
        return Err("`time_since_last()` takes no argument".to_string());
    }
    Ok(Resolved {
        function: Function { name: row.name, parameter: 0.0 },
        argument_cell: None,
        cell: CellType::Float64,
        own_horizon: true,
        lifetime_bounded: true,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Last,
    Gap,
}

fn place(feature: &FeatureSpec) -> Place {
    match feature.function.name {
        "first" => Place::First,
        "time_since_last" => Place::Gap,
        _ => Place::Last,
    }
}

/// Words of a carry: bucket, whether there is a value, first value, last value, time of the last.
const CARRY: usize = 5;

#[derive(Debug)]
struct Position {
    source: Source,
    /// What is asked, each with the position of its window's carry.
    asked: [Vec<(Read<Place>, Option<usize>)>; 2],
    /// Every record counts: then no word is needed.
    total: bool,
    /// Word of a row: number of earlier records that count (low half, wrapping), 1 + distance to the newest one that does, itself included (high half).
    row: usize,
    /// Fixed word: number of records that count.
    count: usize,
    windows: Vec<Window>,
    /// Windows (`None`: own horizon) and their carries.
    floored: Vec<(Option<usize>, usize)>,
    /// Variable part with the strings.
    texts: Option<usize>,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let source = builder.source(features[0].1);
    let mut windows: Vec<Option<usize>> = builder.floored(features).into_iter().map(Some).collect();
    if features.iter().any(|(_, feature)| feature.window.is_none()) {
        windows.push(None);
    }
    let carries = windows.len();
    let asked = reads(features, place).map(|reads| {
        let with_carry = |read: Read<Place>| {
            let carry = windows.iter().position(|window| *window == read.window);
            (read, carry)
        };
        reads.into_iter().map(with_carry).collect()
    });
    let floored = windows.into_iter().map(|window| (window, builder.fixed(&[i64::MIN as u64, 0, 0, 0, 0]))).collect();
    let texts = (source.kind == CellType::Text)
        .then(|| builder.heap(move || Box::new(Texts { ring: VecDeque::new(), first: vec![None; carries], last: vec![None; carries] })));
    let total = source.is_total();
    Box::new(Position {
        total,
        source,
        asked,
        row: if total { 0 } else { builder.row(1) },
        count: if total { 0 } else { builder.fixed(&[0]) },
        windows: builder.spec.windows.clone(),
        floored,
        texts,
    })
}

impl Position {
    /// Number of records that count before `index`, wrapping.
    fn before(&self, rows: &Rows<'_>, kept: &Kept<'_>, index: u64) -> u32 {
        if index < rows.end() { rows.row(index)[self.row] as u32 } else { kept.fixed[self.count] as u32 }
    }

    fn last(&self, rows: &Rows<'_>, lo: u64, hi: u64) -> Option<u64> {
        let index = hi.checked_sub(1).filter(|index| *index >= lo && *index >= rows.base())?;
        if self.total {
            return Some(index);
        }
        let distance = rows.row(index)[self.row] >> 32;
        (distance != 0 && index - lo >= distance - 1).then(|| index - (distance - 1))
    }

    fn first(&self, rows: &Rows<'_>, kept: &Kept<'_>, lo: u64, hi: u64) -> Option<u64> {
        if lo >= hi {
            return None;
        }
        if self.source.present(rows.row(lo)) {
            return Some(lo);
        }
        let start = self.before(rows, kept, lo);
        if self.before(rows, kept, hi) == start {
            return None;
        }
        let (mut low, mut high) = (lo + 1, hi);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.before(rows, kept, middle) == start { low = middle + 1 } else { high = middle }
        }
        Some(low - 1)
    }

    fn start(&self, window: Option<usize>, time: i64) -> i64 {
        window.map_or(0, |window| bucket(&self.windows[window], time))
    }

    fn texts<'a>(&self, kept: &'a mut Kept<'_>) -> Option<&'a mut Texts> {
        kept.heap[self.texts?].as_any_mut().downcast_mut()
    }

    /// The first or last value of `[lo, hi)` and of the carry before it, if there is one.
    #[inline(never)]
    fn write_value(
        &self,
        place: Place,
        column: usize,
        (rows, lo, hi): (&Rows<'_>, u64, u64),
        kept: &mut Kept<'_>,
        carried: Option<usize>,
        out: &mut Emit<'_>,
    ) {
        let index = match place {
            Place::First if carried.is_some() => None,
            Place::First => self.first(rows, kept, lo, hi),
            _ => self.last(rows, lo, hi),
        };
        if index.is_none() && carried.is_none() {
            return;
        }
        if let Some(texts) = self.texts(kept) {
            let held = match (index, carried) {
                (Some(index), _) => texts.ring.get((index - rows.base()) as usize),
                (None, Some(nth)) if place == Place::First => texts.first.get(nth),
                (None, nth) => nth.and_then(|nth| texts.last.get(nth)),
            };
            if let Some(Some(text)) = held {
                out.text(column, text);
            }
            return;
        }
        let held = carried.map_or(0, |nth| self.floored[nth].1) + if place == Place::First { 2 } else { 3 };
        out.bits(column, index.map_or_else(|| kept.fixed[held], |index| self.source.word(rows.row(index))));
    }
}

impl Part for Position {
    fn is_told(&self, _: bool) -> bool {
        !self.total
    }

    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, updates: &Updates, row: usize) {
        let (base, end) = (key.ring.base(), key.ring.end());
        let mut before = if at + 1 == end { key.kept.fixed[self.count] as u32 } else { key.ring.row(at + 1)[self.row] as u32 };
        let mut newest = self.last(&key.ring.rows(), base, at);
        for index in at..end {
            let words = key.ring.row_mut(index);
            let present = self.source.present(words);
            if present {
                newest = Some(index);
            }
            words[self.row] = u64::from(before) | newest.map_or(0, |newest| index - newest + 1) << 32;
            before = before.wrapping_add(u32::from(present));
        }
        key.kept.fixed[self.count] = u64::from(before);
        let place = (at - base) as usize;
        let text = self.source.argument.and_then(|argument| updates.arguments.get(argument)?.text(row));
        if let Some(texts) = self.texts(&mut key.kept) {
            texts.ring.insert(place.min(texts.ring.len()), text.map(Box::from));
        }
    }

    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let row = rows.row(rows.base());
        let (present, time, word) = (self.source.present(row), row[0] as i64, self.source.word(row));
        let text = self.texts(kept).and_then(|texts| texts.ring.pop_front()).flatten();
        if !present {
            return;
        }
        for (nth, (window, at)) in self.floored.iter().enumerate() {
            let start = self.start(*window, time);
            let carry = &mut kept.fixed[*at..*at + CARRY];
            let opens = carry[1] == 0 || carry[0] as i64 != start;
            let first = if opens { word } else { carry[2] };
            carry.copy_from_slice(&[start as u64, 1, first, word, time as u64]);
            if let Some(texts) = self.texts(kept) {
                if opens {
                    texts.first[nth] = text.clone();
                }
                texts.last[nth] = text.clone();
            }
        }
    }

    fn is_asked(&self, after: bool) -> bool {
        !self.asked[usize::from(after)].is_empty()
    }

    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for (read, carry) in &self.asked[usize::from(after)] {
            let (lo, hi) = (read.window.map_or(rows.base(), |window| bounds.lo(window)), bounds.hi[read.phase as usize]);
            let carried = carry.filter(|nth| {
                let carry = &kept.fixed[self.floored[*nth].1..];
                carry[1] == 1 && carry[0] as i64 == read.window.map_or(0, |window| bounds.bucket(window))
            });
            for (column, place) in &read.outputs {
                if *place == Place::Gap {
                    let time = match (self.last(rows, lo, hi), carried) {
                        (Some(index), _) => rows.time(index),
                        (None, Some(nth)) => kept.fixed[self.floored[nth].1 + 4] as i64,
                        (None, None) => continue,
                    };
                    out.float(*column, bounds.t.saturating_sub(time) as f64 / 1e6);
                } else {
                    self.write_value(*place, *column, (rows, lo, hi), kept, carried, out);
                }
            }
        }
    }
}

/// The strings of the ring's records, and of the carries.
#[derive(Debug)]
struct Texts {
    ring: VecDeque<Option<Box<str>>>,
    first: Vec<Option<Box<str>>>,
    last: Vec<Option<Box<str>>>,
}

impl Heap for Texts {
    fn save(&self, out: &mut Vec<u8>) {
        put(out, self.ring.len() as u64);
        self.ring.iter().chain(&self.first).chain(&self.last).for_each(|text| put_text(out, text.as_deref()));
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String> {
        self.ring.clear();
        for _ in 0..reader.length(8)? {
            self.ring.push_back(reader.text()?);
        }
        for text in self.first.iter_mut().chain(&mut self.last) {
            *text = reader.text()?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let size = |text: &Option<Box<str>>| 16 + text.as_ref().map_or(0, |text| text.len());
        self.ring.iter().chain(&self.first).chain(&self.last).map(size).sum()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
