//! Quantiles of durations in bounded memory: a histogram over logarithmic buckets of integers, exact below 128 and within 0.8 % above.
//!
//! A bucket is named by the position of the highest bit and the six bits after it, as in HdrHistogram; there are 3,776 of them. Being integer
//! counts, the result does not depend on the order of observations.

use std::collections::BTreeMap;

/// Bits kept after the highest one.
const BITS: u32 = 6;

/// Number of buckets.
const BUCKETS: u32 = (u64::BITS - BITS + 1) << BITS;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delays {
    buckets: BTreeMap<u32, u64>,
    count: u64,
}

/// The bucket of a value.
fn bucket(value: u64) -> u32 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    (shift << BITS) + (value >> shift) as u32
}

/// The middle of a bucket.
fn middle(bucket: u32) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let low = u64::from(bucket - (shift << BITS)) << shift;
    low + (1u64 << shift) / 2
}

impl Delays {
    /// Counts one delay; below 0 counts as 0.
    pub(super) fn observe(&mut self, delay: i64) {
        *self.buckets.entry(bucket(delay.max(0) as u64)).or_insert(0) += 1;
        self.count += 1;
    }

    /// The lower median: the middle of the bucket that holds the observation of rank ⌈n / 2⌉. None without observations.
    pub(super) fn median(&self) -> Option<i64> {
        let rank = self.count.div_ceil(2);
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(middle(*bucket) as i64);
            }
        }
        None
    }

    /// Buckets and counts, ascending.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// Adds `count` to a bucket read back from a snapshot.
    pub(super) fn add(&mut self, bucket: u32, count: u64) -> Result<(), String> {
        if bucket >= BUCKETS {
            return Err(format!("{bucket} is no bucket of delays"));
        }
        *self.buckets.entry(bucket).or_insert(0) += count;
        self.count = self.count.saturating_add(count);
        Ok(())
    }

    /// Estimated memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.len() * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_ascend_and_their_middle_is_near() {
        let mut values: Vec<u64> = (0..2000).collect();
        values.extend((10..63).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << (bit - 1)), (1 << bit) / 64 * 127]));
        values.sort_unstable();
        assert!(values.windows(2).all(|pair| bucket(pair[0]) <= bucket(pair[1])));
        for value in values {
            let error = middle(bucket(value)).abs_diff(value);
            assert!(error as f64 <= 0.008 * value as f64, "{value} is off by {error}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_median_is_the_lower_one() {
        let mut delays = Delays::default();
        assert_eq!(delays.median(), None);
        for delay in [7, 100, 3, 9, -5] {
            delays.observe(delay);
        }
        assert_eq!(delays.median(), Some(7));
        delays.observe(1_000_000);
        assert_eq!(delays.median(), Some(7));
        let mut again = Delays::default();
        delays.iter().for_each(|(bucket, count)| again.add(bucket, count).unwrap());
        assert_eq!(again, delays);
        assert!(again.add(1 << 20, 1).is_err());
    }
}
