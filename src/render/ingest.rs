//! The source of epochs: takes decoded chunks, cuts epochs (S2), judges records (S4), and writes down what it decided.
//!
//! Three ways of cutting, one after another in the life of a run: epochs that a former run committed are cut exactly where its progress records say,
//! and their input must have the recorded digests; then a bounded pipeline is cut by rows and bytes over the merge of its sources by event time;
//! a live one takes what has arrived and closes by age.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::open_epoch::{Bound, ClosedSource, OpenSource};
use super::packet::{EpochInput, Packet};
use super::routes::Routes;
use crate::codecs::DecodedChunk;
use crate::data::Columns;
use crate::dataflow::{Committed, EpochSource, Outbox, Step};
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SourceKindPlan, SourcePlan};
use crate::progress::{Binding, ProgressRecord, SourceProgress};
use crate::protocol::cut::{self, Fill};
use crate::protocol::dedup::Dedup;
use crate::protocol::watermark::{BOUNDED_RANGE, SourceClock};
use crate::sources::{DecodePool, Next, SourceHandle};
use crate::time::{Epoch, EventTime, clock};

/// Progress records of epochs that are in flight, from the source of epochs to the committer on the same worker.
pub type Minted = Rc<RefCell<BTreeMap<Epoch, ProgressRecord>>>;

/// Least time between two epochs that carry no record (S2.1).
const QUIET: Duration = Duration::from_secs(1);

/// Decoded chunks that wait to be bound: of all partitions where epochs take any, of one where they need certain ones.
const PENDING: usize = 8;

/// Digest of no records: xxh3 of nothing.
const EMPTY: u64 = 0x2d06_8005_38d3_94c2;

/// One source as the cutter sees it.
struct Reading {
    plan: SourcePlan,
    handle: SourceHandle,
    /// Decoded chunks not yet bound, by partition, with the first record not yet bound.
    pending: BTreeMap<u32, VecDeque<(Arc<DecodedChunk>, usize)>>,
    /// The reader has nothing more, for good.
    ended: bool,
    open: OpenSource,
    clock: SourceClock,
    dedup: Option<Dedup>,
    starts: BTreeMap<u32, u64>,
    /// Partitions that were idle in the last epoch.
    idle: Vec<u32>,
    /// Partitions whose first position is in a progress record: a Kafka source goes on there, whatever `start` would mean then.
    bound: BTreeSet<u32>,
}

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
    last_minted: Instant,
    watermark: EventTime,
    bounded: bool,
    stage: Stage,
    /// Nothing follows the recorded epochs (`--bindings`).
    only_recorded: bool,
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
    /// Where progress records are left.
    pub minted: Minted,
    /// Set by a signal: end after a full epoch.
    pub stop: Arc<AtomicBool>,
    /// End after the recorded epochs (`--bindings`, S1.2).
    pub only_recorded: bool,
}

impl Ingest {
    /// A cutter before its first epoch.
    pub fn new(settings: IngestSettings) -> Self {
        let IngestSettings { plan, routes, opened, recorded, committed, minted, stop, only_recorded } = settings;
        let sources = plan.sources.iter().zip(opened.handles).map(|(source, handle)| Reading::new(source.clone(), handle)).collect();
        let bounded = plan.is_bounded();
        Self {
            plan,
            routes,
            sources,
            recorded: recorded.into(),
            committed,
            minted,
            stop,
            next: Epoch::FIRST,
            fill: Fill::default(),
            since: None,
            last_minted: clock::now(),
            watermark: EventTime::MIN,
            bounded,
            stage: Stage::Cutting,
            only_recorded,
            _pool: opened.pool,
        }
    }

