//! The sums of sliding windows: running, exact, one set a window (S7.5).
//!
//! Each window keeps the sums of the records from its head to a place that all windows share, up to which the records have been *entered*; both only move
//! on in order, so every record is added and subtracted once, and subtraction of exact numbers leaves no trace. A query that must not see the newest
//! records, or reaches further back, changes a copy.
//!
//! Sums are 64 bits wide as long as they fit. When one does not, all of the key get upper words, in an extent, until the windows are empty once.

use super::exact::{integer, integer_words};
use super::part::{Builder, Kept, KeyMut};
use super::ring::Rows;
use super::summand::Summand;
use super::sums::{Apart, Exact, Scale, Total};
use super::wide::Layout;
use crate::data::Address;
use crate::time::Micros;

/// The sliding windows of one summand; its first slots of wide sums are theirs.
#[derive(Debug)]
pub struct Sliding {
    windows: usize,
    longest: Micros,
    /// Whether no other windows use the summand's wide sums.
    alone: bool,
    /// First fixed word: end of what has been entered; one more than the address of upper words (halves). Then the scale, then each window's: number of
    /// values and head (halves), Σk, Σk².
    at: usize,
}

/// The windows of a key whose sums are all short and have no wide parts, which is so of almost every key.
#[derive(Debug)]
pub struct Short<'a> {
    words: &'a mut [u64],
    stride: usize,
    /// Unit of the sums.
    pub scale: Scale,
}

/// Words of a window that come before its sums.
const FRONT: usize = 1;
/// Integers below this are summed in 64 bits: their squares are less than 2⁶².
const SHORT: u64 = 1 << 31;

