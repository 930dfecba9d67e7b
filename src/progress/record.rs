//! The progress record P(e): everything that is not a function of the input bytes and the plan, written down once (S1.1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::checkpoint::Named;
use crate::data::Reason;
use crate::sinks::{Digest, SinkOutput};
use crate::time::{Epoch, EventTime};

/// The engine's version of the rules: raised when any output bit changes for equal input (S1.1), or what progress records say of it.
/// 2: the digests of rows that come as columns (Parquet, generators); a byte order mark before a CSV record is always part of it.
pub const SEMANTICS_VERSION: u32 = 2;

/// P(e). `pipeline`, `fingerprint`, `semantics`, `generation` and `outputs` are filled in by the committer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressRecord {
    /// `[pipeline] name`
    pub pipeline: String,
    /// Of the plan (S1.3), hexadecimal.
    pub fingerprint: String,
    /// `SEMANTICS_VERSION` of the engine that committed the epoch.
    pub semantics: u32,
    /// Which start of the pipeline committed it.
    pub generation: u64,
    /// The epoch.
    pub epoch: Epoch,
    /// What it is made of, by source name.
    pub sources: BTreeMap<String, SourceProgress>,
    /// W(e) of the pipeline (S4.1).
    pub watermark: EventTime,
    /// The wall clock when the epoch was cut: the bound of `future` records (S4.2). `EventTime::MIN` for bounded pipelines, which never ask it.
    pub now: EventTime,
    /// Counts of the epoch, by name, e.g. `learn_skipped`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// Quarantined records of the epoch, by source name and reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantined: BTreeMap<String, BTreeMap<Reason, u64>>,
    /// Control events of the epoch (degradations, activations: S11.2), in the order in which they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<serde_json::Value>,
    /// Device kind and instruction set that networks ran on (S11.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What came out, by sink (`sinks.NAME`); sinks without rows in the epoch are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, SinkOutput>,
    /// A checkpoint may be taken after this epoch: open Parquet parts close with it, whether one is or not (S14.3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checkpoint: bool,
    /// The newest checkpoint that is in the store (S15): from this record on it is real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_checkpoint: Option<Named>,
    /// No epoch follows: all sources are bounded and exhausted (S4.3).
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
}

impl ProgressRecord {
    /// A record of `epoch` without sources, counts or outputs; watermark and clock at −∞.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            pipeline: String::new(),
            fingerprint: String::new(),
            semantics: SEMANTICS_VERSION,
            generation: 0,
            epoch,
            sources: BTreeMap::new(),
            watermark: EventTime::MIN,
            now: EventTime::MIN,
            counters: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            control: Vec::new(),
            device: None,
            outputs: BTreeMap::new(),
            checkpoint: false,
            newest_checkpoint: None,
            last: false,
        }
    }
}

/// One source in one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceProgress {
    /// Bindings by partition name; partitions without records in the epoch may be left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<String, Binding>,
    /// W(e) of the source (S4.1).
    pub watermark: EventTime,
    /// Partitions that hold the watermark back no more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub idle: BTreeSet<String>,
}

/// The records of one partition in one epoch: `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Offset of the first record (S2.4).
    pub start: u64,
    /// Offset after the last record.
    pub end: u64,
    /// Records, quarantined ones included.
    pub rows: u64,
    /// Digest of the records' bytes in offset order.
    pub xxh3: Digest,
    /// Greatest event time bound in epochs ≤ this one; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time: Option<EventTime>,
}

/// The start of a generation: who commits from here on. First entry of every log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRecord {
    /// `[pipeline] name`
    pub pipeline: String,
    /// Of the plan (S1.3).
    pub fingerprint: String,
    /// Of the engine.
    pub semantics: u32,
    /// One more than the generation before.
    pub generation: u64,
    /// Kind and place of each sink (`Target::describe`), by `sinks.NAME`.
    pub sinks: BTreeMap<String, String>,
    /// Fingerprint of each component, so that a refusal can name what has changed; empty in logs of earlier versions.
    #[serde(default)]
    pub components: BTreeMap<String, String>,
}

/// Checks that `records` are a gap-free chain (recovery-protocol I1): epochs 1, 2, 3, …; every partition goes on where it ended; generations never go
/// down; nothing follows the final record. The error names the first epoch that does not fit.
pub fn check_chain(records: &[ProgressRecord]) -> Result<(), String> {
    let mut ends: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut before: Option<&ProgressRecord> = None;
    for record in records {
        let wanted = before.map_or(Epoch::FIRST, |before| before.epoch.next());
        if record.epoch != wanted {
            return Err(format!("epoch {} where epoch {wanted} belongs", record.epoch));
        }
        if let Some(before) = before {
            if before.last {
                return Err(format!("epoch {} after the final epoch", record.epoch));
            }
            if record.generation < before.generation {
                return Err(format!("epoch {} is of generation {}, after {}", record.epoch, record.generation, before.generation));
            }
        }
        for (source, progress) in &record.sources {
            for (partition, binding) in &progress.partitions {
                let end = ends.entry((source, partition)).or_insert(binding.start);
                if *end != binding.start || binding.end < binding.start {
                    return Err(format!(
                        "epoch {} binds {source} {partition} from {} to {}, after {end}",
                        record.epoch, binding.start, binding.end
                    ));
                }
                *end = binding.end;
            }
        }
        before = Some(record);
    }
    Ok(())
}
