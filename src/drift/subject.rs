//! One watched model inside a monitor: its reference, windows, detectors and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::window::Reach;
use super::{Bins, Built, Comparison, MonitorSpec, Sample, Sequential, Statistic, Watched, Window};
use crate::config::declaration::MonitorWindow;
use crate::metrics::{self, Metric, Scored};
use crate::time::Micros;

/// A predicted row as a monitor sees it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Event time.
    pub time: i64,
    /// The prediction as emitted: the positive class's probability, or the value; `None` if there was none.
    pub prediction: Option<f64>,
    /// The watched inputs, in the order of [`Watched::inputs`].
    pub inputs: &'a [f64],
    /// Bit i of word i / 64 is set when input i is not null.
    pub valid: &'a [u64],
}

/// Labels that met their predictions, column by column, in canonical order (S10.5).
#[derive(Clone, Copy)]
pub struct Labels<'a> {
    /// Event time of the later of row and label, where the pair stands.
    pub times: &'a [i64],
    /// The truth.
    pub labels: &'a [f64],
    /// The prediction as emitted; NaN = there was none, so there is no error.
    pub predictions: &'a [f64],
    /// The identity of the record at a position; asked for where an alarm names it.
    pub key: &'a dyn Fn(usize) -> String,
}

/// Which interval a time falls into. Most fall into that of the time before.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    every: Micros,
    newest: i64,
    span: Range<i64>,
}

impl Intervals {
    pub(super) fn new(every: Micros) -> Self {
        Self { every: every.max(1), newest: 0, span: 0..0 }
    }

    /// The number of the interval of `time`.
    #[inline]
    pub(super) fn of(&mut self, time: i64) -> i64 {
        if !self.span.contains(&time) {
            self.newest = time.div_euclid(self.every);
            self.span = self.newest.saturating_mul(self.every)..self.newest.saturating_add(1).saturating_mul(self.every);
        }
        self.newest
    }
}

/// What all subjects of a monitor share.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub monitor: Arc<str>,
    pub every: Micros,
    pub window: MonitorWindow,
    pub min_rows: u64,
    pub reference_rows: u64,
}

impl Frame {
    fn reach(&self) -> Reach {
        match self.window {
            MonitorWindow::Time(window) => Reach::Intervals((window / self.every.max(1)).max(1)),
            MonitorWindow::Rows(rows) => Reach::Rows(usize::try_from(rows).unwrap_or(usize::MAX)),
        }
    }
}

/// A comparison, and what it compares once the reference is complete.
#[derive(Debug)]
struct Compared {
    name: Arc<str>,
    test: Box<dyn Comparison>,
    frozen: Option<(Bins, Window)>,
}

/// One watched model.
#[derive(Debug)]
pub struct Subject {
    /// Columns of comparisons: the prediction, if watched, then the inputs.
    columns: Vec<Arc<str>>,
    prediction: Arc<str>,
    error: Arc<str>,
    watched: Watched,
    compared: Vec<Compared>,
    sequential: Vec<(Arc<str>, Box<dyn Sequential>)>,
    metrics: Vec<(Arc<str>, Box<dyn Metric>)>,
    /// The reference while it is collected; empty after.
    reference: Vec<Sample>,
    reference_seen: u64,
    /// Labels of intervals after the open one, which metrics must not see before it closes.
    pending: BTreeMap<i64, Vec<(f64, f64)>>,
    /// Whether metrics changed in the open interval.
    fresh: bool,
    cells: Vec<u16>,
    /// Labels on their way to the metrics.
    scored: Scored,
}

/// The state of a subject, without its configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SubjectState {
    frozen: Vec<Option<(Bins, Window)>>,
    sequential: Vec<String>,
    metrics: Vec<String>,
    reference: Vec<Sample>,
    reference_seen: u64,
    pending: BTreeMap<i64, Vec<(f64, f64)>>,
    fresh: bool,
}

