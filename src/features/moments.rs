//! `count`, `sum`, `avg`, `var_*`, `stddev_*`: one set of sums per argument, filter and window.
//!
//! Where the records are all of the window's and all count, their number is that of the range; all else is in running sums, exact for ever, of sliding
//! windows (`sliding`) and of tumbling and lifetime ones (`floored`).

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, plain};
use super::exact::to_float;
use super::floored::Floored;
use super::part::{Bounds, Builder, Emit, Kept, KeyMut, Part, Phase, reads};
use super::registry::{Family, Row};
use super::ring::Rows;
use super::sliding::Sliding;
use super::summand::Summand;
use super::sums::{Scale, Total};
use super::{FeatureSpec, Function};
use crate::config::declaration::Window;
use crate::data::CellType;

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

/// The columns of each function; those that are not asked for, or again, are beyond the row.
#[derive(Clone, Copy, Debug)]
struct Columns {
    count: usize,
    sum: usize,
    avg: usize,
    var_pop: usize,
    var_samp: usize,
    std_pop: usize,
    std_samp: usize,
}

/// What is asked of one window in one phase.
#[derive(Debug)]
struct Wanted {
    window: usize,
    /// Position among the windows of its kind.
    nth: usize,
    phase: Phase,
    /// Column of the feature row, and what goes there.
    outputs: Vec<(usize, Stat)>,
    /// The same, by function, and columns of functions that others have already, with those.
    columns: Columns,
    again: Vec<(usize, usize)>,
    /// Words and bits of a row's validity: those of all outputs.
    marks: Vec<(usize, u64)>,
    /// How many values make all outputs numbers.
    least: u64,
}

/// What is asked before or after the insertion, by how it is kept.
#[derive(Debug, Default)]
struct Asked {
    /// Window, phase and column of sliding windows of records that all count: their number is the range's, and never null.
    ranges: Vec<(usize, Phase, usize)>,
    range_marks: Vec<(usize, u64)>,
    sliding: Vec<Wanted>,
    /// Tumbling and lifetime windows.
    floored: Vec<Wanted>,
}

#[derive(Debug)]
struct Moments {
    on: Summand,
    asked: [Asked; 2],
    sliding: Sliding,
    floored: Floored,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let source = builder.source(features[0].1);
    let stats = || features.iter().map(|(_, feature)| stat(&feature.function));
    let summed = stats().any(|stat| stat != Stat::Count);
    let squared = stats().any(|stat| !matches!(stat, Stat::Count | Stat::Sum | Stat::Avg));
    let sums = usize::from(summed) + usize::from(squared);
    let windows = builder.spec.windows.clone();
    let mut places = vec![None; windows.len()];
    let (mut slid, mut floored) = (0, Vec::new());
    for window in features.iter().filter_map(|(_, feature)| feature.window) {
        if places[window].is_none() {
            let is_sliding = matches!(windows[window], Window::Sliding(_));
            places[window] = Some(if is_sliding { slid } else { floored.len() });
            match &windows[window] {
                Window::Sliding(_) => slid += usize::from(!source.is_total()),
                other => floored.push(*other),
            }
        }
    }
    let (longest, slots) = (builder.longest(features).unwrap_or(0), slid + 2 * floored.len());
    let sliding = Sliding::new(builder, slid, longest, sums, floored.is_empty());
    let layout = if summed { builder.fixed(&[0]) } else { 0 };
    let floored = Floored::new(builder, floored, sums, slid);
    let asked = reads(features, |feature| stat(&feature.function)).map(|reads| {
        let mut asked = Asked::default();
        for read in reads {
            let Some((window, nth)) = read.window.and_then(|window| Some((window, places[window]?))) else { continue };
            if source.is_total() && matches!(windows[window], Window::Sliding(_)) {
                asked.ranges.extend(read.outputs.iter().map(|(column, _)| (window, read.phase, *column)));
                continue;
            }
            let sampled = read.outputs.iter().any(|(_, stat)| matches!(stat, Stat::VarSamp | Stat::StdSamp));
            let (marks, least) = (marks(read.outputs.iter().map(|(column, _)| *column)), if sampled { 2 } else { 1 });
            let list = match windows[window] {
                Window::Sliding(_) => &mut asked.sliding,
                _ => &mut asked.floored,
            };
            let columns = Columns::new(&read.outputs);
            let again = again(&read.outputs);
            list.push(Wanted { window, nth, phase: read.phase, outputs: read.outputs, columns, again, marks, least });
        }
        asked.range_marks = marks(asked.ranges.iter().map(|(.., column)| *column));
        asked
    });
    let float = source.kind == CellType::Float64;
    Box::new(Moments { on: Summand::new(source, float, sums, slots, layout), asked, sliding, floored })
}

impl Columns {
    fn new(outputs: &[(usize, Stat)]) -> Self {
        let of = |wanted: Stat| outputs.iter().find(|(_, stat)| *stat == wanted).map_or(usize::MAX, |(column, _)| *column);
        Self {
            count: of(Stat::Count),
            sum: of(Stat::Sum),
            avg: of(Stat::Avg),
            var_pop: of(Stat::VarPop),
            var_samp: of(Stat::VarSamp),
            std_pop: of(Stat::StdPop),
            std_samp: of(Stat::StdSamp),
        }
    }
}

/// The columns whose function an earlier one has, with that one.
fn again(outputs: &[(usize, Stat)]) -> Vec<(usize, usize)> {
    let first = |stat: Stat| outputs.iter().find(|(_, other)| *other == stat).map(|(column, _)| *column);
    outputs.iter().filter_map(|(column, stat)| Some((*column, first(*stat).filter(|first| first != column)?))).collect()
}

