//! `count`, `sum`, `avg`, `var_*`, `stddev_*`: one set of sums per argument and filter, for all windows.
//!
//! Each record of the ring carries the sums of all records before it (prefix sums), so a window is the difference of two rows: O(1) for any range,
//! as-of queries included. Integers wrap, which their differences do not notice. Tumbling and lifetime windows keep running sums instead, and the
//! sums of what left the ring; a query that must not see the newest records goes on from there.
//! In double-double form (see `exact`), prefix sums restart after every turnover of the longest window, and a range whose error bound is too large
//! is summed afresh.

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, plain};
use super::exact::{Dd, POWERS, integer, integer_words, to_float};
use super::part::{Bounds, Builder, Emit, KeyMut, Part, Reads, Source, bucket, reads};
use super::registry::{Family, Row};
use super::sums::{SQUARE_DD, STEP, SUM_DD, Sums, WORDS, combine};
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

/// Behind the total: prefix sums restart when the record at this index has left the longest window.
const MARK: usize = WORDS;
/// Behind the total: index at which the prefix sums were zero.
const ZERO: usize = WORDS + 1;
/// Behind the total: prefix sums hold from this index on; ranges that begin before it (only queries far into the past do) are summed afresh.
const VALID: usize = WORDS + 2;

/// What a difference of double-double prefix sums is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quality {
    /// As exact as S7.5 asks for.
    Good,
    /// As exact, and the spread is within the error: that of equal values, which is 0 (S7.5).
    Flat,
    /// To be summed afresh.
    Poor,
}

/// Sums as scaled integers, for the fast path.
#[derive(Clone, Copy)]
struct Exact {
    n: u64,
    sum: i128,
    square: i128,
}

impl Exact {
    #[inline]
    fn load(words: &[u64], at: usize) -> Self {
        match words.get(at..at + 5) {
            Some([n, s0, s1, q0, q1]) => Self { n: *n, sum: integer([*s0, *s1]), square: integer([*q0, *q1]) },
            _ => Self { n: 0, sum: 0, square: 0 },
        }
    }

    #[inline]
    fn minus(&self, start: &Self) -> Self {
        Self { n: self.n.wrapping_sub(start.n), sum: self.sum.wrapping_sub(start.sum), square: self.square.wrapping_sub(start.square) }
    }
}

#[derive(Debug)]
struct Moments {
    source: Source,
    float: bool,
    reads: Reads<Stat>,
    /// Words of a row: n, Σx, Σx².
    row: Option<usize>,
    row_words: usize,
    /// Fixed words: the total `Sums`, then `MARK`, `ZERO` and `VALID`.
    total: usize,
    longest: Micros,
    windows: Vec<Window>,
    /// Tumbling and lifetime windows and their fixed words: running and carried, each a bucket and `Sums`.
    floored: Vec<(usize, usize)>,
    by_window: Vec<Option<usize>>,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let source = builder.source(features[0].1);
    let float = source.kind == CellType::Float64;
    let stats: Vec<Stat> = features.iter().map(|(_, feature)| stat(&feature.function)).collect();
    let longest = builder.longest(features);
    let sums = stats.iter().any(|stat| *stat != Stat::Count);
    let squares = sums && (float || stats.iter().any(|stat| !matches!(stat, Stat::Count | Stat::Sum | Stat::Avg)));
    let row_words = if source.is_total() { 0 } else { 1 + 2 * usize::from(sums) + 2 * usize::from(squares) };
    let row = (longest.is_some() && row_words > 0).then(|| builder.row(row_words));
    let total = if row.is_some() { builder.fixed(&[0; WORDS + 3]) } else { 0 };
    let windows = builder.floored(features);
    let fresh = [&[i64::MIN as u64][..], &[0; WORDS]].concat();
    let floored: Vec<(usize, usize)> = windows.iter().map(|window| (*window, builder.fixed(&[&fresh[..], &fresh[..]].concat()))).collect();
    let mut by_window = vec![None; builder.spec.windows.len()];
    floored.iter().for_each(|(window, at)| by_window[*window] = Some(*at));
    Box::new(Moments {
        reads: reads(features, |feature| stat(&feature.function)),
        source,
        float,
        row,
        row_words,
        total,
        longest: longest.unwrap_or(0),
        windows: builder.spec.windows.clone(),
        floored,
        by_window,
    })
}

impl Moments {
    #[inline]
    fn write_prefix(&self, row: &mut [u64], sums: &Sums) {
        let Some(at) = self.row else { return };
        row[at] = sums.n;
        if self.row_words > 1 {
            row[at + 1..at + 3].copy_from_slice(&sums.sum);
        }
        if self.row_words > 3 {
            row[at + 3..at + 5].copy_from_slice(&sums.square);
        }
    }

