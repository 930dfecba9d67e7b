//! The source of epochs: takes decoded chunks, cuts epochs (S2), judges records (S4), and writes down what it decided.
//!
//! Three ways of cutting, one after another in the life of a run: epochs that a former run committed are cut exactly where its progress records say,
//! and their input must have the recorded digests; then a bounded pipeline is cut by rows and bytes over the merge of its sources by event time;
//! a live one takes what has arrived and closes by age.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::checkpoints::{Restored, Schedule, source_piece};
use super::open_epoch::OpenSource;
use super::packet::{EpochInput, Packet};
use super::quarantine::Originals;
use super::reading::{Reading, take_arrived};
use super::routes::Routes;
use crate::checkpoint::Piece;
use crate::data::Columns;
use crate::dataflow::{Committed, EpochSource, Outbox, Step, Waker};
use crate::error::Result;
use crate::plan::Plan;
use crate::progress::ProgressRecord;
use crate::protocol::cut::{self, Fill};
use crate::protocol::watermark::BOUNDED_RANGE;
use crate::sources::{DecodePool, SourceHandle};
use crate::time::{Busy, Epoch, EventTime, clock};

/// What the leading worker keeps of an epoch.
pub struct MintedEpoch {
    /// P(e), outputs missing.
    pub record: ProgressRecord,
    /// What its records were read from.
    pub originals: Originals,
    /// State of the sources after it, where it is wanted.
    pub state: Option<Vec<Piece>>,
}

/// The epochs in the dataflow, from the source of epochs to the committer on the same worker.
#[derive(Clone, Default)]
pub struct Minted(Rc<MintedEpochs>);

#[derive(Default)]
struct MintedEpochs {
    epochs: RefCell<BTreeMap<Epoch, MintedEpoch>>,
    source: RefCell<Option<Waker>>,
}

impl Minted {
    /// Names who is to be woken when the last epoch has left.
    pub fn wakes(&self, source: Waker) {
        *self.0.source.borrow_mut() = Some(source);
    }

    fn enter(&self, epoch: Epoch, minted: MintedEpoch) {
        self.0.epochs.borrow_mut().insert(epoch, minted);
    }

    /// Looks at an epoch in the dataflow; `None` on other workers than the leading one.
    pub fn look<T>(&self, epoch: Epoch, look: impl FnOnce(&MintedEpoch) -> T) -> Option<T> {
        self.0.epochs.borrow().get(&epoch).map(look)
    }

    /// Takes an epoch that has left the dataflow.
    pub fn leave(&self, epoch: Epoch) -> Option<MintedEpoch> {
        let minted = self.0.epochs.borrow_mut().remove(&epoch);
        if self.is_drained()
            && let Some(source) = &*self.0.source.borrow()
        {
            source.wake();
        }
        minted
    }

    /// Whether every epoch has left.
    fn is_drained(&self) -> bool {
        self.0.epochs.borrow().is_empty()
    }
}

/// Least time between two epochs that carry no record (S2.1).
const QUIET: Duration = Duration::from_secs(1);

/// How long records that are here wait for those of a partition that is known to hold more.
const HOLD: Duration = Duration::from_secs(1);

/// The shortest time to ask again after.
const SHORTEST: Duration = Duration::from_micros(100);

/// The cutter.
pub struct Ingest {
    plan: Arc<Plan>,
    routes: Routes,
    sources: Vec<Reading>,
    recorded: VecDeque<ProgressRecord>,
    committed: Committed,
    minted: Minted,
    stop: Arc<AtomicBool>,
    next: Epoch,
    fill: Fill,
    /// When the oldest record of the open epoch was taken; live pipelines only.
    since: Option<Instant>,
    /// Since when records that are here wait for others; live pipelines only.
    waits: Option<Instant>,
    last_minted: Instant,
    watermark: EventTime,
    bounded: bool,
    stage: Stage,
    /// Nothing follows the recorded epochs (`--bindings`).
    only_recorded: bool,
    /// Where and when state is wanted.
    checkpoints: Schedule,
    /// State of the components, for the first epoch.
    restore: Vec<Piece>,
    busy: Busy,
    /// Decodes as long as it lives.
    _pool: DecodePool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Cutting.
    Cutting,
    /// All that is to come is the closing round.
    Closing,
    /// Nothing is to come.
    Done,
}

