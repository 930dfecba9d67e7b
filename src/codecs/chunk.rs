//! What goes into a codec and what comes out: records of one partition in order of position, raw and decoded.
//!
//! The raw data stays reachable from the decoded chunk (shared, not copied), so a record that turns out to be unusable, while it is decoded or long
//! after, reaches quarantine with its original bytes (S5.3, S13.1).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use xxhash_rust::xxh3::xxh3_64;

use crate::data::{Reason, Rejected};
use crate::ids::{PartitionIndex, SourceIndex};

use super::CodecSpec;

/// Most original bytes kept of a record that is too large.
pub const MAX_KEPT: usize = 64 << 10;

/// One record of a text file: its position in the file and its bytes in the chunk's data, line end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Byte offset of the record's first byte in the file (S2.4).
    pub offset: u64,
    /// First byte in the chunk's data.
    pub start: u32,
    /// Byte after the last one in the chunk's data.
    pub end: u32,
}

/// A record too long to be held: its span has only the first `MAX_KEPT` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Length of the whole record in bytes.
    pub size: u64,
    /// xxh3 of the whole record.
    pub digest: u64,
}

/// The header line of a CSV file, matched with the declared schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvHeader {
    /// Number of fields of every record.
    pub fields: usize,
    /// Per declared column, the field that holds it; `None`: absent, and nullable.
    pub positions: Vec<Option<usize>>,
}

/// Lines of a text file.
#[derive(Clone, Debug)]
pub struct TextChunk {
    /// The block of the file that holds them; shared with neighbouring chunks.
    pub data: Arc<Vec<u8>>,
    /// The records, in file order.
    pub spans: Vec<Span>,
    /// Set if the chunk is one record that is too long to be held.
    pub cut: Option<Cut>,
    /// CSV only.
    pub header: Option<Arc<CsvHeader>>,
}

/// One Kafka message; ranges are into the chunk's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Kafka's offset.
    pub offset: u64,
    /// Its timestamp in UTC microseconds, if it has one.
    pub timestamp: Option<i64>,
    /// The key's bytes; `None` for a null key.
    pub key: Option<(u32, u32)>,
    /// The value's bytes; `None` for a null value.
    pub value: Option<(u32, u32)>,
}

/// Messages of one Kafka partition.
#[derive(Clone, Debug)]
pub struct MessageChunk {
    /// Keys and values, one after another.
    pub data: Arc<Vec<u8>>,
    /// The messages, in order of offset.
    pub records: Vec<Message>,
}

/// Rows that are columns already (Parquet, generators).
#[derive(Clone, Debug)]
pub struct RowChunk {
    /// The columns, by name; their types need not be the declared ones.
    pub batch: RecordBatch,
    /// Position of the first row.
    pub first: u64,
}

/// Records as they were read.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Lines.
    Text(TextChunk),
    /// Kafka messages.
    Messages(MessageChunk),
    /// Columns.
    Rows(RowChunk),
}

impl Payload {
    /// Number of records.
    pub fn records(&self) -> usize {
        match self {
            Self::Text(text) => text.spans.len(),
            Self::Messages(messages) => messages.records.len(),
            Self::Rows(rows) => rows.batch.num_rows(),
        }
    }

    /// About how many bytes the records hold in memory.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.spans.iter().map(|span| (span.end - span.start) as usize).sum(),
            Self::Messages(messages) => messages.data.len(),
            Self::Rows(rows) => rows.batch.get_array_memory_size(),
        }
    }

    /// The original bytes of a rejected record: its line, the value of its message, or its row as JSON; of one that is too large the first `MAX_KEPT`.
    /// `None` if the record is not among these.
    pub fn original(&self, rejected: &Rejected) -> Option<Cow<'_, [u8]>> {
        let offset = rejected.offset;
        let bytes = match self {
            Self::Text(text) => {
                let span = &text.spans[text.spans.binary_search_by_key(&offset, |span| span.offset).ok()?];
                slice(&text.data, (span.start, span.end))
            }
            Self::Messages(messages) => {
                let message = &messages.records[messages.records.binary_search_by_key(&offset, |message| message.offset).ok()?];
                message.value.map_or(&[][..], |range| slice(&messages.data, range))
            }
            Self::Rows(rows) => {
                let row = usize::try_from(offset.checked_sub(rows.first)?).ok().filter(|row| *row < rows.batch.num_rows())?;
                return Some(Cow::Owned(super::row_as_json(&rows.batch, row)));
            }
        };
        let kept = if rejected.reason == Reason::TooLarge { bytes.len().min(MAX_KEPT) } else { bytes.len() };
        Some(Cow::Borrowed(&bytes[..kept]))
    }
}

