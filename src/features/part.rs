//! What a family of aggregates provides: a part of a view's state, shared by all features that need the same thing.

use std::any::Any;
use std::fmt::Debug;

use super::argument::Updates;
use super::bytes::Reader;
use super::ring::{Ring, Rows};
use super::{FeatureSpec, ViewSpec};
use crate::config::declaration::Window;
use crate::data::{Arena, CellType};
use crate::time::Micros;

/// The state of one key, borrowed from wherever it is kept.
#[derive(Debug)]
pub struct KeyMut<'a> {
    /// Its records.
    pub ring: Ring<'a>,
    /// All else.
    pub kept: Kept<'a>,
}

/// What the parts keep of one key beside its records.
#[derive(Debug)]
pub struct Kept<'a> {
    /// Fixed words.
    pub fixed: &'a mut [u64],
    /// The arena of what grows.
    pub arena: &'a mut Arena,
    /// Parts of variable kind.
    pub heap: &'a mut [Box<dyn Heap>],
}

/// State of one key and part that has no fixed size (sketches, sets, strings).
pub trait Heap: Any + Debug + Send {
    /// Appends it to a snapshot.
    fn save(&self, out: &mut Vec<u8>);
    /// Replaces it by what `save` wrote.
    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String>;
    /// Memory, in bytes.
    fn bytes(&self) -> usize;
    /// For the part that made it.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Which records a feature sees at the time `t` of an update or probe (S7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Strictly before `t`: `include_current = false`.
    Before = 0,
    /// What precedes the record in canonical order, whatever `include_current` says.
    Prior = 1,
    /// The record itself and what precedes it; for a probe, all with time ≤ `t`.
    With = 2,
}

/// The ranges of the ring that the windows cover at one time.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The time.
    pub t: i64,
    /// End of the range by phase.
    pub hi: [u64; 3],
    /// By window: where the range begins, and when the current window of a tumbling one does; 0 for the others.
    pub windows: Vec<(u64, i64)>,
}

impl Bounds {
    /// Start of a window's range. For tumbling and lifetime windows, what is older and in the window is in the carry.
    #[inline]
    pub fn lo(&self, window: usize) -> u64 {
        self.windows[window].0
    }

    /// Start of the current window of a tumbling one; 0 for the others.
    #[inline]
    pub fn bucket(&self, window: usize) -> i64 {
        self.windows[window].1
    }

    /// The records that a window has in a phase.
    #[inline]
    pub fn range(&self, window: usize, phase: Phase) -> (u64, u64) {
        let lo = self.lo(window);
        (lo, self.hi[phase as usize].max(lo))
    }
}

/// The start of the tumbling window around `t`; 0 for windows of other kinds.
#[inline]
pub fn bucket(window: &Window, t: i64) -> i64 {
    match window {
        Window::Tumbling { size, offset } => {
            let since = t.saturating_sub(*offset);
            since.saturating_sub(since.rem_euclid((*size).max(1))).saturating_add(*offset)
        }
        _ => 0,
    }
}

/// Where the cells of a feature row go. Cells that are not set are null.
#[derive(Debug)]
pub struct Emit<'a> {
    cells: &'a mut [u64],
    valid: &'a mut [u64],
    texts: &'a mut Vec<(usize, Box<str>)>,
}

impl<'a> Emit<'a> {
    /// Over the cells and validity words of one row; strings are collected by column.
    pub fn new((cells, valid): (&'a mut [u64], &'a mut [u64]), texts: &'a mut Vec<(usize, Box<str>)>) -> Self {
        Self { cells, valid, texts }
    }

    /// Sets a cell.
    #[inline]
    pub fn bits(&mut self, column: usize, bits: u64) {
        self.cells[column] = bits;
        self.valid[column / 64] |= 1 << (column % 64);
    }

    /// Sets a cell whose validity `mark` sets; none where the column is beyond the row.
    #[inline]
    pub fn cell(&mut self, column: usize, bits: impl FnOnce() -> u64) {
        if let Some(cell) = self.cells.get_mut(column) {
            *cell = bits();
        }
    }