    /// The sums of all before `index`, in the mode of `total`.
    #[inline]
    fn prefix(&self, key: &KeyMut<'_>, total: &Sums, index: u64) -> Sums {
        let Some(at) = self.row.filter(|_| index < key.ring.end()) else { return *total };
        let row = key.ring.row(index);
        let mut sums = Sums { n: row[at], ..*total };
        if self.row_words > 1 {
            sums.sum = [row[at + 1], row[at + 2]];
        }
        if self.row_words > 3 {
            sums.square = [row[at + 3], row[at + 4]];
        }
        sums
    }

    /// Adds a value in the present mode; counts alone need no more.
    #[inline]
    fn apply(&self, sums: &mut Sums, word: u64) {
        if self.row_words > 1 { sums.apply(self.float, word) } else { sums.n = sums.n.wrapping_add(1) }
    }

    /// Writes all prefix sums again, from zero at the head of the longest window: forwards, and backwards for what is older.
    #[cold]
    fn restart(&self, key: &mut KeyMut<'_>, mode: u64, word: u64) {
        let (base, end) = (key.ring.base(), key.ring.end());
        let newest = if key.ring.is_empty() { 0 } else { key.ring.time(end - 1) };
        let valid = key.fixed[self.total + VALID].max(base);
        let zero = key.ring.after(newest.saturating_sub(self.longest), end).max(valid);
        let centre = (zero..end).map(|i| key.ring.row(i)).find(|row| self.source.present(row)).map_or(word, |row| self.source.word(row));
        let known = Sums::load(&key.fixed[self.total..]);
        let finer = POWERS[(mode & 3) as usize] / POWERS[(known.mode & 3) as usize];
        let largest = if mode & SUM_DD == 0 { known.largest.saturating_mul(finer as u64) } else { 0 };
        let fresh = Sums { mode, largest, centre, ..Sums::default() };
        let (mut forward, mut backward) = (fresh, fresh);
        for index in zero..end {
            let row = key.ring.row_mut(index);
            self.write_prefix(row, &forward);
            if self.source.present(row) {
                forward.apply(self.float, self.source.word(row));
            }
        }
        for index in (valid..zero).rev() {
            let row = key.ring.row_mut(index);
            if self.source.present(row) {
                let value = self.source.word(row);
                let (sum, square) = backward.terms(self.float, value);
                backward.n = backward.n.wrapping_sub(1);
                backward.sum = combine(mode & SUM_DD != 0, backward.sum, sum, true);
                backward.square = combine(mode & SQUARE_DD != 0, backward.square, square, true);
            }
            self.write_prefix(row, &backward);
        }
        forward.store(&mut key.fixed[self.total..]);
        key.fixed[self.total + MARK] = end;
        key.fixed[self.total + ZERO] = zero;
    }

    fn slide_in(&self, key: &mut KeyMut<'_>, at: u64) {
        let last = key.ring.end() - 1;
        let left = key.ring.time(last).saturating_sub(self.longest);
        if at == last && (at == key.ring.base() || key.ring.time(at - 1) <= left) {
            // Everything before is out of every window: begin anew, as a key that was forgotten in between would.
            key.fixed[self.total..self.total + WORDS].fill(0);
            [MARK, ZERO, VALID].iter().for_each(|index| key.fixed[self.total + index] = at);
        }
        let mut total = Sums::load(&key.fixed[self.total..]);
        let present = self.source.present(key.ring.row(at));
        let word = self.source.word(key.ring.row(at));
        let sums = self.row_words > 1;
        if present && sums && at >= key.fixed[self.total + VALID] {
            let mode = total.fitting(self.float, word);
            if mode != total.mode {
                return self.restart(key, mode, word);
            }
        }
        let outside = at < key.fixed[self.total + VALID];
        for index in [MARK, ZERO, VALID] {
            let mark = &mut key.fixed[self.total + index];
            *mark += u64::from(at < last && at < *mark);
        }
        if outside {
            return;
        }
        if at == last {
            self.write_prefix(key.ring.row_mut(at), &total);
        } else {
            let before = self.prefix(key, &total, at + 1);
            self.write_prefix(key.ring.row_mut(at), &before);
            if present {
                for index in at + 1..=last {
                    let mut sums = self.prefix(key, &total, index);
                    self.apply(&mut sums, word);
                    self.write_prefix(key.ring.row_mut(index), &sums);
                }
            }
        }
        if present {
            self.apply(&mut total, word);
            total.store(&mut key.fixed[self.total..]);
        }
        if sums && present && total.mode & SQUARE_DD != 0 && at == last {
            let mark = key.fixed[self.total + MARK];
            if mark < key.ring.base() || (mark <= last && key.ring.time(mark) <= left) {
                self.restart(key, total.mode, word);
            }
        }
    }