impl Sliding {
    /// `windows` of them, of which the longest is `longest`, with `sums` sums each.
    pub fn new(builder: &mut Builder<'_>, windows: usize, longest: Micros, sums: usize, alone: bool) -> Self {
        let words = if windows == 0 { 0 } else { 1 + usize::from(sums > 0) + windows * (FRONT + sums) };
        Self { windows, longest, alone, at: builder.fixed(&vec![0; words]) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.windows == 0
    }

    #[inline]
    fn scale(&self, on: &Summand, kept: &Kept<'_>) -> Scale {
        Scale(if on.sums == 0 { 0 } else { kept.fixed[self.at + 1] })
    }

    /// First word of a window.
    #[inline]
    fn window(&self, on: &Summand, nth: usize) -> usize {
        self.at + 1 + usize::from(on.sums > 0) + nth * (FRONT + on.sums)
    }

    #[inline]
    fn head(&self, on: &Summand, rows: &Rows<'_>, kept: &Kept<'_>, nth: usize) -> u64 {
        rows.unfold((kept.fixed[self.window(on, nth)] >> 32) as u32)
    }

    #[inline]
    fn set_head(&self, on: &Summand, kept: &mut Kept<'_>, nth: usize, head: u64) {
        let word = &mut kept.fixed[self.window(on, nth)];
        *word = *word & 0xFFFF_FFFF | head << 32;
    }

    #[inline]
    fn entered(&self, rows: &Rows<'_>, kept: &Kept<'_>) -> u64 {
        rows.unfold(kept.fixed[self.at] as u32)
    }

    #[inline]
    fn set_entered(&self, kept: &mut Kept<'_>, end: u64) {
        kept.fixed[self.at] = kept.fixed[self.at] & !0xFFFF_FFFF | end & 0xFFFF_FFFF;
    }

    #[inline]
    fn upper(&self, kept: &Kept<'_>) -> Option<Address> {
        ((kept.fixed[self.at] >> 32) as Address).checked_sub(1)
    }

    fn load(&self, on: &Summand, kept: &Kept<'_>, nth: usize) -> Exact {
        let at = self.window(on, nth);
        let word = |sum: usize| if sum < on.sums { kept.fixed[at + FRONT + sum] } else { 0 };
        let (n, sum, square) = (kept.fixed[at] & 0xFFFF_FFFF, word(0), word(1));
        let Some(upper) = self.upper(kept) else { return Exact { n, sum: i128::from(sum as i64), square: i128::from(square) } };
        let words = kept.arena.words(upper, on.sums * (nth + 1));
        let high = |place: usize| if place < on.sums { words[on.sums * nth + place] } else { 0 };
        Exact { n, sum: integer([sum, high(0)]), square: integer([square, high(1)]) }
    }

    fn store(&self, on: &Summand, kept: &mut Kept<'_>, nth: usize, exact: &Exact) {
        let short = exact.sum.unsigned_abs() < 1 << 62 && (0..1 << 63).contains(&exact.square);
        if !short && self.upper(kept).is_none() {
            self.widen(on, kept);
        }
        let at = self.window(on, nth);
        kept.fixed[at] = kept.fixed[at] & !0xFFFF_FFFF | exact.n & 0xFFFF_FFFF;
        let parts = [integer_words(exact.sum), integer_words(exact.square)];
        for (sum, [low, high]) in parts.into_iter().enumerate().take(on.sums) {
            kept.fixed[at + FRONT + sum] = low;
            if let Some(upper) = self.upper(kept) {
                kept.arena.words_mut(upper, on.sums * (nth + 1))[on.sums * nth + sum] = high;
            }
        }
    }

    /// Gives all sums upper words.
    #[cold]
    fn widen(&self, on: &Summand, kept: &mut Kept<'_>) {
        let upper = kept.arena.allocate(on.sums * self.windows);
        for nth in 0..self.windows {
            let exact = self.load(on, kept, nth);
            let parts = [integer_words(exact.sum)[1], integer_words(exact.square)[1]];
            kept.arena.words_mut(upper, on.sums * (nth + 1))[on.sums * nth..].copy_from_slice(&parts[..on.sums]);
        }
        kept.fixed[self.at] = kept.fixed[self.at] & 0xFFFF_FFFF | (u64::from(upper) + 1) << 32;
    }

    fn release_upper(&self, on: &Summand, kept: &mut Kept<'_>) {
        if let Some(upper) = self.upper(kept) {
            kept.arena.free(upper, on.sums * self.windows);
            kept.fixed[self.at] &= 0xFFFF_FFFF;
        }
    }

    /// Gives back what is not in the key's fixed words.
    pub fn release(&self, on: &Summand, kept: &mut Kept<'_>) {
        if self.windows > 0 {
            self.release_upper(on, kept);
        }
    }

    /// Everything before `at` is out of every window: begins anew, as a key that was forgotten in between would.
    #[inline]
    fn begin_anew(&self, on: &Summand, kept: &mut Kept<'_>, at: u64) {
        self.release_upper(on, kept);
        if on.sums > 0 {
            kept.fixed[self.at + 1] = 0;
        }
        let first = self.window(on, 0);
        let stride = FRONT + on.sums;
        let windows = &mut kept.fixed[first..first + self.windows * stride];
        windows.fill(0);
        windows.iter_mut().step_by(stride).for_each(|word| *word = at << 32);
        if self.alone {
            on.release(kept);
        } else {
            (0..self.windows).for_each(|nth| on.clear_wide(kept, nth));
        }
    }

    /// Record `index`, up to which all have been entered, enters all windows.
    #[inline]
    fn enter(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>, index: u64) {
        let row = rows.row(index);
        let anew = index == rows.base() || rows.time(index - 1) <= (row[0] as i64).saturating_sub(self.longest);
        if anew {
            self.begin_anew(on, kept, index);
        }
        if !on.source.present(row) {
            return;
        }
        let first = self.window(on, 0);
        if on.sums == 0 {
            kept.fixed[first..first + self.windows].iter_mut().for_each(|word| *word = word.wrapping_add(1));
            return;
        }
        let (mut scale, word) = (Scale(kept.fixed[self.at + 1]), on.source.word(row));
        let admitted = scale.admit(on.float, word);
        kept.fixed[self.at + 1] = scale.0;
        // Sums of nothing are the same in any unit.
        let fits = |(k, factor): &(i64, i64)| (*factor == 1 || anew) && k.unsigned_abs() < SHORT && self.upper(kept).is_none();
        let Some((k, _)) = admitted.filter(fits) else {
            return self.enter_long(on, kept, word, admitted);
        };
        let square = (k * k) as u64;
        // No sum had bit 62 of its magnitude set, and no square bit 63, so none overflows here.
        let mut reached = 0;
        for words in kept.fixed[first..].chunks_exact_mut(FRONT + on.sums).take(self.windows) {
            words[0] = words[0].wrapping_add(1);
            let sum = (words[1] as i64).wrapping_add(k);
            words[1] = sum as u64;
            reached |= sum.unsigned_abs() << 1;
            if let Some(squares) = words.get_mut(2) {
                *squares = squares.wrapping_add(square);
                reached |= *squares;
            }
        }
        if reached >> 63 == 1 {
            self.widen(on, kept);
        }
    }

    #[cold]
    fn enter_long(&self, on: &Summand, kept: &mut Kept<'_>, word: u64, admitted: Option<(i64, i64)>) {
        for nth in 0..self.windows {
            let Some((k, factor)) = admitted else {
                on.add_wide(kept, nth, word);
                continue;
            };
            let mut exact = self.load(on, kept, nth);
            exact.refine(factor);
            exact.add(k);
            self.store(on, kept, nth, &exact);
        }
    }

    /// All records are entered.
    #[inline]
    pub fn catch_up(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let entered = self.entered(rows, kept);
        if entered < rows.end() {
            (entered..rows.end()).for_each(|index| self.enter(on, rows, kept, index));
            self.set_entered(kept, rows.end());
        }
    }

    /// A record was put in at `at`, and later ones moved up.
    #[inline]
    pub fn inserted(&self, on: &Summand, key: &mut KeyMut<'_>, at: u64) {
        if at + 1 < key.ring.end() && self.entered(&key.ring.rows(), &key.kept) > at {
            self.enter_between(on, &key.ring.rows(), &mut key.kept, at);
        }
    }

    #[cold]
    fn enter_between(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>, at: u64) {
        self.set_entered(kept, self.entered(rows, kept) + 1);
        let row = rows.row(at);
        let (present, word) = (on.source.present(row), on.value(row));
        let mut admitted = Some((0, 1));
        if present && on.sums > 0 {
            let mut scale = self.scale(on, kept);
            admitted = scale.admit(on.float, word);
            kept.fixed[self.at + 1] = scale.0;
        }
        for nth in 0..self.windows {
            let head = self.head(on, rows, kept, nth);
            let before = at <= head;
            if before {
                self.set_head(on, kept, nth, head + 1);
            }
            match admitted {
                Some((k, factor)) => {
                    let mut exact = self.load(on, kept, nth);
                    exact.refine(factor);
                    if present && !before {
                        exact.add(k);
                    }
                    self.store(on, kept, nth, &exact);
                }
                None if !before => on.add_wide(kept, nth, word),
                None => {}
            }
        }
    }

    /// The record at the base is about to leave the ring.
    pub fn settle(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let base = rows.base();
        if self.entered(rows, kept) == base {
            self.enter(on, rows, kept, base);
            self.set_entered(kept, base + 1);
        }
        for nth in 0..self.windows {
            if self.head(on, rows, kept, nth) == base {
                self.shift(on, rows, kept, nth, base..base + 1, true);
                self.set_head(on, kept, nth, base + 1);
            }
        }
    }

    /// Puts the records of `range` into the sums of a window, or takes them out.
    fn shift(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>, nth: usize, range: std::ops::Range<u64>, remove: bool) {
        let (scale, mut exact) = (self.scale(on, kept), self.load(on, kept, nth));
        for row in range.map(|index| rows.row(index)).filter(|row| on.source.present(row)) {
            let word = on.value(row);
            match on.number(scale, word) {
                Some(k) if remove => exact.remove(k),
                Some(k) => exact.add(k),
                None if remove => on.remove_wide(kept, nth, word),
                None => on.add_wide(kept, nth, word),
            }
        }
        self.store(on, kept, nth, &exact);
    }

    /// The windows, if all their sums are short; all records must be entered.
    #[inline]
    pub fn short<'k>(&self, on: &Summand, kept: &'k mut Kept<'_>) -> Option<Short<'k>> {
        if self.windows == 0 || self.upper(kept).is_some() || on.layout(kept) != 0 {
            return None;
        }
        let (first, stride, scale) = (self.window(on, 0), FRONT + on.sums, self.scale(on, kept));
        Some(Short { words: &mut kept.fixed[first..first + self.windows * stride], stride, scale })
    }

    /// Moves the head of a window to `lo`, so that its sums are those of `[lo, end)`; all records must be entered.
    fn follow(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>, nth: usize, lo: u64) {
        let head = self.head(on, rows, kept, nth);
        if lo == head {
            return;
        }
        if lo < head {
            self.shift(on, rows, kept, nth, lo..head, false);
        } else if lo - head > rows.end() - lo {
            // Less stays than goes.
            self.store(on, kept, nth, &Exact::default());
            on.clear_wide(kept, nth);
            self.shift(on, rows, kept, nth, lo..rows.end(), false);
        } else {
            self.shift(on, rows, kept, nth, head..lo, true);
        }
        self.set_head(on, kept, nth, lo);
    }

    /// The sums of `[lo, end)`; all records must be entered.
    pub fn total<'k>(&self, on: &Summand, rows: &Rows<'_>, kept: &'k mut Kept<'_>, nth: usize, lo: u64) -> Total<'k> {
        self.follow(on, rows, kept, nth, lo);
        let exact = self.load(on, kept, nth);
        Total::of(self.scale(on, kept), exact, on.layout(kept), nth, kept.arena)
    }

    /// The sums of `[lo, hi)` for a query that the window's own sums do not answer, on a copy of them; all records must be entered.
    #[cold]
    pub fn apart(&self, on: &Summand, rows: &Rows<'_>, kept: &mut Kept<'_>, nth: usize, lo: u64, hi: u64) -> Apart {
        let (head, end, scale) = (self.head(on, rows, kept, nth), rows.end(), self.scale(on, kept));
        // From the window's sums, or from nothing: whichever is nearer.
        let from_window = head.abs_diff(lo) + (end - hi) <= hi.saturating_sub(lo);
        let moves = if from_window { [(lo.min(head), head.max(lo), head < lo), (hi, end, true)] } else { [(lo, hi, false), (0, 0, false)] };
        moves.iter().for_each(|(from, to, _)| on.make_room(rows, kept, Some(scale), *from..*to));
        let exact = if from_window { self.load(on, kept, nth) } else { Exact::default() };
        let wide = Layout::load(on.layout(kept));
        let wide = wide.map(|layout| if from_window { layout.sums(nth, kept.arena) } else { layout.empty() });
        let mut apart = Apart::new(on.float, scale, exact, wide);
        for (from, to, remove) in moves {
            let rows = (from..to).map(|index| rows.row(index)).filter(|row| on.source.present(row));
            rows.for_each(|row| apart.apply(on.value(row), remove));
        }
        apart
    }
}

