//! `min` and `max`: one monotonic queue per argument and filter, shared by all windows.
//!
//! The queue holds the records that no later one equals or exceeds, oldest first (the sliding maximum of Lemire, "Streaming maximum-minimum filter using
//! no more than three comparisons per element", 2006); each window has its front in it, which only moves forward in order: amortised O(1). Besides, each
//! record keeps the distance to the nearest earlier record that exceeds it, its parent. Parents never change when newer records come, so following them
//! from any record gives the queue as it was then: as-of queries that the queue of the newest record does not answer need no other structure.

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, plain};
use super::part::{Bounds, Builder, Emit, Kept, KeyMut, Part, Phase, Source, bucket, reads};
use super::registry::{Family, Row};
use super::ring::Rows;
use super::{FeatureSpec, Function};
use crate::config::declaration::Window;
use crate::data::{Address, Arena, CellType, prefetch};

/// See the module.
pub static FAMILY: Family = Family { name: "extrema", group: |function: &Function| u64::from(function.name == "max"), build };

/// `min(x)`, `max(x)` of numbers, booleans and timestamps.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64, Timestamp};
    plain(row, argument, parameters, &[Float64, Int64, Bool, Timestamp], |kind| kind)
}

/// Words of a queue's item: index of the record, value.
const ITEM: usize = 2;

/// Where the queue of a key is: fixed words with the address and log₂ of the capacity plus one (halves), first item's number and length (halves). Items are
/// numbered on for ever, in 32 bits.
#[derive(Clone, Copy, Debug)]
struct Queue {
    at: usize,
}

impl Queue {
    #[inline]
    fn first(self, fixed: &[u64]) -> u32 {
        fixed[self.at + 1] as u32
    }

    #[inline]
    fn set(self, fixed: &mut [u64], first: u32, length: u32) {
        fixed[self.at + 1] = u64::from(first) | u64::from(length) << 32;
    }

    #[inline]
    fn capacity(self, fixed: &[u64]) -> u32 {
        (1u64 << (fixed[self.at] >> 32) >> 1) as u32
    }

    /// The queue, to be read.
    #[inline]
    fn held<'a>(self, fixed: &[u64], arena: &'a Arena) -> Held<'a> {
        let (place, state) = (fixed[self.at], fixed[self.at + 1]);
        let capacity = (1u64 << (place >> 32) >> 1) as u32;
        let words = if capacity == 0 { &[][..] } else { arena.words(place as Address, ITEM * capacity as usize) };
        Held {
            items: Items { held: words.as_chunks().0, mask: capacity.wrapping_sub(1) },
            first: state as u32,
            length: (state >> 32) as u32,
        }
    }

    /// Puts an item behind the first `length` ones, which stay; `first` is the number of the first.
    #[inline]
    fn push(self, fixed: &mut [u64], arena: &mut Arena, (first, length): (u32, u32), item: [u64; ITEM]) {
        self.set(fixed, first, length + 1);
        let mut capacity = self.capacity(fixed);
        if length >= capacity {
            self.grow(fixed, arena, length);
            capacity = self.capacity(fixed);
        }
        let place = first.wrapping_add(length) & capacity.wrapping_sub(1);
        arena.words_mut(fixed[self.at] as Address + place * ITEM as Address, ITEM).copy_from_slice(&item);
    }

    #[cold]
    fn grow(self, fixed: &mut [u64], arena: &mut Arena, length: u32) {
        let (first, log) = (self.first(fixed), (fixed[self.at] >> 32) as u32);
        let fresh = arena.allocate(ITEM << log);
        for number in (0..length).map(|nth| first.wrapping_add(nth)) {
            let (index, value) = self.held(fixed, arena).items.get(number);
            let to = fresh + (number & ((1 << log) - 1)) * ITEM as Address;
            arena.words_mut(to, ITEM).copy_from_slice(&[index, value]);
        }
        self.release(fixed, arena);
        fixed[self.at] = u64::from(fresh) | u64::from(log + 1) << 32;
    }

    fn release(self, fixed: &mut [u64], arena: &mut Arena) {
        if self.capacity(fixed) > 0 {
            arena.free(fixed[self.at] as Address, ITEM * self.capacity(fixed) as usize);
        }
    }
}

/// A queue's items by number.
#[derive(Clone, Copy, Debug)]
struct Items<'a> {
    held: &'a [[u64; ITEM]],
    mask: u32,
}

impl Items<'_> {
    /// Index and value of an item that is there.
    #[inline]
    fn get(&self, number: u32) -> (u64, u64) {
        let [index, value] = self.held[(number & self.mask) as usize];
        (index, value)
    }

    /// Asks the caches for an item, there or not.
    #[inline]
    fn prefetch(&self, number: u32) {
        if let Some([index, _]) = self.held.get((number & self.mask) as usize) {
            prefetch(index);
        }
    }
}

/// A queue, to be read.
#[derive(Clone, Copy, Debug)]
struct Held<'a> {
    items: Items<'a>,
    first: u32,
    length: u32,
}

