//! Keyed state, in one place (S15): which keys there are, where their words lie, what is snapshot and restored, and who is evicted.
//!
//! [`ViewState`] is the state of one view: per shard a hash table from key bytes to a slot, the fixed words of all slots in one vector, one ring of
//! records per slot. A record of a known key allocates nothing unless a ring grows. Everything that a snapshot holds is little-endian words without pointers,
//! so that blocks can replace the vectors without a change to the layout of their contents.

mod shard;
mod view;

#[cfg(test)]
mod laws;

pub use view::{ViewCounts, ViewState};
