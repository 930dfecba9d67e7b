//! Records that cannot be used: never dropped silently, never fatal (S5.3, S13.1).

use serde::{Deserialize, Serialize};

use crate::ids::{PartitionIndex, SourceIndex};

/// Why a record is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The bytes are no record of the declared schema (S5.2).
    Decode,
    /// Longer than `max_record` (S5.2).
    TooLarge,
    /// A value outside its declared range or set.
    Check,
    /// Older than the bound it had to meet (S4.2).
    Late,
    /// Further in the future than `ahead` (S4.2).
    Future,
    /// A repeated identity within `dedup` (S2.5).
    Duplicate,
    /// An expression over the record failed (S9.1).
    Expression,
    /// A second label for a record that has one (S10.5).
    LabelDuplicate,
}

impl Reason {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::Check => "check",
            Self::Late => "late",
            Self::Future => "future",
            Self::Duplicate => "duplicate",
            Self::Expression => "expression",
            Self::LabelDuplicate => "label_duplicate",
        }
    }
}

/// A record that cannot be used: its position and the reason. Its original bytes stay where it was read, and are found there by the position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it came from.
    pub source: SourceIndex,
    /// Which partition.
    pub partition: PartitionIndex,
    /// Position in the partition (S2.4).
    pub offset: u64,
    /// Why.
    pub reason: Reason,
    /// What exactly is wrong, for a person: one line, with the position inside the record where there is one.
    pub detail: String,
    /// Its event time in UTC microseconds, where it could be read.
    pub event_time: Option<i64>,
}

impl Rejected {
    /// The canonical order of quarantine records within an epoch: (source, partition, offset, reason), and the detail where one record is rejected by
    /// several models for one reason.
    pub fn order(&self) -> (SourceIndex, PartitionIndex, u64, Reason, &str) {
        (self.source, self.partition, self.offset, self.reason, &self.detail)
    }
}
