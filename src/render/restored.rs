//! Checkpoints as the leading worker sees them: when one is due, what the sources hand in, and what a run goes on from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::reading::{Reading, SourceState};
use super::views::not_restored;
use crate::checkpoint::{Block, Piece, PieceName};
use crate::error::{Error, Result};
use crate::ids::{ComponentId, PartitionIndex};
use crate::plan::{Plan, SourcePlan};
use crate::progress::ProgressRecord;
use crate::time::clock;

/// Version of the layout of a source's state.
const VERSION: u32 = 1;

/// When the state after an epoch is wanted: so long after it was wanted last, and never while the one before is still being written.
pub struct Schedule {
    every: Option<Duration>,
    last: Instant,
    writing: Arc<AtomicBool>,
}

impl Schedule {
    /// Every so often, never if `None`. Whoever has written a checkpoint clears `writing`.
    pub fn new(every: Option<Duration>, writing: Arc<AtomicBool>) -> Self {
        Self { every, last: clock::now(), writing }
    }

    /// Whether state is ever wanted.
    pub fn is_on(&self) -> bool {
        self.every.is_some()
    }

    /// Whether the epoch that closes now is to be followed by a checkpoint; then one is being written from now on.
    pub fn is_due(&mut self) -> bool {
        let due =
            self.every.is_some_and(|every| clock::now().duration_since(self.last) >= every) && !self.writing.swap(true, Ordering::AcqRel);
        if due {
            self.last = clock::now();
        }
        due
    }
}

/// A checkpoint that was read.
pub struct Restored {
    /// The record of its epoch.
    pub record: ProgressRecord,
    /// All state.
    pub pieces: Vec<Piece>,
}

impl Restored {
    /// Where reading goes on: by source and partition.
    pub fn positions(&self, plan: &Plan) -> Result<BTreeMap<String, Vec<(PartitionIndex, u64)>>> {
        let of_source = |source: &SourcePlan| {
            let starts = self.source(&source.id)?.starts;
            let starts = starts.into_iter().map(|(partition, start)| (PartitionIndex(partition), start)).collect();
            Ok((source.id.name().to_string(), starts))
        };
        plan.sources.iter().map(of_source).collect()
    }

    /// The state of a source.
    pub fn source(&self, id: &ComponentId) -> Result<SourceState> {
        let piece = self.pieces.iter().find(|piece| piece.name.component == id.as_str());
        let piece = piece.ok_or_else(|| Error::internal(format!("the checkpoint has no state of {id}")))?;
        let state = piece.of_version(VERSION).and_then(|blocks| {
            let [state] = &blocks[..] else { return Err("it is cut short".to_string()) };
            serde_json::from_slice(state).map_err(|error| error.to_string())
        });
        state.map_err(|reason| not_restored(piece, &reason))
    }
}

/// The state of a source after a closed epoch.
pub fn source_piece(source: &Reading) -> Result<Piece> {
    let component = source.plan.id.to_string();
    let state = serde_json::to_vec(&source.state()).map_err(|error| Error::internal(format!("{component} has no snapshot: {error}")))?;
    Ok(Piece { name: PieceName { component, shard: None }, version: VERSION, blocks: vec![Block::Bytes(Arc::new(state))] })
}
