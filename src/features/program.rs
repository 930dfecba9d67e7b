//! A view, compiled: the layout of a record and of a key, and what happens when a record arrives or a row is asked for.

use std::sync::Arc;

use super::argument::Updates;
use super::part::{Bounds, Builder, Emit, Heap, HeapMaker, Kept, KeyMut, Part, Phase, bucket};
use super::ring::{self, Ring, Rows, Shape};
use super::{ViewSpec, registry};
use crate::config::declaration::Window;
use crate::data::{Arena, CellType, FeatureRows};
use crate::time::Micros;

/// Fixed word: greatest event time of the key.
const LAST: usize = 0;
/// First of the fixed words that remember where each window began, two windows a word.
const HINTS: usize = 1;

/// A compiled view. Immutable, shared by all keys.
#[derive(Debug)]
pub struct Program {
    spec: Arc<ViewSpec>,
    parts: Vec<Box<dyn Part>>,
    /// Those that features are asked of before the insertion and after it; those that are told of records behind the others and between them; those that
    /// want to know what leaves the ring; those that know what to prefetch.
    asked: [Vec<usize>; 2],
    told: [Vec<usize>; 2],
    settling: Vec<usize>,
    prefetching: Vec<usize>,
    /// Words of a record.
    stride: usize,
    shape: Shape,
    flags: Option<usize>,
    fixed: Vec<u64>,
    heaps: Vec<HeapMaker>,
    /// Records at or before watermark − span leave the ring.
    span: Micros,
    sliding: bool,
}

/// Buffers that every update and probe needs; one per caller, so that none allocates.
#[derive(Debug, Default)]
pub struct Scratch {
    bounds: Bounds,
    texts: Vec<(usize, Box<str>)>,
}

impl Scratch {
    /// The strings of a feature row, which `Emit` collected.
    #[inline]
    fn write_texts(&mut self, out: &mut FeatureRows, row: usize) {
        if !self.texts.is_empty() {
            self.texts.drain(..).for_each(|(column, text)| out.set_text(row, column, &text));
        }
    }
}

/// Bounds on the state of a view, for `plan` (S8.6). Sketches, sets and strings come on top as they fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBounds {
    /// Bytes of a key without records, its key bytes aside.
    pub bytes_per_key: usize,
    /// Bytes of one retained record; memory for up to twice as many may be reserved.
    pub bytes_per_record: usize,
    /// Longest sliding window: a key retains its records of this span behind the watermark, and those after it.
    pub span: Micros,
}

/// See `StateBounds`.
pub fn state_bounds(spec: &ViewSpec) -> StateBounds {
    let program = Program::new(Arc::new(spec.clone()));
    let heaps: usize = program.heaps.iter().map(|maker| 32 + maker.make().bytes()).sum();
    let span = if program.sliding { program.span } else { 0 };
    StateBounds { bytes_per_key: program.fixed.len() * 8 + 64 + heaps, bytes_per_record: program.stride * 8, span }
}

/// The last time before window `window` of time `t`, and the start of its bucket.
#[inline]
fn before(window: &Window, t: i64) -> (i64, i64) {
    match window {
        Window::Sliding(length) => (t.saturating_sub(*length), 0),
        Window::Tumbling { .. } => {
            let start = bucket(window, t);
            (start.saturating_sub(1), start)
        }
        Window::Lifetime => (i64::MIN, 0),
    }
}

impl Program {
    /// Compiles a view.
    pub fn new(spec: Arc<ViewSpec>) -> Self {
        let flagged = spec.filters > 0 || spec.arguments.iter().any(|kind| *kind != CellType::Float64);
        let flags = flagged.then_some(1 + spec.arguments.len());
        let words = 1 + spec.arguments.len() + if flagged { (spec.arguments.len() + spec.filters).div_ceil(64) } else { 0 };
        let mut builder = Builder {
            spec: &spec,
            row_words: words,
            fixed: vec![i64::MIN as u64],
            heaps: Vec::new(),
            flags: flags.unwrap_or(0),
            half: None,
        };
        builder.fixed(&vec![0; spec.windows.len().div_ceil(2)]);
        let parts = registry::build(&mut builder, &spec);
        let asked = [false, true].map(|after| (0..parts.len()).filter(|part| parts[*part].is_asked(after)).collect());
        let told = [false, true].map(|between| (0..parts.len()).filter(|part| parts[*part].is_told(between)).collect());
        let settling = (0..parts.len()).filter(|part| parts[*part].settles()).collect();
        let prefetching = (0..parts.len()).filter(|part| parts[*part].prefetches()).collect();
        let Builder { row_words: stride, fixed, heaps, .. } = builder;
        let lengths = spec.windows.iter().filter_map(|window| if let Window::Sliding(length) = window { Some(*length) } else { None });
        let longest = lengths.max();
        Self {
            parts,
            asked,
            told,
            settling,
            prefetching,
            stride,
            shape: Shape::new(stride),
            flags,
            fixed,
            heaps,
            span: longest.unwrap_or(1).max(1),
            sliding: longest.is_some(),
            spec,
        }
    }

