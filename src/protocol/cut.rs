//! Where an epoch ends (S2.1, S2.3).

use std::time::Duration;

use crate::config::declaration::EpochPolicy;

/// How full the open epoch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Records bound so far.
    pub rows: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// How many more records may join the open epoch.
///
/// `sizes` are the bytes of the records that come next. A record larger than `max_bytes` is an epoch of its own; otherwise the epoch never exceeds
/// `max_rows` or `max_bytes`.
pub fn room(policy: &EpochPolicy, fill: Fill, sizes: &[u32]) -> usize {
    let mut taken = 0;
    let mut bytes = fill.bytes;
    for size in sizes.iter().take(policy.max_rows.saturating_sub(fill.rows)) {
        let size = *size as usize;
        if bytes + size > policy.max_bytes && (fill.rows + taken > 0) {
            break;
        }
        bytes += size;
        taken += 1;
    }
    taken
}

/// Whether the open epoch of a live pipeline has to be closed now (S2.1).
///
/// `age` is that of its oldest record; `drained`: the epoch before has left the dataflow.
pub fn is_due(policy: &EpochPolicy, fill: Fill, age: Duration, drained: bool) -> bool {
    if fill.rows == 0 {
        return false;
    }
    let every = Duration::from_micros(policy.every.unsigned_abs());
    fill.rows >= policy.max_rows || fill.bytes >= policy.max_bytes || if every.is_zero() { drained } else { age >= every }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: EpochPolicy = EpochPolicy { every: 50_000, max_rows: 4, max_bytes: 100, in_flight: 4 };

    #[test]
    fn rows_and_bytes_bound_an_epoch_and_a_giant_stands_alone() {
        assert_eq!(room(&POLICY, Fill::default(), &[10, 10, 10, 10, 10]), 4);
        assert_eq!(room(&POLICY, Fill { rows: 3, bytes: 30 }, &[10, 10]), 1);
        assert_eq!(room(&POLICY, Fill { rows: 1, bytes: 60 }, &[30, 20]), 1);
        assert_eq!(room(&POLICY, Fill::default(), &[500, 10]), 1);
        assert_eq!(room(&POLICY, Fill { rows: 1, bytes: 10 }, &[500]), 0);
    }

    #[test]
    fn a_live_epoch_closes_by_age_or_when_full() {
        let one = Fill { rows: 1, bytes: 10 };
        assert!(!is_due(&POLICY, Fill::default(), Duration::from_secs(9), true));
        assert!(!is_due(&POLICY, one, Duration::from_millis(49), true));
        assert!(is_due(&POLICY, one, Duration::from_millis(50), false));
        assert!(is_due(&POLICY, Fill { rows: 4, bytes: 1 }, Duration::ZERO, false));
        let eager = EpochPolicy { every: 0, ..POLICY };
        assert!(is_due(&eager, one, Duration::ZERO, true) && !is_due(&eager, one, Duration::from_secs(1), false));
    }
}