    /// The sums of `[lo, hi)`.
    #[inline]
    fn range(&self, key: &KeyMut<'_>, lo: u64, hi: u64) -> Sums {
        if self.row.is_none() {
            return Sums { n: hi.saturating_sub(lo), ..Sums::default() };
        }
        let total = Sums::load(&key.fixed[self.total..]);
        if lo >= hi {
            return Sums { n: 0, ..total };
        }
        if lo < key.fixed[self.total + VALID] {
            return self.scan(key, Sums::default(), lo, hi);
        }
        let (start, end) = (self.prefix(key, &total, lo), self.prefix(key, &total, hi));
        let sums = Sums {
            n: end.n.wrapping_sub(start.n),
            sum: combine(total.mode & SUM_DD != 0, end.sum, start.sum, true),
            square: combine(total.mode & SQUARE_DD != 0, end.square, start.square, true),
            ..total
        };
        if total.mode & SQUARE_DD == 0 || sums.n == 0 {
            return sums;
        }
        match self.quality(key, lo, &sums, &start, &end) {
            Quality::Good => sums,
            Quality::Flat => sums.flat(self.float),
            Quality::Poor => self.scan(key, Sums::default(), lo, hi),
        }
    }

    /// What the error bound of a difference of double-double prefix sums says about it (S7.5).
    fn quality(&self, key: &KeyMut<'_>, lo: u64, sums: &Sums, start: &Sums, end: &Sums) -> Quality {
        let zero = key.fixed[self.total + ZERO];
        let steps = (key.ring.end().saturating_sub(zero)).max(zero.saturating_sub(lo)) as f64 + 8.0;
        let magnitude = Dd::from_words(start.square).hi.abs().max(Dd::from_words(end.square).hi.abs());
        let (sum, square) = (sums.centred(self.float), Dd::from_words(sums.square));
        let n = sums.n as f64;
        let centre = if self.float { f64::from_bits(sums.centre) } else { sums.centre as i64 as f64 };
        let squares = (square.hi + 2.0 * centre * sum.hi + n * centre * centre).max(0.0);
        let deviation = square.minus(sum.times(sum).over(n)).hi;
        let sum_error = steps * STEP * (steps * magnitude).sqrt();
        let square_error = steps * STEP * magnitude + 2.0 * (sum.hi / n).abs() * sum_error;
        let size = sums.total(self.float).hi.abs().max(squares.sqrt());
        if square_error > (deviation * 1e-13).max(squares / n * 2e-16) || sum_error > size * 1e-13 {
            Quality::Poor
        } else if sums.n == 1 || deviation <= square_error {
            Quality::Flat
        } else {
            Quality::Good
        }
    }

    /// Goes on from `sums` over the records of `[lo, hi)`, in order.
    fn scan(&self, key: &KeyMut<'_>, mut sums: Sums, lo: u64, hi: u64) -> Sums {
        for index in lo..hi {
            let row = key.ring.row(index);
            if self.source.present(row) {
                self.add(&mut sums, self.source.word(row));
            }
        }
        sums
    }

    #[inline]
    fn add(&self, sums: &mut Sums, word: u64) {
        if self.row_words > 1 { sums.add(self.float, word) } else { sums.n += 1 }
    }

    fn add_to(&self, words: &mut [u64], bucket: i64, word: u64) {
        let mut sums = if words[0] as i64 == bucket { Sums::load(&words[1..]) } else { Sums::default() };
        self.add(&mut sums, word);
        words[0] = bucket as u64;
        sums.store(&mut words[1..]);
    }

    /// The sums of the tumbling or lifetime window around the bounds' time.
    fn current(&self, key: &KeyMut<'_>, at: usize, bucket: i64, lo: u64, hi: u64) -> Sums {
        let (running, carried) = (&key.fixed[at..at + 1 + WORDS], &key.fixed[at + 1 + WORDS..at + 2 + 2 * WORDS]);
        if hi == key.ring.end() {
            return if running[0] as i64 == bucket { Sums::load(&running[1..]) } else { Sums::default() };
        }
        let start = if carried[0] as i64 == bucket { Sums::load(&carried[1..]) } else { Sums::default() };
        self.scan(key, start, lo, hi)
    }

