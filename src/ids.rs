//! Names and numbers that cross modules, each with a type of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a component as the pipeline file spells it, e.g. `features.airport`.
///
/// Stable across runs, machines and reorderings of the file: state, metrics, quarantine and progress records use it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComponentId(Arc<str>);

impl ComponentId {
    /// Builds the id of `name` in `family`, e.g. `("models", "late")` gives `models.late`.
    pub fn new(family: &str, name: &str) -> Self {
        Self(format!("{family}.{name}").into())
    }

    /// The whole id, family included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its family.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(_, name)| name)
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of the fixed number of key groups of a pipeline (S6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

/// The global index of a worker: `process * threads + thread`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerIndex(pub u32);

/// The position of a source in the plan: sources are sorted by name, so comparing indices compares names (S3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceIndex(pub u16);

/// The position of a partition within its source: partitions are sorted by name (file sources) or number (Kafka).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionIndex(pub u32);

/// Which shard a key belongs to and which worker owns a shard: the only place that decides either (S6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMap {
    shards: u32,
    workers: u32,
}

impl ShardMap {
    /// A map of `shards` key groups over `workers` workers; both must be at least 1.
    pub fn new(shards: u32, workers: u32) -> Self {
        Self { shards: shards.max(1), workers: workers.max(1) }
    }

    /// The number of shards.
    pub fn shards(&self) -> u32 {
        self.shards
    }

    /// The shard of a key with this hash: `(hash · shards) >> 64`.
    #[inline]
    pub fn shard(&self, hash: u64) -> ShardId {
        ShardId(((u128::from(hash) * u128::from(self.shards)) >> 64) as u16)
    }

    /// The worker that owns `shard`: contiguous ranges, as even as they can be.
    #[inline]
    pub fn worker(&self, shard: ShardId) -> WorkerIndex {
        WorkerIndex(u32::from(shard.0) * self.workers / self.shards)
    }

    /// The worker that owns the key with this hash.
    #[inline]
    pub fn worker_of(&self, hash: u64) -> WorkerIndex {
        self.worker(self.shard(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_the_hash_range_in_order_and_workers_own_contiguous_ranges() {
        let map = ShardMap::new(256, 3);
        assert_eq!(map.shard(0), ShardId(0));
        assert_eq!(map.shard(u64::MAX), ShardId(255));
        let owners: Vec<u32> = (0..256).map(|s| map.worker(ShardId(s)).0).collect();
        assert!(owners.windows(2).all(|w| w[0] <= w[1]));
        for worker in 0..3 {
            let owned = owners.iter().filter(|o| **o == worker).count();
            assert!((85..=86).contains(&owned), "worker {worker} owns {owned} shards");
        }
    }
}
