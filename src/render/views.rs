//! Views: updates and probes of an epoch, merged in canonical order, through the pure core (S8.4).

use std::sync::Arc;

use arrow::array::{Array, AsArray};

use super::packet::{FeatureBlock, Packet, ProbeSet, Reader, Report, UpdateSet, ViewInput};
use super::routes::Routes;
use super::streams::certain;
use crate::checkpoint::{Block, Piece, PieceName};
use crate::data::{CellType, FeatureRows};
use crate::dataflow::Outbox;
use crate::error::{Error, Exit, Result};
use crate::features::{Argument, Updates};
use crate::plan::Plan;
use crate::state::{FrozenPart, FrozenView, ViewState};
use crate::time::Epoch;

/// The logic of one view on one worker: the keys of the shards that this worker owns.
pub struct View {
    plan: Arc<Plan>,
    view: usize,
    routes: Routes,
    state: ViewState,
    cells: Vec<CellType>,
}

/// A reader's block being filled.
struct Filling {
    reader: Reader,
    rows: Vec<u32>,
    features: FeatureRows,
}

impl View {
    /// The logic for the view at position `view` of the plan.
    pub fn new(plan: Arc<Plan>, view: usize, routes: Routes) -> Self {
        let state = ViewState::new(plan.views[view].spec.clone(), routes.shards());
        let cells = plan.views[view].features.iter().map(|feature| feature.cell).collect();
        Self { plan, view, routes, state, cells }
    }

    /// Number of outputs: one per model, then one for the sinks, then one to the committer.
    pub fn outputs(plan: &Plan) -> usize {
        plan.models.len() + 2
    }

    /// Applies a closed epoch.
    pub fn close(&mut self, _epoch: Epoch, mut parcels: Vec<Packet>, outbox: &mut Outbox<Packet>) -> Result<()> {
        for piece in Packet::take_restored(&mut parcels) {
            let shard = piece.name.shard.unwrap_or_default();
            self.state.thaw(shard, piece.version, &piece.bytes()).map_err(|reason| not_restored(&piece, &reason))?;
        }
        for parcel in parcels {
            let Packet::View(input) = parcel else {
                return Err(Error::internal("a view got something other than updates and probes"));
            };
            for filled in self.apply(&input) {
                self.send(filled, outbox);
            }
            self.state.advance(input.watermark);
            if input.checkpoint {
                let state = view_pieces(self.plan.views[self.view].id.as_str(), self.state.freeze());
                outbox.send(self.plan.models.len() + 1, self.routes.leader(), Packet::State(state));
            }
            if input.closing {
                self.report(outbox);
            }
        }
        Ok(())
    }

    fn apply(&mut self, input: &ViewInput) -> Vec<Filling> {
        let width = self.cells.len();
        let updates = pure_updates(&input.updates, self.plan.views[self.view].arguments.len());
        let mut own: Vec<Filling> = Vec::with_capacity(input.updates.own.len());
        for reader in &input.updates.own {
            let rows: Vec<u32> = match &reader.row_of {
                None => input.updates.rows.clone(),
                Some(row_of) => input.updates.rows.iter().map(|row| row_of[*row as usize]).filter(|row| *row != u32::MAX).collect(),
            };
            let features = FeatureRows::nulls(rows.len(), width);
            own.push(Filling { reader: reader.reader, rows, features });
        }
        let mut probed: Vec<Filling> = input
            .probes
            .iter()
            .map(|set| Filling { reader: set.reader, rows: set.rows.clone(), features: FeatureRows::nulls(set.rows.len(), width) })
            .collect();
        let mut next = vec![0usize; input.probes.len()];
        let mut filled = vec![0usize; own.len()];
        for (nth, row) in input.updates.rows.iter().enumerate() {
            let row = *row as usize;
            if nth % ViewState::AHEAD == 0 {
                let next = &input.updates.rows[nth..input.updates.rows.len().min(nth + ViewState::AHEAD)];
                self.state.look_ahead(&input.updates.keys, next);
            }
            if !input.probes.is_empty() {
                let position = input.updates.positions.get(row);
                for (set, (cursor, filling)) in input.probes.iter().zip(next.iter_mut().zip(&mut probed)) {
                    while let Some(probe) = set.rows.get(*cursor).filter(|probe| precedes(set, **probe as usize, position)) {
                        self.state.probe(&set.keys, *probe as usize, set.positions.times[*probe as usize], &mut filling.features, *cursor);
                        *cursor += 1;
                    }
                }
            }
            self.update(input, nth, &updates, &mut own, &mut filled);
        }
        for (set, (cursor, filling)) in input.probes.iter().zip(next.iter_mut().zip(&mut probed)) {
            while let Some(probe) = set.rows.get(*cursor) {
                self.state.probe(&set.keys, *probe as usize, set.positions.times[*probe as usize], &mut filling.features, *cursor);
                *cursor += 1;
            }
        }
        own.extend(probed);
        own
    }

