//! `count`, `sum`, `avg`, `var_*`, `stddev_*`: one set of sums per argument, filter and window.
//!
//! Each sliding window keeps the sums of the records from its head to the newest one, and its head only moves: what enters is added, what leaves is
//! subtracted, exactly (`sums`), so the sums are a function of the records in them, on whatever way they came there. In order every record enters and
//! leaves a window once. A query that must not see the newest records, or reaches further back, changes a copy. Tumbling and lifetime windows keep
//! running sums, and the sums of what left the ring.

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, plain};
use super::exact::to_float;
use super::part::{Bounds, Builder, Emit, KeyMut, Part, Reads, Source, bucket, reads};
use super::registry::{Family, Row};
use super::sums::{Apart, Exact, Scale, Total};
use super::wide::{self, Layout};
use super::{FeatureSpec, Function};
use crate::config::declaration::Window;
use crate::data::CellType;
use crate::time::Micros;

/// See the module.
pub static FAMILY: Family = Family { name: "moments", group: |_| 0, build };

/// `count(*)` and `count(x)`.
pub fn resolve_count(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64, Text, Timestamp};
    let counted = plain(row, argument.or(Some(Int64)), parameters, &[Float64, Int64, Bool, Timestamp, Text], |_| Int64)?;
    Ok(Resolved { argument_cell: argument, ..counted })
}

/// The others: numbers, and booleans as 0 and 1.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64};
    let whole = row.name == "sum";
    plain(row, argument, parameters, &[Float64, Int64, Bool], |kind| if whole && kind != Float64 { Int64 } else { Float64 })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stat {
    Count,
    Sum,
    Avg,
    VarPop,
    VarSamp,
    StdPop,
    StdSamp,
}

fn stat(function: &Function) -> Stat {
    match function.name {
        "count" => Stat::Count,
        "sum" => Stat::Sum,
        "avg" => Stat::Avg,
        "var_pop" => Stat::VarPop,
        "var_samp" => Stat::VarSamp,
        "stddev_pop" => Stat::StdPop,
        _ => Stat::StdSamp,
    }
}

/// How the sums of one window are kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// A sliding window of records that all count: their number is the range's.
    Range,
    /// A sliding window: place among those, first fixed word: number of values and head (halves), Σk, Σk².
    Sliding(usize, usize),
    /// A tumbling or lifetime window: place among those, first fixed word of the running sums; the carried ones follow.
    Floored(usize, usize),
}

/// Words of running or carried sums in front of Σk: bucket, scale, number of values.
const FRONT: usize = 3;

#[derive(Debug)]
struct Moments {
    source: Source,
    float: bool,
    reads: Reads<Stat>,
    /// Words of Σk and Σk²: 0 for counts alone, else 2 or 4.
    sums: usize,
    /// Fixed words: scale of the sliding windows; layout of the wide sums of all.
    scale: usize,
    longest: Micros,
    windows: Vec<Window>,
    kept: Vec<Option<Kept>>,
    sliding: Vec<usize>,
    floored: Vec<(usize, usize)>,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let source = builder.source(features[0].1);
    let stats: Vec<Stat> = features.iter().map(|(_, feature)| stat(&feature.function)).collect();
    let summed = stats.iter().any(|stat| *stat != Stat::Count);
    let squared = stats.iter().any(|stat| !matches!(stat, Stat::Count | Stat::Sum | Stat::Avg));
    let sums = 2 * usize::from(summed) + 2 * usize::from(squared);
    let scale = if summed { builder.fixed(&[0, 0]) } else { 0 };
    let windows = builder.spec.windows.clone();
    let (mut kept, mut sliding, mut floored) = (vec![None; windows.len()], Vec::new(), Vec::new());
    for window in features.iter().filter_map(|(_, feature)| feature.window) {
        if kept[window].is_some() {
            continue;
        }
        kept[window] = Some(match windows[window] {
            Window::Sliding(_) if source.is_total() => Kept::Range,
            Window::Sliding(_) => {
                sliding.push(builder.fixed(&vec![0; 1 + sums]));
                Kept::Sliding(sliding.len() - 1, sliding[sliding.len() - 1])
            }
            _ => {
                let fresh = [&[i64::MIN as u64][..], &vec![0; FRONT - 1 + sums]].concat();
                floored.push((window, builder.fixed(&[&fresh[..], &fresh[..]].concat())));
                Kept::Floored(floored.len() - 1, floored[floored.len() - 1].1)
            }
        });
    }
    Box::new(Moments {
        reads: reads(features, |feature| stat(&feature.function)),
        float: source.kind == CellType::Float64,
        source,
        sums,
        scale,
        longest: builder.longest(features).unwrap_or(0),
        windows,
        kept,
        sliding,
        floored,
    })
}