    /// The view.
    pub fn spec(&self) -> &Arc<ViewSpec> {
        &self.spec
    }

    /// Words of a record.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The same, for rings.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The fixed words of a new key.
    pub fn fixed(&self) -> &[u64] {
        &self.fixed
    }

    /// The variable parts of a new key.
    pub fn heaps(&self) -> Box<[Box<dyn Heap>]> {
        self.heaps.iter().map(HeapMaker::make).collect()
    }

    /// Whether keys have variable parts.
    pub fn has_heaps(&self) -> bool {
        !self.heaps.is_empty()
    }

    /// Greatest event time of a key with these fixed words; `i64::MIN` for a new one.
    #[inline]
    pub fn last_time(&self, fixed: &[u64]) -> i64 {
        fixed[LAST] as i64
    }

    /// How long after its last record a key still matters; `None`: for ever (lifetime windows, functions with their own horizon).
    pub fn horizon(&self) -> Option<Micros> {
        let mut longest = 1;
        for feature in &self.spec.features {
            longest = longest.max(match self.spec.windows.get(feature.window?)? {
                Window::Sliding(length) => *length,
                Window::Tumbling { size, .. } => *size,
                Window::Lifetime => return None,
            });
        }
        Some(longest)
    }

    /// The feature row of a key without records (S6.2).
    pub fn empty_row(&self) -> FeatureRows {
        let mut rows = FeatureRows::nulls(1, self.spec.features.len());
        let (mut records, mut arena, mut meta) = (Arena::default(), Arena::default(), [0; ring::META]);
        let (mut fixed, mut heap) = (self.fixed.clone(), self.heaps());
        let kept = Kept { fixed: &mut fixed, arena: &mut arena, heap: &mut heap };
        let mut key = KeyMut { ring: Ring::new(&mut records, &mut meta, self.shape), kept };
        self.probe(&mut key, 0, &mut Scratch::default(), &mut rows, 0);
        rows
    }

    /// The record `row` of `updates` becomes part of the key. If `out` is given, its feature row as of itself is written there (S7.3). `watermark`
    /// is not later than any record or probe still to come. Returns how many records were dropped for `max_records_per_key` (S8.6).
    pub fn update(
        &self,
        key: &mut KeyMut<'_>,
        updates: &Updates,
        row: usize,
        watermark: i64,
        scratch: &mut Scratch,
        mut out: Option<(&mut FeatureRows, usize)>,
    ) -> u64 {
        let t = updates.times[row];
        let (mut rows, last) = (key.ring.rows(), key.kept.fixed[LAST] as i64);
        // What has left every window for good is folded into the carries (S7.5).
        let gone = watermark.saturating_sub(self.span);
        while rows.base() < rows.end() && rows.time(rows.base()) <= gone {
            self.settle_one(key);
            rows = key.ring.rows();
        }
        let mut at = if t >= last { rows.end() } else { rows.after(t, rows.end()) };
        let Scratch { bounds, texts } = scratch;
        let mut emit = out.as_mut().map(|(out, target)| Emit::new(out.row_mut(*target), texts));
        if let Some(emit) = &mut emit {
            let hi = if t > last { at } else { rows.after(t.saturating_sub(1), at) };
            self.bound(&rows, key.kept.fixed, t, [hi, at, at], bounds);
            self.emit(false, &rows, &mut key.kept, bounds, emit);
        }
        let between = at < rows.end();
        self.write(key.ring.insert(at), t, updates, row);
        key.kept.fixed[LAST] = t.max(last) as u64;
        for part in &self.told[usize::from(between)] {
            self.parts[*part].inserted(key, at, updates, row);
        }
        let mut dropped = 0;
        if let Some(limit) = self.spec.max_records_per_key {
            while key.ring.len() as u64 > limit.max(1) {
                let outside = key.ring.time(key.ring.base()) <= t.max(last).saturating_sub(self.span);
                dropped += u64::from(self.sliding && !outside);
                self.settle_one(key);
            }
            at = at.max(key.ring.base().saturating_sub(1));
            bounds.windows.iter_mut().for_each(|(lo, _)| *lo = (*lo).max(key.ring.base()));
        }
        if let Some(emit) = &mut emit {
            bounds.hi[Phase::With as usize] = at + 1;
            self.emit(true, &key.ring.rows(), &mut key.kept, bounds, emit);
        }
        if let Some((out, target)) = out {
            scratch.write_texts(out, target);
        }
        dropped
    }

