//! Keyed state, in one place (S15): which keys there are, where their words lie, what is snapshot and restored, and who is evicted.
//!
//! [`ViewState`] is the state of one view: per shard a hash table from key bytes to a slot and three arenas of blocks, for the heads of the keys, for
//! their records and for what else grows. A record of a known key allocates nothing unless its records need a larger extent. Freezing shares the blocks: what is written
//! afterwards is copied block by block, so a checkpoint costs the hot path no more than the blocks it touches while the checkpoint is being written.

mod shard;
mod table;
mod view;

#[cfg(test)]
mod fresh;
#[cfg(test)]
mod laws;

pub use view::{FrozenPart, FrozenView, ViewCounts, ViewState};
