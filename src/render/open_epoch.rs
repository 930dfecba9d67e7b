//! The epoch being filled: slices of decoded chunks, judged record by record when it closes (S2, S4), and the batches it becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::concat_batches;
use xxhash_rust::xxh3::Xxh3;

use super::streams::{arrow_error, take_batch};
use crate::codecs::{DecodedChunk, Payload};
use crate::data::{EventBatch, KeyColumn, Reason, Rejected};
use crate::error::Result;
use crate::ids::{PartitionIndex, SourceIndex};
use crate::plan::SourcePlan;
use crate::protocol::cut::Fill;
use crate::protocol::dedup::Dedup;
use crate::protocol::watermark::{Admission, SourceClock};
use crate::time::EventTime;

/// Consecutive records of one chunk.
#[derive(Clone, Debug)]
struct Slice {
    chunk: Arc<DecodedChunk>,
    from: usize,
    to: usize,
}

/// What one epoch binds of one partition: `[start, end)`, how many records, and a digest over their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// First position.
    pub start: u64,
    /// Position after the last record.
    pub end: u64,
    /// Records.
    pub records: u64,
    /// xxh3 over the records' digests, little-endian, in order.
    pub digest: u64,
}

/// The part of the open epoch that comes from one source.
#[derive(Debug, Default)]
pub struct OpenSource {
    slices: Vec<Slice>,
}

/// What a source's part of an epoch became.
pub struct ClosedSource {
    /// The records used, in canonical order.
    pub batch: EventBatch,
    /// The others.
    pub rejected: Vec<Rejected>,
    /// Bindings by partition.
    pub bound: BTreeMap<u32, Bound>,
    /// What the records were read from.
    pub blocks: Vec<(PartitionIndex, Arc<Payload>)>,
}

impl OpenSource {
    /// Adds the records `from..to` of `chunk`; consecutive slices of a chunk become one.
    pub fn add(&mut self, chunk: &Arc<DecodedChunk>, from: usize, to: usize, fill: &mut Fill) {
        fill.rows += to - from;
        fill.bytes += chunk.sizes[from..to].iter().map(|size| *size as usize).sum::<usize>();
        match self.slices.last_mut() {
            Some(last) if Arc::ptr_eq(&last.chunk, chunk) && last.to == from => last.to = to,
            _ => self.slices.push(Slice { chunk: chunk.clone(), from, to }),
        }
    }

    /// Position after the last record taken of `partition`, if any was.
    pub fn end_of(&self, partition: u32) -> Option<u64> {
        self.slices
            .iter()
            .rev()
            .find(|slice| slice.chunk.partition.0 == partition && slice.to > slice.from)
            .map(|slice| slice.chunk.position_after(slice.to - 1))
    }

