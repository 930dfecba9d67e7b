//! What the quarantine shows of a record (S13.1). Whoever rejects one, wherever in the dataflow, says where it came from and why. Its original bytes stay
//! on the leading worker, where it was read, as long as its epoch is in flight; the quarantine is written there, and a record that is used costs nothing.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StringArray};

use super::relation::{SourceNames, timestamps};
use crate::codecs::Payload;
use crate::data::{Reason, Rejected};
use crate::error::{Error, Result};
use crate::ids::PartitionIndex;
use crate::sinks::UNTIMED;

/// Most bytes of a record that a message about it carries: escaped sixfold it is still below the 1 MB that brokers take unless told otherwise.
const RAW_IN_MESSAGE: usize = 128 << 10;

/// What was read for one epoch, by source: the blocks themselves, shared with the chunks that were decoded from them.
#[derive(Debug, Default)]
pub struct Originals {
    sources: Vec<Vec<(PartitionIndex, Arc<Payload>)>>,
}

impl Originals {
    /// Adds what the next source gave, with the partition of each block.
    pub fn push(&mut self, blocks: Vec<(PartitionIndex, Arc<Payload>)>) {
        self.sources.push(blocks);
    }

    /// The original bytes of a record of this epoch.
    fn of(&self, rejected: &Rejected) -> Result<Cow<'_, [u8]>> {
        let blocks = self.sources.get(usize::from(rejected.source.0)).into_iter().flatten();
        let mut of_partition = blocks.filter(|(partition, _)| *partition == rejected.partition);
        of_partition.find_map(|(_, block)| block.original(rejected)).ok_or_else(|| {
            let (source, partition, offset) = (rejected.source.0, rejected.partition.0, rejected.offset);
            Error::internal(format!("source {source} has no record at position {offset} of partition {partition} in this epoch"))
        })
    }
}

/// A rejected record as the quarantine shows it.
struct Shown<'a> {
    record: &'a Rejected,
    detail: Cow<'a, str>,
    raw: Cow<'a, [u8]>,
}

impl Shown<'_> {
    /// The bytes, if they are text.
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.raw).ok()
    }

    /// Cuts a record that would make its message too large: a message that no broker takes would end every run at the same place.
    fn shorten(&mut self) {
        let size = self.raw.len();
        if size > RAW_IN_MESSAGE {
            // Not inside a character.
            let kept = (RAW_IN_MESSAGE - 3..=RAW_IN_MESSAGE).rev().find(|at| self.raw[*at] & 0xC0 != 0x80).unwrap_or(RAW_IN_MESSAGE);
            self.raw.to_mut().truncate(kept);
            self.detail = format!("{} (the first {kept} of {size} bytes are kept)", self.detail).into();
        }
    }
}

/// The rejected records of an epoch, with their bytes, in canonical order.
pub struct Quarantined<'a> {
    rows: Vec<Shown<'a>>,
}

impl<'a> Quarantined<'a> {
    /// Finds the bytes of `rejected`. `in_messages`: they will be messages, which have an end.
    pub fn new(rejected: &'a [Rejected], originals: &'a Originals, in_messages: bool) -> Result<Self> {
        let shown = |record: &'a Rejected| Ok(Shown { record, detail: record.detail.as_str().into(), raw: originals.of(record)? });
        let mut rows = rejected.iter().map(shown).collect::<Result<Vec<_>>>()?;
        rows.sort_by(|a, b| a.record.order().cmp(&b.record.order()));
        if in_messages {
            rows.iter_mut().for_each(Shown::shorten);
        }
        Ok(Self { rows })
    }

    /// Event times for Kafka. Brokers refuse messages from the future.
    pub fn times(&self) -> Vec<i64> {
        let time = |one: &Rejected| one.event_time.filter(|_| one.reason != Reason::Future).unwrap_or(UNTIMED);
        self.rows.iter().map(|row| time(row.record)).collect()
    }