impl Moments {
    /// Slots of the wide sums: one per sliding window, two per other window.
    fn slots(&self) -> usize {
        self.sliding.len() + 2 * self.floored.len()
    }

    /// The value that is summed; counts alone sum nothing.
    #[inline]
    fn value(&self, row: &[u64]) -> u64 {
        if self.sums == 0 { 0 } else { self.source.word(row) }
    }

    #[inline]
    fn layout(&self, key: &KeyMut<'_>) -> u64 {
        if self.sums == 0 { 0 } else { key.fixed[self.scale + 1] }
    }

    #[inline]
    fn exact(&self, key: &KeyMut<'_>, at: usize) -> Exact {
        Exact::load(key.fixed[at] & 0xFFFF_FFFF, &key.fixed[at + 1..at + 1 + self.sums])
    }

    #[inline]
    fn store(&self, key: &mut KeyMut<'_>, at: usize, exact: &Exact, head: u64) {
        key.fixed[at] = exact.n & 0xFFFF_FFFF | head << 32;
        exact.store(&mut key.fixed[at + 1..at + 1 + self.sums]);
    }

    #[inline]
    fn head(key: &KeyMut<'_>, at: usize) -> u64 {
        key.ring.unfold((key.fixed[at] >> 32) as u32)
    }

    /// Puts the records of `[from, to)` into `exact` and wide slot `slot`, or takes them out; those of the latter that are in the former.
    #[inline]
    fn shift(&self, key: &mut KeyMut<'_>, exact: &mut Exact, slot: usize, from: u64, to: u64, remove: bool) {
        let (scale, mut layout) = if self.sums == 0 { (Scale(0), 0) } else { (Scale(key.fixed[self.scale]), key.fixed[self.scale + 1]) };
        for index in from..to {
            let row = key.ring.row(index);
            if !self.source.present(row) {
                continue;
            }
            let word = self.source.word(row);
            let number = if self.sums == 0 {
                Some(0)
            } else if layout == 0 && remove {
                Some(scale.certain(self.float, word))
            } else {
                scale.number(self.float, word)
            };
            match number {
                Some(k) if remove => exact.remove(k),
                Some(k) => exact.add(k),
                None if remove => wide::remove(layout, slot, self.float, word, key.ring.arena_mut()),
                None => {
                    wide::add(&mut layout, self.slots(), slot, self.float, word, key.ring.arena_mut());
                    key.fixed[self.scale + 1] = layout;
                }
            }
        }
    }

    /// Moves the head of sliding window `nth` to `lo`, so that its sums are those of `[lo, end)`.
    #[inline]
    fn follow(&self, key: &mut KeyMut<'_>, nth: usize, at: usize, lo: u64) -> Exact {
        let (head, end) = (Self::head(key, at), key.ring.end());
        let mut exact = self.exact(key, at);
        if lo == head {
            return exact;
        }
        if lo > head && lo - head > end - lo {
            // Less stays than goes.
            exact = Exact::default();
            self.clear_wide(key, nth);
            self.shift(key, &mut exact, nth, lo, end, false);
        } else if lo > head {
            self.shift(key, &mut exact, nth, head, lo, true);
        } else {
            self.shift(key, &mut exact, nth, lo, head, false);
        }
        self.store(key, at, &exact, lo);
        exact
    }

    fn clear_wide(&self, key: &mut KeyMut<'_>, slot: usize) {
        if let Some(layout) = Layout::load(self.layout(key)) {
            layout.clear(slot, key.ring.arena_mut());
        }
    }

