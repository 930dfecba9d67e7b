//! One source as the cutter of epochs sees it: what has been decoded and not yet bound, and how records of it are taken into an epoch.
//!
//! Records of a live pipeline are taken in order of event time over all partitions of all sources, as far as they are here; a partition that is known to
//! hold more is waited for a little. So a pipeline that catches up sees its streams side by side, as it would have seen them in time, and not one stream
//! after another (KIP-695 does the same for Kafka Streams).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::open_epoch::{Bound, ClosedSource, OpenSource};
use crate::codecs::DecodedChunk;
use crate::config::declaration::EpochPolicy;
use crate::error::{Error, Exit, Result};
use crate::plan::{SourceKindPlan, SourcePlan};
use crate::progress::{Binding, ProgressRecord, SourceProgress};
use crate::protocol::cut::{self, Fill};
use crate::protocol::dedup::{Dedup, Seen};
use crate::protocol::watermark::SourceClock;
use crate::sources::{Next, SourceHandle};
use crate::time::{Epoch, EventTime};

/// Decoded chunks that wait to be bound, of a source whose partitions are read one after another.
const PENDING: usize = 8;

/// The same of a Kafka source: about so many of all partitions together, and at least this many of each.
const PENDING_OF_ALL: usize = 16;
const PENDING_OF_EACH: usize = 2;

/// Digest of no records: xxh3 of nothing.
const EMPTY: u64 = 0x2d06_8005_38d3_94c2;

/// How far a source has been read and judged. Records that are read and not yet in an epoch are no part of it: they are read again.
#[derive(Serialize, Deserialize)]
pub struct SourceState {
    /// Names of the partitions, by number.
    partitions: Vec<String>,
    clock: SourceClock,
    dedup: Option<Seen>,
    /// Per partition, the position after what is bound.
    pub starts: BTreeMap<u32, u64>,
    idle: Vec<u32>,
    bound: BTreeSet<u32>,
}

/// One source as the cutter sees it.
pub struct Reading {
    /// Its plan.
    pub plan: SourcePlan,
    handle: SourceHandle,
    /// Decoded chunks not yet bound, by partition, with the first record not yet bound.
    pub pending: BTreeMap<u32, VecDeque<(Arc<DecodedChunk>, usize)>>,
    /// The reader has nothing more, for good.
    pub ended: bool,
    /// Its part of the open epoch.
    pub open: OpenSource,
    /// How far its event time has come.
    pub clock: SourceClock,
    /// Keys seen within `dedup`.
    pub dedup: Option<Dedup>,
    /// Per partition, the position after what is bound.
    pub starts: BTreeMap<u32, u64>,
    /// Partitions that were idle in the last epoch.
    idle: Vec<u32>,
    /// Partitions whose first position is in a progress record: a Kafka source goes on there, whatever `start` would mean then.
    bound: BTreeSet<u32>,
}

impl Reading {
    /// A source that has just been opened.
    pub fn new(plan: SourcePlan, handle: SourceHandle) -> Self {
        let partitions = handle.partitions().len();
        let sequential = matches!(plan.kind, SourceKindPlan::File { .. });
        let clock = SourceClock::new(partitions, plan.lateness, sequential);
        let dedup = plan.dedup.map(Dedup::new);
        let starts = handle.starts().iter().enumerate().map(|(partition, start)| (partition as u32, *start)).collect();
        Self {
            plan,
            handle,
            pending: BTreeMap::new(),
            ended: false,
            open: OpenSource::default(),
            clock,
            dedup,
            starts,
            idle: Vec::new(),
            bound: BTreeSet::new(),
        }
    }

    /// How far the source has been read and judged, after a closed epoch (S15.2).
    pub fn state(&self) -> SourceState {
        SourceState {
            partitions: self.handle.partitions().to_vec(),
            clock: self.clock.clone(),
            dedup: self.dedup.as_ref().map(Dedup::snapshot),
            starts: self.starts.clone(),
            idle: self.idle.clone(),
            bound: self.bound.clone(),
        }
    }

    /// Goes on after `state`. The source has been opened at the positions that it names.
    pub fn resume(&mut self, state: SourceState) -> Result<()> {
        let same = self.handle.partitions().iter().zip(&state.partitions).all(|(now, then)| now == then);
        if !same || self.handle.partitions().len() < state.partitions.len() {
            let cause = format!("{} has other partitions than when the checkpoint was taken", self.plan.id);
            return Err(Error::new(Exit::Data, cause, "put the former input back, or start over with --fresh (this replaces the outputs)"));
        }
        self.clock = state.clock;
        self.clock.grow(self.handle.partitions().len());
        if let (Some(dedup), Some(seen)) = (&mut self.dedup, state.dedup) {
            dedup.restore(seen);
        }
        self.starts.extend(state.starts);
        (self.idle, self.bound) = (state.idle, state.bound);
        Ok(())
    }