/// What is asked of one window in one phase.
#[derive(Debug)]
struct Wanted {
    window: usize,
    phase: Phase,
    /// Word and shift of the fixed half with the number of the window's front.
    front: (usize, u32),
    /// First fixed word of what a tumbling or lifetime window carries.
    carry: Option<usize>,
    columns: Vec<usize>,
}

#[derive(Debug)]
struct Extrema {
    source: Source,
    max: bool,
    /// Before the insertion, after it.
    asked: [Vec<Wanted>; 2],
    /// Word and shift of a row's half: distance to the parent; 0 = none.
    parent: (usize, u32),
    queue: Queue,
    windows: Vec<Window>,
    /// Words and shifts of the fixed halves with the numbers of the windows' fronts.
    fronts: Vec<(usize, u32)>,
    /// Tumbling and lifetime windows: fixed words bucket, whether there is a value, the value.
    floored: Vec<(usize, usize)>,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let parent = builder.half_row();
    let queue = Queue { at: builder.fixed(&[0, 0]) };
    let mut fronts = vec![None; builder.spec.windows.len()];
    let mut half = None;
    for window in features.iter().filter_map(|(_, feature)| feature.window) {
        if fronts[window].is_none() {
            let place = half.take().unwrap_or_else(|| {
                let word = builder.fixed(&[0]);
                half = Some((word, 32));
                (word, 0)
            });
            fronts[window] = Some(place);
        }
    }
    let windows = builder.floored(features);
    let floored: Vec<(usize, usize)> = windows.iter().map(|window| (*window, builder.fixed(&[i64::MIN as u64, 0, 0]))).collect();
    let asked = reads(features, |_| ()).map(|reads| {
        let wanted = reads.into_iter().filter_map(|read| {
            let window = read.window?;
            let carry = floored.iter().find(|(floored, _)| *floored == window).map(|(_, at)| *at);
            let columns = read.outputs.iter().map(|(column, ())| *column).collect();
            Some(Wanted { window, phase: read.phase, front: fronts[window]?, carry, columns })
        });
        wanted.collect()
    });
    Box::new(Extrema {
        source: builder.source(features[0].1),
        max: features[0].1.function.name == "max",
        asked,
        parent,
        queue,
        windows: builder.spec.windows.clone(),
        fronts: fronts.into_iter().flatten().collect(),
        floored,
    })
}

/// 32 bits of a list of words.
#[inline]
fn half(words: &[u64], (word, shift): (usize, u32)) -> u32 {
    (words[word] >> shift) as u32
}

#[inline]
fn set_half(words: &mut [u64], (word, shift): (usize, u32), value: u32) {
    words[word] = words[word] & !(0xFFFF_FFFF << shift) | u64::from(value) << shift;
}

impl Extrema {
    /// Maps a value to an integer that grows with it (for a maximum) or shrinks (for a minimum).
    #[inline]
    fn rank(&self, word: u64) -> u64 {
        let rank = if self.source.kind == CellType::Float64 {
            let bits = (f64::from_bits(word) + 0.0).to_bits();
            if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
        } else {
            word ^ 1 << 63
        };
        if self.max { rank } else { !rank }
    }

    /// The parent of `index`, if the ring still has it; of a record that does not count, the newest earlier one that does.
    #[inline]
    fn parent(&self, rows: &Rows<'_>, index: u64) -> Option<u64> {
        let distance = u64::from(half(rows.row(index), self.parent));
        (distance != 0 && distance <= index - rows.base()).then(|| index - distance)
    }

    /// The newest record that counts among those before `end`: where the queue of that time ends.
    fn tail(&self, rows: &Rows<'_>, end: u64) -> Option<u64> {
        let last = end.checked_sub(1).filter(|last| *last >= rows.base())?;
        if self.source.present(rows.row(last)) { Some(last) } else { self.parent(rows, last) }
    }

    /// Puts `index` behind the queue, which must be that of the records before it.
    #[inline]
    fn push(&self, key: &mut KeyMut<'_>, index: u64) {
        let Kept { fixed, arena, .. } = &mut key.kept;
        let row = key.ring.row_mut(index);
        let (present, word) = (self.source.present(row), self.source.word(row));
        let Held { items, first, mut length } = self.queue.held(fixed, arena);
        let mut parent = None;
        let rank = self.rank(word);
        while length > 0 {
            let (earlier, value) = items.get(first.wrapping_add(length - 1));
            if !present || self.rank(value) > rank {
                parent = Some(earlier);
                break;
            }
            length -= 1;
        }
        let distance = parent.map_or(0, |parent| u32::try_from(index - parent).unwrap_or(0));
        set_half(row, self.parent, distance);
        if present {
            self.queue.push(fixed, arena, (first, length), [index, word]);
        }
    }