/// Sources that are being read, in the plan's order, and the threads that decode them.
pub struct Opened {
    /// The sources.
    pub handles: Vec<SourceHandle>,
    /// Their decoding threads.
    pub pool: DecodePool,
}

/// What the source of epochs needs.
pub struct IngestSettings {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Placement.
    pub routes: Routes,
    /// Open sources.
    pub opened: Opened,
    /// Epochs that are to be cut as they were: those of former runs, or `--bindings`.
    pub recorded: Vec<ProgressRecord>,
    /// How far the run is durable.
    pub committed: Committed,
    /// Where progress records and original bytes are left.
    pub minted: Minted,
    /// Set by a signal: end after a full epoch.
    pub stop: Arc<AtomicBool>,
    /// End after the recorded epochs (`--bindings`, S1.2).
    pub only_recorded: bool,
    /// Where and when state is wanted.
    pub checkpoints: Schedule,
    /// The checkpoint to go on from.
    pub restored: Option<Restored>,
    /// Counts the time that cutting takes.
    pub busy: Busy,
}

impl Ingest {
    /// A cutter before its first epoch.
    pub fn new(settings: IngestSettings) -> Result<Self> {
        let IngestSettings { plan, routes, opened, recorded, committed, minted, stop, only_recorded, checkpoints, restored, busy } =
            settings;
        let mut sources: Vec<Reading> =
            plan.sources.iter().zip(opened.handles).map(|(source, handle)| Reading::new(source.clone(), handle)).collect();
        let bounded = sources.iter().all(Reading::is_bounded);
        let (mut next, mut watermark, mut restore) = (Epoch::FIRST, EventTime::MIN, Vec::new());
        if let Some(restored) = restored {
            for source in &mut sources {
                source.resume(restored.source(&source.plan.id)?)?;
            }
            (next, watermark, restore) = (restored.record.epoch.next(), restored.record.watermark, restored.pieces);
        }
        Ok(Self {
            plan,
            routes,
            sources,
            recorded: recorded.into(),
            committed,
            minted,
            stop,
            next,
            fill: Fill::default(),
            since: None,
            waits: None,
            last_minted: clock::now(),
            watermark,
            bounded,
            stage: Stage::Cutting,
            only_recorded,
            checkpoints,
            restore,
            busy,
            _pool: opened.pool,
        })
    }