    /// Takes what is decoded, without waiting. A Kafka partition that has much already is asked to stay away: one bound over all partitions would wait for
    /// ever, full of one partition's records, for those of another.
    pub fn pump(&mut self) -> Result<()> {
        if !matches!(self.plan.kind, SourceKindPlan::Kafka { .. }) {
            while self.pending.values().map(VecDeque::len).sum::<usize>() < PENDING && self.receive()? {}
            return Ok(());
        }
        while self.receive()? {}
        let most = (PENDING_OF_ALL / self.handle.partitions().len().max(1)).max(PENDING_OF_EACH);
        let full = self.pending.iter().filter(|(_, queue)| queue.len() >= most).map(|(partition, _)| *partition);
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
            Next::Chunk(chunk) => self.pending.entry(chunk.partition.0).or_default().push_back((Arc::from(chunk), 0)),
            Next::Pending | Next::Idle => return Ok(false),
            Next::End => self.ended = true,
        }
        Ok(true)
    }

    /// Whether it ends by itself and gives its records as fast as they are taken (S2.2).
    pub fn is_bounded(&self) -> bool {
        self.plan.is_bounded() && !self.handle.is_paced()
    }

    /// Whether the next record of a bounded source is not known yet.
    pub fn is_waiting(&self) -> bool {
        !self.ended && self.pending.values().all(VecDeque::is_empty)
    }

    /// Event time of the next record: `None` at the end, `Some(None)` if it was rejected. Partitions of a bounded source come one after another.
    pub fn head(&self) -> Option<Option<i64>> {
        let (chunk, at) = self.pending.values().find_map(VecDeque::front)?;
        Some(chunk.time(*at))
    }

    /// Takes records up to the head of the next source (`limit`: has a time, time, source index) or the end of the chunk; returns how many.
    pub fn take_bounded(&mut self, limit: Option<(bool, i64, usize)>, policy: &EpochPolicy, fill: &mut Fill) -> usize {
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

    /// Whether a record is known to come of which it is not known where it belongs among those that are here.
    pub fn is_awaited(&self) -> bool {
        match self.plan.kind {
            _ if self.handle.is_paced() => false,
            SourceKindPlan::File { .. } => self.is_waiting(),
            SourceKindPlan::Generator { .. } => false,
            SourceKindPlan::Kafka { .. } => (0..self.handle.partitions().len() as u32).any(|partition| self.is_awaited_of(partition)),
        }
    }

    fn is_awaited_of(&self, partition: u32) -> bool {
        let behind = self.handle.behind().get(partition as usize).copied().unwrap_or(false);
        behind && self.pending.get(&partition).is_none_or(VecDeque::is_empty)
    }

    /// Partitions whose next record may be taken: all of them, or the one being read.
    fn open_queues(&self) -> impl Iterator<Item = u32> {
        let at_once = matches!(self.plan.kind, SourceKindPlan::Kafka { .. });
        let queues = self.pending.iter().filter(|(_, queue)| !queue.is_empty()).map(|(partition, _)| *partition);
        queues.take(if at_once { usize::MAX } else { 1 })
    }

    /// Takes the next `rows` records of a partition.
    fn take(&mut self, partition: u32, mut rows: usize, fill: &mut Fill) {
        let Some(queue) = self.pending.get_mut(&partition) else { return };
        while let Some((chunk, at)) = queue.front_mut().filter(|_| rows > 0) {
            let to = (*at + rows).min(chunk.records());
            self.open.add(chunk, *at, to, fill);
            rows -= to - *at;
            *at = to;
            if to == chunk.records() {
                queue.pop_front();
            }
        }
    }

    /// Takes the records that `progress` binds; true if all of them are there.
    pub fn take_recorded(&mut self, progress: &SourceProgress, epoch: Epoch, fill: &mut Fill) -> Result<bool> {
        let names: Vec<String> = self.handle.partitions().to_vec();
        let mut complete = true;
        for (name, binding) in &progress.partitions {
            let Some(partition) = names.iter().position(|known| known == name) else {
                return Err(self.changed(epoch, format!("has no partition {} any more", self.shown(name))));
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
                        return Err(self.changed(epoch, format!("ends before position {} of {}", binding.end, self.shown(name))));
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
    pub fn check(&self, epoch: Epoch, closed: &ClosedSource, record: &ProgressRecord) -> Result<()> {
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
                return Err(self.changed(epoch, format!("does not hold the same records at positions {range} of {}", self.shown(name))));
            }
        }
        Ok(())
    }

    /// A partition for messages: a file by its absolute path.
    fn shown(&self, partition: &str) -> String {
        match self.plan.kind {
            SourceKindPlan::File { .. } => crate::sources::absolute(Path::new(partition)),
            SourceKindPlan::Generator { .. } | SourceKindPlan::Kafka { .. } => partition.to_string(),
        }
    }

    fn changed(&self, epoch: Epoch, what: String) -> Error {
        let cause = format!("{} {what}, which epoch {epoch} of this run has read", self.plan.id);
        Error::new(Exit::Data, cause, "put the former input back, or start over with --fresh (this replaces the outputs)")
    }

    pub fn set_idle_by_name(&mut self, record: &ProgressRecord) {
        let Some(progress) = record.sources.get(self.plan.id.name()) else { return };
        for (partition, name) in self.handle.partitions().iter().enumerate() {
            self.clock.set_idle(partition, progress.idle.contains(name));
        }
    }

    /// Partitions that are silent at their end, and of which nothing waits to be bound.
    fn idle_now(&self) -> Vec<u32> {
        let idle = self.handle.idle().iter().enumerate().filter(|(_, idle)| **idle).map(|(partition, _)| partition as u32);
        idle.filter(|partition| self.pending.get(partition).is_none_or(VecDeque::is_empty) && self.open.end_of(*partition).is_none())
            .collect()
    }

    /// Whether a partition has become silent, or stopped being so, since the last epoch.
    pub fn idle_changed(&self) -> bool {
        self.idle_now() != self.idle
    }

    /// Idle partitions hold the watermark of the epoch back no more.
    pub fn refresh_idle(&mut self) {
        let idle = self.idle_now();
        for partition in 0..self.handle.partitions().len() {
            self.clock.set_idle(partition, idle.contains(&(partition as u32)));
        }
        self.idle = idle;
    }

    /// What the progress record says of this source. `recorded`: of an epoch that is replayed, what the former record says.
    pub fn progress(&mut self, closed: &ClosedSource, watermark: EventTime, recorded: Option<Option<&SourceProgress>>) -> SourceProgress {
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
        SourceProgress { partitions, watermark, idle: self.idle.iter().map(|partition| name(*partition)).collect() }
    }
}

/// The next record of one partition, while an epoch is being planned.
struct Head<'a> {
    /// Event time (rejected records come first), source, partition.
    order: (i64, usize, u32),
    queue: &'a VecDeque<(Arc<DecodedChunk>, usize)>,
    chunk: usize,
    at: usize,
    taken: usize,
}

