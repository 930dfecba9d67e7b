//! Checkpoints: the state of a pipeline after an epoch, in immutable objects that a committed progress record names.
//!
//! A checkpoint is a set of [`Piece`]s, one per stateful component, or per component and shard (S15). A piece is a list of blocks. Blocks are stored once
//! by content: what has not changed since the checkpoint before is not written again, and is found unchanged without reading it if its memory is still
//! the same.
//!
//! ```text
//! 000000000120-9f2c41d07a55e113.segment    new blocks, one behind the other, at most 64 MiB
//! 000000000120-41c09be2f0d7aa01.manifest   every piece's blocks: sha256, segment, place; JSON
//! ```
//!
//! The progress record holds the manifest's sha256, the manifest that of every block: whatever was damaged, cut off, exchanged or left behind by a crash is
//! found, and never believed. Objects are written before the record that names them, so a crash leaves only objects that nothing names; [`sweep`] says
//! which those are. A segment that is mostly garbage is emptied by writing the rest of it again with the next checkpoint, from memory.
//!
//! Incremental checkpoints of immutable, content-named files are RocksDB's and Flink's; that nothing but the commit of a record makes them real is what
//! keeps one commit point (recovery-protocol: Arroyo and Flink have two, and lose data between them).

mod folder;
#[cfg(test)]
mod law_tests;
mod manifest;
mod piece;
mod read;
mod store;
mod sweep;
mod write;

pub use folder::Folder;
pub use manifest::{BlockRef, Manifest, Named, Origin, PieceRef};
pub use piece::{Block, Piece, PieceName};
pub use read::{read_manifest, read_pieces};
pub use store::Store;
pub use sweep::sweep;
pub use write::{Writer, Written};
