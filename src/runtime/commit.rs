//! The commit thread: the one place where a run becomes durable, and where its figures are kept.
//!
//! Epochs that a former run committed are only compared with what it recorded; new ones are committed in groups, as many as are waiting.

use std::collections::BTreeMap;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::checkpoints::Checkpoints;
use crate::checkpoint::Piece;
use crate::dataflow::{Committed, Fault};
use crate::error::{Error, Exit, Result};
use crate::progress::{Committer, ProgressRecord, SinkTotals};
use crate::protocol::quarantine_guard::QuarantineGuard;
use crate::render::{EpochReport, Report, RunEvent};
use crate::telemetry::{Figures, ProgressLine};
use crate::time::{Busy, Epoch, clock};

/// What the commit thread knows when the run is over.
pub struct Ended {
    /// Figures of the run, former runs included.
    pub figures: Figures,
    /// Components' parts of the summary; empty if the run was cut off.
    pub reports: Vec<Report>,
    /// What the sinks hold.
    pub sinks: Vec<SinkTotals>,
    /// Whether the final epoch is committed.
    pub finished: bool,
}

/// Whoever measures a run. Called on the commit thread, so epochs wait for it.
pub trait EpochObserver: Send {
    /// An epoch is complete, and about to be committed.
    fn complete(&mut self, record: &ProgressRecord, closed_at: Instant);

    /// All epochs that were complete are committed.
    fn committed(&mut self, at: Instant);
}

/// The commit thread's state.
pub struct CommitLoop {
    /// Where epochs go.
    pub committer: Committer,
    /// Epochs committed by former runs, to be compared.
    pub recorded: BTreeMap<Epoch, ProgressRecord>,
    /// Told of every durable epoch.
    pub committed: Committed,
    /// Told of the first error.
    pub fault: Fault,
    /// Told of progress.
    pub line: ProgressLine,
    /// `max_quarantine` (S5.4).
    pub guard: Option<QuarantineGuard>,
    /// Told of every new epoch.
    pub observer: Option<Box<dyn EpochObserver>>,
    /// Counts the time that committing takes.
    pub busy: Busy,
    /// Writes checkpoints.
    pub checkpoints: Checkpoints,
    /// Committed epochs that are not replayed, since the run goes on behind them.
    pub before: Vec<ProgressRecord>,
}

fn rows_in(record: &ProgressRecord) -> u64 {
    record.counters.get("rows_in").copied().unwrap_or(0)
}

fn quarantined(record: &ProgressRecord) -> u64 {
    record.quarantined.values().flat_map(|reasons| reasons.values()).sum()
}

impl CommitLoop {
    /// Runs until the closing round or an error.
    pub fn run(mut self, events: &Receiver<RunEvent>) -> Option<Ended> {
        let ended = self.turn(events);
        self.line.finish();
        match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.fault.raise(error);
                None
            }
        }
    }

    fn turn(&mut self, events: &Receiver<RunEvent>) -> Result<Option<Ended>> {
        let mut figures = Figures::new()?;
        for record in std::mem::take(&mut self.before) {
            figures.recall(&record);
            // It was committed, so it was not too much.
            let _ = self.guard.as_mut().and_then(|guard| guard.observe(rows_in(&record), quarantined(&record)));
        }
        let mut last_commit: Option<Instant> = None;
        loop {
            let Ok(first) = events.recv() else { return Ok(None) };
            let mut closed = None;
            let mut group: Vec<EpochReport> = Vec::new();
            for event in std::iter::once(first).chain(events.try_iter()) {
                match event {
                    RunEvent::Epoch(report) => group.push(*report),
                    RunEvent::Closed(reports) => closed = Some(reports),
                }
            }
            if self.checkpoints.waits() {
                // A checkpoint is named by the very next record, whoever waits behind it.
                group.into_iter().try_for_each(|report| self.commit(vec![report], &mut figures, &mut last_commit))?;
            } else {
                self.commit(group, &mut figures, &mut last_commit)?;
            }
            if let Some(reports) = closed {
                let finished = self.committer.is_finished();
                return Ok(Some(Ended { figures, reports, sinks: self.committer.totals(), finished }));
            }
        }
    }

    /// Ends the run before an epoch is committed with which too much would be in quarantine.
    fn check_quarantine(&mut self, record: &ProgressRecord) -> Result<()> {
        let Some(guard) = &mut self.guard else { return Ok(()) };
        match guard.observe(rows_in(record), quarantined(record)) {
            None => Ok(()),
            Some(share) => {
                let cause = format!(
                    "{:.1} % of the last records went to quarantine by epoch {}, more than `max_quarantine`",
                    share * 100.0,
                    record.epoch
                );
                Err(Error::new(
                    Exit::Data,
                    cause,
                    "look at the quarantine for the reasons: usually the input has changed its shape; correct the schema or the input, or raise the bound",
                ))
            }
        }
    }

    fn commit(&mut self, group: Vec<EpochReport>, figures: &mut Figures, last: &mut Option<Instant>) -> Result<()> {
        let mut fresh = Vec::with_capacity(group.len());
        let (mut newest, mut refused) = (None, Ok(()));
        for report in group {
            refused = self.check_quarantine(&report.outputs.record);
            if refused.is_err() {
                // The epochs before it are committed, however many were waiting together.
                break;
            }
            newest = Some(report.outputs.record.epoch);
            figures.observe(&report.outputs.record, &report.pulses);
            match self.recorded.remove(&report.outputs.record.epoch) {
                Some(_) => self.committer.verify(&report.outputs)?,
                None => fresh.push(report),
            }
        }
        if !fresh.is_empty() {
            let written = self.checkpoints.written();
            if let Some(written) = &written {
                tracing::info!(
                    epoch = written.named.epoch.0,
                    bytes = written.bytes,
                    written_bytes = written.new_bytes,
                    "a checkpoint is written"
                );
                self.committer.name_checkpoint(written.named.clone());
            }
            let states: Vec<(ProgressRecord, Vec<Piece>)> =
                fresh.iter_mut().filter_map(|report| Some((report.outputs.record.clone(), report.state.take()?))).collect();
            if let Some(observer) = &mut self.observer {
                fresh.iter().for_each(|report| observer.complete(&report.outputs.record, report.closed_at));
            }
            let epochs = fresh.len() as u32;
            let committer = &mut self.committer;
            self.busy.during(|| committer.commit(fresh.into_iter().map(|report| report.outputs).collect()))?;
            let now = clock::now();
            if let Some(written) = written {
                self.checkpoints.is_named(written.named);
            }
            for (record, pieces) in states {
                self.checkpoints.write(&record, pieces);
            }
            if let Some(observer) = &mut self.observer {
                observer.committed(now);
            }
            for _ in 0..epochs {
                figures.epoch_took(now.duration_since(last.unwrap_or(now)) / epochs);
            }
            *last = Some(now);
        }
        if let Some(newest) = newest {
            self.committed.advance(newest);
            self.line.show(figures);
        }
        refused
    }
}