    /// Everything before `at` is out of every sliding window: begins anew, as a key that was forgotten in between would.
    fn begin_anew(&self, key: &mut KeyMut<'_>, at: u64) {
        for (nth, words) in self.sliding.iter().enumerate() {
            self.store(key, *words, &Exact::default(), at);
            self.clear_wide(key, nth);
        }
        if self.sums == 0 {
            return;
        }
        key.fixed[self.scale] = 0;
        if self.floored.is_empty() {
            self.release(key);
        }
    }

    /// The record at `at` enters the sliding windows.
    #[inline]
    fn slide_in(&self, key: &mut KeyMut<'_>, at: u64) {
        let last = key.ring.end() - 1;
        let row = key.ring.row(at);
        let (present, word, time) = (self.source.present(row), self.source.word(row), row[0] as i64);
        if at == last && (at == key.ring.base() || key.ring.time(at - 1) <= time.saturating_sub(self.longest)) {
            self.begin_anew(key, at);
        }
        let mut number = Some(0);
        if present && self.sums > 0 {
            let mut scale = Scale(key.fixed[self.scale]);
            let admitted = scale.admit(self.float, word);
            key.fixed[self.scale] = scale.0;
            number = admitted.map(|(k, _)| k);
            if let Some((_, factor)) = admitted.filter(|(_, factor)| *factor != 1) {
                for words in &self.sliding {
                    let (mut exact, head) = (self.exact(key, *words), key.fixed[*words] >> 32);
                    exact.refine(factor);
                    self.store(key, *words, &exact, head);
                }
            }
        }
        for (nth, words) in self.sliding.iter().enumerate() {
            let (mut exact, head) = (self.exact(key, *words), Self::head(key, *words));
            if at < last && at <= head {
                self.store(key, *words, &exact, head + 1);
            } else if present {
                match number {
                    Some(k) => exact.add(k),
                    None => {
                        let mut layout = key.fixed[self.scale + 1];
                        wide::add(&mut layout, self.slots(), nth, self.float, word, key.ring.arena_mut());
                        key.fixed[self.scale + 1] = layout;
                    }
                }
                self.store(key, *words, &exact, head);
            }
        }
    }

    /// The sums of `[lo, hi)` for a query that the window's own sums do not answer, on a copy of them.
    #[cold]
    fn apart(&self, key: &mut KeyMut<'_>, nth: usize, at: usize, lo: u64, hi: u64) -> Apart {
        let (head, end) = (Self::head(key, at), key.ring.end());
        let scale = if self.sums == 0 { Scale(0) } else { Scale(key.fixed[self.scale]) };
        // From the window's sums, or from nothing: whichever is nearer.
        let from_window = head.abs_diff(lo) + (end - hi) <= hi.saturating_sub(lo);
        let moves = if from_window { [(lo.min(head), head.max(lo), head < lo), (hi, end, true)] } else { [(lo, hi, false), (0, 0, false)] };
        self.make_room(key, Some(scale), &moves.map(|(from, to, _)| (from, to)));
        let exact = if from_window { self.exact(key, at) } else { Exact::default() };
        let wide = Layout::load(self.layout(key));
        let wide = wide.map(|layout| if from_window { layout.sums(nth, key.ring.arena()) } else { layout.empty() });
        let mut apart = Apart::new(self.float, scale, exact, wide);
        for (from, to, remove) in moves {
            for index in from..to {
                let row = key.ring.row(index);
                if self.source.present(row) {
                    apart.apply(self.value(row), remove);
                }
            }
        }
        apart
    }

    /// Room in the wide sums for what of these ranges `scale` does not hold; without one, for all.
    fn make_room(&self, key: &mut KeyMut<'_>, scale: Option<Scale>, ranges: &[(u64, u64)]) {
        if self.sums == 0 {
            return;
        }
        let mut layout = key.fixed[self.scale + 1];
        for index in ranges.iter().flat_map(|(from, to)| *from..*to) {
            let row = key.ring.row(index);
            if self.source.present(row) {
                let word = self.source.word(row);
                if scale.is_none_or(|scale| scale.number(self.float, word).is_none()) {
                    wide::reserve(&mut layout, self.slots(), self.float, word, key.ring.arena_mut());
                }
            }
        }
        key.fixed[self.scale + 1] = layout;
    }

