//! The sums of tumbling and lifetime windows: running ones of the newest window, and carried ones of its records that have left the ring (S7.5).

use super::part::{Builder, Kept, bucket};
use super::ring::Rows;
use super::summand::Summand;
use super::sums::{Apart, Exact, Scale, Total};
use super::wide::Layout;
use crate::config::declaration::Window;

/// Tumbling and lifetime windows of one summand, with two slots each of its wide sums, behind those of sliding windows.
#[derive(Debug)]
pub struct Floored {
    /// Each with its first fixed word; the running sums, then the carried ones: start of the window, scale, number of values, Σk, Σk².
    windows: Vec<(Window, usize)>,
    first_slot: usize,
}

/// Words that come before the sums.
const FRONT: usize = 3;

/// Words of running or of carried sums: those have two words each.
fn width(sums: usize) -> usize {
    FRONT + 2 * sums
}

/// Which of a window's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Running = 0,
    Carried = 1,
}

impl Floored {
    /// These windows, with `sums` sums each; `first_slot` of the wide sums is the first of theirs.
    pub fn new(builder: &mut Builder<'_>, windows: Vec<Window>, sums: usize, first_slot: usize) -> Self {
        let fresh = [&[i64::MIN as u64][..], &vec![0; width(sums) - 1]].concat();
        let windows = windows.into_iter().map(|window| (window, builder.fixed(&[&fresh[..], &fresh[..]].concat()))).collect();
        Self { windows, first_slot }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    fn place(&self, on: &Summand, nth: usize, which: Which) -> (usize, usize) {
        (self.windows[nth].1 + which as usize * width(on.sums), self.first_slot + 2 * nth + which as usize)
    }

    /// Adds a value to the sums of the window that begins at `start`, which replaces an earlier one.
    fn add(&self, on: &Summand, kept: &mut Kept<'_>, nth: usize, which: Which, start: i64, word: u64) {
        let (at, slot) = self.place(on, nth, which);
        if kept.fixed[at] as i64 != start {
            kept.fixed[at] = start as u64;
            kept.fixed[at + 1..at + width(on.sums)].fill(0);
            on.clear_wide(kept, slot);
        }
        if on.sums == 0 {
            kept.fixed[at + 2] = kept.fixed[at + 2].wrapping_add(1);
            return;
        }
        let mut scale = Scale(kept.fixed[at + 1]);
        match scale.admit(on.float, word) {
            Some((k, factor)) => {
                let mut exact = Exact::load(kept.fixed[at + 2], &kept.fixed[at + FRONT..at + width(on.sums)]);
                exact.refine(factor);
                exact.add(k);
                (kept.fixed[at + 1], kept.fixed[at + 2]) = (scale.0, exact.n);
                exact.store(&mut kept.fixed[at + FRONT..at + width(on.sums)]);
            }
            None => on.add_wide(kept, slot, word),
        }
    }

    /// This record has entered the ring.
    pub fn inserted(&self, on: &Summand, row: &[u64], kept: &mut Kept<'_>) {
        if !on.source.present(row) {
            return;
        }
        for (nth, (window, at)) in self.windows.iter().enumerate() {
            let start = bucket(window, row[0] as i64);
            if start >= kept.fixed[*at] as i64 {
                self.add(on, kept, nth, Which::Running, start, on.value(row));
            }
        }
    }

    /// This record is about to leave the ring.
    pub fn settle(&self, on: &Summand, row: &[u64], kept: &mut Kept<'_>) {
        if !on.source.present(row) {
            return;
        }
        for (nth, (window, _)) in self.windows.iter().enumerate() {
            self.add(on, kept, nth, Which::Carried, bucket(window, row[0] as i64), on.value(row));
        }
    }

    /// The sums of the window that begins at `start`, up to record `hi`; `lo` is the first in the ring. What `look` makes of them.
    pub fn look<T>(
        &self,
        on: &Summand,
        rows: &Rows<'_>,
        kept: &mut Kept<'_>,
        (nth, start): (usize, i64),
        (lo, hi): (u64, u64),
        look: impl FnOnce(&Total<'_>) -> T,
    ) -> T {
        let whole = hi == rows.end();
        let (at, slot) = self.place(on, nth, if whole { Which::Running } else { Which::Carried });
        let present = kept.fixed[at] as i64 == start;
        let (mut scale, mut exact) = (Scale(0), Exact::default());
        if present {
            scale = Scale(kept.fixed[at + 1]);
            exact = Exact::load(kept.fixed[at + 2], &kept.fixed[at + FRONT..at + width(on.sums)]);
        }
        if whole {
            let layout = if present { on.layout(kept) } else { 0 };
            return look(&Total::of(scale, exact, layout, slot, kept.arena));
        }
        on.make_room(rows, kept, None, lo..hi);
        let wide = Layout::load(on.layout(kept));
        let wide = wide.map(|layout| if present { layout.sums(slot, kept.arena) } else { layout.empty() });
        let mut apart = Apart::new(on.float, scale, exact, wide);
        (lo..hi).map(|index| rows.row(index)).filter(|row| on.source.present(row)).for_each(|row| apart.add(on.value(row)));
        look(&apart.total())
    }
}
