//! `ewm_sum(x, '1h')` and `ewm_avg(x, '1h')`: every record counts half as much after each half-life of event time (S7.4).
//!
//! Two running numbers per key, moved forward by `2^(−Δt / half-life)` (`libm`, so that bits do not depend on the machine). A record out of order
//! is added with what is left of it by now; a query that must not see the newest records goes on from what left the ring.

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, with_argument};
use super::part::{Bounds, Builder, Emit, Kept, KeyMut, Part, Reads, Source, reads};
use super::registry::{Family, Row};
use super::ring::Rows;
use super::{FeatureSpec, Function};
use crate::data::CellType;
use crate::time::duration;

/// See the module.
pub static FAMILY: Family = Family { name: "decay", group: |function: &Function| function.parameter.to_bits(), build };

/// A number and a half-life.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    let [FunctionParameter::Text(text)] = parameters else {
        return Err(format!("`{0}` takes a value and a half-life, as in `{0}(x, '1h')`", row.name));
    };
    let half_life = duration::parse(text)?;
    if half_life <= 0 {
        return Err(format!("the half-life of `{}` must be longer than nothing", row.name));
    }
    let result = |_| CellType::Float64;
    with_argument(row, argument, &[CellType::Float64, CellType::Int64, CellType::Bool], result, half_life as f64)
}

/// Fixed words: whether there is a record, time, Σ weight · x, Σ weight.
const WORDS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Faded {
    any: bool,
    time: i64,
    sum: f64,
    weight: f64,
}

impl Faded {
    fn load(words: &[u64]) -> Self {
        Self { any: words[0] != 0, time: words[1] as i64, sum: f64::from_bits(words[2]), weight: f64::from_bits(words[3]) }
    }

    fn store(&self, words: &mut [u64]) {
        words[..WORDS].copy_from_slice(&[u64::from(self.any), self.time as u64, self.sum.to_bits(), self.weight.to_bits()]);
    }
}

#[derive(Debug)]
struct Decay {
    source: Source,
    half_life: f64,
    /// True for the sum, false for the average.
    reads: Reads<bool>,
    running: usize,
    carried: usize,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    Box::new(Decay {
        source: builder.source(features[0].1),
        half_life: features[0].1.function.parameter,
        reads: reads(features, |feature| feature.function.name == "ewm_sum"),
        running: builder.fixed(&[0; WORDS]),
        carried: builder.fixed(&[0; WORDS]),
    })
}

impl Decay {
    fn left(&self, span: i64) -> f64 {
        if span == 0 { 1.0 } else { libm::exp2(-(span as f64) / self.half_life) }
    }

    fn value(&self, row: &[u64]) -> f64 {
        let word = self.source.word(row);
        if self.source.kind == CellType::Float64 { f64::from_bits(word) } else { word as i64 as f64 }
    }

    fn add(&self, faded: &mut Faded, time: i64, value: f64) {
        if faded.any && time < faded.time {
            let left = self.left(faded.time.saturating_sub(time));
            faded.sum += value * left;
            faded.weight += left;
            return;
        }
        let left = if faded.any { self.left(time.saturating_sub(faded.time)) } else { 0.0 };
        *faded = Faded { any: true, time, sum: faded.sum * left + value, weight: faded.weight * left + 1.0 };
    }
}

impl Part for Decay {
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        let row = key.ring.row(at);
        if self.source.present(row) {
            let mut faded = Faded::load(&key.kept.fixed[self.running..]);
            self.add(&mut faded, row[0] as i64, self.value(row));
            faded.store(&mut key.kept.fixed[self.running..]);
        }
    }

    fn settle(&self, rows: &Rows<'_>, kept: &mut Kept<'_>) {
        let row = rows.row(rows.base());
        if self.source.present(row) {
            let mut faded = Faded::load(&kept.fixed[self.carried..]);
            self.add(&mut faded, row[0] as i64, self.value(row));
            faded.store(&mut kept.fixed[self.carried..]);
        }
    }

    fn is_asked(&self, after: bool) -> bool {
        !self.reads[usize::from(after)].is_empty()
    }

    fn emit(&self, after: bool, rows: &Rows<'_>, kept: &mut Kept<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for read in &self.reads[usize::from(after)] {
            let hi = bounds.hi[read.phase as usize];
            let mut faded = Faded::load(&kept.fixed[if hi == rows.end() { self.running } else { self.carried }..]);
            if hi < rows.end() {
                for index in rows.base()..hi {
                    let row = rows.row(index);
                    if self.source.present(row) {
                        self.add(&mut faded, row[0] as i64, self.value(row));
                    }
                }
            }
            if !faded.any {
                continue;
            }
            for (column, sum) in &read.outputs {
                out.float(
                    *column,
                    if *sum { faded.sum * self.left(bounds.t.saturating_sub(faded.time)) } else { faded.sum / faded.weight },
                );
            }
        }
    }
}
