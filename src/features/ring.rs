//! The records of one key: rows of 64-bit words in (event time, arrival) order, oldest first, addressed by an index that never restarts.
//!
//! Word 0 of a row is its event time. The rows lie in the view's arena (S15): those of a key with few records in one small extent that doubles, those of
//! one with many in segments of equal size that a directory lists, so that a ring grows at its end and is given back at its front without ever being
//! copied, and a checkpoint finds the old segments unchanged. Pushing is amortised O(1), inserting moves the rows behind.

use crate::data::{Address, Arena, BLOCK_WORDS, prefetch};

/// Words of a key's state that say where its records are: the base; the length and, in the upper half, log₂ of the capacity plus one and whether
/// there are segments; the address and, in the upper half, log₂ of the directory's capacity.
pub const META: usize = 3;

/// Most words of a segment, a block of the arena, unless one row is larger.
const SEGMENT_WORDS: usize = BLOCK_WORDS;
const SEGMENTED: u64 = 1 << 48;
/// Steps of a search before it begins to gallop.
const NEAR: u64 = 4;

/// The retained records of one key, `[base, end)`.
#[derive(Debug)]
pub struct Ring<'a> {
    arena: &'a mut Arena,
    meta: &'a mut [u64],
    shape: Shape,
}

/// The shape of all rings of a view.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Words of a row, at least one.
    stride: usize,
    /// log₂ of the rows of a segment.
    log: u32,
}

impl Shape {
    /// Of rows of so many words.
    pub fn new(stride: usize) -> Self {
        Self { stride, log: (SEGMENT_WORDS / stride).max(1).ilog2() }
    }

    /// Where row `index` lies from the beginning of its segment, or of an extent of this mask.
    #[inline]
    fn within(self, index: u64, mask: u64) -> usize {
        (index & mask) as usize * self.stride
    }

    /// Words of a segment.
    #[inline]
    fn segment(self) -> usize {
        self.stride << self.log
    }

    #[inline]
    fn segment_mask(self) -> u64 {
        (1 << self.log) - 1
    }
}

/// The records of a ring, to be read. Where they lie is resolved once: after that a record in the one extent, or in the newest segment, costs a mask and
/// a bounds check.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The one extent, or the newest segment.
    near: &'a [u64],
    mask: u64,
    /// The first record of `near`; those before it are in older segments.
    first: u64,
    base: u64,
    end: u64,
    shape: Shape,
    arena: &'a Arena,
    /// Word of the ring that says where its directory is; of no meaning without segments.
    place: u64,
}

impl<'a> Rows<'a> {
    /// Of the ring that `meta` (of `META` words) places in `arena`.
    #[inline]
    pub fn new(arena: &'a Arena, meta: &[u64], shape: Shape) -> Self {
        let (base, kind, place) = (meta[0], meta[1], meta[2]);
        let end = base + (kind & 0xFFFF_FFFF);
        let (first, mask, near) = if kind >> 32 == 0 {
            (base, 0, &[][..])
        } else if kind & SEGMENTED == 0 {
            let log = ((kind >> 32) - 1) as u32 & 63;
            (base, (1 << log) - 1, arena.words(place as Address, shape.stride << log))
        } else {
            Self::newest(arena, shape, place, base, end)
        };
        Self { near, mask, first, base, end, shape, arena, place }
    }

    /// The newest segment: its first record, its mask, its words.
    #[inline(never)]
    fn newest(arena: &'a Arena, shape: Shape, place: u64, base: u64, end: u64) -> (u64, u64, &'a [u64]) {
        let number = end.saturating_sub(1) >> shape.log;
        let near = arena.words(segment_of(arena.words(place as Address, 1 << (place >> 32)), number), shape.segment());
        ((number << shape.log).max(base), shape.segment_mask(), near)
    }

