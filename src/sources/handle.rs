//! A source that is being read: a thread reads, the pool decodes, the handle gives chunks back in the order in which they were read.
//!
//! What is under way is bounded in chunks and in bytes: at the bound the reader waits, and behind it the broker or the disk. Idleness and new partitions
//! travel in the same order as the chunks, so a partition is never called idle before its records have been handed over.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

use crate::codecs::{CodecSpec, DecodedChunk};
use crate::error::{Error, Exit, Result};
use crate::time::{Busy, clock};

use super::{DecodePool, Decoding, Poll, SourceReader, SourceStatus, Wake};

/// Bounds on what one source has under way between its reader and its taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most records of a chunk.
    pub chunk_rows: usize,
    /// About the most bytes of a chunk; one record may be larger.
    pub chunk_bytes: usize,
    /// Most chunks under way.
    pub chunks: usize,
    /// About the most bytes under way.
    pub bytes: usize,
}

impl Limits {
    /// For a source whose records are all there: chunks that meet the ends of epochs of at most so many rows and bytes, so that an epoch is one chunk, or a
    /// part of one, and is never put together from pieces. Few are under way, because few are enough, and what is under way should still be in the cache
    /// of the processor when it is used.
    pub fn of_epochs(max_rows: usize, max_bytes: usize) -> Self {
        let max_rows = max_rows.max(1);
        let chunk_rows = (max_rows * (8_192 / max_rows).max(1)).min(65_536);
        Self { chunk_rows, chunk_bytes: max_bytes.clamp(1 << 20, 8 << 20), chunks: 4, bytes: 32 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { chunk_rows: 8_192, chunk_bytes: 1 << 20, chunks: 8, bytes: 32 << 20 }
    }
}

/// What a source has for its taker.
#[derive(Debug)]
pub enum Next {
    /// The next records.
    Chunk(Box<DecodedChunk>),
    /// Nothing yet; `wake` is called when there may be.
    Pending,
    /// Nothing yet, and every partition is idle.
    Idle,
    /// Nothing any more.
    End,
}

/// How much is under way.
#[derive(Debug, Default)]
struct Load {
    chunks: usize,
    bytes: usize,
    stopped: bool,
    /// Partitions that the taker wants held back, until the reader has been told.
    hold: Option<BTreeSet<u32>>,
}

/// The bound on what is under way, shared by reader and taker.
struct Budget {
    load: Mutex<Load>,
    freed: Condvar,
    limits: Limits,
}

impl Budget {
    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another chunk may be read: what is to be held back from now on, if that has changed; `None`: stop.
    fn wait(&self) -> Option<Option<BTreeSet<u32>>> {
        let mut load = self.lock();
        while !load.stopped && (load.chunks >= self.limits.chunks.max(1) || load.bytes >= self.limits.bytes.max(1)) {
            load = self.freed.wait(load).unwrap_or_else(PoisonError::into_inner);
        }
        if load.stopped { None } else { Some(load.hold.take()) }
    }

    fn take(&self, bytes: usize) {
        let mut load = self.lock();
        load.chunks += 1;
        load.bytes += bytes;
    }

    fn free(&self, bytes: usize) {
        let mut load = self.lock();
        load.chunks = load.chunks.saturating_sub(1);
        load.bytes = load.bytes.saturating_sub(bytes);
        drop(load);
        self.freed.notify_one();
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.freed.notify_all();
    }
}

/// What the reader tells its handle, in order.
enum Event {
    Chunk { result: Receiver<Result<DecodedChunk>>, bytes: usize },
    Status(SourceStatus),
    Failed(Error),
    End,
}

/// A source being read. Dropping it stops the reader and waits for it (tens of milliseconds).
pub struct SourceHandle {
    name: String,
    events: Receiver<Event>,
    head: Option<Event>,
    status: SourceStatus,
    paced: bool,
    held: BTreeSet<u32>,
    ended: bool,
    budget: Arc<Budget>,
    thread: Option<JoinHandle<()>>,
}

impl SourceHandle {
    /// Starts to read.
    pub(super) fn start(
        name: &str,
        reader: Box<dyn SourceReader>,
        spec: Arc<CodecSpec>,
        limits: Limits,
        pool: &DecodePool,
        wake: Wake,
    ) -> Result<Self> {
        let (sender, events) = unbounded();
        let budget = Arc::new(Budget { load: Mutex::default(), freed: Condvar::new(), limits });
        let (status, paced) = (reader.status(), reader.is_paced());
        let reading = Reading {
            reader,
            spec,
            decoding: pool.decoding(name),
            busy: pool.reading(name),
            budget: budget.clone(),
            events: sender,
            wake,
            status: status.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("read-{name}")).spawn(move || reading.run());
        let thread = thread
            .map_err(|error| Error::new(Exit::Limit, format!("cannot start a reading thread: {error}"), "raise the limit on processes"))?;
        Ok(Self {
            name: name.to_string(),
            events,
            head: None,
            status,
            paced,
            held: BTreeSet::new(),
            ended: false,
            budget,
            thread: Some(thread),
        })
    }

