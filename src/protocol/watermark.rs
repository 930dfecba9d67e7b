//! How far event time has come, and which records are late (S4.1–S4.3).

use serde::{Deserialize, Serialize};

use crate::time::{EventTime, Micros};

/// What becomes of a record by its event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is used.
    Used,
    /// It missed this bound (S4.2).
    Late(EventTime),
    /// It is beyond this bound and moves no watermark (S4.2).
    Future(EventTime),
}

/// The event-time progress of one source: per partition the greatest event time bound, and the source's watermark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceClock {
    lateness: Micros,
    sequential: bool,
    partitions: Vec<PartitionClock>,
    watermark: EventTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartitionClock {
    greatest: EventTime,
    idle: bool,
    exhausted: bool,
    /// For a file source: not yet begun, so it does not hold the watermark back (S4.1 counts only the file being read).
    begun: bool,
}

/// First and last admissible event time of a bounded source (S4.2): 1970 and 2100.
pub const BOUNDED_RANGE: (EventTime, EventTime) = (EventTime(0), EventTime(4_102_444_800_000_000));

impl SourceClock {
    /// A source with `partitions` partitions. `sequential`: its partitions are read one after another, and only those begun count.
    pub fn new(partitions: usize, lateness: Micros, sequential: bool) -> Self {
        let clock = PartitionClock { greatest: EventTime::MIN, idle: false, exhausted: false, begun: !sequential };
        Self { lateness, sequential, partitions: vec![clock; partitions], watermark: EventTime::MIN }
    }

    /// Judges a record of `partition` and, if it is used, moves the partition forward. `range` is what is admissible at all.
    #[inline]
    pub fn admit(&mut self, partition: usize, t: i64, range: (EventTime, EventTime)) -> Admission {
        let clock = &mut self.partitions[partition];
        if t > range.1.0 {
            return Admission::Future(range.1);
        }
        if t < range.0.0 {
            return Admission::Future(range.0);
        }
        let bound = clock.greatest.minus(self.lateness).max(self.watermark);
        if t < bound.0 {
            return Admission::Late(bound);
        }
        clock.greatest = clock.greatest.max(EventTime(t));
        Admission::Used
    }

    /// Says that records of `partition` are being read: it counts from now on, and wakes if it was idle. Where partitions are read one after another,
    /// those before it hold no further record.
    pub fn begin(&mut self, partition: usize) {
        self.partitions[partition].begun = true;
        self.partitions[partition].idle = false;
        if self.sequential {
            self.partitions[..partition].iter_mut().for_each(|clock| clock.exhausted = true);
        }
    }

    /// Puts the watermark where a former run recorded it.
    pub fn restore_watermark(&mut self, watermark: EventTime) {
        self.watermark = watermark;
    }

    /// Says whether `partition` is at its end and silent (live sources, recorded in P(e)).
    pub fn set_idle(&mut self, partition: usize, idle: bool) {
        self.partitions[partition].idle = idle;
    }

    /// Adds partitions found later.
    pub fn grow(&mut self, partitions: usize) {
        while self.partitions.len() < partitions {
            self.partitions.push(PartitionClock { greatest: EventTime::MIN, idle: false, exhausted: false, begun: true });
        }
    }

    /// Ends an epoch: the watermark W(e) of the source (S4.1), monotone. With no partition counting it stays where it is: W = +∞ is the pipeline's
    /// decision (S4.3).
    pub fn close(&mut self) -> EventTime {
        let counting = self.partitions.iter().filter(|clock| clock.begun && !clock.idle && !clock.exhausted);
        if let Some(least) = counting.map(|clock| clock.greatest.minus(self.lateness)).min() {
            self.watermark = self.watermark.max(least);
        }
        self.watermark
    }

    /// The greatest event time bound so far in `partition`.
    pub fn greatest(&self, partition: usize) -> EventTime {
        self.partitions[partition].greatest
    }

    /// The watermark of the last closed epoch.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (EventTime, EventTime) = (EventTime(0), EventTime(1_000));

    #[test]
    fn lateness_is_judged_within_the_partition_wherever_epochs_are_cut() {
        let times = [10, 30, 22, 19, 30, 45, 34, 35];
        let mut verdicts = Vec::new();
        for cut in 1..times.len() {
            let mut clock = SourceClock::new(1, 10, false);
            let mut found = Vec::new();
            for (index, t) in times.iter().enumerate() {
                found.push(clock.admit(0, *t, RANGE) == Admission::Used);
                if (index + 1) % cut == 0 {
                    clock.close();
                }
            }
            verdicts.push(found);
        }
        assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:?}");
        assert_eq!(verdicts[0], [true, true, true, false, true, true, false, true]);
    }

    #[test]
    fn the_watermark_is_the_least_over_counting_partitions_and_never_falls() {
        let mut clock = SourceClock::new(2, 5, false);
        clock.admit(0, 100, RANGE);
        assert_eq!(clock.close(), EventTime::MIN, "partition 1 has shown nothing yet");
        clock.admit(1, 40, RANGE);
        assert_eq!(clock.close(), EventTime(35));
        clock.set_idle(1, true);
        assert_eq!(clock.close(), EventTime(95));
        clock.begin(1);
        assert_eq!(clock.admit(1, 50, RANGE), Admission::Late(EventTime(95)));
        assert_eq!(clock.close(), EventTime(95));
    }

    #[test]
    fn what_is_out_of_range_moves_nothing() {
        let mut clock = SourceClock::new(1, 0, false);
        assert_eq!(clock.admit(0, 5_000, RANGE), Admission::Future(EventTime(1_000)));
        assert_eq!(clock.admit(0, 3, RANGE), Admission::Used);
        assert_eq!(clock.close(), EventTime(3));
    }

    #[test]
    fn files_read_one_after_another_hold_the_watermark_only_while_they_are_read() {
        let mut clock = SourceClock::new(2, 0, true);
        clock.begin(0);
        clock.admit(0, 7, RANGE);
        assert_eq!(clock.close(), EventTime(7));
        clock.begin(1);
        assert_eq!(clock.close(), EventTime(7));
        clock.admit(1, 9, RANGE);
        assert_eq!(clock.close(), EventTime(9));
    }
}
