//! The unit of consistency.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The unit of consistency and the only timestamp of the dataflow: dense, from 1 (S2). 0 is "before the first".
///
/// Inside timely the bare `u64` is the timestamp; everything else speaks of `Epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The first epoch that can hold records.
    pub const FIRST: Epoch = Epoch(1);

    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
