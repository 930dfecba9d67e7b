//! The records of one key: rows of 64-bit words in (event time, arrival) order, oldest first, addressed by an index that never restarts.
//!
//! Word 0 of a row is its event time. Capacity is a power of two; pushing is amortised O(1), inserting moves the rows behind.

use super::bytes::{Reader, put};

/// The retained records of one key, `[base, end)`.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    words: Vec<u64>,
    stride: usize,
    mask: u64,
    base: u64,
    end: u64,
}

impl Ring {
    /// An empty ring of rows of `stride` words; `stride` ≥ 1.
    pub fn new(stride: usize) -> Self {
        Self { words: Vec::new(), stride, mask: 0, base: 0, end: 0 }
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

    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.base) as usize
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.end == self.base
    }

    #[inline]
    fn start(&self, index: u64) -> usize {
        (index & self.mask) as usize * self.stride
    }

    /// The words of record `index`, which must be in `[base, end)`.
    #[inline]
    pub fn row(&self, index: u64) -> &[u64] {
        let start = self.start(index);
        &self.words[start..start + self.stride]
    }

    /// The same, to be written.
    #[inline]
    pub fn row_mut(&mut self, index: u64) -> &mut [u64] {
        let start = self.start(index);
        &mut self.words[start..start + self.stride]
    }

    /// Event time of record `index`.
    #[inline]
    pub fn time(&self, index: u64) -> i64 {
        self.words[self.start(index)] as i64
    }

    /// Reads the first and the last word of the place of record `index`, whether or not there is one; 0 where the ring has no memory yet.
    #[inline]
    pub fn touch(&self, index: u64) -> u64 {
        let start = self.start(index);
        match (self.words.get(start), self.words.get(start + self.stride - 1)) {
            (Some(first), Some(last)) => first.wrapping_add(*last),
            _ => 0,
        }
    }

    fn resize(&mut self, rows: usize) {
        let mut words = vec![0; rows * self.stride];
        let mask = rows as u64 - 1;
        for index in self.base..self.end {
            let to = (index & mask) as usize * self.stride;
            words[to..to + self.stride].copy_from_slice(self.row(index));
        }
        self.words = words;
        self.mask = mask;
    }

    /// Makes room for a record at `at` (in `[base, end]`) and moves later ones up by one; the caller writes all words of the new row.
    #[inline]
    pub fn insert(&mut self, at: u64) {
        let rows = self.words.len() / self.stride;
        if self.len() == rows {
            self.resize((rows * 2).max(2));
        }
        self.end += 1;
        let mut index = self.end - 1;
        while index > at {
            let (from, to) = (self.start(index - 1), self.start(index));
            self.words.copy_within(from..from + self.stride, to);
            index -= 1;
        }
    }

    /// Forgets the oldest record. Memory shrinks once seven eighths of it are free.
    #[inline]
    pub fn pop_front(&mut self) {
        if self.is_empty() {
            return;
        }
        self.base += 1;
        let rows = self.words.len() / self.stride;
        if rows > 16 && self.len() * 8 < rows {
            self.resize(rows / 4);
        }
    }

    /// The first index whose time is greater than `bound` (`end` if none), found from `hint` in time logarithmic in the distance.
    #[inline]
    pub fn after(&self, bound: i64, hint: u64) -> u64 {
        let mut low = hint.clamp(self.base, self.end);
        for _ in 0..4 {
            if low == self.end || self.time(low) > bound {
                break;
            }
            low += 1;
        }
        if low < self.end && self.time(low) <= bound {
            return self.gallop_up(bound, low);
        }
        for _ in 0..4 {
            if low == self.base || self.time(low - 1) <= bound {
                return low;
            }
            low -= 1;
        }
        self.gallop_down(bound, low)
    }

    /// `time(from) <= bound`.
    fn gallop_up(&self, bound: i64, from: u64) -> u64 {
        let (mut low, mut step) = (from, 1);
        while low + step < self.end && self.time(low + step) <= bound {
            low += step;
            step *= 2;
        }
        self.bisect(bound, low + 1, (low + step).min(self.end))
    }

    /// Everything from `from` on is later than `bound`.
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

    /// Appends the ring to a snapshot.
    pub fn save(&self, out: &mut Vec<u8>) {
        put(out, self.base);
        put(out, self.len() as u64);
        for index in self.base..self.end {
            self.row(index).iter().for_each(|word| put(out, *word));
        }
    }

    /// Reads back what `save` wrote.
    pub fn load(stride: usize, reader: &mut Reader<'_>) -> Result<Self, String> {
        let mut ring = Self::new(stride);
        ring.base = reader.word()?;
        ring.end = ring.base;
        let length = reader.length(stride * 8)?;
        for _ in 0..length {
            let at = ring.end;
            ring.insert(at);
            for word in ring.row_mut(at) {
                *word = reader.word()?;
            }
        }
        Ok(ring)
    }

    /// Heap memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_from_any_hint_agree_with_a_scan() {
        let mut ring = Ring::new(1);
        for i in 0..200u64 {
            let at = ring.end();
            ring.insert(at);
            ring.row_mut(at)[0] = (i * i / 7) / 3 * 3;
            if i % 3 == 0 {
                ring.pop_front();
            }
        }
        for bound in (-5..6000).step_by(37) {
            let scan = (ring.base()..ring.end()).find(|i| ring.time(*i) > bound).unwrap_or(ring.end());
            for hint in (0..260).step_by(11) {
                assert_eq!(ring.after(bound, hint), scan);
            }
        }
    }

    #[test]
    fn a_record_in_the_middle_moves_the_later_ones() {
        let mut ring = Ring::new(1);
        for (at, time) in [(0, 10), (1, 30), (1, 20), (0, 5), (4, 40)] {
            ring.insert(at);
            ring.row_mut(at)[0] = time;
        }
        assert_eq!((0..5).map(|i| ring.time(i)).collect::<Vec<_>>(), [5, 10, 20, 30, 40]);
    }
}