/// The validity bits of some columns, by word.
fn marks(columns: impl Iterator<Item = usize>) -> Vec<(usize, u64)> {
    let mut marks: Vec<(usize, u64)> = Vec::new();
    for column in columns {
        match marks.iter_mut().find(|(word, _)| *word == column / 64) {
            Some((_, mask)) => *mask |= 1 << (column % 64),
            None => marks.push((column / 64, 1 << (column % 64))),
        }
    }
    marks
}

impl Moments {
    /// What almost every row takes: short sums over so many values that all functions of them are numbers. The same operations on the same numbers
    /// as in `write`, so the same bits.
    #[inline]
    fn write_short(&self, asked: &Wanted, (count, sum, square, scale): (u64, i64, u64, Scale), out: &mut Emit<'_>) {
        let (n, whole, power, columns) = (count as f64, sum as f64, scale.unit(), &asked.columns);
        out.cell(columns.count, || count);
        out.cell(columns.sum, || if self.on.float { (whole / power).to_bits() } else { sum as u64 });
        out.cell(columns.avg, || (whole / (n * power)).to_bits());
        let variance = |degrees: f64| {
            let spread = (u128::from(square) * u128::from(count)) as i128 - i128::from(sum) * i128::from(sum);
            to_float(spread).max(0.0) / (n * power * power * degrees)
        };
        out.cell(columns.std_pop, || variance(n).sqrt().to_bits());
        out.cell(columns.var_pop, || variance(n).to_bits());
        out.cell(columns.std_samp, || variance(n - 1.0).sqrt().to_bits());
        out.cell(columns.var_samp, || variance(n - 1.0).to_bits());
        asked.again.iter().for_each(|(column, first)| out.repeat(*column, *first));
        out.mark(&asked.marks);
    }

    /// What `write_short` does not answer. Apart from it, so that what this needs does not burden that.
    #[inline(never)]
    fn write_long(&self, sliding: &[Wanted], rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for wanted in sliding {
            let (lo, hi) = bounds.range(wanted.window, wanted.phase);
            if hi == rows.end() {
                self.write(&self.sliding.total(&self.on, rows, kept, wanted.nth, lo), &wanted.outputs, out);
            } else {
                self.write(&self.sliding.apart(&self.on, rows, kept, wanted.nth, lo, hi).total(), &wanted.outputs, out);
            }
        }
    }

    #[inline(never)]
    fn write_floored(&self, floored: &[Wanted], rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for wanted in floored {
            let (window, range) = ((wanted.nth, bounds.bucket(wanted.window)), bounds.range(wanted.window, wanted.phase));
            self.floored.look(&self.on, rows, kept, window, range, |total| self.write(total, &wanted.outputs, out));
        }
    }

    fn write(&self, total: &Total<'_>, outputs: &[(usize, Stat)], out: &mut Emit<'_>) {
        let count = total.n();
        let n = count as f64;
        let mut deviation = None;
        for (column, stat) in outputs {
            match stat {
                Stat::Count => out.bits(*column, count),
                _ if count == 0 => {}
                Stat::Sum if self.on.float => out.float(*column, total.sum()),
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
    fn is_told(&self, between: bool) -> bool {
        !self.floored.is_empty() || between && !self.sliding.is_empty()
    }

    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        if !self.sliding.is_empty() {
            self.sliding.inserted(&self.on, key, at);
        }
        if !self.floored.is_empty() {
            self.floored.inserted(&self.on, key.ring.row(at), &mut key.kept);
        }
    }

    fn settles(&self) -> bool {
        !self.sliding.is_empty() || !self.floored.is_empty()
    }

    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        if !self.sliding.is_empty() {
            self.sliding.settle(&self.on, rows, kept);
        }
        if !self.floored.is_empty() {
            self.floored.settle(&self.on, rows.row(rows.base()), kept);
        }
    }

    fn is_asked(&self, after: bool) -> bool {
        let Asked { ranges, sliding, floored, .. } = &self.asked[usize::from(after)];
        !(ranges.is_empty() && sliding.is_empty() && floored.is_empty())
    }

    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        let Asked { ranges, range_marks, sliding, floored } = &self.asked[usize::from(after)];
        for (window, phase, column) in ranges {
            let (lo, hi) = bounds.range(*window, *phase);
            out.cell(*column, || hi - lo);
        }
        out.mark(range_marks);
        if !sliding.is_empty() {
            self.sliding.catch_up(&self.on, rows, kept);
            let mut rest = sliding.iter();
            if let Some(mut short) = self.sliding.short(&self.on, kept) {
                // The windows come in one order, so that those after the first that is not answered here are not lost.
                while let Some(wanted) = rest.as_slice().first()
                    && let (lo, hi) = bounds.range(wanted.window, wanted.phase)
                    && hi == rows.end()
                    && let Some((count, sum, square)) = short.sums(&self.on, rows, wanted.nth, lo)
                    && count >= wanted.least
                    && sum.unsigned_abs() <= 1 << 53
                {
                    self.write_short(wanted, (count, sum, square, short.scale), out);
                    rest.next();
                }
            }
            if !rest.as_slice().is_empty() {
                self.write_long(rest.as_slice(), rows, kept, bounds, out);
            }
        }
        if !floored.is_empty() {
            self.write_floored(floored, rows, kept, bounds, out);
        }
    }

    fn release(&self, kept: &mut Kept<'_>) {
        self.sliding.release(&self.on, kept);
        self.on.release(kept);
    }
}
