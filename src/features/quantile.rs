//! `approx_quantile(x, q)`: DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB
//! 2019) with relative error 0.01: the answer is within 1 % of the value of rank ⌊q · (n − 1)⌋.
//!
//! The sketch is linear: it counts values per logarithmic bucket, so records leave it exactly as they came (S7.5). No bucket is ever collapsed.

use super::FeatureSpec;
use super::bytes::{Reader, put};
use super::call::{FunctionParameter, Resolved, with_argument};
use super::cursor::{CursorPart, Tally};
use super::part::{Builder, Emit, Part, Source, reads};
use super::registry::{Family, Row};
use crate::data::CellType;

/// See the module.
pub static FAMILY: Family = Family { name: "quantile", group: |_| 0, build };

/// A number and a quantile between 0 and 1.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    let [FunctionParameter::Number(quantile)] = parameters else {
        return Err("`approx_quantile` takes a value and a quantile, as in `approx_quantile(x, 0.95)`".to_string());
    };
    if !(0.0..=1.0).contains(quantile) {
        return Err(format!("a quantile is between 0 and 1, not {quantile}"));
    }
    with_argument(row, argument, &[CellType::Float64, CellType::Int64, CellType::Bool], |_| CellType::Float64, *quantile)
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    CursorPart::<Sketch>::build(builder, features, reads(features, |feature| feature.function.parameter), Some(bucket_of))
}

/// ln γ with γ = (1 + 0.01) / (1 − 0.01).
const LN_GAMMA: f64 = 0.020000666706669435;
/// Bucket indices of magnitudes are shifted by this, so that they are positive.
const SHIFT: i64 = 1 << 17;

/// The bucket of a value: 0 for zero, and growing with the value.
fn bucket_of(source: &Source, word: u64) -> u64 {
    let value = if source.kind == CellType::Float64 { f64::from_bits(word) } else { word as i64 as f64 };
    if value == 0.0 {
        return 0;
    }
    let magnitude = libm::ceil(libm::log(value.abs()) / LN_GAMMA) as i64 + SHIFT;
    (if value < 0.0 { -magnitude } else { magnitude }) as u64
}

/// The middle of a bucket: within 1 % of all its values.
fn middle(bucket: i64) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let gamma = 1.01 / 0.99;
    let value = 2.0 * libm::exp((bucket.abs() - SHIFT) as f64 * LN_GAMMA) / (gamma + 1.0);
    if bucket < 0 { -value } else { value }
}

/// Counts per bucket, in order of bucket.
#[derive(Clone, Debug, Default)]
struct Sketch {
    counts: Vec<(i64, u64)>,
    n: u64,
}

impl Tally for Sketch {
    type Ask = f64;

    fn add(&mut self, word: u64) {
        self.n += 1;
        match self.counts.binary_search_by_key(&(word as i64), |(bucket, _)| *bucket) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (word as i64, 1)),
        }
    }

    fn remove(&mut self, word: u64) {
        if let Ok(at) = self.counts.binary_search_by_key(&(word as i64), |(bucket, _)| *bucket) {
            self.n -= 1;
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
    }

    fn clear(&mut self) {
        self.counts.clear();
        self.n = 0;
    }

    fn emit(&self, quantile: &f64, column: usize, out: &mut Emit<'_>) {
        if self.n == 0 {
            return;
        }
        let rank = (quantile * (self.n - 1) as f64) as u64;
        let mut below = 0;
        for (bucket, count) in &self.counts {
            below += count;
            if below > rank {
                return out.float(column, middle(*bucket));
            }
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        put(out, self.counts.len() as u64);
        for (bucket, count) in &self.counts {
            put(out, *bucket as u64);
            put(out, *count);
        }
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String> {
        self.clear();
        for _ in 0..reader.length(16)? {
            let bucket = reader.word()? as i64;
            let count = reader.word()?;
            self.counts.push((bucket, count));
            self.n += count;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 16
    }
}
