//! Threads that decode chunks for all sources of a process, in parallel; whoever handed a chunk in waits for its own result, so order is the handle's
//! affair and never that of the threads.
//!
//! Each thread keeps a codec per source. A codec that panics is a bug, but one that ends the pipeline with exit 70 and the place of the
//! record, not the process without a word.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::codecs::{self, Codec, CodecSpec, DecodedChunk, RawChunk};
use crate::error::{Error, Exit, Result};
use crate::ids::SourceIndex;
use crate::time::{Busy, BusyTimes};

/// Called from other threads when there is news for the thread that polls handles. It must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Work for a thread.
enum Job {
    Decode { codec: &'static str, spec: Arc<CodecSpec>, chunk: RawChunk, done: Sender<Result<DecodedChunk>>, wake: Wake, busy: Busy },
    Stop,
}

/// Hands chunks of one source to the threads. Work handed in after the pool has stopped is dropped, which its receiver sees.
pub(super) struct Decoding {
    jobs: Sender<Job>,
    busy: Busy,
}

impl Decoding {
    /// Has `chunk` decoded; the result comes through the receiver, then `wake` is called. The caller bounds how much it has under way.
    pub fn submit(&self, codec: &'static str, spec: &Arc<CodecSpec>, chunk: RawChunk, wake: &Wake) -> Receiver<Result<DecodedChunk>> {
        let (done, result) = bounded(1);
        // A failed send drops `done`, which the receiver sees as the end.
        let busy = self.busy.clone();
        let _ = self.jobs.send(Job::Decode { codec, spec: spec.clone(), chunk, done, wake: wake.clone(), busy });
        result
    }
}

/// The threads. Dropping it stops them after the chunks they are at.
pub struct DecodePool {
    jobs: Sender<Job>,
    busy: BusyTimes,
    threads: Vec<JoinHandle<()>>,
}

impl DecodePool {
    /// Starts `threads` (at least one) threads; what sources take is counted in `busy`.
    pub fn new(threads: usize, busy: BusyTimes) -> Result<Self> {
        let (jobs, queue) = unbounded();
        let mut pool = Self { jobs, busy, threads: Vec::new() };
        for index in 0..threads.max(1) {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("decode-{index}")).spawn(move || work(&queue));
            let help = "lower the number of threads with -w, or raise the limit on processes";
            pool.threads.push(thread.map_err(|error| Error::new(Exit::Limit, format!("cannot start a decoding thread: {error}"), help))?);
        }
        Ok(pool)
    }

    /// What the source called `name` hands its chunks to.
    pub(super) fn decoding(&self, name: &str) -> Decoding {
        Decoding { jobs: self.jobs.clone(), busy: self.busy.of(format_args!("sources.{name}"), "decode") }
    }

    /// Counts what reading the source called `name` takes.
    pub(super) fn reading(&self, name: &str) -> Busy {
        self.busy.of(format_args!("sources.{name}"), "read")
    }
}

impl Drop for DecodePool {
    fn drop(&mut self) {
        for _ in &self.threads {
            let _ = self.jobs.send(Job::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a decoding thread does.
fn work(queue: &Receiver<Job>) {
    let mut codecs: BTreeMap<SourceIndex, (Arc<CodecSpec>, Box<dyn Codec>)> = BTreeMap::new();
    while let Ok(Job::Decode { codec, spec, chunk, done, wake, busy }) = queue.recv() {
        let (source, partition, end) = (spec.source, chunk.partition, chunk.end);
        let decode = || {
            if codecs.get(&source).is_none_or(|(known, _)| !Arc::ptr_eq(known, &spec)) {
                codecs.insert(source, (spec.clone(), codecs::build(codec, spec.clone())?));
            }
            match codecs.get_mut(&source) {
                Some((_, codec)) => codec.decode(chunk),
                None => Err(Error::internal("a codec is missing")),
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| busy.during(decode)));
        let result = result.unwrap_or_else(|_| {
            codecs.remove(&source);
            Err(Error::internal(format!("the codec `{codec}` failed in partition {} before position {end}", partition.0)))
        });
        // Whoever has let go of the receiver has no use for the result.
        let _ = done.send(result);
        wake();
    }
}