    /// Sets a cell to what another one was set to.
    #[inline]
    pub fn repeat(&mut self, column: usize, first: usize) {
        self.cells[column] = self.cells[first];
    }

    /// Says that the cells of these bits of the validity's words are not null.
    #[inline]
    pub fn mark(&mut self, masks: &[(usize, u64)]) {
        masks.iter().for_each(|(word, mask)| self.valid[*word] |= mask);
    }

    /// Sets a cell to a float, unless it is not finite (S13.3).
    #[inline]
    pub fn float(&mut self, column: usize, value: f64) {
        if value.is_finite() {
            self.bits(column, value.to_bits());
        }
    }

    /// Sets a cell to a string.
    pub fn text(&mut self, column: usize, text: &str) {
        self.texts.push((column, text.into()));
    }
}

/// A part of a view's state. All methods see the words that the part reserved while it was built.
pub trait Part: Debug + Send + Sync {
    /// Whether `inserted` does anything with a record between others (`between`) or behind them.
    fn is_told(&self, _between: bool) -> bool {
        true
    }
    /// The record at `at` (row `row` of `updates`) has just entered the ring; later ones have moved up by one.
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, updates: &Updates, row: usize);
    /// Whether `prefetch` does anything.
    fn prefetches(&self) -> bool {
        false
    }
    /// Asks the caches for what `inserted` and `emit` are likely to read other than fixed words and records.
    fn prefetch(&self, _fixed: &[u64], _arena: &Arena) {}
    /// Whether `settle` does anything.
    fn settles(&self) -> bool {
        true
    }
    /// The record at the base of the ring is about to leave for good; tumbling and lifetime windows carry it on.
    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>);
    /// Whether features are asked of this part in the phases before the insertion (`after == false`) or after it.
    fn is_asked(&self, after: bool) -> bool;
    /// Writes the features of the phases before the insertion (`after == false`: `Before` and `Prior`) or after it (`With`).
    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>);
    /// The key is gone: gives back the extents of this part.
    fn release(&self, _kept: &mut Kept<'_>) {}
}

/// Which records an aggregate counts and where their value is: not null, and passing the filter.
#[derive(Clone, Debug)]
pub struct Source {
    /// Word of the value in a row; `None` for `*`.
    pub value: Option<usize>,
    /// Its type.
    pub kind: CellType,
    /// Position of the argument in the updates.
    pub argument: Option<usize>,
    /// Flag words and the bits that must be set in them: of the argument and the filter, as far as there are any.
    checks: Vec<(usize, u64)>,
}

impl Source {
    /// The value's word; 0 for `*`.
    #[inline]
    pub fn word(&self, row: &[u64]) -> u64 {
        self.value.map_or(0, |at| row[at])
    }

    /// Whether the record counts.
    #[inline]
    pub fn present(&self, row: &[u64]) -> bool {
        if self.checks.iter().any(|(word, mask)| row[*word] & mask == 0) {
            return false;
        }
        match self.value {
            Some(at) if self.kind == CellType::Float64 => !f64::from_bits(row[at]).is_nan(),
            _ => true,
        }
    }

    /// Whether every record counts.
    pub fn is_total(&self) -> bool {
        self.checks.is_empty() && self.value.is_none()
    }
}

/// The features of one window and phase, with what each wants.
#[derive(Clone, Debug)]
pub struct Read<T> {
    /// Position among the view's windows; `None` for functions with their own horizon.
    pub window: Option<usize>,
    /// Which records.
    pub phase: Phase,
    /// Column of the feature row, and what goes there.
    pub outputs: Vec<(usize, T)>,
}

/// The reads of one part, apart by when they happen: `[before the insertion, after it]`.
pub type Reads<T> = [Vec<Read<T>>; 2];

