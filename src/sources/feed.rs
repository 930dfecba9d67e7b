//! Records read into memory, to be given out on a schedule: what makes any source live for `tidemill bench --rate`.
//!
//! Record *i* of all sources together arrives at begin + i / rate. Which record that is follows from the input alone: the next one is that with the least
//! event time among the sources' next records, as in a bounded pipeline (S2.3). Each source is read once, from its beginning.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::codecs::{self, Codec, RawChunk};
use crate::error::{Error, Exit, Result};
use crate::ids::SourceIndex;
use crate::plan::{KafkaPlan, SourcePlan};

use super::{Poll, SourceReader, SourceStatus, codec_spec, reader};

/// Records and bytes of the chunks that are read.
const CHUNK: (usize, usize) = (8_192, 1 << 20);

/// When records arrive.
#[derive(Debug)]
pub struct Schedule {
    interval: f64,
    begun: OnceLock<Instant>,
}

impl Schedule {
    /// `rate` records a second, which must be positive, from when the first source begins.
    pub fn new(rate: f64) -> Self {
        Self { interval: 1.0 / rate, begun: OnceLock::new() }
    }

    /// Begins now, unless it has begun.
    pub(super) fn begin(&self, now: Instant) {
        self.begun.get_or_init(|| now);
    }

    /// When record `index` arrives; `None` before the begin.
    pub fn arrival(&self, index: u32) -> Option<Instant> {
        self.begun.get().map(|begun| *begun + Duration::from_secs_f64(f64::from(index) * self.interval))
    }
}

/// The records of one source, in the order in which they were read.
#[derive(Debug)]
pub struct FedSource {
    /// As the reader gave them.
    pub chunks: Vec<RawChunk>,
    /// By position over all chunks: the record's number in the schedule, ascending. There may be more records than these; they are not given out.
    pub order: Vec<u32>,
    /// Partitions and starts of the reader.
    pub status: SourceStatus,
    /// Its codec.
    pub codec: &'static str,
}

/// Numbers in a schedule, by name of the partition.
pub type Numbers = Vec<(String, Vec<u32>)>;

/// The records of all sources of a plan.
#[derive(Debug)]
pub struct Feed {
    schedule: Arc<Schedule>,
    sources: Vec<Arc<FedSource>>,
}

impl Feed {
    /// Reads `records` records, or all there are. Exit 65 if there is none, otherwise what reading the sources may say.
    pub fn load(sources: &[SourcePlan], kafka: Option<&KafkaPlan>, rate: f64, records: u32) -> Result<Self> {
        let mut loading = sources.iter().map(|source| Loading::open(source, kafka)).collect::<Result<Vec<_>>>()?;
        for index in 0..records {
            let mut first: Option<((bool, i64), usize)> = None;
            for (source, loading) in loading.iter_mut().enumerate() {
                let Some(time) = loading.head()? else { continue };
                let order = (time.is_some(), time.unwrap_or(i64::MIN));
                if first.is_none_or(|(least, _)| order < least) {
                    first = Some((order, source));
                }
            }
            let Some((_, source)) = first else { break };
            loading[source].take(index);
        }
        if loading.iter().all(|source| source.fed.order.is_empty()) {
            return Err(Error::new(Exit::Data, "the sources hold no record", "give an input with records, or drop --rate"));
        }
        let sources = loading.into_iter().map(|loading| Arc::new(loading.fed)).collect();
        Ok(Self { schedule: Arc::new(Schedule::new(rate)), sources })
    }

    /// The records of the source `plan`, which was among those loaded.
    pub(super) fn of(&self, plan: &SourcePlan) -> Result<Arc<FedSource>> {
        let fed = self.sources.get(usize::from(plan.index.0)).cloned();
        fed.ok_or_else(|| Error::internal(format!("{} was not read into memory", plan.id)))
    }

    /// When records arrive.
    pub fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    /// Records that will be given out.
    pub fn records(&self) -> u64 {
        self.sources.iter().map(|source| source.order.len() as u64).sum()
    }

    /// About how many bytes they hold.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().flat_map(|source| &source.chunks).map(|chunk| chunk.payload.bytes() as u64).sum()
    }

    /// Numbers in the schedule of the records of each partition, in order of position.
    pub fn numbers(&self) -> Vec<(SourceIndex, Numbers)> {
        let of_source = |source: &FedSource| {
            let mut of: Vec<(String, Vec<u32>)> = source.status.partitions.iter().map(|name| (name.clone(), Vec::new())).collect();
            let mut first = 0;
            for chunk in &source.chunks {
                let end = (first + chunk.payload.records()).min(source.order.len());
                if let Some((_, numbers)) = of.get_mut(chunk.partition.0 as usize) {
                    numbers.extend_from_slice(&source.order[first..end]);
                }
                first = end;
            }
            of
        };
        self.sources.iter().enumerate().map(|(index, source)| (SourceIndex(index as u16), of_source(source))).collect()
    }
}

/// A source being read into memory.
struct Loading {
    reader: Box<dyn SourceReader>,
    codec: Box<dyn Codec>,
    fed: FedSource,
    /// Event times of the records that were read and not yet taken; `None` of one that cannot be decoded.
    times: VecDeque<Option<i64>>,
    ended: bool,
}

impl Loading {
    fn open(plan: &SourcePlan, kafka: Option<&KafkaPlan>) -> Result<Self> {
        let reader = reader(plan, kafka)?;
        let codec = codecs::build(reader.codec(), codec_spec(plan))?;
        let fed = FedSource { chunks: Vec::new(), order: Vec::new(), status: reader.status(), codec: reader.codec() };
        Ok(Self { reader, codec, fed, times: VecDeque::new(), ended: false })
    }

    /// Event time of the next record; `None` at the end.
    fn head(&mut self) -> Result<Option<Option<i64>>> {
        while self.times.is_empty() && !self.ended {
            match self.reader.poll(CHUNK.0, CHUNK.1)? {
                Poll::Chunk(chunk) => {
                    let decoded = self.codec.decode(chunk.clone())?;
                    self.times.extend((0..decoded.records()).map(|record| decoded.time(record)));
                    self.fed.chunks.push(chunk);
                }
                // A topic ends here where nothing more is known to be there.
                Poll::Idle => self.ended = !self.reader.status().behind.contains(&true),
                Poll::End => self.ended = true,
            }
            self.fed.status = self.reader.status();
        }
        Ok(self.times.front().copied())
    }

    /// The next record arrives as number `index`.
    fn take(&mut self, index: u32) {
        self.times.pop_front();
        self.fed.order.push(index);
    }
}
