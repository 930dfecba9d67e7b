//! Gives records that are in memory on a schedule. What is due is given at once, however late the taker asks: time that a pipeline is behind counts as
//! time that its records wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codecs::RawChunk;
use crate::error::{Error, Result};
use crate::ids::PartitionIndex;
use crate::time::clock;

use super::feed::{FedSource, Schedule};
use super::{Poll, SourceReader, SourceStatus};

/// Least time between two chunks: at a high rate records come in small groups, as they do from a network. It counts as waiting, too.
const TICK: Duration = Duration::from_micros(200);
/// Longest nap: how late a stop is noticed.
const NAP: Duration = Duration::from_millis(20);

/// Reads a source from memory.
pub(super) struct PacedReader {
    source: Arc<FedSource>,
    schedule: Arc<Schedule>,
    /// The next record, by position over all chunks; the chunk that holds it, and its position there.
    next: usize,
    chunk: usize,
    at: usize,
    /// Nothing is given before.
    pause: Option<Instant>,
}

impl PacedReader {
    /// Gives the records of `source` when `schedule` says.
    pub fn new(source: Arc<FedSource>, schedule: Arc<Schedule>) -> Self {
        Self { source, schedule, next: 0, chunk: 0, at: 0, pause: None }
    }

    /// Whether the record at `position` has arrived by `now`.
    fn is_due(&self, position: usize, now: Instant) -> bool {
        let arrival = self.source.order.get(position).and_then(|number| self.schedule.arrival(*number));
        arrival.is_some_and(|arrival| arrival <= now)
    }

    /// The records of the current chunk that are due, at most so many.
    fn due(&mut self, now: Instant, max_rows: usize) -> Option<RawChunk> {
        let chunk = self.source.chunks.get(self.chunk)?;
        let most = (chunk.payload.records() - self.at).min(max_rows.max(1));
        let rows = (0..most).take_while(|row| self.is_due(self.next + row, now)).count();
        if rows == 0 {
            return None;
        }
        let due = chunk.slice(self.at, self.at + rows);
        (self.next, self.at) = (self.next + rows, self.at + rows);
        if self.at == chunk.payload.records() {
            (self.chunk, self.at) = (self.chunk + 1, 0);
        }
        Some(due)
    }
}

impl SourceReader for PacedReader {
    fn status(&self) -> SourceStatus {
        let partitions = self.source.status.partitions.len();
        SourceStatus { idle: vec![false; partitions], behind: vec![false; partitions], ..self.source.status.clone() }
    }

    fn poll(&mut self, max_rows: usize, _max_bytes: usize) -> Result<Poll> {
        let Some(number) = self.source.order.get(self.next).copied() else { return Ok(Poll::End) };
        let now = clock::now();
        self.schedule.begin(now);
        if self.pause.is_none_or(|pause| pause <= now)
            && let Some(chunk) = self.due(now, max_rows)
        {
            if !self.is_due(self.next, now) {
                self.pause = Some(now + TICK);
            }
            return Ok(Poll::Chunk(chunk));
        }
        let until = self.schedule.arrival(number).max(self.pause).unwrap_or(now);
        std::thread::sleep(until.saturating_duration_since(now).min(NAP));
        Ok(Poll::Idle)
    }

    fn seek(&mut self, _starts: &[(PartitionIndex, u64)]) -> Result<()> {
        Err(Error::internal("a source that is given from memory has no other beginning"))
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn codec(&self) -> &'static str {
        self.source.codec
    }
}
