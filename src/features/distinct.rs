//! `count(distinct x)`, exact, and `approx_distinct(x)` over sliding windows, which is answered exactly too: registers of a HyperLogLog cannot forget,
//! and the records of a sliding window are kept anyway.
//!
//! Strings are told apart by their 64-bit hash (xxh3): two of n different strings collide with probability n² / 2^65.

use hashbrown::HashMap;
use word_hash::Fixed;

use super::FeatureSpec;
use super::bytes::{Reader, put};
use super::call::{FunctionParameter, Resolved, plain};
use super::cursor::{CursorPart, Tally};
use super::part::{Builder, Emit, Part, Source, reads};
use super::registry::{Family, Row};
use crate::data::CellType;

/// See the module.
pub static FAMILY: Family = Family { name: "distinct", group: |_| 0, build };

/// `count(distinct x)` and `approx_distinct(x)` of any type.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64, Text, Timestamp};
    plain(row, argument, parameters, &[Float64, Int64, Bool, Timestamp, Text], |_| Int64)
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let source = builder.source(features[0].1);
    let map: Option<fn(&Source, u64) -> u64> =
        (source.kind == CellType::Float64).then_some(|_, word| (f64::from_bits(word) + 0.0).to_bits());
    CursorPart::<Counts>::build(builder, features, reads(features, |_| ()), map)
}

/// How often each value is present. Never iterated into an output: only its size is read.
#[derive(Clone, Debug, Default)]
struct Counts(HashMap<u64, u32, Fixed>);

impl Tally for Counts {
    type Ask = ();

    fn add(&mut self, word: u64) {
        *self.0.entry(word).or_insert(0) += 1;
    }

    fn remove(&mut self, word: u64) {
        if let Some(count) = self.0.get_mut(&word) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&word);
            }
        }
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn emit(&self, (): &(), column: usize, out: &mut Emit<'_>) {
        out.bits(column, self.0.len() as u64);
    }

    fn save(&self, out: &mut Vec<u8>) {
        let mut entries: Vec<(u64, u32)> = self.0.iter().map(|(word, count)| (*word, *count)).collect();
        entries.sort_unstable();
        put(out, entries.len() as u64);
        for (word, count) in entries {
            put(out, word);
            put(out, u64::from(count));
        }
    }

    fn load(&mut self, reader: &mut Reader<'_>) -> Result<(), String> {
        self.0.clear();
        for _ in 0..reader.length(16)? {
            let word = reader.word()?;
            self.0.insert(word, reader.word()? as u32);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

/// A hasher without random state.
mod word_hash {
    use std::hash::{BuildHasherDefault, Hasher};

    /// Builds `Mix`.
    pub type Fixed = BuildHasherDefault<Mix>;

    /// Spreads one word over all bits (the finaliser of MurmurHash3).
    #[derive(Clone, Debug, Default)]
    pub struct Mix(u64);

    impl Hasher for Mix {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|byte| self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte)));
        }

        fn write_u64(&mut self, word: u64) {
            let mut x = word;
            x = (x ^ x >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            x = (x ^ x >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
            self.0 = x ^ x >> 33;
        }
    }
}
