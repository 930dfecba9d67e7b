//! Where results leave: rows become bytes (pure encoders, on any worker), and bytes become visible (writers, driven by `progress::Committer` alone).
//!
//! An encoder turns the output rows of one sink and epoch, in canonical order (S3.1), into an [`Encoded`]; it holds no state that outlives the
//! call, so any worker may encode any piece and [`merge`] puts the pieces of several workers back into canonical order. A [`Writer`] owns one file
//! sink; nothing it writes counts until the progress record that names it is durable (S14.3). Kafka sinks have no writer: their messages go into the
//! transaction of the epoch.
//!
//! A sink kind is one row in [`REGISTRY`].

mod cells;
mod lines_file;
mod merge;
mod messages;
mod ndjson;
mod packed;
mod parquet_parts;
mod part_file;
mod part_names;
mod rows;
mod text;
mod writer;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use merge::{Piece, Position, merge};
pub use messages::{Message, MessageEncoder, Messages, UNTIMED, murmur2, partition_of};
pub use ndjson::LineEncoder;
pub use parquet_parts::is_single_file;
pub use rows::{PartRows, RowEncoder, output_schema};
pub use writer::{After, PartRecord, SinkOutput, SinkSettings, Target, Writer, check_unclaimed, open_writer};
pub(crate) use {
    cells::{JsonColumn, JsonRows, encodable},
    lines_file::LinesFile,
    parquet_parts::ParquetParts,
    part_file::{ClosedPart, OpenPart, sha256_of},
    part_names::{PartName, folder_of},
    rows::{content_digest, logical_bytes},
    text::{base64, date, decimal, float32, float64, instant, integer, string, string_part},
    writer::{parent_of, remove_file, rename_file, replace_file, shown, sync_folder, sync_folder_of},
};

/// A 64-bit content digest: xxh3, seed 0; in JSON sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u64);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Digest).map_err(serde::de::Error::custom)
    }
}

/// What one sink has for one epoch, encoded: what will be visible, and nothing that names epoch, worker or generation (S13.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Encoded {
    /// NDJSON: the bytes to append, each line with its `\n`; `ends[i]` is the end of line `i` in `bytes`.
    Lines {
        /// The lines.
        #[serde(with = "packed")]
        bytes: Vec<u8>,
        /// Their ends.
        ends: Vec<u32>,
    },
    /// Kafka messages in canonical order.
    Messages(Messages),
    /// Rows for Parquet, by partition value in byte order of the values (null first); within a value in canonical order.
    Rows(Vec<PartRows>),
}

impl Encoded {
    /// Number of rows.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Lines { ends, .. } => ends.len() as u64,
            Self::Messages(messages) => messages.len() as u64,
            Self::Rows(parts) => parts.iter().map(|part| part.rows.0.num_rows() as u64).sum(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Approximate memory in bytes, for bounds on what is in flight.
    pub fn size(&self) -> usize {
        match self {
            Self::Lines { bytes, ends } => bytes.len() + ends.len() * 4,
            Self::Messages(messages) => messages.size(),
            Self::Rows(parts) => {
                parts.iter().map(|part| part.rows.0.columns().iter().map(|c| c.get_array_memory_size()).sum::<usize>()).sum()
            }
        }
    }

    /// Digest of the content: equal rows in equal order give equal digests, however they were batched. Fails for a column type that has no
    /// row format, which `encoder` refuses before.
    pub fn digest(&self) -> Result<Digest, String> {
        match self {
            Self::Lines { bytes, .. } => Ok(Digest(xxh3_64(bytes))),
            Self::Messages(messages) => Ok(messages.digest()),
            Self::Rows(parts) => {
                let mut hasher = Xxh3::new();
                for part in parts {
                    hasher.update(&(part.value.as_ref().map_or(u64::MAX, |value| value.len() as u64)).to_le_bytes());
                    hasher.update(part.value.as_deref().unwrap_or_default().as_bytes());
                    content_digest(&mut hasher, &part.rows.0)?;
                }
                Ok(Digest(hasher.digest()))
            }
        }
    }
}

/// The input of an encoder: the rows of one sink in one epoch (or one worker's piece of them), in canonical order.
#[derive(Clone, Copy, Debug)]
pub struct SinkRows<'a> {
    /// The output columns, in the order of the sink's schema.
    pub columns: &'a RecordBatch,
    /// Event time of each row in UTC microseconds; used by Kafka only, may be empty for the other kinds.
    pub times: &'a [i64],
    /// The kind's own expression per row: `message_key` of Kafka, `partition_by` of Parquet.
    pub by: Option<&'a ArrayRef>,
}

/// What an encoder returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// The bytes or rows.
    pub encoded: Encoded,
    /// NaN and infinities that were written as null (S13.3).
    pub non_finite: u64,
}

/// Rows to bytes. Implementations are pure: the result depends on the rows and the schema only.
pub trait Encoder: Send {
    /// Encodes `rows`; a batch whose columns are not those of the schema is an error.
    fn encode(&mut self, rows: &SinkRows<'_>) -> Result<Encoding, String>;
}

/// Builds an encoder for output columns of this schema; the error says which column cannot be written.
pub type BuildEncoder = fn(&SchemaRef) -> Result<Box<dyn Encoder>, String>;

/// Every sink kind by its name in the pipeline file.
pub const REGISTRY: &[(&str, BuildEncoder)] = &[
    ("file", |schema| Ok(Box::new(LineEncoder::new(schema)?))),
    ("kafka", |schema| Ok(Box::new(MessageEncoder::new(schema)?))),
    ("parquet", |schema| Ok(Box::new(RowEncoder::new(schema)?))),
];

/// The encoder of the sink kind called `kind` for output columns of `schema`.
pub fn encoder(kind: &str, schema: &SchemaRef) -> Result<Box<dyn Encoder>, String> {
    match REGISTRY.iter().find(|(name, _)| *name == kind) {
        Some((_, build)) => build(schema),
        None => Err(format!("there is no sink kind `{kind}`")),
    }
}