impl Subject {
    pub(super) fn new(spec: &MonitorSpec, watched: &Watched) -> Result<Self, String> {
        let named =
            |column: &str| -> Arc<str> { if spec.watched.len() > 1 { format!("{}.{column}", watched.name).into() } else { column.into() } };
        let outcome = watched.outcome.then_some("prediction");
        let columns: Vec<Arc<str>> = outcome.into_iter().chain(watched.inputs.iter().map(String::as_str)).map(named).collect();
        let (mut compared, mut sequential, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
        for detector in &spec.detectors {
            match super::build(detector)? {
                (name, Built::Comparison(test)) => compared.push(Compared { name: name.into(), test, frozen: None }),
                (name, Built::Sequential(detector)) if watched.outcome => sequential.push((name.into(), detector)),
                _ => {}
            }
        }
        for name in spec.metrics.iter().filter(|_| watched.outcome) {
            metrics.push((name.as_str().into(), metrics::build(name, watched.threshold)?));
        }
        Ok(Self {
            reference: vec![Sample::default(); columns.len()],
            columns,
            prediction: named("prediction"),
            error: named("error"),
            watched: watched.clone(),
            compared,
            sequential,
            metrics,
            reference_seen: 0,
            pending: BTreeMap::new(),
            fresh: false,
            cells: Vec::new(),
            scored: Scored::default(),
        })
    }

    /// The value of a watched column in a row.
    fn value(&self, row: &Row<'_>, column: usize) -> Option<f64> {
        let input = match (self.watched.outcome, column) {
            (true, 0) => return row.prediction,
            (true, column) => column - 1,
            (false, column) => column,
        };
        let valid = row.valid.get(input / 64).is_some_and(|word| word >> (input % 64) & 1 == 1);
        row.inputs.get(input).copied().filter(|_| valid)
    }

    /// A row of `interval`: part of the reference until that is complete, then of the window.
    pub(super) fn row(&mut self, frame: &Frame, interval: i64, row: &Row<'_>) {
        if !self.reads_rows() {
            return;
        }
        if self.reference_seen < frame.reference_rows {
            for column in 0..self.columns.len() {
                let value = self.value(row, column);
                self.reference[column].push(value);
            }
            self.reference_seen += 1;
            if self.reference_seen == frame.reference_rows {
                for compared in &mut self.compared {
                    let bins = Bins::freeze(&self.reference, compared.test.bins());
                    let window = Window::new(frame.reach(), bins.columns(), bins.cells());
                    compared.frozen = Some((bins, window));
                }
                self.reference = Vec::new();
            }
            return;
        }
        let mut cells = std::mem::take(&mut self.cells);
        for at in 0..self.compared.len() {
            if let Some((bins, _)) = &self.compared[at].frozen {
                cells.clear();
                cells.extend((0..self.columns.len()).map(|column| bins.cell(column, self.value(row, column))));
            }
            if let Some((_, window)) = &mut self.compared[at].frozen {
                window.add(interval, &cells);
            }
        }
        self.cells = cells;
    }

    /// Whether rows are compared.
    pub(super) fn reads_rows(&self) -> bool {
        !self.compared.is_empty() && !self.columns.is_empty()
    }

    /// Labels are resolved; `open` is the first interval that is not closed.
    pub(super) fn labels(&mut self, frame: &Frame, open: i64, intervals: &mut Intervals, labels: &Labels<'_>, out: &mut Vec<Statistic>) {
        if !self.watched.outcome {
            return;
        }
        let (classification, threshold, measures) = (self.watched.classification, self.watched.threshold, !self.metrics.is_empty());
        let mut interval = open;
        for (at, ((time, y), p)) in labels.times.iter().zip(labels.labels).zip(labels.predictions).enumerate() {
            let (y, p) = (*y, *p);
            if !y.is_finite() || !p.is_finite() {
                continue;
            }
            let error = if classification { f64::from(u8::from((p >= threshold) != (y >= 0.5))) } else { (y - p).abs() };
            for (name, detector) in &mut self.sequential {
                if let Some(change) = detector.update(error) {
                    out.push(Statistic {
                        monitor: Arc::clone(&frame.monitor),
                        event_time: *time,
                        key: Some((labels.key)(at)),
                        column: Arc::clone(&self.error),
                        statistic: Arc::clone(name),
                        value: Some(change.value).filter(|value| value.is_finite()),
                        threshold: Some(change.threshold).filter(|value| value.is_finite()),
                        alarm: true,
                        direction: Some(change.direction),
                        rows: change.rows,
                        reference_rows: Some(change.reference_rows),
                        window_start: None,
                        window_end: None,
                    });
                }
            }
            if measures {
                let of = intervals.of(*time).max(open);
                if of != interval || self.scored.len() >= Scored::ROUND {
                    self.keep(open, interval);
                    interval = of;
                }
                self.scored.push(y, p);
            }
        }
        self.keep(open, interval);
    }

    /// What was collected in `scored` for `interval` goes to the metrics, or waits until that interval is the open one.
    fn keep(&mut self, open: i64, interval: i64) {
        if self.scored.is_empty() {
            return;
        }
        if interval == open {
            self.measure();
        } else {
            self.pending.entry(interval).or_default().extend(self.scored.rows(0..self.scored.len()));
        }
        self.scored.clear();
    }

    /// The metrics see what was collected in `scored`.
    fn measure(&mut self) {
        self.fresh = true;
        let all = 0..self.scored.len();
        self.metrics.iter_mut().for_each(|(_, metric)| metric.add_all(&mut self.scored, all.clone()));
    }

    /// Adds the intervals below `before` that have something to close; `open` is the first that is not closed.
    pub(super) fn open_before(&self, open: i64, before: i64, into: &mut BTreeSet<i64>) {
        into.extend(self.pending.range(..before).map(|(interval, _)| *interval));
        into.extend(self.fresh.then_some(open));
        for (_, window) in self.compared.iter().filter_map(|compared| compared.frozen.as_ref()) {
            into.extend(window.open_before(before));
        }
    }

    /// Lets metrics see the labels that were waiting for `interval` to be the open one.
    pub(super) fn open(&mut self, interval: i64) {
        for rows in self.pending.remove(&interval).unwrap_or_default().chunks(Scored::ROUND) {
            self.scored.replace(rows.iter().copied());
            self.measure();
        }
        self.scored.clear();
    }

    /// Closes `interval`: its statistics, if anything fell into it.
    pub(super) fn close(&mut self, frame: &Frame, interval: i64, out: &mut Vec<Statistic>) {
        let end = interval.saturating_add(1).saturating_mul(frame.every);
        let statistic = |column: &Arc<str>, name: &Arc<str>, value: Option<f64>, rows: u64| Statistic {
            monitor: Arc::clone(&frame.monitor),
            event_time: end,
            key: None,
            column: Arc::clone(column),
            statistic: Arc::clone(name),
            value,
            threshold: None,
            alarm: false,
            direction: None,
            rows,
            reference_rows: None,
            window_start: None,
            window_end: Some(end),
        };
        for Compared { name, test, frozen } in &mut self.compared {
            let Some((bins, window)) = frozen else { continue };
            if !window.close(interval) {
                continue;
            }
            for (column, title) in self.columns.iter().enumerate() {
                let value = test.value(bins.reference(column), window.counts(column));
                out.push(Statistic {
                    threshold: Some(test.threshold()),
                    alarm: window.rows() >= frame.min_rows && value.is_some_and(|value| value >= test.threshold()),
                    direction: Some(bins.direction(column, window.counts(column))),
                    reference_rows: Some(bins.rows()),
                    window_start: match frame.window {
                        MonitorWindow::Time(length) => Some(end.saturating_sub(length)),
                        MonitorWindow::Rows(_) => None,
                    },
                    ..statistic(title, name, value, window.rows())
                });
            }
        }
        self.open(interval);
        if self.fresh {
            self.fresh = false;
            for (name, metric) in &self.metrics {
                out.push(statistic(&self.prediction, name, metric.value(), metric.rows()));
            }
        }
    }

    pub(super) fn state(&self) -> SubjectState {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        SubjectState {
            frozen: self.compared.iter().map(|compared| compared.frozen.clone()).collect(),
            sequential: self.sequential.iter().map(|(_, detector)| text(detector.snapshot())).collect(),
            metrics: self.metrics.iter().map(|(_, metric)| text(metric.snapshot())).collect(),
            reference: self.reference.clone(),
            reference_seen: self.reference_seen,
            pending: self.pending.clone(),
            fresh: self.fresh,
        }
    }

    pub(super) fn resume(&mut self, version: u32, state: SubjectState) -> Result<(), String> {
        let collected = state.reference.len() == self.columns.len() || state.reference.is_empty();
        let lengths = [(state.frozen.len(), self.compared.len()), (state.sequential.len(), self.sequential.len())];
        if !collected || lengths.iter().any(|(a, b)| a != b) || state.metrics.len() != self.metrics.len() {
            return Err(format!("the snapshot of the monitor of `models.{}` is of another monitor", self.watched.name));
        }
        for (compared, frozen) in self.compared.iter_mut().zip(state.frozen) {
            compared.frozen = frozen;
        }
        for ((_, detector), bytes) in self.sequential.iter_mut().zip(&state.sequential) {
            detector.restore(version, bytes.as_bytes())?;
        }
        for ((_, metric), bytes) in self.metrics.iter_mut().zip(&state.metrics) {
            metric.restore(version, bytes.as_bytes())?;
        }
        (self.reference, self.reference_seen) = (state.reference, state.reference_seen);
        (self.pending, self.fresh) = (state.pending, state.fresh);
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        let frozen = self.compared.iter().filter_map(|compared| compared.frozen.as_ref());
        size_of::<Self>()
            + frozen.map(|(bins, window)| bins.bytes() + window.bytes()).sum::<usize>()
            + self.sequential.iter().map(|(_, detector)| detector.bytes()).sum::<usize>()
            + self.metrics.iter().map(|(_, metric)| metric.bytes()).sum::<usize>()
            + self.reference.iter().map(Sample::bytes).sum::<usize>()
            + self.pending.values().map(|labels| labels.capacity() * size_of::<(f64, f64)>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_division() {
        for every in [1, 7, 3_600_000_000] {
            let mut intervals = Intervals::new(every);
            let near = |at: i64| (-20..20).map(move |step| at.saturating_add(step));
            for time in [0, i64::MIN, every, i64::MAX, i64::MIN, -every, i64::MAX / 2, i64::MIN + every].into_iter().flat_map(near) {
                assert_eq!(intervals.of(time), time.div_euclid(every), "{time} by {every}");
            }
        }
    }
}
