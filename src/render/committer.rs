//! The last operator: gathers what an epoch makes visible and hands it to the commit thread, in epoch order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::ingest::{Minted, MintedEpoch};
use super::packet::{Packet, Pulse, Report};
use crate::checkpoint::Piece;
use crate::data::Reason;
use crate::error::{Error, Result};
use crate::ids::SourceIndex;
use crate::plan::Plan;
use crate::progress::EpochOutputs;
use crate::sinks::Encoded;
use crate::time::{Epoch, EventTime, clock};

/// What the commit thread is told.
pub enum RunEvent {
    /// An epoch is complete.
    Epoch(Box<EpochReport>),
    /// The closing round: each component's part of the summary. Nothing follows.
    Closed(Vec<Report>),
}

/// A complete epoch.
pub struct EpochReport {
    /// What becomes visible.
    pub outputs: EpochOutputs,
    /// Figures for the progress line.
    pub pulses: Vec<Pulse>,
    /// When it left the dataflow.
    pub closed_at: Instant,
    /// All state after it, where it is wanted.
    pub state: Option<Vec<Piece>>,
}

/// The way to the commit thread. Unbounded: epochs in flight are bounded where they are minted.
pub type CommitPort = Sender<RunEvent>;

/// The operator's logic; without a port on every worker but the leading one.
pub struct Gather {
    plan: Arc<Plan>,
    minted: Minted,
    port: Option<CommitPort>,
}

impl Gather {
    /// The logic for `plan`.
    pub fn new(plan: Arc<Plan>, minted: Minted, port: Option<CommitPort>) -> Self {
        Self { plan, minted, port }
    }

    /// Hands over a closed epoch.
    pub fn close(&mut self, epoch: Epoch, parcels: Vec<Packet>) -> Result<()> {
        let mut outputs = BTreeMap::new();
        let mut pulses = Vec::new();
        let mut reports = Vec::new();
        let mut closes = false;
        let mut failed: Vec<(SourceIndex, u64)> = Vec::new();
        let mut non_finite = 0;
        let mut pieces = Vec::new();
        for parcel in parcels {
            match parcel {
                Packet::Minted { closing } => closes = closing,
                Packet::Encoded(mut output) => {
                    non_finite += output.non_finite;
                    if let Encoded::Messages(messages) = &mut output.encoded {
                        let now = self.minted.look(epoch, |minted| minted.record.now).unwrap_or(EventTime::MIN);
                        messages.stamp(now.0);
                    }
                    outputs.insert(self.plan.sinks[output.sink].id.clone(), output.encoded);
                }
                Packet::Failed { source, count } => failed.push((source, count)),
                Packet::Pulse(pulse) => pulses.push(pulse),
                Packet::Report(report) => reports.push(report),
                Packet::State(state) => pieces.extend(state),
                _ => return Err(Error::internal("the committer got something that is no output")),
            }
        }
        let Some(port) = &self.port else { return Err(Error::internal("an output reached a worker that does not commit")) };
        let event = if closes {
            self.minted.leave(epoch);
            reports.sort_by(|a, b| a.component.cmp(&b.component));
            RunEvent::Closed(reports)
        } else {
            let Some(MintedEpoch { mut record, state, .. }) = self.minted.leave(epoch) else {
                return Err(Error::internal(format!("epoch {epoch} has outputs and no progress record")));
            };
            for (source, count) in failed {
                let name = self.plan.sources[usize::from(source.0)].id.name().to_string();
                *record.quarantined.entry(name).or_default().entry(Reason::Expression).or_default() += count;
                record.counters.entry("rows_used".to_string()).and_modify(|used| *used = used.saturating_sub(count));
            }
            if non_finite > 0 {
                record.counters.insert("non_finite".to_string(), non_finite);
            }
            let state = state.map(|sources| {
                pieces.extend(sources);
                pieces
            });
            pulses.sort_by(|a: &Pulse, b| a.component.cmp(&b.component));
            RunEvent::Epoch(Box::new(EpochReport { outputs: EpochOutputs { record, outputs }, pulses, closed_at: clock::now(), state }))
        };
        // A commit thread that is gone has raised its error; the run is ending.
        let _ = port.send(event);
        Ok(())
    }
}