    /// Records for one epoch are complete: judge them, write the progress record, send the batch to the epoch's home.
    fn mint(&mut self, now: EventTime, last: bool, closing: bool, outbox: &mut Outbox<Packet>) -> Result<Step> {
        let epoch = self.next;
        let recorded = self.recorded.pop_front();
        let now = recorded.as_ref().map_or(now, |record| record.now);
        let mut record = ProgressRecord::new(epoch);
        let mut input = EpochInput { sources: Vec::new(), watermark: 0, closing, rejected: Vec::new() };
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
        }
        // A bounded source without further records holds nothing back; which source that is, is known before every cut.
        let counting = self.sources.iter().filter(|source| !(source.plan.is_bounded() && source.head().is_none()));
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
        self.minted.borrow_mut().insert(epoch, record);
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
        self.sources.iter().any(|source| source.idle_now() != source.idle)
    }

    /// An epoch that a former run committed: exactly the recorded positions.
    fn replay(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
        self.sources.iter_mut().try_for_each(Reading::pump_each)?;
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
        for source in &mut self.sources {
            source.take_arrived(&self.plan.epoch, &mut self.fill);
        }
        let now = clock::now();
        if self.fill.rows > 0 && self.since.is_none() {
            self.since = Some(now);
        }
        let full = self.sources.iter().any(|source| source.pending.values().any(|queue| !queue.is_empty()));
        let age = self.since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let drained = self.committed.get().next() >= self.next;
        if (full && self.fill.rows > 0) || cut::is_due(&self.plan.epoch, self.fill, age, drained) {
            return self.mint(clock::wall(), false, false, outbox);
        }
        if self.fill.rows == 0 {
            if self.sources.iter().all(|source| source.ended && source.pending.values().all(VecDeque::is_empty)) {
                self.stage = Stage::Closing;
                return Ok(Step::Wait(Some(Duration::ZERO)));
            }
            let rest = QUIET.saturating_sub(now.duration_since(self.last_minted));
            if rest.is_zero() && self.idle_changed() {
                return self.mint(clock::wall(), false, false, outbox);
            }
            return Ok(Step::Wait(Some(if rest.is_zero() { QUIET } else { rest })));
        }
        let every = Duration::from_micros(self.plan.epoch.every.unsigned_abs());
        Ok(Step::Wait(Some(every.saturating_sub(age).max(Duration::from_micros(100)))))
    }
}