/// The bytes of a range; empty if it does not lie in `data`.
fn slice(data: &[u8], (start, end): (u32, u32)) -> &[u8] {
    data.get(start as usize..end as usize).unwrap_or(&[])
}

/// Records of one partition, to be decoded.
#[derive(Clone, Debug)]
pub struct RawChunk {
    /// The partition.
    pub partition: PartitionIndex,
    /// Position after the last record: where reading goes on.
    pub end: u64,
    /// The records.
    pub payload: Payload,
}

impl RawChunk {
    /// The records `from..to` as a chunk of their own, which shares what they are read from.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let position = |record: usize| match &self.payload {
            Payload::Text(text) => text.spans.get(record).map(|span| span.offset),
            Payload::Messages(messages) => messages.records.get(record).map(|message| message.offset),
            Payload::Rows(rows) => (record < rows.batch.num_rows()).then_some(rows.first + record as u64),
        };
        let payload = match &self.payload {
            Payload::Text(text) => Payload::Text(TextChunk {
                data: text.data.clone(),
                spans: text.spans[from..to].to_vec(),
                cut: text.cut,
                header: text.header.clone(),
            }),
            Payload::Messages(messages) => {
                Payload::Messages(MessageChunk { data: messages.data.clone(), records: messages.records[from..to].to_vec() })
            }
            Payload::Rows(rows) => Payload::Rows(RowChunk { batch: rows.batch.slice(from, to - from), first: rows.first + from as u64 }),
        };
        Self { partition: self.partition, end: position(to).unwrap_or(self.end), payload }
    }
}

/// Records of one partition, decoded. Vectors "of all records" have one entry per record, used or not, in order of position.
#[derive(Clone, Debug)]
pub struct DecodedChunk {
    /// The partition.
    pub partition: PartitionIndex,
    /// The records that can be used, with exactly the declared columns, in order of position.
    pub rows: RecordBatch,
    /// Event time of each row of `rows`, UTC microseconds.
    pub times: Vec<i64>,
    /// Position of all records (S2.4).
    pub offsets: Vec<u64>,
    /// Size in bytes of all records.
    pub sizes: Vec<u32>,
    /// xxh3 of all records; for Kafka over value, key and timestamp.
    pub digests: Vec<u64>,
    /// Row in `rows` of all records, `u32::MAX` for a rejected one. `None`: nothing was rejected, record i is row i.
    pub row_of: Option<Vec<u32>>,
    /// The records that cannot be used, in order of position.
    pub rejected: Vec<Rejected>,
    /// Position after the last record.
    pub end: u64,
    /// The records as they were read; shared with whoever may have to show them.
    pub raw: Arc<Payload>,
}

impl DecodedChunk {
    /// Number of records, used or not.
    pub fn records(&self) -> usize {
        self.offsets.len()
    }

    /// The row of a record; `None` if it was rejected.
    pub fn row(&self, record: usize) -> Option<usize> {
        match &self.row_of {
            None => (record < self.rows.num_rows()).then_some(record),
            Some(row_of) => row_of.get(record).filter(|row| **row != u32::MAX).map(|row| *row as usize),
        }
    }

    /// Event time of a record; `None` if it was rejected.
    pub fn time(&self, record: usize) -> Option<i64> {
        self.row(record).and_then(|row| self.times.get(row).copied())
    }

    /// The position after a record, from which reading can go on: in text files the end of its line, else the next number.
    pub fn position_after(&self, record: usize) -> u64 {
        let step = match &*self.raw {
            Payload::Text(_) => u64::from(self.sizes[record]),
            Payload::Messages(_) | Payload::Rows(_) => 1,
        };
        self.offsets[record] + step
    }

    /// A record of this chunk that cannot be used after all.
    pub fn reject(&self, source: SourceIndex, record: usize, reason: Reason, detail: String) -> Rejected {
        Rejected {
            source,
            partition: self.partition,
            offset: self.offsets.get(record).copied().unwrap_or(self.end),
            reason,
            detail,
            event_time: self.time(record),
        }
    }
}