impl Short<'_> {
    /// Moves the head of a window on to `lo` and gives the number of values, Σk and Σk² of `[lo, end)`; `None` where `lo` is before the head.
    #[inline]
    pub fn sums(&mut self, on: &Summand, rows: &Rows<'_>, nth: usize, lo: u64) -> Option<(u64, i64, u64)> {
        let words = self.words.get_mut(nth * self.stride..(nth + 1) * self.stride)?;
        let (front, sums) = words.split_first_mut()?;
        let head = rows.unfold((*front >> 32) as u32);
        let mut count = *front & 0xFFFF_FFFF;
        if lo != head {
            if lo < head {
                return None;
            }
            // What goes is taken out; where less stays than goes, what stays is put in afresh.
            let afresh = lo - head > rows.end() - lo;
            if afresh {
                count = 0;
                sums.fill(0);
            }
            let (range, sign) = if afresh { (lo..rows.end(), 1) } else { (head..lo, -1) };
            for row in range.map(|index| rows.row(index)).filter(|row| on.source.present(row)) {
                count = count.wrapping_add_signed(sign);
                if let Some((sum, squares)) = sums.split_first_mut() {
                    let k = self.scale.certain(on.float, on.source.word(row));
                    *sum = sum.wrapping_add((sign * k) as u64);
                    squares.iter_mut().for_each(|square| *square = square.wrapping_add((sign * k * k) as u64));
                }
            }
            *front = count | lo << 32;
        }
        Some((count, sums.first().map_or(0, |sum| *sum as i64), sums.get(1).copied().unwrap_or(0)))
    }
}