    /// As `write`; the same operations on the same numbers, so the same bits.
    #[inline]
    fn write_exact(&self, range: &Exact, scale: usize, outputs: &[(usize, Stat)], out: &mut Emit<'_>) {
        let small = i64::try_from(range.sum).ok().zip(u64::try_from(range.square).ok()).filter(|_| range.n < 1 << 32);
        let (Some((sum, square)), true) = (small, self.float) else {
            let sums = Sums {
                mode: scale as u64,
                n: range.n,
                sum: integer_words(range.sum),
                square: integer_words(range.square),
                ..Sums::default()
            };
            return self.write(&sums, outputs, out);
        };
        if range.n == 0 {
            return self.write(&Sums::default(), outputs, out);
        }
        let (n, power, total) = (range.n as f64, POWERS[scale], sum as f64);
        for (column, stat) in outputs {
            match stat {
                Stat::Count => out.bits(*column, range.n),
                Stat::Sum => out.bits(*column, (total / power).to_bits()),
                Stat::Avg => out.bits(*column, (total / (n * power)).to_bits()),
                stat => {
                    let spread = (u128::from(square) * u128::from(range.n)) as i128 - i128::from(sum) * i128::from(sum);
                    let degrees = if matches!(stat, Stat::VarSamp | Stat::StdSamp) { n - 1.0 } else { n };
                    if degrees > 0.0 {
                        let variance = to_float(spread).max(0.0) / (n * power * power * degrees);
                        out.float(*column, if matches!(stat, Stat::StdPop | Stat::StdSamp) { variance.sqrt() } else { variance });
                    }
                }
            }
        }
    }

    #[inline]
    fn write(&self, sums: &Sums, outputs: &[(usize, Stat)], out: &mut Emit<'_>) {
        let n = sums.n as f64;
        let mut deviation = None;
        for (column, stat) in outputs {
            if *stat == Stat::Count {
                out.bits(*column, sums.n);
                continue;
            }
            if sums.n == 0 {
                continue;
            }
            match stat {
                Stat::Sum if self.float => out.float(*column, sums.sum_float(true)),
                Stat::Sum => {
                    if let Ok(sum) = i64::try_from(integer(sums.sum)) {
                        out.bits(*column, sum as u64);
                    }
                }
                Stat::Avg => out.float(*column, sums.mean(self.float)),
                stat => {
                    let (numerator, divisor) = *deviation.get_or_insert_with(|| sums.deviation(self.float));
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
        if self.row.is_some() {
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
        for (window, words) in &self.floored {
            let bucket = bucket(&self.windows[*window], time);
            let running = &mut key.fixed[*words..*words + 1 + WORDS];
            if bucket >= running[0] as i64 {
                self.add_to(running, bucket, word);
            }
        }
    }

    fn settles(&self) -> bool {
        !self.floored.is_empty()
    }

    fn settle(&self, key: &mut KeyMut<'_>) {
        let row = key.ring.row(key.ring.base());
        if self.floored.is_empty() || !self.source.present(row) {
            return;
        }
        let (time, word) = (row[0] as i64, self.source.word(row));
        for (window, words) in &self.floored {
            let carried = &mut key.fixed[*words + 1 + WORDS..*words + 2 + 2 * WORDS];
            self.add_to(carried, bucket(&self.windows[*window], time), word);
        }
    }

    fn emit(&self, after: bool, key: &mut KeyMut<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        if self.source.is_total() && self.floored.is_empty() {
            for read in &self.reads[usize::from(after)] {
                let Some(window) = read.window else { continue };
                let n = bounds.hi[read.phase as usize].saturating_sub(bounds.lo[window]);
                read.outputs.iter().for_each(|(column, _)| out.bits(*column, n));
            }
            return;
        }
        // What almost every record takes: exact integers, a range that ends with the newest record.
        let exact = self.row.filter(|_| self.row_words == 5 && key.fixed[self.total] & (SUM_DD | SQUARE_DD) == 0);
        let newest = Exact::load(&key.fixed[self.total..], 3);
        for read in &self.reads[usize::from(after)] {
            let Some(window) = read.window else { continue };
            let (lo, hi) = (bounds.lo[window], bounds.hi[read.phase as usize]);
            if let Some(at) =
                exact.filter(|_| self.by_window[window].is_none() && lo < hi && hi == key.ring.end() && lo >= key.fixed[self.total + VALID])
            {
                let range = newest.minus(&Exact::load(key.ring.row(lo), at));
                self.write_exact(&range, (key.fixed[self.total] & 3) as usize, &read.outputs, out);
                continue;
            }
            let sums = match self.by_window[window] {
                Some(at) => self.current(key, at, bounds.bucket[window], lo, hi),
                None => self.range(key, lo, hi),
            };
            self.write(&sums, &read.outputs, out);
        }
    }
}
