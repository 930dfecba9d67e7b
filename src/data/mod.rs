//! What flows: typed columns, keys, feature rows and the records that cannot be used. What stays: blocks of words that can be frozen.

mod append;
mod arena;
mod batch;
mod exchange;
mod feature_rows;
mod hex;
mod key;
mod prefetch;
mod quarantine;
mod schema;

pub use append::{append_part, append_short};
pub use arena::{Address, Arena, BLOCK_WORDS, FrozenArena, Outline};
pub use batch::{EventBatch, OFFSET_COLUMN, PARTITION_COLUMN, TIME_COLUMN};
pub use exchange::{Addressed, Columns};
pub use feature_rows::{Cell, CellType, FeatureRows};
pub use hex::{hex, sha256_from_hex};
pub use key::{KeyColumn, hash_key};
pub use prefetch::prefetch;
pub use quarantine::{Reason, Rejected};
pub use schema::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit, timestamp_type};
