//! Windows of aggregates that can forget a value exactly (counts of values, linear sketches): a state per window that follows its range.
//!
//! A cursor holds the state of some range of the ring and moves both ends record by record to the range asked for. The state is a function of the range
//! alone, so probes and records out of order may move it back and forth; in order every record enters and leaves once.

use std::any::Any;
use std::fmt::Debug;

use super::FeatureSpec;
use super::argument::Updates;
use super::bytes::{Reader, put};
use super::part::{Bounds, Builder, Emit, Heap, Kept, KeyMut, Part, Phase, Reads, Source, bucket};
use super::ring::Rows;
use crate::config::declaration::Window;

/// A state that is a function of the multiset of values put into it.
pub trait Tally: Clone + Debug + Default + Send + Sync + 'static {
    /// What a feature asks of it.
    type Ask: Clone + Debug + Send + Sync + 'static;
    /// Puts a value in.
    fn add(&mut self, word: u64);
    /// Takes a value out that was put in.
    fn remove(&mut self, word: u64);
    /// Empties it, keeping memory.
    fn clear(&mut self);
    /// Writes a feature.
    fn emit(&self, ask: &Self::Ask, column: usize, out: &mut Emit<'_>);
    /// Appends it to a snapshot.
    fn save(&self, out: &mut Vec<u8>);
    /// Reads it back.
    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String>;
    /// Memory, in bytes.
    fn bytes(&self) -> usize;
}

#[derive(Clone, Debug, Default)]
struct Cursor<T> {
    bucket: i64,
    lo: u64,
    hi: u64,
    tally: T,
}

/// The cursors of one key: one per window and phase, and for each tumbling window what left the ring.
#[derive(Debug)]
struct Cursors<T> {
    cursors: Vec<Cursor<T>>,
    carries: Vec<(i64, T)>,
}