    /// A record was put in at `at`, before others: the queue as it was then, and from there on again.
    #[cold]
    fn rewind(&self, key: &mut KeyMut<'_>, at: u64) {
        let Held { items, first, mut length } = self.queue.held(key.kept.fixed, key.kept.arena);
        let index_of = |nth: u32| items.get(first.wrapping_add(nth)).0;
        while length > 0 && index_of(length - 1) >= at {
            length -= 1;
        }
        let left = if length > 0 { Some(index_of(length - 1)) } else { None };
        self.queue.set(key.kept.fixed, first, length);
        let (rows, mut chain) = (key.ring.rows(), Vec::new());
        let mut next = self.tail(&rows, at);
        while let Some(index) = next.filter(|index| Some(*index) != left) {
            chain.push((index, self.source.word(rows.row(index))));
            next = self.parent(&rows, index);
        }
        for (index, word) in chain.into_iter().rev() {
            self.queue.push(key.kept.fixed, key.kept.arena, (first, length), [index, word]);
            length += 1;
        }
        for front in &self.fronts {
            set_half(key.kept.fixed, *front, first);
        }
        for index in at..key.ring.end() {
            self.push(key, index);
        }
    }

    /// The value with the greatest rank in `[lo, hi)`; `front` remembers where in the queue a window's search ended.
    #[inline]
    fn find(&self, rows: &Rows<'_>, queue: &Held<'_>, front: &mut u32, lo: u64, hi: u64) -> Option<u64> {
        if lo >= hi {
            return None;
        }
        let item = |nth: u32| queue.items.get(queue.first.wrapping_add(nth));
        // The items where the front was may have left at the front of the queue, or have been replaced by the newest.
        let ahead = front.wrapping_sub(queue.first);
        let mut nth = if ahead as i32 >= 0 { ahead.min(queue.length.saturating_sub(1)) } else { 0 };
        while nth > 0 && item(nth - 1).0 >= lo {
            nth -= 1;
        }
        let mut found = None;
        while nth < queue.length {
            let (index, value) = item(nth);
            if index >= lo {
                found = Some((index, value));
                break;
            }
            nth += 1;
        }
        *front = queue.first.wrapping_add(nth);
        let (index, value) = found?;
        if index < hi { Some(value) } else { self.find_between(rows, lo, hi) }
    }

    /// The same where the queue of the newest record has it no more.
    #[cold]
    fn find_between(&self, rows: &Rows<'_>, lo: u64, hi: u64) -> Option<u64> {
        let mut found = self.tail(rows, hi).filter(|tail| *tail >= lo)?;
        while let Some(parent) = self.parent(rows, found).filter(|parent| *parent >= lo) {
            found = parent;
        }
        Some(self.source.word(rows.row(found)))
    }
}

impl Part for Extrema {
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        if at + 1 == key.ring.end() { self.push(key, at) } else { self.rewind(key, at) }
    }

    fn prefetches(&self) -> bool {
        true
    }

    fn prefetch(&self, fixed: &[u64], arena: &Arena) {
        let Held { items, first, length } = self.queue.held(fixed, arena);
        if length > 0 {
            items.prefetch(first.wrapping_add(length - 1));
            self.fronts.iter().for_each(|front| items.prefetch(half(fixed, *front)));
        }
    }

    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let base = rows.base();
        let Held { items, first, length } = self.queue.held(kept.fixed, kept.arena);
        if length > 0 && items.get(first).0 == base {
            self.queue.set(kept.fixed, first.wrapping_add(1), length - 1);
        }
        let row = rows.row(base);
        if self.floored.is_empty() || !self.source.present(row) {
            return;
        }
        let (time, word) = (row[0] as i64, self.source.word(row));
        for (window, at) in &self.floored {
            let start = bucket(&self.windows[*window], time);
            let carry = &mut kept.fixed[*at..*at + 3];
            let greater = carry[0] as i64 != start || carry[1] == 0 || self.rank(carry[2]) <= self.rank(word);
            if greater {
                carry.copy_from_slice(&[start as u64, 1, word]);
            }
        }
    }

    fn is_asked(&self, after: bool) -> bool {
        !self.asked[usize::from(after)].is_empty()
    }

    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        let Kept { fixed, arena, .. } = kept;
        let queue = self.queue.held(fixed, arena);
        for wanted in &self.asked[usize::from(after)] {
            let known = half(fixed, wanted.front);
            let mut front = known;
            let mut word = self.find(rows, &queue, &mut front, bounds.lo(wanted.window), bounds.hi[wanted.phase as usize]);
            if front != known {
                set_half(fixed, wanted.front, front);
            }
            if let Some(at) = wanted.carry {
                let carry = &fixed[at..at + 3];
                let holds = carry[1] == 1 && carry[0] as i64 == bounds.bucket(wanted.window);
                if holds && word.is_none_or(|word| self.rank(word) < self.rank(carry[2])) {
                    word = Some(carry[2]);
                }
            }
            if let Some(word) = word {
                wanted.columns.iter().for_each(|column| out.bits(*column, word));
            }
        }
    }

    fn release(&self, kept: &mut Kept<'_>) {
        self.queue.release(kept.fixed, kept.arena);
        kept.fixed[self.queue.at..self.queue.at + 2].fill(0);
    }
}
