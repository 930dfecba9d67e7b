//! Online models: predict, then learn, in canonical order, on the model's one owner (S10.2).

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
use crate::checkpoint::Piece;
use crate::dataflow::Outbox;
use crate::error::{Error, Exit, Result};
use crate::models::artefact::{self, Meta};
use crate::models::{OnlineModel, Outcome, Row, SNAPSHOT_VERSION};
use crate::plan::{LinearPlan, Plan};
use crate::time::Epoch;

/// The logic of one online model on its owner.
pub struct Online {
    plan: Arc<Plan>,
    model: usize,
    learner: Learner,
    ledger: Ledger,
    last_epoch: Epoch,
    sources: Arc<InputSources>,
    tile: Tile,
}

/// The learner, and whether contributions are wanted.
struct Learner {
    model: OnlineModel,
    explains: bool,
}

impl Online {
    /// The logic for the model at position `model`, from its initial artefact if it names one.
    pub fn new(plan: Arc<Plan>, model: usize, linear: &LinearPlan, routes: Routes, names: Arc<SourceNames>) -> Result<Self> {
        let declared = &plan.models[model];
        let spec = linear.spec(declared.classification, &declared.inputs);
        let learner = match &linear.initial {
            None => OnlineModel::new(spec),
            Some((folder, _)) => {
                let (stored, _) = artefact::load(std::path::Path::new(folder))?;
                artefact::start_from(spec, &stored).map_err(|cause| {
                    let cause = format!("{}: `initial` = {folder} cannot be the start of this model: {cause}", plan.models[model].id);
                    Error::new(Exit::Data, cause, "give a model saved with the same inputs and kind, or remove `initial`")
                })?
            }
        };
        let ledger = Ledger::new(plan.clone(), model, routes, names);
        let learner = Learner { model: learner, explains: ledger.explains() };
        let sources = Arc::new(InputSources::new(&plan, &plan.models[model]));
        Ok(Self { plan, model, learner, ledger, last_epoch: Epoch(0), sources, tile: Tile::default() })
    }

    /// Predicts and learns a closed epoch.
    pub fn close(&mut self, epoch: Epoch, mut parcels: Vec<Packet>, outbox: &mut Outbox<Packet>) -> Result<()> {
        for piece in Packet::take_restored(&mut parcels) {
            self.restore(&piece).map_err(|reason| not_restored(&piece, &reason))?;
        }
        let plan = self.plan.clone();
        let assembled = ModelEpoch::assemble(&plan, &plan.models[self.model], &self.sources, epoch, parcels)?;
        let Some(assembled) = assembled else { return Ok(()) };
        if assembled.input.closing {
            return self.report(outbox);
        }
        let mut answers = Answers { version: epoch.0 - 1, ..Answers::default() };
        let outcomes = settle(&mut self.ledger, &assembled, &mut answers, &mut self.learner, &mut self.tile)?;
        self.last_epoch = epoch;
        self.ledger.send(&assembled, &answers, &outcomes.met, outcomes.resolved, outcomes.rejected, outbox)?;
        if assembled.input.checkpoint { self.hand_in(outbox) } else { Ok(()) }
    }

    /// The state after this epoch: the learner, the newest epoch, the books.
    fn hand_in(&mut self, outbox: &mut Outbox<Packet>) -> Result<()> {
        let blocks = [self.learner.model.snapshot(), self.last_epoch.0.to_le_bytes().to_vec()];
        self.ledger.hand_in(blocks.into(), outbox)
    }

    fn restore(&mut self, piece: &Piece) -> Result<(), String> {
        let mut blocks = piece.of_version(ledger_state::VERSION)?;
        let books = blocks.split_off(blocks.len().min(2));
        let [learner, epoch] = &blocks[..] else { return Err("it is cut short".to_string()) };
        let spec = self.learner.model.spec().clone();
        self.learner.model = OnlineModel::restore(spec, SNAPSHOT_VERSION, learner)?;
        self.last_epoch = Epoch(u64::from_le_bytes(epoch[..].try_into().map_err(|_| "its epoch has 8 bytes".to_string())?));
        self.ledger.restore(&books)
    }

    /// The model's part of the summary, and the model itself (S10.7).
    fn report(&mut self, outbox: &mut Outbox<Packet>) -> Result<()> {
        let learner = &self.learner.model;
        let declared = &self.plan.models[self.model];
        let fingerprint = self.plan.fingerprint.components.iter().find(|(id, _)| *id == declared.id).map(|(_, digest)| digest.clone());
        let meta = Meta { epoch: self.last_epoch.0, fingerprint: fingerprint.unwrap_or_default() };
        let saved = artefact::encode(learner, &meta).map_err(Error::internal)?;
        let folder = format!("models/{}", declared.id.name());
        let files = vec![(format!("{folder}/model.safetensors"), saved.tensors), (format!("{folder}/model.json"), saved.json.into_bytes())];
        let weights = learner.weights();
        let strongest: Vec<(&str, f64)> = learner.spec().inputs.iter().map(String::as_str).zip(weights).collect();
        let said = serde_json::json!({
            "kind": learner.kind(), "learned_rows": learner.learned_rows(), "learn_skipped": learner.learn_skipped(),
            "intercept": learner.intercept(), "weights": strongest, "scaled": learner.spec().standard_scaler, "saved": folder,
        });
        self.ledger.report(said, files, outbox)
    }
}

impl Learner {
    /// The same answer as `record` or `predict` gives, with what each input contributed to it: after the row was observed, before it is learned.
    fn explained(&mut self, row: Row<'_>, label: Option<(f64, f64)>, answers: &mut Answers) -> Outcome {
        let observed = if self.by_record() { self.model.observe(row) } else { Ok(()) };
        let start = answers.contributions.len();
        answers.contributions.resize(start + row.x.len(), f64::NAN);
        if self.model.contributions(row, &mut answers.contributions[start..]).is_err() {
            answers.contributions[start..].fill(f64::NAN);
        }
        let outcome = match observed {
            Ok(()) => self.model.predict(row),
            Err(reason) => Outcome::Missing(reason),
        };
        if let Some((y, weight)) = label {
            self.model.learn(row, y, weight);
        }
        outcome
    }
}

impl Answerer for Learner {
    fn by_record(&self) -> bool {
        self.model.spec().learn_record
    }

    fn answer(&mut self, epoch: &ModelEpoch, rows: Range<usize>, learns: bool, tile: &mut Tile, answers: &mut Answers) -> usize {
        epoch.gather(rows.clone(), tile);
        let by_record = self.by_record();
        let mut cold = 0;
        for (at, row) in rows.enumerate() {
            cold += usize::from(self.model.is_cold());
            let label = if learns { epoch.label(row) } else { None };
            let inputs = tile.row(at);
            let outcome = match (self.explains, by_record) {
                (true, _) => self.explained(inputs, label, answers),
                (false, true) => self.model.record(inputs, label),
                (false, false) => self.model.predict(inputs),
            };
            answers.predictions.push(match outcome {
                Outcome::Predicted(value) => value,
                Outcome::Missing(reason) => {
                    answers.degraded.push((row, reason.reason()));
                    f64::NAN
                }
            });
        }
        cold
    }

    fn learn(&mut self, row: Row<'_>, y: f64, weight: f64) {
        self.model.learn(row, y, weight);
    }
}