    /// Applies update `nth` and writes its feature row for each reader that asks for it.
    fn update(&mut self, input: &ViewInput, nth: usize, updates: &Updates, own: &mut [Filling], filled: &mut [usize]) {
        let (row, announced) = (input.updates.rows[nth] as usize, Some(nth % ViewState::AHEAD));
        let asks = |reader: usize| input.updates.own[reader].row_of.as_ref().is_none_or(|row_of| row_of[row] != u32::MAX);
        let Some(first) = (0..own.len()).find(|reader| asks(*reader)) else {
            self.state.update(&input.updates.keys, row, updates, announced, None);
            return;
        };
        let at = filled[first];
        self.state.update(&input.updates.keys, row, updates, announced, Some((&mut own[first].features, at)));
        filled[first] += 1;
        let (read, others) = own.split_at_mut(first + 1);
        for (other, (filling, filled)) in others.iter_mut().zip(&mut filled[first + 1..]).enumerate() {
            if asks(first + 1 + other) {
                filling.features.copy_row(*filled, &read[first].features, at, &self.cells);
                *filled += 1;
            }
        }
    }

    fn send(&self, filled: Filling, outbox: &mut Outbox<Packet>) {
        if filled.rows.is_empty() {
            return;
        }
        let (output, to) = match filled.reader {
            Reader::Model { model, .. } => (model, self.routes.model(model)),
            Reader::Sink(sink) => (self.plan.models.len(), self.routes.sink(sink)),
        };
        let block = FeatureBlock { view: self.view, reader: filled.reader, rows: filled.rows, features: filled.features };
        outbox.send(output, to, Packet::Features(block));
    }

    fn report(&self, outbox: &mut Outbox<Packet>) {
        let counts = self.state.counts();
        let json = serde_json::json!({
            "keys": counts.keys, "records": counts.records, "evicted_keys": counts.evicted_keys,
            "dropped_records": counts.dropped_records, "null_entities": counts.null_entities, "bytes": self.state.bytes(),
        });
        let component = self.plan.views[self.view].id.to_string();
        let report = Report { component, json: json.to_string(), files: Vec::new() };
        outbox.send(self.plan.models.len() + 1, self.routes.leader(), Packet::Report(report));
    }
}

/// The state of a view, shard by shard, as a checkpoint has it; blocks are shared.
pub fn view_pieces(component: &str, state: FrozenView) -> Vec<Piece> {
    let piece = |part: FrozenPart| {
        let words = part.words.into_iter().map(Block::Words);
        let blocks = [Block::Bytes(Arc::new(part.outline))].into_iter().chain(words).collect();
        let name = PieceName { component: component.to_string(), shard: Some(part.shard) };
        Piece { name, version: ViewState::VERSION, blocks }
    };
    state.shards.into_iter().map(piece).collect()
}

/// State of a checkpoint that this build cannot go on with.
pub fn not_restored(piece: &Piece, reason: &str) -> Error {
    Error::new(
        Exit::Data,
        format!("the state of {} in the checkpoint cannot be read: {reason}", piece.name),
        "use the version of Tidemill that wrote it, or start over with --fresh",
    )
}

/// Whether a probe comes before the update at `position`: by position within the view's own stream, else strictly earlier event time (S8.4).
#[inline]
fn precedes(set: &ProbeSet, probe: usize, position: (i64, u32, u64)) -> bool {
    if set.own_stream { set.positions.get(probe) < position } else { set.positions.times[probe] < position.0 }
}

/// The columns of an epoch's updates as the pure core takes them.
fn pure_updates(set: &UpdateSet, arguments: usize) -> Updates {
    let columns = set.columns.0.columns();
    let taken = columns[..arguments].iter().map(Argument::from).collect();
    let filters = columns[arguments..].iter().map(|column| certain(column.as_boolean()).values().clone()).collect();
    debug_assert!(columns.iter().all(|column| column.len() == set.positions.times.len()));
    Updates { times: set.positions.times.clone().into(), arguments: taken, filters }
}