    /// The next records, if they are there. Never blocks. After an error the source gives nothing more.
    pub fn try_next(&mut self) -> Result<Next> {
        loop {
            let head = match self.head.take() {
                Some(head) => head,
                None if self.ended => return Ok(Next::End),
                None => match self.events.try_recv() {
                    Ok(event) => event,
                    Err(TryRecvError::Empty) if self.status.idle.iter().all(|idle| *idle) => return Ok(Next::Idle),
                    Err(TryRecvError::Empty) => return Ok(Next::Pending),
                    Err(TryRecvError::Disconnected) => return Err(self.broken()),
                },
            };
            match head {
                Event::Chunk { result, bytes } => match result.try_recv() {
                    Ok(result) => {
                        self.budget.free(bytes);
                        return result.map(|chunk| Next::Chunk(Box::new(chunk)));
                    }
                    Err(TryRecvError::Empty) => {
                        self.head = Some(Event::Chunk { result, bytes });
                        return Ok(Next::Pending);
                    }
                    Err(TryRecvError::Disconnected) => return Err(self.broken()),
                },
                Event::Status(status) => self.status = status,
                Event::Failed(error) => return Err(error),
                Event::End => self.ended = true,
            }
        }
    }

    /// Asks the reader to hold back these partitions, by `PartitionIndex`, and to give all others: so that a taker who needs a certain partition is not
    /// flooded by the rest. What is under way still comes.
    pub fn hold(&mut self, partitions: BTreeSet<u32>) {
        if partitions != self.held {
            self.budget.lock().hold = Some(partitions.clone());
            self.held = partitions;
        }
    }

    /// The threads of this source have gone without a word.
    fn broken(&self) -> Error {
        Error::internal(format!("the threads of source `{}` have ended early", self.name))
    }

    /// Whether records come on a schedule, so that the pipeline is live though the source ends.
    pub fn is_paced(&self) -> bool {
        self.paced
    }

    /// Names of the partitions, by `PartitionIndex`; a Kafka topic may gain some.
    pub fn partitions(&self) -> &[String] {
        &self.status.partitions
    }

    /// Per partition the position at which reading began.
    pub fn starts(&self) -> &[u64] {
        &self.status.starts
    }

    /// Per partition whether it has records, not yet handed over, that are known to be there.
    pub fn behind(&self) -> &[bool] {
        &self.status.behind
    }

    /// Per partition whether it is idle: at its end and silent for the idle timeout, all its records handed over.
    pub fn idle(&self) -> &[bool] {
        &self.status.idle
    }
}

impl Drop for SourceHandle {
    fn drop(&mut self) {
        self.budget.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `join` of what is said of each partition now and was said before; of new partitions what is said now.
fn joined(now: &[bool], before: &[bool], join: fn(bool, bool) -> bool) -> Vec<bool> {
    now.iter().enumerate().map(|(partition, now)| before.get(partition).map_or(*now, |before| join(*now, *before))).collect()
}

/// What the reading thread owns.
struct Reading {
    reader: Box<dyn SourceReader>,
    spec: Arc<CodecSpec>,
    decoding: Decoding,
    busy: Busy,
    budget: Arc<Budget>,
    events: Sender<Event>,
    wake: Wake,
    status: SourceStatus,
}

impl Reading {
    fn run(mut self) {
        let codec = self.reader.codec();
        let limits = self.budget.limits;
        while let Some(hold) = self.budget.wait() {
            if let Some(held) = hold {
                self.reader.hold(&held);
            }
            let began = clock::now();
            let polled = self.reader.poll(limits.chunk_rows, limits.chunk_bytes);
            if matches!(polled, Ok(Poll::Chunk(_))) {
                self.busy.add(clock::now().duration_since(began).saturating_sub(self.reader.waited()));
            }
            let status = self.reader.status();
            // A partition leaves idleness before its record and enters it after its last one; likewise it is behind until that one is handed over.
            self.update(SourceStatus {
                idle: joined(&status.idle, &self.status.idle, |now, before| now && before),
                behind: joined(&status.behind, &self.status.behind, |now, before| now || before),
                ..status.clone()
            });
            match polled {
                Ok(Poll::Chunk(chunk)) => {
                    let bytes = chunk.payload.bytes();
                    self.budget.take(bytes);
                    let result = self.decoding.submit(codec, &self.spec, chunk, &self.wake);
                    if self.events.send(Event::Chunk { result, bytes }).is_err() {
                        return;
                    }
                }
                Ok(Poll::Idle) => {}
                Ok(Poll::End) => return self.tell(Event::End),
                Err(error) => return self.tell(Event::Failed(error)),
            }
            self.update(status);
        }
    }

    /// Tells of the status, if it has changed.
    fn update(&mut self, status: SourceStatus) {
        if status != self.status {
            self.tell(Event::Status(status.clone()));
            self.status = status;
        }
    }

    /// Sends an event that the taker should see soon.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
        (self.wake)();
    }
}
