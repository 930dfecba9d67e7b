//! Plan → dataflow: one function, one operator per node of the plan.
//!
//! ```text
//! ingest ─► streams ─► views ─► models ─► monitors ─┐
//!    │         │  └───────────────┴─► sinks ◄───────┘
//!    │         └──────────────────────► │
//!    └────────────────────────────► committer
//! ```
//!
//! Every worker builds the same operators in the same order, errors included: all that can fail happens before (`Prepared`) or inside operators.

mod candle_models;
mod checkpoints;
mod committer;
mod ingest;
mod input_rows;
mod ledger;
mod ledger_state;
mod model_epoch;
mod monitors;
mod online_models;
mod open_epoch;
mod packet;
mod quarantine;
mod reading;
mod relation;
mod routes;
mod settle;
mod sinks;
mod streams;
mod tables;
mod views;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use timely::dataflow::Scope;
use timely::dataflow::operators::Concatenate;

pub use checkpoints::{Restored, Schedule};
pub use committer::{CommitPort, EpochReport, RunEvent};
pub use ingest::{IngestSettings, Minted, Opened};
pub use ledger::OUTPUTS as MODEL_OUTPUTS;
pub use online_models::Online;
pub use packet::{FeatureBlock, ModelInput, Packet, Pulse, Reader, Report};
pub use relation::SourceNames;
pub use routes::Routes;
pub use tables::TableIndex;
pub use views::view_pieces;

use crate::dataflow::{Committed, Fault, Parcels, Waker, epoch_source, offload, on_close};
use crate::error::Result;
use crate::inference::Network;
use crate::plan::{ModelKindPlan, Plan};
use crate::progress::ProgressRecord;
use crate::time::BusyTimes;

/// All that a worker needs to build the dataflow, checked before any worker starts.
#[derive(Clone)]
pub struct Prepared {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Tables, by position in the plan.
    pub tables: Arc<Vec<TableIndex>>,
    /// Names of sources and partitions.
    pub names: Arc<SourceNames>,
    /// Networks, by position of their model in the plan; `None` for other kinds.
    pub networks: Arc<Vec<Option<Network>>>,
    /// Set to end after a full epoch.
    pub stop: Arc<AtomicBool>,
    /// The first error of the process.
    pub fault: Fault,
    /// How far the run is durable.
    pub committed: Committed,
    /// What its components take.
    pub busy: BusyTimes,
}

/// What only the leading worker has: the sources and the way to the committer.
pub struct Leader {
    /// Opens the sources; called with the waker of the operator that reads them.
    pub open: Box<dyn FnOnce(Waker) -> Result<Opened>>,
    /// Epochs that are to be cut as they were: those of former runs, or `--bindings`.
    pub recorded: Vec<ProgressRecord>,
    /// Where closed epochs go.
    pub port: CommitPort,
    /// End after the recorded epochs.
    pub only_recorded: bool,
    /// When state is wanted.
    pub checkpoints: Schedule,
    /// The checkpoint to go on from; `recorded` begins behind it.
    pub restored: Option<Restored>,
}

