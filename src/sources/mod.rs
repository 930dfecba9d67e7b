//! Sources: where records come from (S2.2–S2.4). A reader turns a place (files, a generator, a Kafka topic) into raw chunks of one partition each, in order
//! of position; a pool of threads decodes them in parallel; a handle gives them back in the order in which they were read.
//!
//! Reading is repeatable: a reader that starts at a position gives the same records from there on, whatever it was asked before and however large the
//! chunks are. What it reads never depends on the clock; when it reads may (pacing, Kafka).
//!
//! Adding a source is one new file and its row in `REGISTRY`.

mod card_transactions;
mod decode_pool;
mod feed;
mod file;
mod generator;
mod glob;
mod handle;
mod kafka;
mod kafka_client;
mod paced;
mod parquet;
mod schema;
mod table;
mod text;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::codecs::{CodecSpec, EventTimeFrom, RawChunk};
use crate::error::Result;
use crate::ids::PartitionIndex;
use crate::plan::{KafkaPlan, SourceKindPlan, SourcePlan};

pub use decode_pool::{DecodePool, Wake};
pub use feed::{Feed, Schedule};
pub use generator::{Generator, generator_event_time, generator_names, generator_schema};
pub use glob::expand;
pub use handle::{Limits, Next, SourceHandle};
pub use schema::read_schema;
pub use table::read_table;

use card_transactions::CardTransactions;
use decode_pool::Decoding;
use file::FileReader;
use generator::GeneratorReader;
use kafka::KafkaReader;
use kafka_client::{Watch, consumer, is_missing, judge, unanswered};
use paced::PacedReader;
use parquet::{ParquetCursor, schema_of_file};
pub(crate) use schema::absolute;
use schema::csv_header;
use text::{Framing, TextCursor, header_fields};

/// What a reader has.
#[derive(Debug)]
pub enum Poll {
    /// Records of one partition.
    Chunk(RawChunk),
    /// Nothing now; the reader has waited a little already, so asking again at once is fine.
    Idle,
    /// Nothing any more (bounded sources).
    End,
}

/// What changes about a source while it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Names of the partitions, by `PartitionIndex`.
    pub partitions: Vec<String>,
    /// Per partition the position at which this reader began.
    pub starts: Vec<u64>,
    /// Per partition whether it is idle: read to its end and silent for the idle timeout (Kafka only).
    pub idle: Vec<bool>,
    /// Per partition whether more records are known to be there than were given (Kafka only): whoever merges by event time may wait for them.
    pub behind: Vec<bool>,
}

/// Reads one source. Lives on a thread of its own.
pub trait SourceReader: Send {
    /// Partitions, starts and idleness as of the last poll.
    fn status(&self) -> SourceStatus;

    /// The next records, at most about so many rows and bytes (at least one record). May block for tens of milliseconds, not longer.
    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Poll>;

    /// Goes on at these positions; partitions that are not named begin at their first start. Called before the first poll or between polls.
    fn seek(&mut self, starts: &[(PartitionIndex, u64)]) -> Result<()>;

    /// Holds back the partitions of `held`, by `PartitionIndex`, and gives all others. What is already on its way may still come. Readers whose
    /// partitions come one after another have nothing to hold back.
    fn hold(&mut self, _held: &BTreeSet<u32>) {}

    /// Whether it gives its records on a schedule: the pipeline is live then, though the source ends.
    fn is_paced(&self) -> bool {
        false
    }

    /// How much of the last poll was spent waiting for records to come.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// Name of the codec for this reader's chunks.
    fn codec(&self) -> &'static str;
}

/// Opens a reader for a source.
pub type OpenReader = fn(&SourcePlan, Option<&KafkaPlan>) -> Result<Box<dyn SourceReader>>;

/// Every kind of source, by the name in pipeline files.
pub const REGISTRY: &[(&str, OpenReader)] = &[
    ("file", |plan, _| Ok(Box::new(FileReader::open(plan)?))),
    ("generator", |plan, _| Ok(Box::new(GeneratorReader::open(plan)?))),
    ("kafka", |plan, kafka| Ok(Box::new(KafkaReader::open(plan, kafka)?))),
];

/// The reader for a source, at its first start.
pub fn reader(plan: &SourcePlan, kafka: Option<&KafkaPlan>) -> Result<Box<dyn SourceReader>> {
    let kind = match &plan.kind {
        SourceKindPlan::File { .. } => "file",
        SourceKindPlan::Generator { .. } => "generator",
        SourceKindPlan::Kafka { .. } => "kafka",
    };
    match REGISTRY.iter().find(|(name, _)| *name == kind) {
        Some((_, open)) => open(plan, kafka),
        None => Err(crate::error::Error::internal(format!("there is no source of kind `{kind}`"))),
    }
}

/// Opens a source and starts reading it at `starts` (empty: its first start). `wake` is called from other threads whenever `try_next` may have news.
pub fn open(
    plan: &SourcePlan,
    kafka: Option<&KafkaPlan>,
    starts: &[(PartitionIndex, u64)],
    limits: Limits,
    pool: &DecodePool,
    wake: Wake,
) -> Result<SourceHandle> {
    let mut reader = reader(plan, kafka)?;
    if !starts.is_empty() {
        reader.seek(starts)?;
    }
    SourceHandle::start(plan.id.name(), reader, codec_spec(plan), limits, pool, wake)
}

/// Opens a source whose records are in memory, to be given on the schedule of `feed`, which was loaded with it.
pub fn open_paced(plan: &SourcePlan, feed: &Feed, pool: &DecodePool, wake: Wake) -> Result<SourceHandle> {
    let reader = PacedReader::new(feed.of(plan)?, feed.schedule().clone());
    SourceHandle::start(plan.id.name(), Box::new(reader), codec_spec(plan), Limits::default(), pool, wake)
}

/// What the codec of a source has to know.
pub fn codec_spec(plan: &SourcePlan) -> Arc<CodecSpec> {
    let event_time = plan.event_time.map_or(EventTimeFrom::Message, EventTimeFrom::Column);
    CodecSpec::new(plan.index, plan.schema.clone(), event_time, plan.max_record)
}

#[cfg(test)]
mod tests;