/// Why a record cannot be used, before its position and bytes are added.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    /// Reason for quarantine.
    pub reason: Reason,
    /// One line for a person.
    pub detail: String,
    /// Event time, where it could be read.
    pub event_time: Option<i64>,
}

impl Fault {
    /// The bytes are no record of the schema.
    pub fn decode(detail: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason: Reason::Decode, detail: detail.into(), event_time: None })
    }

    /// A value outside its declared range or set.
    pub fn check(detail: impl Into<String>) -> Box<Self> {
        Box::new(Self { reason: Reason::Check, detail: detail.into(), event_time: None })
    }

    /// Longer than `max_record`.
    pub fn too_large(size: u64, limit: usize) -> Box<Self> {
        Box::new(Self {
            reason: Reason::TooLarge,
            detail: format!("the record has {size} bytes, more than max_record = {limit}"),
            event_time: None,
        })
    }
}

/// Gathers what is said about each record while a chunk is decoded.
pub(super) struct Assembly {
    source: SourceIndex,
    partition: PartitionIndex,
    end: u64,
    times: Vec<i64>,
    offsets: Vec<u64>,
    sizes: Vec<u32>,
    digests: Vec<u64>,
    row_of: Option<Vec<u32>>,
    rejected: Vec<Rejected>,
}

impl Assembly {
    /// An assembly for a chunk of `records` records.
    pub fn new(spec: &CodecSpec, chunk: &RawChunk) -> Self {
        let records = chunk.payload.records();
        Self {
            source: spec.source,
            partition: chunk.partition,
            end: chunk.end,
            times: Vec::with_capacity(records),
            offsets: Vec::with_capacity(records),
            sizes: Vec::with_capacity(records),
            digests: Vec::with_capacity(records),
            row_of: None,
            rejected: Vec::new(),
        }
    }

    /// Begins a record.
    #[inline]
    pub fn record(&mut self, offset: u64, size: usize, digest: u64) {
        self.offsets.push(offset);
        self.sizes.push(u32::try_from(size).unwrap_or(u32::MAX));
        self.digests.push(digest);
    }

    /// The record can be used: it is the next row.
    #[inline]
    pub fn used(&mut self, time: i64) {
        if let Some(row_of) = &mut self.row_of {
            row_of.push(self.times.len() as u32);
        }
        self.times.push(time);
    }

    /// All records of the chunk at once, at consecutive positions from `first` on: each can be used.
    pub fn all_used(&mut self, first: u64, digests: Vec<u64>, sizes: Vec<u32>, times: Vec<i64>) {
        self.offsets = (first..first + digests.len() as u64).collect();
        (self.digests, self.sizes, self.times) = (digests, sizes, times);
    }

    /// The record cannot be used.
    #[cold]
    pub fn rejected(&mut self, fault: Fault) {
        let records = self.offsets.len();
        let rows = self.times.len() as u32;
        self.row_of.get_or_insert_with(|| (0..rows).collect()).push(u32::MAX);
        self.rejected.push(Rejected {
            source: self.source,
            partition: self.partition,
            offset: self.offsets.get(records.wrapping_sub(1)).copied().unwrap_or(0),
            reason: fault.reason,
            detail: fault.detail,
            event_time: fault.event_time,
        });
    }

    /// The decoded chunk.
    pub fn finish(self, rows: RecordBatch, raw: Payload) -> DecodedChunk {
        DecodedChunk {
            partition: self.partition,
            rows,
            times: self.times,
            offsets: self.offsets,
            sizes: self.sizes,
            digests: self.digests,
            row_of: self.row_of,
            rejected: self.rejected,
            end: self.end,
            raw: Arc::new(raw),
        }
    }
}

/// The digest of a Kafka message: over the digests of value and key (null differs from empty) and the timestamp.
pub(super) fn message_digest(value: Option<&[u8]>, key: Option<&[u8]>, timestamp: Option<i64>) -> u64 {
    let mut bytes = [0u8; 27];
    bytes[0] = u8::from(value.is_some());
    bytes[1] = u8::from(key.is_some());
    bytes[2] = u8::from(timestamp.is_some());
    bytes[3..11].copy_from_slice(&xxh3_64(value.unwrap_or(&[])).to_le_bytes());
    bytes[11..19].copy_from_slice(&xxh3_64(key.unwrap_or(&[])).to_le_bytes());
    bytes[19..27].copy_from_slice(&timestamp.unwrap_or(0).to_le_bytes());
    xxh3_64(&bytes)
}