impl Head<'_> {
    fn order_at(&self, at: usize) -> Option<(i64, usize, u32)> {
        let (chunk, _) = self.queue.get(self.chunk)?;
        Some((chunk.time(at).unwrap_or(i64::MIN), self.order.1, self.order.2))
    }

    /// Goes on behind `to`; false: nothing more is here.
    fn advance(&mut self, to: usize) -> bool {
        self.taken += to - self.at;
        self.at = to;
        if self.queue.get(self.chunk).is_some_and(|(chunk, _)| to == chunk.records()) {
            (self.chunk, self.at) = (self.chunk + 1, 0);
        }
        let order = self.order_at(self.at);
        self.order = order.unwrap_or(self.order);
        order.is_some()
    }
}

/// Takes what has arrived into the open epoch, in order of event time over all queues. Ends where the epoch is full (true), where nothing is left, or, if
/// `patient`, where the next record of a partition is awaited.
pub fn take_arrived(sources: &mut [Reading], policy: &EpochPolicy, fill: &mut Fill, patient: bool) -> bool {
    let mut heads: Vec<Head<'_>> = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        for partition in source.open_queues() {
            let Some(queue) = source.pending.get(&partition) else { continue };
            let Some((_, at)) = queue.front() else { continue };
            let mut head = Head { order: (0, index, partition), queue, chunk: 0, at: *at, taken: 0 };
            if head.advance(*at) {
                heads.push(head);
            }
        }
    }
    let (mut planned, mut full) = (*fill, false);
    let mut done: Vec<Head<'_>> = Vec::new();
    while let Some(first) = (0..heads.len()).min_by_key(|index| heads[*index].order) {
        let limit = heads.iter().enumerate().filter(|(index, _)| *index != first).map(|(_, head)| head.order).min();
        let head = &mut heads[first];
        let Some((chunk, _)) = head.queue.get(head.chunk) else { break };
        let mut end = head.at + 1;
        while end < chunk.records() && limit.is_none_or(|limit| head.order_at(end).is_some_and(|order| order <= limit)) {
            end += 1;
        }
        let room = cut::room(policy, planned, &chunk.sizes[head.at..end]);
        planned.rows += room;
        planned.bytes += chunk.sizes[head.at..head.at + room].iter().map(|size| *size as usize).sum::<usize>();
        full = head.at + room < end;
        let more = head.advance(head.at + room);
        if full {
            break;
        }
        if !more {
            let ended = heads.swap_remove(first);
            let (_, source, partition) = ended.order;
            done.push(ended);
            let behind = sources[source].handle.behind().get(partition as usize).copied().unwrap_or(false);
            if patient && behind {
                break;
            }
        }
    }
    let taken: Vec<(usize, u32, usize)> = done.iter().chain(&heads).map(|head| (head.order.1, head.order.2, head.taken)).collect();
    drop((heads, done));
    for (source, partition, rows) in taken {
        sources[source].take(partition, rows, fill);
    }
    full
}
