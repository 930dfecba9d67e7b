//! Networks in the dataflow: an epoch's rows go to the device thread, and its answers leave when they are back, in epoch order (S11).
//!
//! The thread starts with the first epoch that has rows for this worker, so only the owner of a model has one. Nothing here waits: an epoch without
//! rows (labels only, or the closing one) still takes its turn behind those on the device.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::input_rows::{InputSources, Tile};
use super::ledger::Ledger;
use super::ledger_state;
use super::model_epoch::{Answers, ModelEpoch};
use super::packet::Packet;
use super::relation::SourceNames;
use super::routes::Routes;
use super::settle::{Answerer, settle};
use super::views::not_restored;
use crate::dataflow::{Fault, Offload, Outbox, Waker};
use crate::error::{Error, Result};
use crate::inference::{DeviceThread, Network, Predicted, Rows};
use crate::models::{NoPrediction, Row};
use crate::plan::{InputNulls, Plan};
use crate::time::{Busy, BusyTimes, Epoch};

/// Epochs taken from the dataflow and not yet answered: one on the device, one behind it.
const PENDING: usize = 2;

/// The logic of one network on its owner.
pub struct Candle {
    plan: Arc<Plan>,
    model: usize,
    network: Option<Network>,
    device: Option<DeviceThread>,
    ledger: Ledger,
    sources: Arc<InputSources>,
    pending: VecDeque<(Epoch, Work)>,
    waker: Waker,
    /// On the worker, and on the threads of the device.
    busy: (Busy, Busy),
}

/// What an epoch asks for.
enum Work {
    /// Nothing came for this worker.
    Nothing,
    /// Labels and the watermark; no rows.
    Books(Box<ModelEpoch>),
    /// Rows that are on the device.
    Rows(Box<ModelEpoch>),
    /// The model's part of the summary.
    Closing,
}

impl Candle {
    /// The logic for the model at position `model`. `network` must have the inputs that the plan gave the model; if not, `fault` says so.
    #[allow(clippy::too_many_arguments, reason = "one call site; the arguments are what the worker has")]
    pub fn new(
        plan: Arc<Plan>,
        model: usize,
        network: Option<Network>,
        routes: Routes,
        names: Arc<SourceNames>,
        waker: Waker,
        fault: Fault,
        times: &BusyTimes,
    ) -> Self {
        let declared = &plan.models[model];
        let network = network.ok_or_else(|| Error::internal(format!("{}: its network was not loaded", declared.id))).and_then(|network| {
            if !network.inputs().iter().eq(declared.inputs.iter().map(|input| &input.name)) {
                return Err(Error::internal(format!("{}: the plan and the network have different inputs", declared.id)));
            }
            let nulls: Vec<InputNulls> = declared.inputs.iter().map(|input| input.nulls).collect();
            network.with_nulls(nulls)
        });
        let network = network.map_err(|error| fault.raise(error)).ok();
        let ledger = Ledger::new(plan.clone(), model, routes, names);
        let sources = Arc::new(InputSources::new(&plan, &plan.models[model]));
        let busy = (times.of(&declared.id, "predict"), times.of(&declared.id, "device"));
        Self { plan, model, network, device: None, ledger, sources, pending: VecDeque::new(), waker, busy }
    }

    /// The network, which `new` has checked.
    fn network(&self) -> Result<&Network> {
        self.network.as_ref().ok_or_else(|| Error::internal(format!("{} has no network", self.plan.models[self.model].id)))
    }

    /// The device thread, started at its first use.
    fn device(&mut self) -> Result<&mut DeviceThread> {
        if self.device.is_none() {
            let waker = self.waker.clone();
            let name = self.plan.models[self.model].id.to_string();
            self.device = Some(DeviceThread::start(self.network()?.clone(), &name, self.busy.1.clone(), move || waker.wake())?);
        }
        self.device.as_mut().ok_or_else(|| Error::internal("a device thread that was started is not there"))
    }

