//! Generators: sources without a place. Record i is a function of the seed and i, event time included (S2.4), so any position can be started from and any
//! chunk size gives the same records; `rate` only says when they are given out.
//!
//! Adding a generator is one new file and its row in `GENERATORS`.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;

use crate::codecs::{Payload, RawChunk, RowChunk};
use crate::data::DeclaredSchema;
use crate::error::{Error, Exit, Result};
use crate::ids::PartitionIndex;
use crate::plan::{SourceKindPlan, SourcePlan};
use crate::time::clock;

use super::{CardTransactions, Poll, SourceReader, SourceStatus};

/// Longest nap while pacing: how late a stop is noticed.
const NAP: Duration = Duration::from_millis(20);

/// Makes records.
pub trait Generator: Send {
    /// Records `first .. first + rows`, with the columns of the generator's schema.
    fn rows(&self, first: u64, rows: usize) -> Result<RecordBatch>;
}

/// One row of the registry.
struct Entry {
    name: &'static str,
    schema: fn() -> DeclaredSchema,
    event_time: &'static str,
    build: fn(u64) -> Box<dyn Generator>,
}

/// Every generator, by name.
const GENERATORS: &[Entry] = &[Entry {
    name: "card_transactions",
    schema: CardTransactions::schema,
    event_time: CardTransactions::EVENT_TIME,
    build: |seed| Box::new(CardTransactions::new(seed)),
}];

fn entry(name: &str) -> Option<&'static Entry> {
    GENERATORS.iter().find(|entry| entry.name == name)
}

/// The names of all generators, sorted.
pub fn generator_names() -> Vec<&'static str> {
    GENERATORS.iter().map(|entry| entry.name).collect()
}

/// The columns that a generator makes.
pub fn generator_schema(name: &str) -> Option<DeclaredSchema> {
    entry(name).map(|entry| (entry.schema)())
}

/// The column that holds a generator's event time.
pub fn generator_event_time(name: &str) -> Option<&'static str> {
    entry(name).map(|entry| entry.event_time)
}

/// Reads a generator.
pub(super) struct GeneratorReader {
    generator: Box<dyn Generator>,
    start: u64,
    next: u64,
    end: Option<u64>,
    rate: Option<f64>,
    /// When this reader began to give out records, for pacing.
    begun: Option<Instant>,
}

impl GeneratorReader {
    pub fn open(plan: &SourcePlan) -> Result<Self> {
        let SourceKindPlan::Generator { generator, seed, rows, rate } = &plan.kind else {
            return Err(Error::internal("other than a generator source was handed to the generator's reader"));
        };
        let Some(entry) = entry(generator) else {
            let cause = format!("there is no generator called `{generator}`");
            return Err(Error::new(Exit::Config, cause, format!("the generators are {}", generator_names().join(", "))));
        };
        Ok(Self { generator: (entry.build)(*seed), start: 0, next: 0, end: *rows, rate: *rate, begun: None })
    }

    /// How many records are due now; naps if none is.
    fn due(&mut self) -> u64 {
        let Some(rate) = self.rate.filter(|rate| *rate > 0.0) else { return u64::MAX };
        let now = clock::now();
        let begun = *self.begun.get_or_insert(now);
        let given = (self.next - self.start) as f64;
        let due = (now - begun).as_secs_f64() * rate + 1.0 - given;
        if due < 1.0 {
            std::thread::sleep(Duration::from_secs_f64(((1.0 - due) / rate).clamp(0.0, 1.0)).min(NAP));
            return 0;
        }
        due as u64
    }
}

impl SourceReader for GeneratorReader {
    fn status(&self) -> SourceStatus {
        SourceStatus { partitions: vec!["0".to_string()], starts: vec![self.start], idle: vec![false], behind: vec![false] }
    }

    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Poll> {
        let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.next));
        if left == 0 {
            return Ok(Poll::End);
        }
        let due = self.due();
        if due == 0 {
            return Ok(Poll::Idle);
        }
        // About 100 bytes a record.
        let most = max_rows.min(max_bytes / 100).max(1) as u64;
        let rows = most.min(due).min(left);
        let batch = self.generator.rows(self.next, rows as usize)?;
        let first = self.next;
        self.next += rows;
        Ok(Poll::Chunk(RawChunk { partition: PartitionIndex(0), end: self.next, payload: Payload::Rows(RowChunk { batch, first }) }))
    }

    fn seek(&mut self, starts: &[(PartitionIndex, u64)]) -> Result<()> {
        self.start = starts.iter().find(|(partition, _)| partition.0 == 0).map_or(0, |(_, start)| *start);
        (self.next, self.begun) = (self.start, None);
        Ok(())
    }

    fn codec(&self) -> &'static str {
        "columns"
    }
}
