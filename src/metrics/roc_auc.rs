//! Area under the ROC curve, exact over the last 10,000 labelled rows, ties counting one half (S12.4): the Mann-Whitney statistic (Hanley and
//! McNeil 1982).
//!
//! A row costs one push into a ring; the value is computed when it is asked for (one sort of the ring, about a tenth of a millisecond), because it is
//! asked for once an interval and not once a row. Counting is in integers, so the value does not depend on the order of the sum. Probabilities are sorted
//! by their digits (H. H. Seward 1954, as in Knuth, TAOCP 3, §5.2.5), in time that is linear in the rows.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Entry, Metric, Task};

/// Rows that the value looks back on.
pub const AUC_ROWS: usize = 10_000;

pub(super) const ENTRY: Entry = Entry {
    name: "roc_auc",
    task: Task::Classification,
    fades: false,
    about: "the area under the ROC curve of the last 10,000 labelled rows",
    build: |_, _| Box::new(RocAuc::new()),
};

/// ROC AUC over a sliding window of rows; undefined while only one class is in the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RocAuc {
    /// Prediction and class, oldest first.
    window: VecDeque<(f64, bool)>,
}

impl RocAuc {
    /// An empty window.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A number in the order of the values; zeros of both signs are the same.
fn ordinal(p: f64) -> u64 {
    let bits = (p + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Bits of a digit, and digits of a key.
const BITS: usize = 11;
const DIGITS: usize = 64usize.div_ceil(BITS);
const RADIX: usize = 1 << BITS;

/// The keys in ascending order: by their last digit, then by the one before, and so on; a digit that all keys share is passed over.
fn sorted(mut keys: Vec<u64>) -> Vec<u64> {
    let digit = |key: u64, place: usize| (key >> (BITS * place)) as usize % RADIX;
    let mut counts = vec![[0u32; RADIX]; DIGITS];
    for key in &keys {
        for (place, counts) in counts.iter_mut().enumerate() {
            counts[digit(*key, place)] += 1;
        }
    }
    let mut next = vec![0; keys.len()];
    for (place, counts) in counts.iter_mut().enumerate() {
        if keys.first().is_none_or(|first| counts[digit(*first, place)] as usize == keys.len()) {
            continue;
        }
        let mut before = 0;
        for count in counts.iter_mut() {
            before += std::mem::replace(count, before);
        }
        for key in &keys {
            let at = &mut counts[digit(*key, place)];
            next[*at as usize] = *key;
            *at += 1;
        }
        std::mem::swap(&mut keys, &mut next);
    }
    keys
}

impl Metric for RocAuc {
    fn add(&mut self, y: f64, p: f64) {
        if self.window.len() == AUC_ROWS {
            self.window.pop_front();
        }
        self.window.push_back((p, y >= 0.5));
    }

    fn value(&self) -> Option<f64> {
        let of_class = |wanted: bool| {
            let rows = self.window.iter().filter(|(_, class)| *class == wanted);
            sorted(rows.map(|(p, _)| ordinal(*p)).collect())
        };
        let (negatives, positives) = (of_class(false), of_class(true));
        // Both lists ascend: what is below a positive, and what is not above it, only grows.
        let (mut below, mut not_above, mut twice_ranked) = (0, 0, 0);
        for positive in &positives {
            below += negatives[below..].iter().take_while(|negative| *negative < positive).count();
            not_above = below.max(not_above);
            not_above += negatives[not_above..].iter().take_while(|negative| *negative == positive).count();
            twice_ranked += below + not_above;
        }
        let pairs = negatives.len() * positives.len();
        (pairs > 0).then(|| twice_ranked as f64 / (2 * pairs) as f64)
    }

    fn rows(&self) -> u64 {
        self.window.len() as u64
    }

    fn snapshot(&self) -> Vec<u8> {
        super::encode(self)
    }

    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        *self = super::decode(version, bytes)?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.window.capacity() * size_of::<(f64, bool)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_as_the_values_are() {
        let mut values = vec![0.0, -0.0, 1.0, 0.5, -3.5, f64::MAX, f64::MIN, 5e-324, -5e-324, 1e-9];
        let mut seed = 7u64;
        for _ in 0..3_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            values.push((seed >> 11) as f64 / (1u64 << 53) as f64 - f64::from(u8::from(seed.is_multiple_of(3))));
        }
        let found = sorted(values.iter().map(|value| ordinal(*value)).collect());
        values.sort_by(f64::total_cmp);
        assert_eq!(found, values.iter().map(|value| ordinal(*value)).collect::<Vec<_>>());
        for pair in values.windows(2) {
            assert_eq!(pair[0].partial_cmp(&pair[1]).unwrap(), ordinal(pair[0]).cmp(&ordinal(pair[1])), "{pair:?}");
        }
        assert!(sorted(Vec::new()).is_empty());
    }
}