    /// Settles an epoch whose answers are all there.
    fn finish(&mut self, epoch: &ModelEpoch, predicted: Predicted, outbox: &mut Outbox<Packet>) -> Result<()> {
        if predicted.values.len() != epoch.len() {
            return Err(Error::internal(format!("{} rows were asked, {} answered", epoch.len(), predicted.values.len())));
        }
        let network = self.network()?;
        let missing = predicted.missing.iter().enumerate();
        let degraded = missing.filter_map(|(row, missing)| missing.as_ref().map(|reason| (row, NoPrediction::reason(reason)))).collect();
        let cold = network.learned_rows() == 0;
        let mut answers = Answers { predictions: predicted.values, degraded, version: network.epoch(), ..Answers::default() };
        let outcomes = settle(&mut self.ledger, epoch, &mut answers, &mut Answered { cold }, &mut Tile::default())?;
        self.ledger.send(epoch, &answers, &outcomes.met, outcomes.resolved, outcomes.rejected, outbox)?;
        if epoch.input.checkpoint { self.ledger.hand_in(Vec::new(), outbox) } else { Ok(()) }
    }

    /// Assembles an epoch; its rows, if it has any, go to the device.
    fn hand_over(&mut self, epoch: Epoch, mut parcels: Vec<Packet>) -> Result<()> {
        // Only in the first epoch, so nothing is on the device.
        for piece in Packet::take_restored(&mut parcels) {
            let restored = piece.of_version(ledger_state::VERSION).and_then(|books| self.ledger.restore(&books));
            restored.map_err(|reason| not_restored(&piece, &reason))?;
        }
        let plan = self.plan.clone();
        let work = match ModelEpoch::assemble(&plan, &plan.models[self.model], &self.sources, epoch, parcels)? {
            None => Work::Nothing,
            Some(assembled) if assembled.input.closing => Work::Closing,
            Some(assembled) if assembled.len() == 0 => Work::Books(Box::new(assembled)),
            Some(assembled) => {
                let mut all = Tile::default();
                assembled.gather(0..assembled.len(), &mut all);
                let rows = Rows { x: all.x, valid: all.valid, count: assembled.len() };
                self.device()?.submit(rows)?;
                Work::Rows(Box::new(assembled))
            }
        };
        self.pending.push_back((epoch, work));
        Ok(())
    }

    fn report(&mut self, outbox: &mut Outbox<Packet>) -> Result<()> {
        let network = self.network()?;
        let learner = serde_json::json!({
            "kind": "network", "learned_rows": network.learned_rows(), "device": network.device_kind(), "tile": network.tile(), "sha256": network.sha256(),
        });
        self.ledger.report(learner, Vec::new(), outbox)
    }
}

impl Offload<Packet> for Candle {
    fn submit(&mut self, epoch: Epoch, parcels: Vec<Packet>) -> Result<()> {
        let busy = self.busy.0.clone();
        busy.during(|| self.hand_over(epoch, parcels))
    }

    fn ready(&self) -> bool {
        self.pending.len() < PENDING && self.device.as_ref().is_none_or(DeviceThread::ready)
    }

    fn poll(&mut self, outbox: &mut Outbox<Packet>) -> Result<Option<Epoch>> {
        let predicted = match (self.pending.front(), &mut self.device) {
            // Answers come in the order of questions, so this one belongs to the front.
            (Some((_, Work::Rows(_))) | None, Some(device)) => device.poll()?,
            _ => None,
        };
        let answerable = self.pending.front().is_some_and(|(_, work)| predicted.is_some() || !matches!(work, Work::Rows(_)));
        let Some((epoch, work)) = (if answerable { self.pending.pop_front() } else { None }) else { return Ok(None) };
        let busy = self.busy.0.clone();
        busy.during(|| match work {
            Work::Nothing => Ok(()),
            Work::Books(assembled) => self.finish(&assembled, Predicted::default(), outbox),
            Work::Rows(assembled) => self.finish(&assembled, predicted.unwrap_or_default(), outbox),
            Work::Closing => self.report(outbox),
        })?;
        Ok(Some(epoch))
    }
}

/// The rows of an epoch that are all answered; a network does not learn.
struct Answered {
    cold: bool,
}

impl Answerer for Answered {
    fn by_record(&self) -> bool {
        false
    }

    fn answer(&mut self, _: &ModelEpoch, rows: Range<usize>, _: bool, _: &mut Tile, _: &mut Answers) -> usize {
        if self.cold { rows.len() } else { 0 }
    }

    fn learn(&mut self, _: Row<'_>, _: f64, _: f64) {}
}