    /// The columns of `quarantine` (S13.1): source, partition, offset, reason, detail, event_time, raw, raw_base64.
    pub fn columns(&self, names: &SourceNames) -> Vec<ArrayRef> {
        let records = || self.rows.iter().map(|row| row.record);
        vec![
            Arc::new(StringArray::from_iter_values(records().map(|one| names.source(one.source)))),
            Arc::new(StringArray::from_iter_values(records().map(|one| names.partition(one.source, one.partition.0)))),
            Arc::new(Int64Array::from_iter_values(records().map(|one| one.offset as i64))),
            Arc::new(StringArray::from_iter_values(records().map(|one| one.reason.as_str()))),
            Arc::new(StringArray::from_iter_values(self.rows.iter().map(|row| &*row.detail))),
            timestamps(records().map(|one| one.event_time).collect()),
            Arc::new(StringArray::from_iter(self.rows.iter().map(Shown::text))),
            Arc::new(BinaryArray::from_iter(self.rows.iter().map(|row| row.text().is_none().then_some(&row.raw[..])))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codecs::{Span, TextChunk};
    use crate::ids::SourceIndex;
    use arrow::array::{Array, AsArray};

    /// A block with one record at `offset`.
    fn block(offset: u64, bytes: &[u8]) -> Arc<Payload> {
        let spans = vec![Span { offset, start: 0, end: bytes.len() as u32 }];
        Arc::new(Payload::Text(TextChunk { data: Arc::new(bytes.to_vec()), spans, cut: None, header: None }))
    }

    fn rejected(source: u16, partition: u32, offset: u64) -> Rejected {
        let (source, partition) = (SourceIndex(source), PartitionIndex(partition));
        Rejected { source, partition, offset, reason: Reason::Expression, detail: "no".into(), event_time: None }
    }

    #[test]
    fn a_record_is_found_by_source_partition_and_position_and_by_nothing_less() {
        let mut originals = Originals::default();
        let at = |partition: u32, offset: u64, bytes: &[u8]| (PartitionIndex(partition), block(offset, bytes));
        originals.push(vec![at(0, 0, b"a"), at(0, 9, b"b"), at(1, 0, b"c")]);
        originals.push(vec![at(0, 0, b"d")]);
        let found = |one: Rejected| originals.of(&one).ok().map(|raw| raw.into_owned());
        let places = [(0, 0, 0), (0, 0, 9), (0, 1, 0), (1, 0, 0), (0, 1, 9), (0, 2, 0), (1, 1, 0), (2, 0, 0)];
        let bytes = places.map(|(source, partition, offset)| found(rejected(source, partition, offset)));
        assert_eq!(
            bytes.map(|bytes| bytes.map(|bytes| bytes[0])),
            [Some(b'a'), Some(b'b'), Some(b'c'), Some(b'd'), None, None, None, None]
        );
    }

    #[test]
    fn rows_are_in_canonical_order_and_what_no_message_can_hold_is_cut_between_characters() {
        let long = format!("x{}", "ä".repeat(RAW_IN_MESSAGE));
        let mut originals = Originals::default();
        originals.push(vec![(PartitionIndex(0), block(0, long.as_bytes())), (PartitionIndex(0), block(500, b"\xff"))]);
        let records = [rejected(0, 0, 500), Rejected { detail: "never".into(), ..rejected(0, 0, 0) }, rejected(0, 0, 0)];
        for (in_messages, bytes) in [(false, long.len()), (true, RAW_IN_MESSAGE - 1)] {
            let shown = Quarantined::new(&records, &originals, in_messages).unwrap();
            let columns = shown.columns(&SourceNames::default());
            let text = |column: usize, row: usize| columns[column].as_string::<i32>().value(row);
            assert_eq!([0, 1].map(|row| text(6, row)), [&long[..bytes]; 2]);
            assert!(text(4, 0).starts_with("never") && text(4, 1).starts_with("no") && columns[6].is_null(2));
            assert_eq!(text(4, 0).contains(&format!("the first {bytes} of {} bytes", long.len())), in_messages);
            assert_eq!((columns[7].as_binary::<i32>().value(2), columns[7].null_count()), (&b"\xff"[..], 2));
        }
    }
}