impl<T: Tally> Heap for Cursors<T> {
    fn save(&self, out: &mut Vec<u8>) {
        for cursor in &self.cursors {
            [cursor.bucket as u64, cursor.lo, cursor.hi].iter().for_each(|word| put(out, *word));
            cursor.tally.save(out);
        }
        for (bucket, tally) in &self.carries {
            put(out, *bucket as u64);
            tally.save(out);
        }
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String> {
        for cursor in &mut self.cursors {
            (cursor.bucket, cursor.lo, cursor.hi) = (reader.word()? as i64, reader.word()?, reader.word()?);
            cursor.tally.load(reader)?;
        }
        for (bucket, tally) in &mut self.carries {
            *bucket = reader.word()? as i64;
            tally.load(reader)?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let cursors: usize = self.cursors.iter().map(|cursor| 24 + cursor.tally.bytes()).sum();
        cursors + self.carries.iter().map(|(_, tally)| 8 + tally.bytes()).sum::<usize>()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Turns a value of the source into the word that a tally keeps.
pub type MapValue = fn(&Source, u64) -> u64;

/// The part of a family whose state is a `Tally` per window.
#[derive(Debug)]
pub struct CursorPart<T: Tally> {
    source: Source,
    reads: Reads<T::Ask>,
    /// Maps a value to the word that the tally keeps, stored in this word of each row; `None`: the value itself.
    mapped: Option<(usize, MapValue)>,
    /// Window and phase of each cursor, and its carry.
    cursors: Vec<(usize, Phase, Option<usize>)>,
    windows: Vec<Window>,
    /// Tumbling windows that have a carry.
    carried: Vec<usize>,
    heap: usize,
}

impl<T: Tally> CursorPart<T> {
    /// The part of `features`, whose reads are `reads`; `map` turns a value into what the tally keeps.
    pub fn build(
        builder: &mut Builder<'_>,
        features: &[(usize, &FeatureSpec)],
        reads: Reads<T::Ask>,
        map: Option<MapValue>,
    ) -> Box<dyn Part> {
        let windows = builder.spec.windows.clone();
        let carried: Vec<usize> =
            builder.floored(features).into_iter().filter(|window| matches!(windows[*window], Window::Tumbling { .. })).collect();
        let place = |window: usize| carried.iter().position(|carried| *carried == window);
        let cursors: Vec<(usize, Phase, Option<usize>)> =
            reads.iter().flatten().filter_map(|read| read.window.map(|window| (window, read.phase, place(window)))).collect();
        let (own, carries) = (cursors.len(), carried.len());
        let heap = builder.heap(move || {
            let carries = vec![(i64::MIN, T::default()); carries];
            Box::new(Cursors { cursors: vec![Cursor::<T>::default(); own], carries })
        });
        let mapped = map.map(|map| (builder.row(1), map));
        Box::new(Self { source: builder.source(features[0].1), reads, mapped, cursors, windows, carried, heap })
    }

    #[inline]
    fn value(&self, row: &[u64]) -> Option<u64> {
        self.source.present(row).then(|| self.mapped.map_or_else(|| self.source.word(row), |(at, _)| row[at]))
    }
}

/// Puts the records of `[from, to)` in, or takes them out.
fn shift<T: Tally>(tally: &mut T, from: u64, to: u64, add: bool, value: impl Fn(u64) -> Option<u64>) {
    for word in (from..to).filter_map(value) {
        if add { tally.add(word) } else { tally.remove(word) }
    }
}

impl<T: Tally> Part for CursorPart<T> {
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        if let Some((word, map)) = self.mapped {
            let row = key.ring.row_mut(at);
            if self.source.present(row) {
                row[word] = map(&self.source, self.source.word(row));
            }
        }
        let row = key.ring.row(at);
        let (time, value, in_order) = (row[0] as i64, self.value(row), at + 1 == key.ring.end());
        let Some(heap) = key.kept.heap[self.heap].as_any_mut().downcast_mut::<Cursors<T>>() else { return };
        if in_order {
            return;
        }
        for (cursor, (window, ..)) in heap.cursors.iter_mut().zip(&self.cursors) {
            let window = &self.windows[*window];
            let sliding = matches!(window, Window::Sliding(_));
            if at >= cursor.hi {
                continue;
            }
            cursor.hi += 1;
            if sliding && at < cursor.lo {
                cursor.lo += 1;
            } else if let Some(value) = value.filter(|_| sliding || cursor.bucket == bucket(window, time)) {
                cursor.tally.add(value);
            }
        }
    }

    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let base = rows.base();
        let row = rows.row(base);
        let (time, value) = (row[0] as i64, self.value(row));
        let Some(heap) = kept.heap[self.heap].as_any_mut().downcast_mut::<Cursors<T>>() else { return };
        for (cursor, (window, ..)) in heap.cursors.iter_mut().zip(&self.cursors) {
            let window = &self.windows[*window];
            if matches!(window, Window::Sliding(_)) {
                if let (Some(value), true) = (value, cursor.lo <= base && base < cursor.hi) {
                    cursor.tally.remove(value);
                }
                cursor.lo = cursor.lo.max(base + 1);
            } else if let (Some(value), true) = (value, cursor.hi <= base && cursor.bucket == bucket(window, time)) {
                cursor.tally.add(value);
            }
            cursor.hi = cursor.hi.max(base + 1);
        }
        for ((start, tally), window) in heap.carries.iter_mut().zip(&self.carried) {
            let now = bucket(&self.windows[*window], time);
            if *start != now {
                tally.clear();
                *start = now;
            }
            if let Some(value) = value {
                tally.add(value);
            }
        }
    }

    fn is_asked(&self, after: bool) -> bool {
        !self.reads[usize::from(after)].is_empty()
    }

    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        let skipped = if after { self.reads[0].len() } else { 0 };
        let value = |index: u64| self.value(rows.row(index));
        let Some(heap) = kept.heap[self.heap].as_any_mut().downcast_mut::<Cursors<T>>() else { return };
        for (nth, read) in self.reads[usize::from(after)].iter().enumerate() {
            let (Some(window), Some(cursor)) = (read.window, heap.cursors.get_mut(skipped + nth)) else { continue };
            let (lo, hi) = (bounds.lo(window), bounds.hi[read.phase as usize].max(bounds.lo(window)));
            if matches!(self.windows[window], Window::Sliding(_)) {
                if hi <= cursor.lo || lo >= cursor.hi {
                    cursor.tally.clear();
                    (cursor.lo, cursor.hi) = (lo, lo);
                }
                shift(&mut cursor.tally, cursor.hi, hi, true, value);
                shift(&mut cursor.tally, lo, cursor.lo, true, value);
                shift(&mut cursor.tally, hi, cursor.hi, false, value);
                shift(&mut cursor.tally, cursor.lo, lo, false, value);
                (cursor.lo, cursor.hi) = (lo, hi);
            } else {
                let start = bounds.bucket(window);
                if cursor.bucket != start {
                    let carry = self.cursors[skipped + nth].2.and_then(|carry| heap.carries.get(carry)).filter(|(at, _)| *at == start);
                    match carry {
                        Some((_, tally)) => cursor.tally.clone_from(tally),
                        None => cursor.tally.clear(),
                    }
                    (cursor.bucket, cursor.hi) = (start, lo);
                }
                cursor.hi = cursor.hi.max(lo);
                shift(&mut cursor.tally, cursor.hi, hi, true, value);
                shift(&mut cursor.tally, hi, cursor.hi, false, value);
                cursor.hi = hi;
            }
            read.outputs.iter().for_each(|(column, ask)| cursor.tally.emit(ask, *column, out));
        }
    }
}