    /// Adds a value to running (`carried` = 0) or carried (1) sums.
    fn add_floored(&self, key: &mut KeyMut<'_>, nth: usize, at: usize, carried: usize, start: i64, word: u64) {
        let (at, slot) = (at + carried * (FRONT + self.sums), self.sliding.len() + 2 * nth + carried);
        if key.fixed[at] as i64 != start {
            key.fixed[at] = start as u64;
            key.fixed[at + 1..at + FRONT + self.sums].fill(0);
            self.clear_wide(key, slot);
        }
        if self.sums == 0 {
            key.fixed[at + 2] = key.fixed[at + 2].wrapping_add(1);
            return;
        }
        let mut scale = Scale(key.fixed[at + 1]);
        match scale.admit(self.float, word) {
            Some((k, factor)) => {
                let mut exact = Exact::load(key.fixed[at + 2], &key.fixed[at + FRONT..at + FRONT + self.sums]);
                exact.refine(factor);
                exact.add(k);
                (key.fixed[at + 1], key.fixed[at + 2]) = (scale.0, exact.n);
                exact.store(&mut key.fixed[at + FRONT..at + FRONT + self.sums]);
            }
            None => {
                let mut layout = key.fixed[self.scale + 1];
                wide::add(&mut layout, self.slots(), slot, self.float, word, key.ring.arena_mut());
                key.fixed[self.scale + 1] = layout;
            }
        }
    }

    /// The sums of the tumbling or lifetime window that begins at `start`, up to record `hi`.
    fn write_floored(
        &self,
        key: &mut KeyMut<'_>,
        (nth, at): (usize, usize),
        start: i64,
        (lo, hi): (u64, u64),
        outputs: &[(usize, Stat)],
        out: &mut Emit<'_>,
    ) {
        let width = FRONT + self.sums;
        let whole = hi == key.ring.end();
        let (at, slot) = if whole { (at, self.sliding.len() + 2 * nth) } else { (at + width, self.sliding.len() + 2 * nth + 1) };
        let (mut scale, mut exact) = (Scale(0), Exact::default());
        let present = key.fixed[at] as i64 == start;
        if present {
            scale = Scale(key.fixed[at + 1]);
            exact = Exact::load(key.fixed[at + 2], &key.fixed[at + FRONT..at + width]);
        }
        if whole {
            let layout = if present { self.layout(key) } else { 0 };
            return self.write(&Total::of(self.float, scale, exact, layout, slot, key.ring.arena()), outputs, out);
        }
        self.make_room(key, None, &[(lo, hi)]);
        let wide = Layout::load(self.layout(key));
        let wide = wide.map(|layout| if present { layout.sums(slot, key.ring.arena()) } else { layout.empty() });
        let mut apart = Apart::new(self.float, scale, exact, wide);
        for index in lo..hi {
            let row = key.ring.row(index);
            if self.source.present(row) {
                apart.add(self.value(row));
            }
        }
        self.write(&apart.total(), outputs, out);
    }