/// What a family needs to build a part: the view, and the words reserved so far.
#[derive(Debug)]
pub struct Builder<'a> {
    /// The view.
    pub spec: &'a ViewSpec,
    /// Words of a row so far.
    pub row_words: usize,
    /// Initial fixed words so far.
    pub fixed: Vec<u64>,
    /// Initial variable parts so far, one maker each.
    pub heaps: Vec<HeapMaker>,
    pub(super) flags: usize,
    /// A half of a row word that is not in use yet: word, shift.
    pub(super) half: Option<(usize, u32)>,
}

/// Makes the variable part of a new key.
pub struct HeapMaker(Box<dyn Fn() -> Box<dyn Heap> + Send + Sync>);

impl HeapMaker {
    /// A new one.
    pub fn make(&self) -> Box<dyn Heap> {
        (self.0)()
    }
}

impl Debug for HeapMaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeapMaker")
    }
}

impl Builder<'_> {
    /// Reserves `words` words of each row.
    pub fn row(&mut self, words: usize) -> usize {
        self.row_words += words;
        self.row_words - words
    }

    /// Reserves 32 bits of each row: word and shift.
    pub fn half_row(&mut self) -> (usize, u32) {
        if let Some(half) = self.half.take() {
            return half;
        }
        let word = self.row(1);
        self.half = Some((word, 32));
        (word, 0)
    }

    /// Reserves fixed words of the key with these first values.
    pub fn fixed(&mut self, initial: &[u64]) -> usize {
        self.fixed.extend_from_slice(initial);
        self.fixed.len() - initial.len()
    }

    /// Reserves a variable part.
    pub fn heap(&mut self, make: impl Fn() -> Box<dyn Heap> + Send + Sync + 'static) -> usize {
        self.heaps.push(HeapMaker(Box::new(make)));
        self.heaps.len() - 1
    }

    /// Where the records of `feature` are found.
    pub fn source(&self, feature: &FeatureSpec) -> Source {
        let kind = feature.argument.map_or(CellType::Int64, |argument| self.spec.arguments[argument]);
        let flag = |bit: usize| (self.flags + bit / 64, 1u64 << (bit % 64));
        let argument = feature.argument.filter(|_| kind != CellType::Float64).map(flag);
        let filter = feature.filter.map(|filter| flag(self.spec.arguments.len() + filter));
        let value = feature.argument.map(|argument| 1 + argument);
        Source { value, kind, argument: feature.argument, checks: argument.into_iter().chain(filter).collect() }
    }

    /// The windows that keep a carry: tumbling and lifetime, among those that `features` use.
    pub fn floored(&self, features: &[(usize, &FeatureSpec)]) -> Vec<usize> {
        let mut windows: Vec<usize> = features.iter().filter_map(|(_, feature)| feature.window).collect();
        windows.retain(|window| !matches!(self.spec.windows[*window], Window::Sliding(_)));
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// The longest sliding window among those that `features` use.
    pub fn longest(&self, features: &[(usize, &FeatureSpec)]) -> Option<Micros> {
        let lengths = features.iter().filter_map(|(_, feature)| match self.spec.windows[feature.window?] {
            Window::Sliding(length) => Some(length),
            _ => None,
        });
        lengths.max()
    }
}

/// Groups features by window and phase; `want` says what each of them asks for.
pub fn reads<T>(features: &[(usize, &FeatureSpec)], mut want: impl FnMut(&FeatureSpec) -> T) -> Reads<T> {
    let mut reads: Reads<T> = [Vec::new(), Vec::new()];
    for (column, feature) in features {
        let phase = match (feature.function.is_prior(), feature.include_current) {
            (true, _) => Phase::Prior,
            (false, true) => Phase::With,
            (false, false) => Phase::Before,
        };
        let list = &mut reads[usize::from(phase == Phase::With)];
        let output = (*column, want(feature));
        match list.iter_mut().find(|read| read.window == feature.window && read.phase == phase) {
            Some(read) => read.outputs.push(output),
            None => list.push(Read { window: feature.window, phase, outputs: vec![output] }),
        }
    }
    reads
}