impl EpochSource<Packet> for Ingest {
    fn next(&mut self, outbox: &mut Outbox<Packet>) -> Result<Step> {
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
            return self.next(outbox);
        }
        if self.next.0 > self.committed.get().0 + self.plan.epoch.in_flight as u64 {
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

impl Reading {
    fn new(plan: SourcePlan, handle: SourceHandle) -> Self {
        let partitions = handle.partitions().len();
        let sequential = matches!(plan.kind, SourceKindPlan::File { .. });
        let clock = SourceClock::new(partitions, plan.lateness, sequential);
        let dedup = plan.dedup.map(Dedup::new);
        let starts = handle.starts().iter().enumerate().map(|(partition, start)| (partition as u32, *start)).collect();
        Self { plan, handle, pending: BTreeMap::new(), ended: false, open: OpenSource::default(), clock, dedup, starts, idle: Vec::new(), bound: BTreeSet::new() }
    }

    /// Takes chunks for epochs that take what there is: as many as a few epochs need.
    fn pump(&mut self) -> Result<()> {
        self.handle.hold(BTreeSet::new());
        while self.pending.values().map(VecDeque::len).sum::<usize>() < PENDING && self.receive()? {}
        Ok(())
    }

    /// Takes chunks for epochs that need certain partitions: whatever comes, and a partition that has many already is asked to stay away. One bound over
    /// all partitions would wait for ever, full of one partition's records, for those of another.
    fn pump_each(&mut self) -> Result<()> {
        while self.receive()? {}
        let full = self.pending.iter().filter(|(_, queue)| queue.len() >= PENDING).map(|(partition, _)| *partition);
        self.handle.hold(full.collect());
        Ok(())
    }

    /// Takes one chunk; false: there is none now.
    fn receive(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let next = self.handle.try_next()?;
        for (partition, start) in self.handle.starts().iter().enumerate().skip(self.starts.len()) {
            self.starts.insert(partition as u32, *start);
            self.clock.grow(partition + 1);
        }
        match next {
            Next::Chunk(chunk) if chunk.records() == 0 => {}
            Next::Chunk(chunk) => self.pending.entry(chunk.partition.0).or_default().push_back((Arc::new(chunk), 0)),
            Next::Pending | Next::Idle => return Ok(false),
            Next::End => self.ended = true,
        }
        Ok(true)
    }

    /// Whether the next record of a bounded source is not known yet.
    fn is_waiting(&self) -> bool {
        !self.ended && self.pending.values().all(VecDeque::is_empty)
    }

    /// Event time of the next record: `None` at the end, `Some(None)` if it was rejected. Partitions of a bounded source come one after another.
    fn head(&self) -> Option<Option<i64>> {
        let (chunk, at) = self.pending.values().find_map(VecDeque::front)?;
        Some(chunk.time(*at))
    }

    /// Takes records up to the head of the next source (`limit`: has a time, time, source index) or the end of the chunk; returns how many.
    fn take_bounded(&mut self, limit: Option<(bool, i64, usize)>, policy: &crate::config::declaration::EpochPolicy, fill: &mut Fill) -> usize {
        let index = usize::from(self.plan.index.0);
        let Some(queue) = self.pending.values_mut().find(|queue| !queue.is_empty()) else { return 0 };
        let Some((chunk, at)) = queue.front_mut() else { return 0 };
        let room = cut::room(policy, *fill, &chunk.sizes[*at..]);
        let mut to = *at + room;
        if let Some(limit) = limit {
            let mut end = *at;
            while end < to && (chunk.time(end).is_some(), chunk.time(end).unwrap_or(i64::MIN), index) <= limit {
                end += 1;
            }
            to = end;
        }
        let taken = to - *at;
        if taken > 0 {
            self.open.add(chunk, *at, to, fill);
            *at = to;
            if *at == chunk.records() {
                queue.pop_front();
            }
        }
        taken
    }

    /// Takes what has arrived, partition by partition, as far as the epoch has room.
    fn take_arrived(&mut self, policy: &crate::config::declaration::EpochPolicy, fill: &mut Fill) {
        for queue in self.pending.values_mut() {
            while let Some((chunk, at)) = queue.front_mut() {
                let room = cut::room(policy, *fill, &chunk.sizes[*at..]);
                if room == 0 && *at < chunk.records() {
                    break;
                }
                self.open.add(chunk, *at, *at + room, fill);
                *at += room;
                if *at == chunk.records() {
                    queue.pop_front();
                }
            }
        }
    }

    /// Takes the records that `progress` binds; true if all of them are there.
    fn take_recorded(&mut self, progress: &SourceProgress, epoch: Epoch, fill: &mut Fill) -> Result<bool> {
        let names: Vec<String> = self.handle.partitions().to_vec();
        let mut complete = true;
        for (name, binding) in &progress.partitions {
            let Some(partition) = names.iter().position(|known| known == name) else {
                return Err(self.changed(epoch, format!("has no partition {name} any more")));
            };
            let partition = partition as u32;
            let queue = self.pending.entry(partition).or_default();
            loop {
                let at_end = self.open.end_of(partition).or_else(|| self.starts.get(&partition).copied()).unwrap_or(0) >= binding.end;
                if at_end || binding.rows == 0 {
                    break;
                }
                let Some((chunk, at)) = queue.front_mut() else {
                    if self.ended {
                        return Err(self.changed(epoch, format!("ends before position {} of {name}", binding.end)));
                    }
                    complete = false;
                    break;
                };
                let to = chunk.offsets.partition_point(|offset| *offset < binding.end).max(*at);
                if to == *at && *at < chunk.records() {
                    break;
                }
                self.open.add(chunk, *at, to, fill);
                *at = to;
                if *at == chunk.records() {
                    queue.pop_front();
                }
            }
        }
        Ok(complete)
    }

    /// The input of a replayed epoch must be what the former run read (S1.1).
    fn check(&self, epoch: Epoch, closed: &ClosedSource, record: &ProgressRecord) -> Result<()> {
        let Some(progress) = record.sources.get(self.plan.id.name()) else { return Ok(()) };
        for (name, binding) in &progress.partitions {
            let partition = self.handle.partitions().iter().position(|known| known == name);
            let bound = partition.and_then(|partition| closed.bound.get(&(partition as u32)));
            let same = match bound {
                Some(bound) => (bound.records, bound.digest) == (binding.rows, binding.xxh3.0),
                None => binding.rows == 0,
            };
            if !same {
                let range = format!("{}..{}", binding.start, binding.end);
                return Err(self.changed(epoch, format!("does not hold the same records at positions {range} of {name}")));
            }
        }
        Ok(())
    }

    fn changed(&self, epoch: Epoch, what: String) -> Error {
        let cause = format!("{} {what}, which epoch {epoch} of this run has read", self.plan.id);
        Error::new(Exit::Data, cause, "put the former input back, or start over with --fresh (this replaces the outputs)")
    }

    fn set_idle_by_name(&mut self, record: &ProgressRecord) {
        let Some(progress) = record.sources.get(self.plan.id.name()) else { return };
        for (partition, name) in self.handle.partitions().iter().enumerate() {
            self.clock.set_idle(partition, progress.idle.contains(name));
        }
    }

    /// Partitions that are silent at their end, and of which nothing waits to be bound.
    fn idle_now(&self) -> Vec<u32> {
        let idle = self.handle.idle().iter().enumerate().filter(|(_, idle)| **idle).map(|(partition, _)| partition as u32);
        idle.filter(|partition| self.pending.get(partition).is_none_or(VecDeque::is_empty) && self.open.end_of(*partition).is_none()).collect()
    }

    /// Idle partitions hold the watermark of the epoch back no more.
    fn refresh_idle(&mut self) {
        let idle = self.idle_now();
        for partition in 0..self.handle.partitions().len() {
            self.clock.set_idle(partition, idle.contains(&(partition as u32)));
        }
        self.idle = idle;
    }

    /// What the progress record says of this source. `recorded`: of an epoch that is replayed, what the former record says.
    fn progress(&mut self, closed: &ClosedSource, watermark: EventTime, recorded: Option<Option<&SourceProgress>>) -> SourceProgress {
        let name = |partition: u32| self.handle.partitions().get(partition as usize).cloned().unwrap_or_else(|| partition.to_string());
        let binding = |partition: u32, bound: &Bound| Binding {
            start: bound.start,
            end: bound.end,
            rows: bound.records,
            xxh3: crate::sinks::Digest(bound.digest),
            max_time: Some(self.clock.greatest(partition as usize)).filter(|time| *time != EventTime::MIN),
        };
        let mut partitions: BTreeMap<String, Binding> =
            closed.bound.iter().map(|(partition, bound)| (name(*partition), binding(*partition, bound))).collect();
        if matches!(self.plan.kind, SourceKindPlan::Kafka { .. }) {
            for (partition, start) in &self.starts {
                let empty = Bound { start: *start, end: *start, records: 0, digest: EMPTY };
                let name = name(*partition);
                let wanted = match recorded {
                    None => !self.bound.contains(partition),
                    Some(progress) => progress.is_some_and(|progress| progress.partitions.contains_key(&name)),
                };
                if wanted {
                    partitions.entry(name).or_insert_with(|| binding(*partition, &empty));
                    self.bound.insert(*partition);
                }
            }
        }
        SourceProgress {
            partitions,
            watermark,
            idle: self.idle.iter().map(|partition| name(*partition)).collect(),
        }
    }
}