/// Builds the dataflow of `prepared` on one worker; `leader` on the worker that mints and commits.
pub fn build<'scope>(scope: Scope<'scope, u64>, prepared: &Prepared, workers: usize, leader: Option<Leader>) {
    let Prepared { plan, tables, names, networks, stop, fault, committed, busy } = prepared.clone();
    let routes = Routes::new(&plan, workers);
    let port = leader.as_ref().map(|leader| leader.port.clone());
    let minted = Minted::default();
    let mut from_ingest = {
        let (plan, minted, committed, fault_of_open) = (plan.clone(), minted.clone(), committed.clone(), fault.clone());
        let busy = busy.of("epochs", "cut");
        epoch_source(scope, "ingest", 2, fault.clone(), move |waker| {
            let Leader { open, recorded, only_recorded, checkpoints, restored, .. } = leader?;
            committed.wakes(waker.clone());
            if plan.epoch.every == 0 {
                minted.wakes(waker.clone());
            }
            let ingest = open(waker).and_then(|opened| {
                let settings =
                    IngestSettings { plan, routes, opened, recorded, committed, minted, stop, only_recorded, checkpoints, restored, busy };
                ingest::Ingest::new(settings)
            });
            match ingest {
                Ok(ingest) => Some(ingest),
                Err(error) => {
                    fault_of_open.raise(error);
                    None
                }
            }
        })
    };
    let mut to_committer = vec![from_ingest.remove(1)];
    let mut streams = streams::Streams::new(plan.clone(), tables, routes, names.clone(), &busy);
    let outputs = routes.to_monitors() + 1;
    let mut from_streams = on_close(from_ingest.remove(0), "streams", outputs, fault.clone(), move |epoch, parcels, outbox| {
        streams.close(epoch, parcels, outbox)
    });
    let mut to_monitors = vec![from_streams.remove(routes.to_monitors())];
    to_committer.push(from_streams.remove(routes.to_committer()));
    let mut to_sinks = vec![from_streams.remove(routes.to_sinks())];
    let mut to_models: Vec<Vec<Parcels<'scope, Packet>>> =
        from_streams.split_off(plan.views.len()).into_iter().map(|stream| vec![stream]).collect();
    for (index, input) in from_streams.into_iter().enumerate() {
        let mut view = views::View::new(plan.clone(), index, routes);
        let name = plan.views[index].id.to_string();
        let outputs = views::View::outputs(&plan);
        let busy = busy.of(&name, "update");
        let mut from_view = on_close(input, &name, outputs, fault.clone(), move |epoch, parcels, outbox| {
            busy.during(|| view.close(epoch, parcels, outbox))
        });
        to_committer.extend(from_view.pop());
        to_sinks.extend(from_view.pop());
        for (model, stream) in from_view.into_iter().enumerate() {
            if streams::readers(&plan, index).any(|(reader, _, _)| reader == model) {
                to_models[model].push(stream);
            }
        }
    }
    for (index, inputs) in to_models.into_iter().enumerate() {
        let declared = &plan.models[index];
        let name = declared.id.to_string();
        let input = scope.concatenate(inputs);
        let mut from_model = match &declared.kind {
            ModelKindPlan::Linear(linear) => match online_models::Online::new(plan.clone(), index, linear, routes, names.clone()) {
                Ok(mut online) => {
                    let busy = busy.of(&name, "predict");
                    on_close(input, &name, ledger::OUTPUTS, fault.clone(), move |epoch, parcels, outbox| {
                        busy.during(|| online.close(epoch, parcels, outbox))
                    })
                }
                Err(error) => on_close(input, &name, ledger::OUTPUTS, fault.clone(), move |_, _, _| Err(error.clone())),
            },
            ModelKindPlan::Candle { .. } => {
                let (plan, names, network, fault_of_device) = (plan.clone(), names.clone(), networks[index].clone(), fault.clone());
                let busy = busy.clone();
                offload(input, &name, ledger::OUTPUTS, fault.clone(), move |waker| {
                    candle_models::Candle::new(plan, index, network, routes, names, waker, fault_of_device, &busy)
                })
            }
        };
        to_committer.extend(from_model.pop());
        to_monitors.extend(from_model.pop());
        to_sinks.extend(from_model.pop());
    }
    if !plan.monitors.is_empty() {
        let input = scope.concatenate(to_monitors);
        let mut monitors = monitors::Monitors::new(plan.clone(), routes, crate::ids::WorkerIndex(scope.worker().index() as u32), &busy);
        let mut from_monitors = on_close(input, "monitors", monitors::OUTPUTS, fault.clone(), move |epoch, parcels, outbox| {
            monitors.close(epoch, parcels, outbox)
        });
        to_committer.extend(from_monitors.pop());
        to_sinks.extend(from_monitors.pop());
    }
    let input = scope.concatenate(to_sinks);
    let mut sinks = sinks::Sinks::new(plan.clone(), routes, names, minted.clone(), &busy);
    let mut from_sinks = on_close(input, "sinks", 1, fault.clone(), move |epoch, parcels, outbox| sinks.close(epoch, parcels, outbox));
    to_committer.extend(from_sinks.pop());
    let input = scope.concatenate(to_committer);
    let mut gather = committer::Gather::new(plan, minted, port);
    let busy = busy.of("epochs", "gather");
    on_close(input, "committer", 0, fault, move |epoch, parcels, _| busy.during(|| gather.close(epoch, parcels)));
}
