//! What the sums of one argument and filter share, whatever their windows: where the values are, what is summed, and the wide sums of those values that
//! are no short decimals.

use super::part::{Kept, Source};
use super::ring::Rows;
use super::sums::Scale;
use super::wide::{self, Layout};

/// See the module. Sums of windows are told apart by *slots* of the wide sums.
#[derive(Clone, Debug)]
pub struct Summand {
    /// Where the values are.
    pub source: Source,
    /// Floats, or integers.
    pub float: bool,
    /// How many sums there are beside the count: none, Σx, or Σx and Σx².
    pub sums: usize,
    /// Slots of the wide sums.
    pub slots: usize,
    /// Fixed word that places the wide sums; there is none for counts alone.
    layout: usize,
}

impl Summand {
    /// With fixed word `layout` for the wide sums.
    pub fn new(source: Source, float: bool, sums: usize, slots: usize, layout: usize) -> Self {
        Self { source, float, sums, slots, layout }
    }

    /// The value that is summed; counts alone sum nothing.
    #[inline]
    pub fn value(&self, row: &[u64]) -> u64 {
        if self.sums == 0 { 0 } else { self.source.word(row) }
    }

    /// Where the wide sums are; 0: there are none.
    #[inline]
    pub fn layout(&self, kept: &Kept<'_>) -> u64 {
        if self.sums == 0 { 0 } else { kept.fixed[self.layout] }
    }

    /// The value as an integer in this scale; `None`: it belongs to the wide sums.
    #[inline]
    pub fn number(&self, scale: Scale, word: u64) -> Option<i64> {
        if self.sums == 0 { Some(0) } else { scale.number(self.float, word) }
    }

    /// Puts a value into a slot of the wide sums.
    pub fn add_wide(&self, kept: &mut Kept<'_>, slot: usize, word: u64) {
        wide::add(&mut kept.fixed[self.layout], self.slots, slot, self.float, word, kept.arena);
    }

    /// Takes a value out of it.
    pub fn remove_wide(&self, kept: &mut Kept<'_>, slot: usize, word: u64) {
        wide::remove(kept.fixed[self.layout], slot, self.float, word, kept.arena);
    }

    /// Empties a slot.
    #[inline]
    pub fn clear_wide(&self, kept: &mut Kept<'_>, slot: usize) {
        if let Some(layout) = Layout::load(self.layout(kept)) {
            layout.clear(slot, kept.arena);
        }
    }

    /// Room in the wide sums for what of the records of `range` is no number in `scale`; without a scale, for all.
    pub fn make_room(&self, rows: &Rows<'_>, kept: &mut Kept<'_>, scale: Option<Scale>, range: std::ops::Range<u64>) {
        if self.sums == 0 {
            return;
        }
        for row in range.map(|index| rows.row(index)).filter(|row| self.source.present(row)) {
            let word = self.source.word(row);
            if scale.is_none_or(|scale| scale.number(self.float, word).is_none()) {
                wide::reserve(&mut kept.fixed[self.layout], self.slots, self.float, word, kept.arena);
            }
        }
    }

    /// Gives back the wide sums.
    #[inline]
    pub fn release(&self, kept: &mut Kept<'_>) {
        if let Some(layout) = Layout::load(self.layout(kept)) {
            layout.release(self.slots, kept.arena);
            kept.fixed[self.layout] = 0;
        }
    }
}
