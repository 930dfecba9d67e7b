//! Measures a paced run epoch by epoch: how long after its scheduled arrival each record's outputs were there, and when they were committed.
//!
//! An arrival is what the schedule says, however late the record was really given, so a pipeline that falls behind cannot hide it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::Result;
use crate::progress::ProgressRecord;
use crate::runtime::commit::EpochObserver;
use crate::sources::Schedule;
use crate::telemetry::{CpuTime, durations};
use crate::time::{BusyTimes, WorkTime};

/// Numbers in the schedule of records that are still to come: by source name, then by partition name.
pub type Expected = BTreeMap<String, BTreeMap<String, VecDeque<u32>>>;

/// What had been used when the measured part began.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Processor time.
    pub cpu: Option<CpuTime>,
    /// Components' time.
    pub work: Vec<WorkTime>,
}

/// What was measured.
pub struct Measured {
    /// Latency to the outputs of the records of the warm-up, microseconds.
    pub warm_up: Histogram<u64>,
    /// Of the others.
    pub to_outputs: Histogram<u64>,
    /// Of the others, to their commit.
    pub to_commit: Histogram<u64>,
    /// Epochs with measured records.
    pub epochs: u64,
    /// Scheduled arrival of the first measured record.
    pub first: Option<Instant>,
    /// When the outputs of the last one were there.
    pub last: Option<Instant>,
    /// Set with the first measured record.
    pub begin: Option<Begin>,
}

impl Measured {
    /// Seconds from the first measured arrival to the last measured output.
    pub fn seconds(&self) -> f64 {
        self.first.zip(self.last).map_or(0.0, |(first, last)| last.saturating_duration_since(first).as_secs_f64())
    }
}

/// The observer.
pub struct Meter {
    schedule: Arc<Schedule>,
    busy: BusyTimes,
    expected: Expected,
    /// Records of the warm-up: those with lesser numbers.
    warm_up: u32,
    /// Measured records whose epochs are complete and not yet committed.
    complete: Vec<u32>,
    measured: Arc<Mutex<Measured>>,
}

impl Meter {
    /// A meter, and what it will have measured.
    pub fn new(schedule: Arc<Schedule>, busy: BusyTimes, expected: Expected, warm_up: u32) -> Result<(Self, Arc<Mutex<Measured>>)> {
        let measured = Measured {
            warm_up: durations()?,
            to_outputs: durations()?,
            to_commit: durations()?,
            epochs: 0,
            first: None,
            last: None,
            begin: None,
        };
        let measured = Arc::new(Mutex::new(measured));
        Ok((Self { schedule, busy, expected, warm_up, complete: Vec::new(), measured: measured.clone() }, measured))
    }

    /// How long before `at` a record arrived.
    fn latency(&self, number: u32, at: Instant) -> Duration {
        self.schedule.arrival(number).map_or(Duration::ZERO, |arrival| at.saturating_duration_since(arrival))
    }
}

impl EpochObserver for Meter {
    fn complete(&mut self, record: &ProgressRecord, closed_at: Instant) {
        let measured = self.measured.clone();
        let mut measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.complete.len();
        for (source, progress) in &record.sources {
            for (partition, binding) in &progress.partitions {
                let queue = self.expected.get_mut(source).and_then(|partitions| partitions.get_mut(partition));
                let rows = usize::try_from(binding.rows).unwrap_or(usize::MAX);
                let Some(numbers) = queue.map(|queue| queue.drain(..rows.min(queue.len())).collect::<Vec<u32>>()) else { continue };
                for number in numbers {
                    let latency = micros(self.latency(number, closed_at));
                    if number < self.warm_up {
                        measured.warm_up.saturating_record(latency);
                    } else {
                        measured.to_outputs.saturating_record(latency);
                        self.complete.push(number);
                    }
                }
            }
        }
        if self.complete.len() > before {
            measured.epochs += 1;
            measured.last = Some(closed_at);
            if measured.begin.is_none() {
                measured.first = self.schedule.arrival(self.warm_up);
                measured.begin = Some(Begin { cpu: CpuTime::so_far(), work: self.busy.so_far() });
            }
        }
    }

    fn committed(&mut self, at: Instant) {
        let measured = self.measured.clone();
        let mut measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
        for number in std::mem::take(&mut self.complete) {
            measured.to_commit.saturating_record(micros(self.latency(number, at)));
        }
    }
}

/// At least one microsecond: histograms begin there.
fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1)
}
