//! Running figures of a run: what came in, what became of it, how fast.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::data::Reason;
use crate::error::{Error, Result};
use crate::progress::ProgressRecord;
use crate::render::Pulse;
use crate::time::{Epoch, EventTime, clock};

/// Figures of a run. Counts include what former runs committed; speeds are this run's.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Newest epoch.
    pub epoch: Epoch,
    /// Its watermark.
    pub watermark: EventTime,
    /// Greatest event time seen.
    pub event_time: EventTime,
    /// Records read.
    pub rows_in: u64,
    /// Those of them that this run did not read, since it went on behind them.
    pub rows_before: u64,
    /// Records used by their source.
    pub rows_used: u64,
    /// Others by reason.
    pub quarantined: BTreeMap<Reason, u64>,
    /// NaN and infinities written as null.
    pub non_finite: u64,
    /// Newest running loss by model.
    pub losses: BTreeMap<String, f64>,
    /// Alarms by monitor.
    pub alarms: BTreeMap<String, u64>,
    /// When the run began.
    pub began: Instant,
    /// Time between commits, per epoch, microseconds.
    pub epochs: Histogram<u64>,
}

impl Figures {
    /// All zero.
    pub fn new() -> Result<Self> {
        Ok(Self {
            epoch: Epoch(0),
            watermark: EventTime::MIN,
            event_time: EventTime::MIN,
            rows_in: 0,
            rows_before: 0,
            rows_used: 0,
            quarantined: BTreeMap::new(),
            non_finite: 0,
            losses: BTreeMap::new(),
            alarms: BTreeMap::new(),
            began: clock::now(),
            epochs: durations()?,
        })
    }

    /// Takes an epoch that former runs committed and this one does not replay.
    pub fn recall(&mut self, record: &ProgressRecord) {
        self.observe(record, &[]);
        self.rows_before = self.rows_in;
    }

    /// Takes an epoch.
    pub fn observe(&mut self, record: &ProgressRecord, pulses: &[Pulse]) {
        self.epoch = record.epoch;
        self.watermark = record.watermark;
        let times = record.sources.values().flat_map(|source| source.partitions.values()).filter_map(|binding| binding.max_time);
        self.event_time = times.max().unwrap_or(self.event_time).max(self.event_time);
        let counter = |name: &str| record.counters.get(name).copied().unwrap_or(0);
        self.rows_in += counter("rows_in");
        self.rows_used += counter("rows_used");
        self.non_finite += counter("non_finite");
        for (reason, count) in record.quarantined.values().flatten() {
            *self.quarantined.entry(*reason).or_default() += count;
        }
        for pulse in pulses {
            if pulse.loss.is_finite() {
                self.losses.insert(pulse.component.clone(), pulse.loss);
            }
            if pulse.alarms > 0 {
                self.alarms.insert(pulse.component.clone(), pulse.alarms);
            }
        }
    }

    /// An epoch took this long to follow the one before.
    pub fn epoch_took(&mut self, took: Duration) {
        self.epochs.saturating_record(took.as_micros() as u64);
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        clock::now().duration_since(self.began)
    }

    /// Records per second of this run.
    pub fn rate(&self) -> f64 {
        (self.rows_in - self.rows_before) as f64 / self.elapsed().as_secs_f64().max(1e-9)
    }

    /// Late records.
    pub fn late(&self) -> u64 {
        self.quarantined.get(&Reason::Late).copied().unwrap_or(0)
    }

    /// Quarantined records other than late ones.
    pub fn quarantined_not_late(&self) -> u64 {
        self.quarantined.values().sum::<u64>() - self.late()
    }
}

/// A histogram of durations in microseconds, up to an hour, to three digits.
pub fn durations() -> Result<Histogram<u64>> {
    let longest = Duration::from_secs(3_600).as_micros() as u64;
    Histogram::new_with_bounds(1, longest, 3).map_err(|error| Error::internal(format!("a histogram cannot be made: {error}")))
}
