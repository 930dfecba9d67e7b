//! JSON objects to Arrow rows: a fast path that bets on records looking like the one before, and a reference path that is never wrong.
//!
//! The bet follows Li et al., "Mison: A Fast JSON Parser for Data Analytics" (VLDB 2017), in its simplest form: records of one source mostly have the
//! same keys in the same order with the same spacing, so the bytes between two values are compared, not parsed. Whatever the fast path does not expect
//! makes it give up on the record, not decide about it; the reference path over serde_json then decides, and says precisely what is wrong.
//! The law that binds them: where the fast path succeeds, the reference path gives the same row.

mod bytes;
mod fast;
mod number;
mod reference;
mod text;
mod value;

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::data::{DeclaredColumn, DeclaredSchema};
use crate::error::{Error, Result};

use super::{Assembly, Codec, CodecSpec, ColumnBuffer, DecodedChunk, EventTimeFrom, Fault, Payload, RawChunk, RowBuffers, message_digest};

pub(super) use reference::decode_value;

/// Finds declared columns by name.
#[derive(Debug)]
struct Names {
    sorted: Vec<(String, usize)>,
}

impl Names {
    fn new(columns: &[DeclaredColumn]) -> Self {
        let mut sorted: Vec<(String, usize)> = columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect();
        sorted.sort();
        Self { sorted }
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let found = self.sorted.binary_search_by(|(known, _)| known.as_bytes().cmp(name)).ok()?;
        self.sorted.get(found).map(|(_, index)| *index)
    }
}

/// Decodes NDJSON lines and JSON values of Kafka messages.
pub(super) struct JsonCodec {
    spec: Arc<CodecSpec>,
    names: Names,
    fast: fast::Fast,
    rows: RowBuffers,
}

impl JsonCodec {
    pub fn new(spec: Arc<CodecSpec>) -> Self {
        let names = Names::new(&spec.schema.columns);
        let fast = fast::Fast::new(spec.schema.columns.len());
        let rows = RowBuffers::new(&spec.schema.columns);
        Self { spec, names, fast, rows }
    }

    /// Appends the record `data[start..end]` and returns its event time; `message_time` is that of its Kafka message.
    #[inline]
    fn record(&mut self, data: &[u8], (start, end): (usize, usize), message_time: Option<i64>) -> Result<i64, Box<Fault>> {
        if end - start > self.spec.max_record {
            return Err(Fault::too_large((end - start) as u64, self.spec.max_record));
        }
        if self.fast.record(data, (start, end), &self.spec.schema, &self.names, &mut self.rows)
            && let Some(time) = event_time(self.spec.event_time, &self.rows.columns, message_time)
        {
            self.rows.commit();
            return Ok(time);
        }
        self.rows.rollback();
        self.slow(&data[start..end], message_time)
    }

    /// The same over the reference path, which also says what is wrong.
    #[cold]
    fn slow(&mut self, record: &[u8], message_time: Option<i64>) -> Result<i64, Box<Fault>> {
        let mut outcome = reference::record(record, &self.spec.schema, &self.names, self.spec.event_time, &mut self.rows);
        if outcome.is_ok() {
            match event_time(self.spec.event_time, &self.rows.columns, message_time) {
                Some(time) => {
                    self.rows.commit();
                    return Ok(time);
                }
                None => outcome = Err(no_event_time(&self.spec.schema, self.spec.event_time)),
            }
        }
        self.rows.rollback();
        outcome.and(Err(Fault::decode("the record has no event time")))
    }
}

/// The event time of the row just appended.
#[inline]
fn event_time(from: EventTimeFrom, columns: &[ColumnBuffer], message_time: Option<i64>) -> Option<i64> {
    match from {
        EventTimeFrom::Column(column) => columns.get(column).and_then(ColumnBuffer::last_time),
        EventTimeFrom::Message => message_time,
        EventTimeFrom::Nothing => Some(0),
    }
}

/// The fault of a record whose event time is null.
fn no_event_time(schema: &DeclaredSchema, from: EventTimeFrom) -> Box<Fault> {
    match from {
        EventTimeFrom::Column(column) => {
            let name = schema.columns.get(column).map_or("", |column| column.name.as_str());
            Fault::decode(format!("field `{name}`: null, but it is the event time"))
        }
        _ => Fault::decode("the message has no timestamp, which is the event time"),
    }
}

impl Codec for JsonCodec {
    fn decode(&mut self, chunk: RawChunk) -> Result<DecodedChunk> {
        let mut assembly = Assembly::new(&self.spec, &chunk);
        match &chunk.payload {
            Payload::Text(text) => {
                let data: &[u8] = &text.data;
                for span in &text.spans {
                    let (start, end) = (span.start as usize, span.end as usize);
                    let bytes = data.get(start..end).ok_or_else(|| Error::internal("a record lies outside its chunk"))?;
                    if let Some(cut) = text.cut {
                        assembly.record(span.offset, usize::try_from(cut.size).unwrap_or(usize::MAX), cut.digest);
                        assembly.rejected(*Fault::too_large(cut.size, self.spec.max_record));
                        continue;
                    }
                    assembly.record(span.offset, bytes.len(), xxh3_64(bytes));
                    match self.record(data, (start, end), None) {
                        Ok(time) => assembly.used(time),
                        Err(fault) => assembly.rejected(*fault),
                    }
                }
            }
            Payload::Messages(messages) => {
                let data: &[u8] = &messages.data;
                for message in &messages.records {
                    let bytes = |(start, end): (u32, u32)| data.get(start as usize..end as usize);
                    let (key, value) = (message.key.and_then(bytes), message.value.and_then(bytes));
                    let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                    assembly.record(message.offset, size, message_digest(value, key, message.timestamp));
                    let outcome = match message.value {
                        Some((start, end)) if end > start => self.record(data, (start as usize, end as usize), message.timestamp),
                        Some(_) => Err(Fault::decode("the message's value is empty")),
                        None => Err(Fault::decode("the message's value is null (a tombstone)")),
                    };
                    match outcome {
                        Ok(time) => assembly.used(time),
                        Err(mut fault) => {
                            if self.spec.event_time == EventTimeFrom::Message {
                                fault.event_time = message.timestamp;
                            }
                            assembly.rejected(*fault);
                        }
                    }
                }
            }
            Payload::Rows(_) => return Err(Error::internal("columns were handed to the JSON codec")),
        }
        let rows = self
            .rows
            .finish(&self.spec.arrow)
            .map_err(|error| Error::internal(format!("decoded JSON columns do not fit together: {error}")))?;
        Ok(assembly.finish(rows, chunk.payload))
    }
}

#[cfg(test)]
mod tests;