    /// Asks the caches for what an update of a key reads after its fixed words: the end of its records, those at the heads of the windows, and what
    /// parts go to.
    #[inline]
    pub fn prefetch(&self, rows: &Rows<'_>, fixed: &[u64], arena: &Arena) {
        rows.prefetch(rows.end());
        for (windows, word) in self.spec.windows.chunks(2).zip(&fixed[HINTS..]) {
            for low in [*word as u32, (*word >> 32) as u32].iter().take(windows.len()) {
                rows.prefetch(rows.base() + u64::from(low.wrapping_sub(rows.base() as u32)));
            }
        }
        self.prefetching.iter().for_each(|part| self.parts[*part].prefetch(fixed, arena));
    }

    /// Gives back the extents of a key that is gone.
    pub fn release(&self, key: &mut KeyMut<'_>) {
        self.parts.iter().for_each(|part| part.release(&mut key.kept));
        key.ring.release();
    }

    /// Writes the feature row of the key as of time `t`. Changes nothing but where searches begin.
    pub fn probe(&self, key: &mut KeyMut<'_>, t: i64, scratch: &mut Scratch, out: &mut FeatureRows, row: usize) {
        let (rows, last) = (key.ring.rows(), key.kept.fixed[LAST] as i64);
        let with = if t >= last { rows.end() } else { rows.after(t, rows.end()) };
        let before = if t > last { rows.end() } else { rows.after(t.saturating_sub(1), with) };
        let Scratch { bounds, texts } = scratch;
        self.bound(&rows, key.kept.fixed, t, [before, with, with], bounds);
        let mut emit = Emit::new(out.row_mut(row), texts);
        self.emit(false, &rows, &mut key.kept, bounds, &mut emit);
        self.emit(true, &rows, &mut key.kept, bounds, &mut emit);
        scratch.write_texts(out, row);
    }

    /// The oldest record leaves the ring.
    fn settle_one(&self, key: &mut KeyMut<'_>) {
        let rows = key.ring.rows();
        for part in &self.settling {
            self.parts[*part].settle(&rows, &mut key.kept);
        }
        key.ring.pop_front();
    }

    #[inline]
    fn write(&self, words: &mut [u64], t: i64, updates: &Updates, row: usize) {
        words[0] = t as u64;
        if let Some(flags) = self.flags {
            let width = self.spec.arguments.len();
            words[flags..flags + (width + self.spec.filters).div_ceil(64)].fill(0);
            for (bit, argument) in updates.arguments.iter().enumerate() {
                let (word, valid) = argument.word(row);
                words[1 + bit] = word;
                words[flags + bit / 64] |= u64::from(valid) << (bit % 64);
            }
            for (nth, filter) in updates.filters.iter().enumerate() {
                let bit = width + nth;
                words[flags + bit / 64] |= u64::from(filter.value(row)) << (bit % 64);
            }
        } else {
            for (word, argument) in words[1..].iter_mut().zip(&updates.arguments) {
                *word = argument.word(row).0;
            }
        }
    }

    #[inline]
    fn bound(&self, rows: &Rows<'_>, fixed: &mut [u64], t: i64, hi: [u64; 3], bounds: &mut Bounds) {
        bounds.t = t;
        bounds.hi = hi;
        bounds.windows.resize(self.spec.windows.len(), (0, 0));
        let place = |window: &Window, hint: u32| {
            let (bound, bucket) = before(window, t);
            (rows.after(bound, rows.unfold(hint)), bucket)
        };
        let hints = &mut fixed[HINTS..];
        for ((windows, places), word) in self.spec.windows.chunks(2).zip(bounds.windows.chunks_mut(2)).zip(hints) {
            let (low, high) = (*word as u32, (*word >> 32) as u32);
            if let ([first, rest @ ..], [first_place, rest_places @ ..]) = (windows, places) {
                *first_place = place(first, low);
                *word = *word & !0xFFFF_FFFF | first_place.0 & 0xFFFF_FFFF;
                if let ([second], [second_place]) = (rest, rest_places) {
                    *second_place = place(second, high);
                    *word = *word & 0xFFFF_FFFF | second_place.0 << 32;
                }
            }
        }
    }

    #[inline]
    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, emit: &mut Emit<'_>) {
        for part in &self.asked[usize::from(after)] {
            self.parts[*part].emit(after, rows, kept, bounds, emit);
        }
    }
}