    #[inline]
    fn write(&self, total: &Total<'_>, outputs: &[(usize, Stat)], out: &mut Emit<'_>) {
        let count = total.n();
        let n = count as f64;
        let mut deviation = None;
        if let Some((sum, square, power)) = total.small().filter(|_| count > 0) {
            // What almost every record takes; the same operations on the same numbers as below, so the same bits.
            let whole = sum as f64;
            for (column, stat) in outputs {
                match stat {
                    Stat::Count => out.bits(*column, count),
                    Stat::Sum => out.bits(*column, (whole / power).to_bits()),
                    Stat::Avg => out.bits(*column, (whole / (n * power)).to_bits()),
                    stat => {
                        let spread = (u128::from(square) * u128::from(count)) as i128 - i128::from(sum) * i128::from(sum);
                        let degrees = if matches!(stat, Stat::VarSamp | Stat::StdSamp) { n - 1.0 } else { n };
                        if degrees > 0.0 {
                            let variance = to_float(spread).max(0.0) / (n * power * power * degrees);
                            out.float(*column, if matches!(stat, Stat::StdPop | Stat::StdSamp) { variance.sqrt() } else { variance });
                        }
                    }
                }
            }
            return;
        }
        for (column, stat) in outputs {
            match stat {
                Stat::Count => out.bits(*column, count),
                _ if count == 0 => {}
                Stat::Sum if self.float => out.float(*column, total.sum()),
                Stat::Sum => {
                    if let Some(sum) = total.integer() {
                        out.bits(*column, sum as u64);
                    }
                }
                Stat::Avg => out.float(*column, total.mean()),
                stat => {
                    let (numerator, divisor) = *deviation.get_or_insert_with(|| total.deviation());
                    let degrees = if matches!(stat, Stat::VarSamp | Stat::StdSamp) { n - 1.0 } else { n };
                    if degrees > 0.0 {
                        let variance = numerator / (divisor * degrees);
                        out.float(*column, if matches!(stat, Stat::StdPop | Stat::StdSamp) { variance.sqrt() } else { variance });
                    }
                }
            }
        }
    }
}

impl Part for Moments {
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        if !self.sliding.is_empty() {
            self.slide_in(key, at);
        }
        if self.floored.is_empty() {
            return;
        }
        let row = key.ring.row(at);
        if !self.source.present(row) {
            return;
        }
        let (time, word) = (row[0] as i64, self.source.word(row));
        for (nth, (window, words)) in self.floored.iter().enumerate() {
            let start = bucket(&self.windows[*window], time);
            if start >= key.fixed[*words] as i64 {
                self.add_floored(key, nth, *words, 0, start, word);
            }
        }
    }

    fn settles(&self) -> bool {
        !self.sliding.is_empty() || !self.floored.is_empty()
    }

    fn settle(&self, key: &mut KeyMut<'_>) {
        let base = key.ring.base();
        for (nth, words) in self.sliding.iter().enumerate() {
            if Self::head(key, *words) == base {
                let mut exact = self.exact(key, *words);
                self.shift(key, &mut exact, nth, base, base + 1, true);
                self.store(key, *words, &exact, base + 1);
            }
        }
        let row = key.ring.row(base);
        if self.floored.is_empty() || !self.source.present(row) {
            return;
        }
        let (time, word) = (row[0] as i64, self.source.word(row));
        for (nth, (window, words)) in self.floored.iter().enumerate() {
            self.add_floored(key, nth, *words, 1, bucket(&self.windows[*window], time), word);
        }
    }

    fn emit(&self, after: bool, key: &mut KeyMut<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for read in &self.reads[usize::from(after)] {
            let Some((window, kept)) = read.window.and_then(|window| Some((window, self.kept[window]?))) else { continue };
            let (lo, hi) = (bounds.lo[window], bounds.hi[read.phase as usize].max(bounds.lo[window]));
            match kept {
                Kept::Range => read.outputs.iter().for_each(|(column, _)| out.bits(*column, hi - lo)),
                Kept::Floored(nth, at) => self.write_floored(key, (nth, at), bounds.bucket[window], (lo, hi), &read.outputs, out),
                Kept::Sliding(nth, at) if hi == key.ring.end() => {
                    let exact = self.follow(key, nth, at, lo);
                    let scale = if self.sums == 0 { Scale(0) } else { Scale(key.fixed[self.scale]) };
                    let total = Total::of(self.float, scale, exact, self.layout(key), nth, key.ring.arena());
                    self.write(&total, &read.outputs, out);
                }
                Kept::Sliding(nth, at) => {
                    let apart = self.apart(key, nth, at, lo, hi);
                    self.write(&apart.total(), &read.outputs, out);
                }
            }
        }
    }

    fn release(&self, key: &mut KeyMut<'_>) {
        if let Some(layout) = Layout::load(self.layout(key)) {
            layout.release(self.slots(), key.ring.arena_mut());
            key.fixed[self.scale + 1] = 0;
        }
    }
}
