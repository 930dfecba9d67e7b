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

/// Records between two places for checkpoints, where places must follow from the input: as many as a Parquet part has at most unless the pipeline says
/// otherwise, so that few parts close early.
const SPACING: u64 = 1_000_000;

/// Where checkpoints have a place, and when one is taken there.
///
/// Parquet parts close at every place (S14.3), so places are in P(e). Where epochs are cut by time anyway, or no part can close, a place is where a
/// checkpoint is taken. Where epochs follow from the input alone, so must the parts: there a place comes after so many records, whether a checkpoint
/// is taken or not.
pub struct Schedule {
    every: Option<Duration>,
    closes_parts: bool,
    /// Since the last place.
    records: u64,
    taken: Instant,
    writing: Arc<AtomicBool>,
}

impl Schedule {
    /// Takes one every so often, none if `None`, and none while `writing`, which whoever has written it clears. `closes_parts`: a sink has parts that close.
    pub fn new(every: Option<Duration>, closes_parts: bool, writing: Arc<AtomicBool>) -> Self {
        Self { every, closes_parts, records: 0, taken: clock::now(), writing }
    }

    /// Whether there is a place after an epoch of so many records; `by_input`: its end follows from the input alone.
    pub fn has_place(&mut self, records: u64, by_input: bool) -> bool {
        self.records += records;
        let place = match by_input && self.closes_parts && self.every != Some(Duration::ZERO) {
            true => self.records >= SPACING,
            false => self.is_due(),
        };
        if place {
            self.records = 0;
        }
        place
    }

    /// The same of an epoch that is replayed, or bound: its record says it.
    pub fn recall(&mut self, records: u64, place: bool) {
        self.records = if place { 0 } else { self.records + records };
    }

    /// Whether a checkpoint is taken at a place; then one is being written from now on.
    pub fn takes(&mut self) -> bool {
        let takes = self.is_due();
        if takes {
            self.writing.store(true, Ordering::Release);
            self.taken = clock::now();
        }
        takes
    }

    fn is_due(&self) -> bool {
        self.every.is_some_and(|every| clock::now().duration_since(self.taken) >= every) && !self.writing.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// After which of `epochs` there is a place, with the clock as slow or as fast as it can be.
    fn places(every: Option<Duration>, closes_parts: bool, by_input: bool, epochs: &[u64]) -> Vec<usize> {
        let mut schedule = Schedule::new(every, closes_parts, Arc::default());
        let places = epochs.iter().enumerate().filter(|(_, records)| schedule.has_place(**records, by_input));
        places.map(|(at, _)| at).collect()
    }

    #[test]
    fn where_epochs_and_parts_follow_from_the_input_so_do_places_whatever_the_clock_says() {
        let epochs = [400_000, 600_000, 999_999, 1, 0, 2_000_000, 1_000_000];
        let wanted = vec![1, 3, 5, 6];
        for every in [None, Some(Duration::from_secs(3600)), Some(Duration::from_nanos(1))] {
            assert_eq!(places(every, true, true, &epochs), wanted, "{every:?}");
        }
        assert_eq!(places(Some(Duration::ZERO), true, true, &epochs).len(), epochs.len(), "as often as can be");
        for (closes_parts, by_input) in [(false, true), (true, false)] {
            assert!(places(None, closes_parts, by_input, &epochs).is_empty());
            assert_eq!(places(Some(Duration::ZERO), closes_parts, by_input, &epochs).len(), epochs.len());
        }
    }

    #[test]
    fn a_replayed_run_counts_on_and_nothing_is_taken_while_one_is_written() {
        let writing = Arc::new(AtomicBool::new(false));
        let mut schedule = Schedule::new(Some(Duration::from_nanos(1)), true, writing.clone());
        schedule.recall(700_000, true);
        schedule.recall(600_000, false);
        assert!(schedule.has_place(400_000, true));
        assert!(schedule.takes() && !schedule.takes(), "one is being written");
        assert!(!schedule.has_place(1, false) && schedule.has_place(1_000_000, true), "places by input do not wait for it");
        writing.store(false, Ordering::Release);
        assert!(schedule.takes());
        assert!(!Schedule::new(None, true, Arc::default()).takes());
    }
}