    /// Records for one epoch are complete: judge them, write the progress record, send the batch to the epoch's home.
    fn mint(&mut self, now: EventTime, last: bool, closing: bool, outbox: &mut Outbox<Packet>) -> Result<Step> {
        let epoch = self.next;
        let recorded = self.recorded.pop_front();
        let now = recorded.as_ref().map_or(now, |record| record.now);
        let mut record = ProgressRecord::new(epoch);
        let records = self.fill.rows as u64;
        let place = match &recorded {
            Some(record) => {
                self.checkpoints.recall(records, record.checkpoint);
                record.checkpoint
            }
            None => !closing && !last && self.checkpoints.has_place(records, self.bounded),
        };
        // What a former run committed has its checkpoints; a run that follows bindings takes its own at the same places.
        let checkpoint = place && (recorded.is_none() || self.only_recorded) && self.checkpoints.takes();
        record.checkpoint = place;
        let restore = std::mem::take(&mut self.restore);
        let mut input = EpochInput { sources: Vec::new(), watermark: 0, closing, rejected: Vec::new(), checkpoint, restore };
        let mut originals = Originals::default();
        for source in &mut self.sources {
            if recorded.is_none() {
                source.refresh_idle();
            }
            let range = if source.plan.is_bounded() { BOUNDED_RANGE } else { (EventTime::MIN, now.plus(source.plan.ahead)) };
            let before = source.clock.watermark();
            let closed = source.open.close(&source.plan, &mut source.clock, source.dedup.as_mut(), &mut source.starts, range)?;
            if let Some(recorded) = &recorded {
                source.check(epoch, &closed, recorded)?;
                source.set_idle_by_name(recorded);
            }
            let watermark = match recorded.as_ref().and_then(|record| record.sources.get(source.plan.id.name())) {
                Some(progress) => {
                    source.clock.restore_watermark(progress.watermark);
                    progress.watermark
                }
                None if closing => before,
                None => source.clock.close(),
            };
            if let Some(dedup) = &mut source.dedup {
                dedup.forget(watermark);
            }
            for rejected in &closed.rejected {
                let of_source = record.quarantined.entry(source.plan.id.name().to_string()).or_default();
                *of_source.entry(rejected.reason).or_default() += 1;
            }
            let recorded = recorded.as_ref().map(|record| record.sources.get(source.plan.id.name()));
            record.sources.insert(source.plan.id.name().to_string(), source.progress(&closed, watermark, recorded));
            record.counters.entry("rows_in".to_string()).and_modify(|n| *n += closed.records()).or_insert(closed.records());
            let used = closed.batch.len() as u64;
            record.counters.entry("rows_used".to_string()).and_modify(|n| *n += used).or_insert(used);
            input.sources.push(Columns(closed.batch.rows().clone()));
            input.rejected.extend(closed.rejected);
            originals.push(closed.blocks);
        }
        // A bounded source without further records holds nothing back; which source that is, is known before every cut.
        let counting = self.sources.iter().filter(|source| !(source.is_bounded() && source.head().is_none()));
        let least = counting.map(|source| source.clock.watermark()).min().unwrap_or(EventTime::MIN);
        self.watermark = match &recorded {
            Some(record) => record.watermark,
            None if last => EventTime::MAX,
            None => self.watermark.max(least),
        };
        record.watermark = self.watermark;
        record.now = if self.bounded { EventTime::MIN } else { now };
        record.last = last;
        input.watermark = self.watermark.0;
        outbox.send(0, self.routes.home(epoch), Packet::Epoch(Arc::new(input)));
        outbox.send(1, self.routes.leader(), Packet::Minted { closing });
        let state = if checkpoint { Some(self.sources.iter().map(source_piece).collect::<Result<_>>()?) } else { None };
        self.minted.enter(epoch, MintedEpoch { record, originals, state });
        (self.fill, self.since, self.last_minted) = (Fill::default(), None, clock::now());
        self.next = epoch.next();
        Ok(Step::Epoch(epoch))
    }

    /// Takes what the sources have decoded, without waiting.
    fn pump(&mut self) -> Result<()> {
        self.sources.iter_mut().try_for_each(Reading::pump)
    }

    /// Whether a partition has become silent, or stopped being so, since the last epoch.
    fn idle_changed(&self) -> bool {
        self.sources.iter().any(|source| source.idle_changed())
    }

    /// An epoch that a former run committed: exactly the recorded positions.
    fn replay(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        self.pump()?;
        let Some(record) = self.recorded.front() else { return Ok(Step::Wait(None)) };
        let mut complete = true;
        for source in &mut self.sources {
            let Some(progress) = record.sources.get(source.plan.id.name()) else { continue };
            complete &= source.take_recorded(progress, self.next, &mut self.fill)?;
        }
        if !complete {
            return Ok(Step::Wait(None));
        }
        let (now, last) = (record.now, record.last);
        let step = self.mint(now, last, false, outbox)?;
        if last {
            self.stage = Stage::Closing;
        }
        Ok(step)
    }

    /// The next epoch of a bounded pipeline: the merge of its sources by event time, cut by rows and bytes (S2.3).
    fn bounded(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        self.pump()?;
        loop {
            if self.sources.iter().any(|source| source.is_waiting()) {
                return Ok(Step::Wait(None));
            }
            let mut heads: Vec<(bool, i64, usize)> = Vec::with_capacity(self.sources.len());
            for (index, source) in self.sources.iter().enumerate() {
                if let Some(time) = source.head() {
                    heads.push((time.is_some(), time.unwrap_or(i64::MIN), index));
                }
            }
            heads.sort_unstable();
            let Some((_, _, first)) = heads.first().copied() else {
                if self.fill.rows > 0 {
                    return self.mint(EventTime::MIN, false, false, outbox);
                }
                self.stage = Stage::Closing;
                return self.mint(EventTime::MIN, true, false, outbox);
            };
            // Up to the next source's head everything of the first source goes before it.
            let limit = heads.get(1).copied();
            if self.sources[first].take_bounded(limit, &self.plan.epoch, &mut self.fill) == 0 {
                return self.mint(EventTime::MIN, false, false, outbox);
            }
        }
    }

