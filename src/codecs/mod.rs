//! Codecs: from the bytes of a source to Arrow rows of the declared schema, record by record, never failing on what the bytes say (S5).
//!
//! A codec gets a `RawChunk` (records of one partition, in order of position) and gives a `DecodedChunk`: the rows that could be used, and one `Rejected`
//! with position and reason for each record that could not; the original bytes of all of them stay with the chunk. Rows in = rows used + rows rejected,
//! always. Every record, used or not, has its xxh3 digest, which does not depend on how the input was cut into chunks, so progress records can prove
//! that a replay read the same bytes.
//!
//! Adding a codec is one new file and its row in `REGISTRY`.

mod chunk;
mod columns;
mod csv;
mod json;
mod row_digest;
mod rows;
mod values;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::config::declaration::Format;
use crate::data::DeclaredSchema;
use crate::error::{Error, Result};
use crate::ids::SourceIndex;

pub use chunk::{CsvHeader, Cut, DecodedChunk, MAX_KEPT, Message, MessageChunk, Payload, RawChunk, RowChunk, Span, TextChunk};
pub use columns::check_types;
pub use values::type_name;

use chunk::{Assembly, Fault, message_digest};
use columns::row_as_json;
use json::decode_value;
use row_digest::{RowDigests, digest_rows};
use rows::{ColumnBuffer, RowBuffers, Values};
use values::{
    NumberFault, base64, bounds_in_words, date, decimal, decimal_as_float, float32, float64, in_bounds, integer, is_allowed, timestamp,
    timestamp_number,
};

/// Where the event time of a record comes from (S2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTimeFrom {
    /// A declared column of type timestamp, date, or int64 (microseconds).
    Column(usize),
    /// The timestamp of the Kafka record.
    Message,
    /// There is none (tables): every time is 0.
    Nothing,
}

/// What a codec has to know about its source. Shared by the codecs of all decoding threads.
#[derive(Clone, Debug)]
pub struct CodecSpec {
    /// Index of the source, for `Rejected`.
    pub source: SourceIndex,
    /// The declared schema.
    pub schema: DeclaredSchema,
    /// Its Arrow schema.
    pub arrow: SchemaRef,
    /// Where event time comes from.
    pub event_time: EventTimeFrom,
    /// Longest record in bytes (S5.2).
    pub max_record: usize,
}

impl CodecSpec {
    /// A specification; the Arrow schema follows from the declared one.
    pub fn new(source: SourceIndex, schema: DeclaredSchema, event_time: EventTimeFrom, max_record: usize) -> Arc<Self> {
        let arrow = schema.arrow();
        Arc::new(Self { source, schema, arrow, event_time, max_record })
    }
}

/// Decodes the chunks of one source. Speculative state (such as the key order last seen) never changes a result, only its speed, so any number of
/// codecs over one specification give the same rows for the same chunk.
pub trait Codec: Send {
    /// Decodes all records of `chunk`. `Err` only for a broken invariant of the engine, never for what the bytes say.
    fn decode(&mut self, chunk: RawChunk) -> Result<DecodedChunk>;
}

/// Builds a codec for a specification.
pub type BuildCodec = fn(Arc<CodecSpec>) -> Box<dyn Codec>;

/// Every codec, by name.
pub const REGISTRY: &[(&str, BuildCodec)] = &[
    ("columns", |spec| Box::new(columns::ColumnsCodec::new(spec))),
    ("csv", |spec| Box::new(csv::CsvCodec::new(spec))),
    ("json", |spec| Box::new(json::JsonCodec::new(spec))),
];

/// The codec that reads `format`.
pub fn codec_of(format: Format) -> &'static str {
    match format {
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Parquet => "columns",
    }
}

/// Builds the codec called `name`.
pub fn build(name: &str, spec: Arc<CodecSpec>) -> Result<Box<dyn Codec>> {
    match REGISTRY.iter().find(|(known, _)| *known == name) {
        Some((_, build)) => Ok(build(spec)),
        None => Err(Error::internal(format!("there is no codec called `{name}`"))),
    }
}

#[cfg(test)]
mod laws;