    /// Closes: judges each record in the order it was read, and builds the batch. `starts` is where each partition stood, and moves on.
    pub fn close(
        &mut self,
        plan: &SourcePlan,
        clock: &mut SourceClock,
        mut dedup: Option<&mut Dedup>,
        starts: &mut BTreeMap<u32, u64>,
        range: (EventTime, EventTime),
    ) -> Result<ClosedSource> {
        // Partition by partition, as a replay of the recorded bindings will see them, however they arrived.
        let mut slices = std::mem::take(&mut self.slices);
        slices.sort_by_key(|slice| slice.chunk.partition);
        let mut rejected = Vec::new();
        let mut bound: BTreeMap<u32, (Bound, Xxh3)> = BTreeMap::new();
        let mut parts: Vec<RecordBatch> = Vec::with_capacity(slices.len());
        let most = slices.iter().map(|slice| slice.to - slice.from).sum();
        let (mut times, mut partitions, mut offsets) = (Vec::with_capacity(most), Vec::with_capacity(most), Vec::with_capacity(most));
        for slice in &slices {
            let chunk = &slice.chunk;
            let partition = chunk.partition;
            clock.begin(partition.0 as usize);
            let end =
                if slice.to > slice.from { chunk.position_after(slice.to - 1) } else { starts.get(&partition.0).copied().unwrap_or(0) };
            let (of_partition, hasher) = bound.entry(partition.0).or_insert_with(|| {
                let start = starts.get(&partition.0).copied().unwrap_or(0);
                (Bound { start, end, records: 0, digest: 0 }, Xxh3::new())
            });
            of_partition.end = end;
            of_partition.records += (slice.to - slice.from) as u64;
            bind(hasher, &chunk.digests[slice.from..slice.to]);
            starts.insert(partition.0, end);
            let keys = match (&dedup, plan.key) {
                (Some(_), Some(key)) => Some(KeyColumn::encode(&[chunk.rows.column(key).clone()], chunk.rows.num_rows())),
                _ => None,
            };
            let mut used: Vec<u32> = Vec::with_capacity(slice.to - slice.from);
            let before = rejected.len();
            // Mostly every record of a chunk is a row: those before the first that is late or future are judged over the plain times, and copied whole.
            let mut judged = slice.from;
            if chunk.row_of.is_none() && keys.is_none() {
                let admitted = |t: &&i64| clock.admit(partition.0 as usize, **t, range) == Admission::Used;
                judged += chunk.times[slice.from..slice.to].iter().take_while(admitted).count();
                used.extend(slice.from as u32..judged as u32);
                times.extend_from_slice(&chunk.times[slice.from..judged]);
                partitions.resize(times.len(), partition.0);
                offsets.extend_from_slice(&chunk.offsets[slice.from..judged]);
            }
            for record in judged..slice.to {
                let Some(row) = chunk.row(record) else { continue };
                let t = chunk.times[row];
                match clock.admit(partition.0 as usize, t, range) {
                    Admission::Late(missed) => {
                        let detail = format!("event time {} is before {missed}, the bound of its partition", EventTime(t));
                        rejected.push(chunk.reject(plan.index, record, Reason::Late, detail));
                        continue;
                    }
                    Admission::Future(beyond) => {
                        let detail = format!("event time {} is outside what is admissible ({beyond})", EventTime(t));
                        rejected.push(chunk.reject(plan.index, record, Reason::Future, detail));
                        continue;
                    }
                    Admission::Used => {}
                }
                if let (Some(dedup), Some(keys)) = (dedup.as_deref_mut(), &keys)
                    && dedup.is_repeat(keys, row, t)
                {
                    let detail = "a record with this key was seen within `dedup`".to_string();
                    rejected.push(chunk.reject(plan.index, record, Reason::Duplicate, detail));
                    continue;
                }
                used.push(row as u32);
                times.push(t);
                partitions.push(partition.0);
                offsets.push(chunk.offsets[record]);
            }
            rejected.extend(chunk_rejects(chunk, slice, plan.index));
            let whole = rejected.len() == before && used.len() == slice.to - slice.from;
            match used.first() {
                None => {}
                Some(first) if whole || is_run(&used) => parts.push(chunk.rows.slice(*first as usize, used.len())),
                Some(_) => parts.push(take_batch(&chunk.rows, &used)?),
            }
        }
        let schema = plan.schema.arrow();
        let mut columns: Vec<ArrayRef> = match parts.len() {
            0 => RecordBatch::new_empty(schema.clone()).columns().to_vec(),
            1 => parts[0].columns().to_vec(),
            _ => concat_batches(&schema, &parts).map_err(arrow_error)?.columns().to_vec(),
        };
        columns.push(Arc::new(Int64Array::from(times)));
        columns.push(Arc::new(UInt32Array::from(partitions)));
        columns.push(Arc::new(UInt64Array::from(offsets)));
        let batch = EventBatch::new(RecordBatch::try_new(EventBatch::schema_of(&schema), columns).map_err(arrow_error)?);
        let batch = canonical(batch)?;
        let bound = bound.into_iter().map(|(partition, (bound, hasher))| (partition, Bound { digest: hasher.digest(), ..bound })).collect();
        let blocks = slices.iter().map(|slice| (slice.chunk.partition, slice.chunk.raw.clone())).collect();
        Ok(ClosedSource { batch, rejected, bound, blocks })
    }
}

/// Takes the digests of records into that of their binding: their bytes, little-endian, some at a time.
fn bind(hasher: &mut Xxh3, digests: &[u64]) {
    let mut bytes = [0; 1024];
    for part in digests.chunks(bytes.len() / 8) {
        for (to, digest) in bytes.chunks_exact_mut(8).zip(part) {
            to.copy_from_slice(&digest.to_le_bytes());
        }
        hasher.update(&bytes[..part.len() * 8]);
    }
}

impl ClosedSource {
    /// Records bound, used or not.
    pub fn records(&self) -> u64 {
        self.bound.values().map(|bound| bound.records).sum()
    }
}

/// The records of a slice that its codec rejected.
fn chunk_rejects<'a>(chunk: &'a DecodedChunk, slice: &Slice, source: SourceIndex) -> impl Iterator<Item = Rejected> + 'a {
    let from = chunk.offsets.get(slice.from).copied().unwrap_or(chunk.end);
    let to = chunk.offsets.get(slice.to).copied().unwrap_or(chunk.end);
    let first = chunk.rejected.partition_point(|one| one.offset < from);
    let last = chunk.rejected.partition_point(|one| one.offset < to);
    chunk.rejected[first..last.max(first)].iter().map(move |one| Rejected { source, ..one.clone() })
}

/// Whether rows are consecutive.
fn is_run(rows: &[u32]) -> bool {
    rows.first().zip(rows.last()).is_some_and(|(first, last)| (last - first) as usize + 1 == rows.len())
}

/// The batch in canonical order (S3.1).
fn canonical(batch: EventBatch) -> Result<EventBatch> {
    if batch.is_canonical() {
        return Ok(batch);
    }
    let (times, partitions, offsets) = (batch.times(), batch.partitions(), batch.offsets());
    let mut order: Vec<u32> = (0..batch.len() as u32).collect();
    order.sort_by_key(|row| (times[*row as usize], partitions[*row as usize], offsets[*row as usize]));
    Ok(EventBatch::new(take_batch(batch.rows(), &order)?))
}
