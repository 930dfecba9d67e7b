//! The engine of one `[monitors.N]`: predicted rows, resolved labels and the watermark in, rows of `monitors.N` out (S12, S13.1).
//!
//! What it promises:
//! * Rows and labels come in canonical order within an epoch, epochs in sequence; then [`Monitor::advance`] with the epoch's watermark. How many labels
//!   are handed over at a time changes nothing.
//! * Per-record detectors speak at the record at which they alarm, at once. Statistics of an interval come when the watermark passes its end,
//!   interval by interval, then model by model, detector by detector, column by column, metrics last. An interval into which nothing fell says nothing.
//! * What an interval says depends on rows and labels of its own and earlier intervals only, so not on where epochs are cut (as long as order is).
//! * The reference is the first n rows of a model; until it is complete nothing is compared, and its rows are in no window.
//! * Memory is bounded by columns × bins × intervals (or rows) of the window, plus the labels between the watermark and the newest record.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::subject::{Frame, Intervals, SubjectState};
use super::{Labels, MonitorSpec, Row, Statistic, Subject};
use crate::metrics;

/// One monitor at work.
#[derive(Debug)]
pub struct Monitor {
    frame: Frame,
    subjects: Vec<Subject>,
    /// The first interval that is not closed; `i64::MIN` before the first watermark. What is older than it belongs to it.
    open: i64,
    intervals: Intervals,
}

#[derive(Serialize, Deserialize)]
struct MonitorState {
    subjects: Vec<SubjectState>,
    open: i64,
}

impl Monitor {
    /// A monitor that has seen nothing; `Err` with the first fault of [`MonitorSpec::validate`].
    pub fn new(spec: &MonitorSpec) -> Result<Self, String> {
        if let Some(fault) = spec.validate().into_iter().next() {
            return Err(fault.reason);
        }
        let frame = Frame {
            monitor: Arc::from(spec.name.as_str()),
            every: spec.every,
            window: spec.window,
            min_rows: spec.min_rows,
            reference_rows: spec.reference_rows,
        };
        let subjects = spec.watched.iter().map(|watched| Subject::new(spec, watched)).collect::<Result<_, _>>()?;
        let intervals = Intervals::new(spec.every);
        Ok(Self { frame, subjects, open: i64::MIN, intervals })
    }

    /// Whether rows of the watched model `model` change anything: without comparisons, [`row`](Self::row) need not be called.
    pub fn reads_rows(&self, model: usize) -> bool {
        self.subjects.get(model).is_some_and(Subject::reads_rows)
    }

    /// A row of the watched model `model` (position in [`MonitorSpec::watched`]) was predicted.
    pub fn row(&mut self, model: usize, row: &Row<'_>) {
        let interval = self.intervals.of(row.time).max(self.open);
        if let Some(subject) = self.subjects.get_mut(model) {
            subject.row(&self.frame, interval, row);
        }
    }

    /// Labels of the watched model `model` are known. Alarms are appended to `out`.
    pub fn labels(&mut self, model: usize, labels: &Labels<'_>, out: &mut Vec<Statistic>) {
        if let Some(subject) = self.subjects.get_mut(model) {
            subject.labels(&self.frame, self.open, &mut self.intervals, labels, out);
        }
    }

    /// The epoch ends with watermark `w` (`i64::MIN` and `i64::MAX` are the infinities): appends the statistics of every interval that ends at or
    /// before it; with +∞ also of the last, partial one, under its full end.
    pub fn advance(&mut self, w: i64, out: &mut Vec<Statistic>) {
        let open = match w {
            i64::MIN | i64::MAX => w,
            w => w.div_euclid(self.frame.every),
        };
        if open <= self.open {
            return;
        }
        let mut closing = BTreeSet::new();
        for subject in &self.subjects {
            subject.open_before(self.open, open, &mut closing);
        }
        for interval in closing {
            for subject in &mut self.subjects {
                subject.close(&self.frame, interval, out);
            }
        }
        self.open = open;
        self.subjects.iter_mut().for_each(|subject| subject.open(open));
    }

    /// State as JSON bytes of layout [`metrics::SNAPSHOT_VERSION`] (S15.2).
    pub fn snapshot(&self) -> Vec<u8> {
        metrics::encode(&MonitorState { subjects: self.subjects.iter().map(Subject::state).collect(), open: self.open })
    }

    /// A monitor of the same spec that goes on bit for bit as the one that wrote the snapshot.
    pub fn restore(spec: &MonitorSpec, version: u32, bytes: &[u8]) -> Result<Self, String> {
        let mut monitor = Self::new(spec)?;
        let state: MonitorState = metrics::decode(version, bytes)?;
        if state.subjects.len() != monitor.subjects.len() {
            return Err(format!("the snapshot of monitor `{}` watches other models", spec.name));
        }
        for (subject, state) in monitor.subjects.iter_mut().zip(state.subjects) {
            subject.resume(version, state)?;
        }
        monitor.open = state.open;
        Ok(monitor)
    }

    /// Memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.subjects.iter().map(Subject::bytes).sum::<usize>()
    }
}