    /// Index of the oldest record.
    #[inline]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Index after the newest record.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The words of record `index`, which must be in `[base, end)`.
    #[inline]
    pub fn row(&self, index: u64) -> &'a [u64] {
        if index < self.first {
            return self.in_segment(index);
        }
        let at = self.shape.within(index, self.mask);
        &self.near[at..at + self.shape.stride]
    }

    /// Event time of record `index`.
    #[inline]
    pub fn time(&self, index: u64) -> i64 {
        if index < self.first {
            return self.in_segment(index)[0] as i64;
        }
        self.near[self.shape.within(index, self.mask)] as i64
    }

    #[inline(never)]
    fn in_segment(&self, index: u64) -> &'a [u64] {
        let directory = self.arena.words(self.place as Address, 1 << (self.place >> 32));
        let within = self.shape.within(index, self.shape.segment_mask());
        self.arena.words(segment_of(directory, index >> self.shape.log) + within as Address, self.shape.stride)
    }

    /// Index whose lower half is `low`, if it is in `[base, end]`; else the base. Positions are kept as lower halves.
    #[inline]
    pub fn unfold(&self, low: u32) -> u64 {
        let ahead = u64::from(low.wrapping_sub(self.base as u32));
        if ahead <= self.end - self.base { self.base + ahead } else { self.base }
    }

    /// Asks the caches for record `index`, there or not.
    #[inline]
    pub fn prefetch(&self, index: u64) {
        let at = self.shape.within(index, self.mask);
        if index >= self.first
            && let Some([first, .., last] | [first @ last]) = self.near.get(at..at + self.shape.stride)
        {
            prefetch(first);
            prefetch(last);
        }
    }

    /// The first index whose time is greater than `bound` (`end` if none), found from `hint` in time logarithmic in the distance.
    #[inline]
    pub fn after(&self, bound: i64, hint: u64) -> u64 {
        let stays = (hint == self.end || self.time(hint) > bound) && (hint == self.base || self.time(hint - 1) <= bound);
        if stays { hint } else { self.search(bound, hint) }
    }

    #[inline(never)]
    fn search(&self, bound: i64, hint: u64) -> u64 {
        let mut low = hint;
        while low < self.end && self.time(low) <= bound {
            low += 1;
            if low == hint + NEAR {
                return self.gallop_up(bound, low);
            }
        }
        if low > hint {
            return low;
        }
        while low > self.base && self.time(low - 1) > bound {
            low -= 1;
            if low + NEAR == hint {
                return self.gallop_down(bound, low);
            }
        }
        low
    }

    /// `time(from - 1) <= bound`.
    #[inline(never)]
    fn gallop_up(&self, bound: i64, from: u64) -> u64 {
        let (mut low, mut step) = (from, 1);
        while low + step < self.end && self.time(low + step) <= bound {
            low += step;
            step *= 2;
        }
        self.bisect(bound, low, (low + step).min(self.end))
    }

    /// Everything from `from` on is later than `bound`.
    #[inline(never)]
    fn gallop_down(&self, bound: i64, from: u64) -> u64 {
        let (mut high, mut step) = (from, 1);
        while high - self.base >= step && self.time(high - step) > bound {
            high -= step;
            step *= 2;
        }
        self.bisect(bound, high.saturating_sub(step).max(self.base), high)
    }

    fn bisect(&self, bound: i64, mut low: u64, mut high: u64) -> u64 {
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle) > bound {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// Where a segment lies, from its number.
#[inline]
fn segment_of(directory: &[u64], number: u64) -> Address {
    directory[number as usize & (directory.len() - 1)] as Address
}

impl<'a> Ring<'a> {
    /// The ring that `meta` (of `META` words; zeros: an empty one) places in `arena`, with rows of this shape.
    #[inline]
    pub fn new(arena: &'a mut Arena, meta: &'a mut [u64], shape: Shape) -> Self {
        Self { arena, meta, shape }
    }

    /// The records, to be read.
    #[inline]
    pub fn rows(&self) -> Rows<'_> {
        Rows::new(self.arena, self.meta, self.shape)
    }

    /// Index of the oldest record.
    #[inline]
    pub fn base(&self) -> u64 {
        self.meta[0]
    }

    /// Index after the newest record.
    #[inline]
    pub fn end(&self) -> u64 {
        self.meta[0] + self.len() as u64
    }

    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        (self.meta[1] & 0xFFFF_FFFF) as usize
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn address(&self, index: u64) -> Address {
        let at = self.meta[2] as Address;
        if self.meta[1] & SEGMENTED == 0 {
            let mask = (1u64 << ((self.meta[1] >> 32 & 0xFF).wrapping_sub(1) & 63)) - 1;
            return at + self.shape.within(index, mask) as Address;
        }
        let capacity = 1usize << (self.meta[2] >> 32);
        let slot = (index >> self.shape.log) as usize & (capacity - 1);
        self.arena.words(at, capacity)[slot] as Address + self.shape.within(index, self.shape.segment_mask()) as Address
    }

    /// The words of record `index`, which must be in `[base, end)`.
    #[inline]
    pub fn row(&self, index: u64) -> &[u64] {
        self.arena.words(self.address(index), self.shape.stride)
    }

    /// The same, to be written.
    #[inline]
    pub fn row_mut(&mut self, index: u64) -> &mut [u64] {
        let at = self.address(index);
        self.arena.words_mut(at, self.shape.stride)
    }

    /// Event time of record `index`.
    #[inline]
    pub fn time(&self, index: u64) -> i64 {
        self.arena.words(self.address(index), 1)[0] as i64
    }

    /// log₂ of the rows that the one extent holds; `None` without one.
    #[inline]
    fn small_log(&self) -> Option<u32> {
        (self.meta[1] & SEGMENTED == 0).then(|| (self.meta[1] >> 32) as u32).and_then(|log| log.checked_sub(1))
    }

    fn set_length(&mut self, length: usize) {
        self.meta[1] = self.meta[1] & !0xFFFF_FFFF | length as u64;
    }

    /// Moves the rows into one extent of `1 << log` rows.
    fn resize(&mut self, log: u32) {
        let (rows, stride) = (1usize << log, self.shape.stride);
        let fresh = self.arena.allocate(rows * stride);
        let (mut index, end) = (self.base(), self.end());
        while index < end {
            let run = self.run(index).min(end - index).min(rows as u64 - (index & (rows as u64 - 1)));
            let to = fresh + (index & (rows as u64 - 1)) as Address * stride as Address;
            self.arena.copy(self.address(index), to, run as usize * stride);
            index += run;
        }
        self.give_back();
        self.meta[1] = self.len() as u64 | u64::from(log + 1) << 32;
        self.meta[2] = u64::from(fresh);
    }

    /// How many records lie side by side from `index` on.
    fn run(&self, index: u64) -> u64 {
        let rows = 1 << self.small_log().unwrap_or(self.shape.log);
        rows - (index & (rows - 1))
    }

    /// Frees what the rows lie in.
    fn give_back(&mut self) {
        let (at, stride) = (self.meta[2] as Address, self.shape.stride);
        if let Some(log) = self.small_log() {
            self.arena.free(at, stride << log);
        } else if self.meta[1] & SEGMENTED != 0 {
            let log = self.shape.log;
            if !self.is_empty() {
                for segment in self.base() >> log..=(self.end() - 1) >> log {
                    self.free_segment(segment);
                }
            }
            self.arena.free(at, 1 << (self.meta[2] >> 32));
        }
    }

    /// Frees everything: the key is gone.
    pub fn release(&mut self) {
        self.give_back();
        self.meta.fill(0);
    }

    /// The directory's entry of a segment.
    fn entry(&mut self, segment: u64) -> &mut u64 {
        let capacity = 1usize << (self.meta[2] >> 32);
        &mut self.arena.words_mut(self.meta[2] as Address, capacity)[segment as usize & (capacity - 1)]
    }

    fn free_segment(&mut self, segment: u64) {
        let at = *self.entry(segment) as Address;
        self.arena.free(at, self.shape.segment());
    }

    fn add_segment(&mut self, segment: u64) {
        let at = self.arena.allocate(self.shape.segment());
        *self.entry(segment) = u64::from(at);
    }

    /// Goes over to segments: the rows no longer fit one.
    fn split(&mut self) {
        let (log, stride, from, length) = (self.shape.log, self.shape.stride, self.meta[2] as Address, self.len());
        let directory = self.arena.allocate(4);
        (self.meta[1], self.meta[2]) = (length as u64 | SEGMENTED | 1 << 32, u64::from(directory) | 2 << 32);
        for segment in self.base() >> log..=(self.end() - 1) >> log {
            self.add_segment(segment);
        }
        let mask = (1u64 << log) - 1;
        for index in self.base()..self.end() {
            self.arena.copy(from + (index & mask) as Address * stride as Address, self.address(index), stride);
        }
        self.arena.free(from, stride << log);
    }

    /// Makes room in the directory for another segment.
    fn widen_directory(&mut self) {
        let (log, capacity) = (self.shape.log, 1usize << (self.meta[2] >> 32));
        let segments = self.base() >> log..=(self.end() - 1) >> log;
        let known: Vec<(u64, u64)> = segments.map(|segment| (segment, *self.entry(segment))).collect();
        self.arena.free(self.meta[2] as Address, capacity);
        let directory = self.arena.allocate(capacity * 2);
        self.meta[2] = u64::from(directory) | ((self.meta[2] >> 32) + 1) << 32;
        for (segment, at) in known {
            *self.entry(segment) = at;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let most = self.shape.log;
        match self.small_log() {
            Some(log) if log >= most => {
                self.split();
                self.grow_segments();
            }
            Some(log) => self.resize(log + 1),
            None => self.resize(1.min(most)),
        }
    }

    /// A place for the row at `end`, where the rows are in segments.
    fn grow_segments(&mut self) {
        let (log, end) = (self.shape.log, self.end());
        let (first, last) = (self.base() >> log, end >> log);
        if !self.is_empty() && (end - 1) >> log == last {
            return;
        }
        if last - first >= 1 << (self.meta[2] >> 32) {
            self.widen_directory();
        }
        self.add_segment(last);
    }

    /// Makes room for a record at `at` (in `[base, end]`) and moves later ones up by one; the caller writes all words of the new row, which are returned.
    #[inline]
    pub fn insert(&mut self, at: u64) -> &mut [u64] {
        if self.meta[1] & SEGMENTED != 0 {
            self.grow_segments();
        } else if self.small_log().is_none_or(|log| self.len() >> log != 0) {
            self.grow();
        }
        let end = self.end();
        self.set_length(self.len() + 1);
        let mut index = end;
        while index > at {
            let (from, to) = (self.address(index - 1), self.address(index));
            self.arena.copy(from, to, self.shape.stride);
            index -= 1;
        }
        self.row_mut(at)
    }

    /// Forgets the oldest record. Memory shrinks once seven eighths of it are free.
    #[inline]
    pub fn pop_front(&mut self) {
        if self.is_empty() {
            return;
        }
        let length = self.len() - 1;
        if self.meta[1] & SEGMENTED != 0 {
            let log = self.shape.log;
            let (segment, next) = (self.base() >> log, (self.base() + 1) >> log);
            if segment != next || length == 0 {
                self.free_segment(segment);
            }
            self.meta[0] += 1;
            self.set_length(length);
            if length == 0 {
                self.arena.free(self.meta[2] as Address, 1 << (self.meta[2] >> 32));
                (self.meta[1], self.meta[2]) = (0, 0);
            } else if length << 3 < 1 << log {
                self.resize(log - 1);
            }
            return;
        }
        self.meta[0] += 1;
        self.set_length(length);
        if let Some(log) = self.small_log()
            && log > 4
            && length << 3 < 1 << log
        {
            self.resize(log - 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_from_any_hint_agree_with_a_scan() {
        let (mut arena, mut meta) = (Arena::default(), [0; META]);
        let mut ring = Ring::new(&mut arena, &mut meta, Shape::new(1));
        for i in 0..200u64 {
            let at = ring.end();
            ring.insert(at)[0] = (i * i / 7) / 3 * 3;
            if i % 3 == 0 {
                ring.pop_front();
            }
        }
        for bound in (-5..6000).step_by(37) {
            let scan = (ring.base()..ring.end()).find(|i| ring.time(*i) > bound).unwrap_or(ring.end());
            for hint in (ring.base()..=ring.end()).step_by(11) {
                assert_eq!(ring.rows().after(bound, hint), scan);
            }
        }
    }

    #[test]
    fn a_ring_is_a_deque_with_insertion_at_any_length_and_gives_its_memory_back() {
        for stride in [1, 3, 700, 9000] {
            let (mut arena, mut meta) = (Arena::default(), [0; META]);
            let mut model: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
            let most = if stride > 100 { 20 } else { 9_000 };
            let mut seed = 3u64;
            let mut peak = 0;
            for round in 0..most * 6 {
                seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                let mut ring = Ring::new(&mut arena, &mut meta, Shape::new(stride));
                let growing = round / most % 2 == 0;
                if seed >> 62 != 0 && growing || model.is_empty() {
                    let back = if seed >> 40 & 7 == 0 { (seed >> 30 & 3).min(model.len() as u64) } else { 0 };
                    let at = ring.end() - back;
                    ring.insert(at).fill(seed);
                    model.insert(model.len() - back as usize, seed);
                } else {
                    assert!(ring.row(ring.base()).iter().all(|word| Some(word) == model.front()));
                    ring.pop_front();
                    model.pop_front();
                }
                assert_eq!(ring.len(), model.len());
                if round % 101 == 0 {
                    let rows = (ring.base()..ring.end()).zip(&model);
                    rows.for_each(|(index, word)| assert!(ring.row(index).iter().all(|held| held == word)));
                }
                peak = peak.max(model.len());
            }
            Ring::new(&mut arena, &mut meta, Shape::new(stride)).release();
            assert!(stride > 100 || arena.bytes() < peak * stride * 8 * 4 + 200_000, "{} bytes for {peak} rows of {stride}", arena.bytes());
        }
    }

    #[test]
    fn a_record_in_the_middle_moves_the_later_ones() {
        let (mut arena, mut meta) = (Arena::default(), [0; META]);
        let mut ring = Ring::new(&mut arena, &mut meta, Shape::new(1));
        for (at, time) in [(0, 10), (1, 30), (1, 20), (0, 5), (4, 40)] {
            ring.insert(at)[0] = time;
        }
        assert_eq!((0..5).map(|i| ring.time(i)).collect::<Vec<_>>(), [5, 10, 20, 30, 40]);
    }
}