    /// The next epoch of a live pipeline: what has arrived, closed by size or age (S2.1).
    fn live(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        self.pump()?;
        let now = clock::now();
        let full = self.take_arrived(now);
        if self.fill.rows > 0 && self.since.is_none() {
            self.since = Some(now);
        }
        let age = self.since.map_or(Duration::ZERO, |since| now.duration_since(since));
        if (full && self.fill.rows > 0) || cut::is_due(&self.plan.epoch, self.fill, age, self.minted.is_drained()) {
            return self.mint(clock::wall(), false, false, outbox);
        }
        let waits = self.waits.map(|since| HOLD.saturating_sub(now.duration_since(since)));
        if self.fill.rows == 0 {
            if self.sources.iter().all(|source| source.ended && source.pending.values().all(VecDeque::is_empty)) {
                self.stage = Stage::Closing;
                return Ok(Step::Wait(Some(Duration::ZERO)));
            }
            let rest = QUIET.saturating_sub(now.duration_since(self.last_minted));
            if rest.is_zero() && self.idle_changed() {
                return self.mint(clock::wall(), false, false, outbox);
            }
            let rest = if rest.is_zero() { QUIET } else { rest };
            return Ok(Step::Wait(Some(waits.unwrap_or(rest).min(rest).max(SHORTEST))));
        }
        let every = Duration::from_micros(self.plan.epoch.every.unsigned_abs());
        // Without an age the epoch closes when the one before has left the dataflow, which wakes.
        let rest = if every.is_zero() { QUIET } else { every.saturating_sub(age) };
        Ok(Step::Wait(Some(waits.unwrap_or(rest).min(rest).max(SHORTEST))))
    }

    /// Takes what has arrived as far as the epoch has room and nothing is awaited; true if the epoch is full.
    fn take_arrived(&mut self, now: Instant) -> bool {
        loop {
            let awaited = self.sources.iter().any(Reading::is_awaited);
            self.waits = if awaited { self.waits.or(Some(now)) } else { None };
            let patient = self.waits.is_none_or(|since| now.duration_since(since) < HOLD);
            if awaited && patient {
                return false;
            }
            let before = self.fill.rows;
            if take_arrived(&mut self.sources, &self.plan.epoch, &mut self.fill, patient) {
                return true;
            }
            if self.fill.rows == before {
                return false;
            }
        }
    }
}

impl EpochSource<Packet> for Ingest {
    fn next(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        let busy = self.busy.clone();
        busy.during(|| self.step(outbox))
    }
}

impl Ingest {
    /// Cuts the next epoch, or says what it waits for.
    fn step(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        match self.stage {
            Stage::Done => return Ok(Step::Done),
            Stage::Closing => {
                self.recorded.clear();
                for source in &mut self.sources {
                    source.open = OpenSource::default();
                }
                self.stage = Stage::Done;
                return self.mint(EventTime::MIN, false, true, outbox);
            }
            Stage::Cutting => {}
        }
        let stopping = self.stop.load(Ordering::Relaxed) || (self.only_recorded && self.recorded.is_empty());
        if stopping {
            self.stage = Stage::Closing;
            return self.step(outbox);
        }
        if self.next.0 > self.committed.get().0 + self.plan.epoch.in_flight as u64 {
            self.waits = None;
            return Ok(Step::Wait(None));
        }
        if !self.recorded.is_empty() {
            self.replay(outbox)
        } else if self.bounded {
            self.bounded(outbox)
        } else {
            self.live(outbox)
        }
    }
}
