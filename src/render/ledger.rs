//! The books of one model: which prediction meets which label, what monitors and sinks get of it, and the model's part of the closing summary.
//!
//! Predictions and labels meet in canonical order (S10.5). Metrics use the prediction as emitted, learning the row as served.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch};
use arrow::compute::interleave;

use super::input_rows::Tile;
use super::model_epoch::{Answers, ModelColumns, ModelEpoch};
use super::packet::{Packet, Pulse, RelationRows, Report, Resolved, ResolvedKeys, Watched};
use super::relation::{Rows, SourceNames, relation, timestamps, used};
use super::routes::Routes;
use super::streams::arrow_error;
use crate::data::{Columns, EventBatch, Reason, Rejected};
use crate::dataflow::Outbox;
use crate::error::{Error, Result};
use crate::ids::{PartitionIndex, WorkerIndex};
use crate::metrics::{BaselineGuess, ModelReport};
use crate::models::{LabelJoin, LabelOutcome, Pair, Position, Row, RowOutcome};
use crate::plan::{LabelPlan, ModelPlan, Plan, RelationOrigin, SinkFrom, Watch};

/// What waits with a row for its label: the row as served and the prediction as emitted.
#[derive(Clone, Debug)]
pub struct Served {
    /// Inputs.
    pub x: Box<[f64]>,
    /// Their validity.
    pub valid: Box<[u64]>,
    /// Weight for learning.
    pub weight: f64,
    /// Probability or value; NaN = none.
    pub prediction: f64,
    /// Baselines at that time.
    pub frozen: BaselineGuess,
    /// Identity, for alarms and outputs.
    pub key: Box<str>,
    /// The columns of its epoch, and which row of them.
    pub(super) kept: Kept,
    pub(super) kept_row: u32,
}

/// Per sink of `models.M.rows` the used columns of the rows of one epoch, label missing. Filled once the epoch's predictions are all known; until
/// then rows already wait under it.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<OnceLock<Vec<Columns>>>);

impl Kept {
    /// Fills in the columns; a second time has no effect.
    pub fn fill(&self, columns: Vec<Columns>) {
        let _ = self.0.set(columns);
    }

    /// The columns, once they are filled in.
    pub fn columns(&self) -> &[Columns] {
        self.0.get().map_or(&[], Vec::as_slice)
    }

    /// Whether both are of the same epoch.
    pub fn is(&self, other: &Kept) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Served {
    /// Inputs and validity.
    pub fn row(&self) -> Row<'_> {
        Row { x: &self.x, valid: &self.valid }
    }
}

/// A label that met its row in this epoch.
pub struct Met {
    /// The row.
    pub served: Served,
    /// Event time of the row.
    pub row_time: i64,
    /// The truth.
    pub y: f64,
    /// Event time of the label.
    pub label_time: i64,
}

/// What happens to a model in an epoch, one thing at a time, in canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// Row `0` is asked.
    Row(usize),
    /// Label `0` arrives.
    Label(usize),
}

/// The books of one model.
pub struct Ledger {
    plan: Arc<Plan>,
    model: usize,
    routes: Routes,
    names: Arc<SourceNames>,
    pub(super) join: Option<LabelJoin<Served>>,
    pub(super) report: ModelReport,
    rows_sinks: Vec<usize>,
    prediction_sinks: Vec<usize>,
    monitors: Vec<usize>,
    watches_inputs: bool,
    /// Whether rows have a key column.
    keyed: bool,
    pub(super) rows_predicted: u64,
    pub(super) rows_unanswered: u64,
    /// Identity of the row with the greatest prediction in the newest epoch, for the summary to name.
    pub(super) example: Option<String>,
}

/// Outputs of a model's operator: to its sinks, to monitors, to the committer.
pub const TO_SINKS: usize = 0;
/// See [`TO_SINKS`].
pub const TO_MONITORS: usize = 1;
/// See [`TO_SINKS`].
pub const TO_COMMITTER: usize = 2;
/// Number of outputs.
pub const OUTPUTS: usize = 3;

impl Ledger {
    /// Empty books for the model at position `model`.
    pub fn new(plan: Arc<Plan>, model: usize, routes: Routes, names: Arc<SourceNames>) -> Self {
        let declared = &plan.models[model];
        let join = match &declared.label {
            Some(LabelPlan::Stream { within, .. }) => Some(LabelJoin::new(*within)),
            _ => None,
        };
        let reading = |from: SinkFrom| (0..plan.sinks.len()).filter(|sink| plan.sinks[*sink].from == from).collect::<Vec<_>>();
        let watching = |watch: Watch| {
            plan.monitors.iter().enumerate().filter(move |(_, monitor)| monitor.watch.contains(&watch)).map(|(index, _)| index)
        };
        let mut monitors: Vec<usize> = watching(Watch::Model(model)).chain(watching(Watch::Inputs(model))).collect();
        monitors.sort_unstable();
        monitors.dedup();
        let watches_inputs = watching(Watch::Inputs(model)).next().is_some();
        let report = ModelReport::new(declared.classification, declared.threshold);
        let (rows_sinks, prediction_sinks) = (reading(SinkFrom::ModelRows(model)), reading(SinkFrom::Model(model)));
        Self {
            model,
            routes,
            names,
            join,
            report,
            rows_sinks,
            prediction_sinks,
            monitors,
            watches_inputs,
            keyed: plan.streams[declared.stream].key.is_some(),
            rows_predicted: 0,
            rows_unanswered: 0,
            example: None,
            plan,
        }
    }

    /// Where the committer is.
    pub(super) fn leader(&self) -> WorkerIndex {
        self.routes.leader()
    }

    /// The model they are kept for.
    pub(super) fn declared(&self) -> &ModelPlan {
        &self.plan.models[self.model]
    }

    /// Whether a sink asks for contributions.
    pub fn explains(&self) -> bool {
        let mut sinks = self.prediction_sinks.iter().chain(&self.rows_sinks).map(|sink| &self.plan.sinks[*sink]);
        sinks.any(|sink| sink.used_columns().iter().any(|column| matches!(sink.relation[*column].origin, RelationOrigin::Explain(_))))
    }

    /// Whether labels come from another stream.
    pub fn joins_labels(&self) -> bool {
        self.join.is_some()
    }

    /// The rows and labels of an epoch in canonical order (S3.1).
    pub fn happenings(&self, epoch: &ModelEpoch) -> Vec<Happening> {
        let rows = &epoch.rows;
        let mut all: Vec<Happening> = (0..rows.len()).map(Happening::Row).collect();
        let (Some(arrivals), Some(LabelPlan::Stream { stream, .. })) = (&epoch.input.arrivals, &self.declared().label) else { return all };
        let labels = EventBatch::new(arrivals.rows.0.clone());
        let row_source = self.plan.streams[self.declared().stream].source;
        let label_source = self.plan.streams[*stream].source;
        all.extend((0..labels.len()).map(Happening::Label));
        let place = |happening: &Happening| match *happening {
            Happening::Row(row) => (rows.times()[row], row_source, rows.partitions()[row], rows.offsets()[row], 0u8),
            Happening::Label(row) => (labels.times()[row], label_source, labels.partitions()[row], labels.offsets()[row], 1),
        };
        all.sort_by_key(place);
        all
    }

    /// A row is asked: its baselines are frozen now.
    #[inline]
    pub fn asked(&mut self, cold: bool) -> BaselineGuess {
        self.rows_predicted += 1;
        self.report.predicted(cold)
    }

    /// The columns that sinks of `models.M.rows` will need of this epoch's rows once their labels are known.
    pub fn keep(&self, epoch: &ModelEpoch, answers: &Answers) -> Result<Vec<Columns>> {
        let columns = ModelColumns { plan: &self.plan, model: self.declared(), epoch, answers, names: &self.names };
        let kept = self.rows_sinks.iter().map(|sink| used(&self.plan.sinks[*sink], &columns, &Rows::all(epoch.len())));
        kept.collect()
    }

    /// What waits with row `row`.
    pub fn served(&self, epoch: &ModelEpoch, row: usize, prediction: f64, frozen: BaselineGuess, kept: &Kept, tile: &mut Tile) -> Served {
        epoch.gather(row..row + 1, tile);
        let inputs = tile.row(0);
        Served {
            x: inputs.x.into(),
            valid: inputs.valid.into(),
            weight: epoch.weight(row),
            prediction,
            frozen,
            key: self.key_text(&epoch.rows, row).into(),
            kept: kept.clone(),
            kept_row: row as u32,
        }
    }

    /// The identity of a row as text: its `key` column, else partition and offset.
    fn key_text(&self, rows: &EventBatch, row: usize) -> String {
        let stream = &self.plan.streams[self.declared().stream];
        let shown = stream.key.and_then(|column| arrow::util::display::array_value_to_string(rows.rows().column(column), row).ok());
        shown.unwrap_or_else(|| format!("{}:{}", self.names.partition(stream.source, rows.partitions()[row]), rows.offsets()[row]))
    }

    /// Row `row` begins to wait for its label; if that is here already, they meet.
    pub fn row_waits(&mut self, epoch: &ModelEpoch, row: usize, served: Served) -> Option<Met> {
        let rows = &epoch.rows;
        let source = self.plan.streams[self.declared().stream].source;
        let position = position(epoch.epoch.0, source.0, rows, row);
        match self.join.as_mut()?.row(epoch.input.keys.key(row), rows.times()[row], position, served) {
            RowOutcome::Matched(pair) => Some(met(pair)),
            RowOutcome::Waiting | RowOutcome::Repeated(_) => None,
        }
    }

    /// Label `row` of the epoch's arrivals arrives; if its row waits, they meet. A second label goes to `rejected`.
    pub fn label_arrives(&mut self, epoch: &ModelEpoch, row: usize, rejected: &mut Vec<Rejected>) -> Option<Met> {
        let arrivals = epoch.input.arrivals.as_ref()?;
        let y = arrivals.values[row];
        if y.is_nan() || arrivals.keys.is_null(row) {
            return None;
        }
        let Some(LabelPlan::Stream { stream, .. }) = &self.plan.models[self.model].label else { return None };
        let source = self.plan.streams[*stream].source;
        let labels = EventBatch::new(arrivals.rows.0.clone());
        let position = position(epoch.epoch.0, source.0, &labels, row);
        match self.join.as_mut()?.label(arrivals.keys.key(row), labels.times()[row], position, y) {
            LabelOutcome::Matched(pair) => Some(met(pair)),
            LabelOutcome::Duplicate => {
                rejected.push(Rejected {
                    source,
                    partition: PartitionIndex(labels.partitions()[row]),
                    offset: labels.offsets()[row],
                    reason: Reason::LabelDuplicate,
                    detail: format!("{}: the record it labels has its label already", self.declared().id),
                    event_time: Some(labels.times()[row]),
                });
                None
            }
            LabelOutcome::Waiting | LabelOutcome::OutOfWindow => None,
        }
    }

    /// Rows whose label did not come by watermark `w`; with `expired = "negative"` they meet a 0.
    pub fn expire(&mut self, w: i64) -> Vec<Met> {
        let negative = matches!(self.declared().label, Some(LabelPlan::Stream { expired_negative: true, .. }));
        let expired = self.join.as_mut().map(|join| join.expire(w)).unwrap_or_default();
        let expired = expired.into_iter().filter(|_| negative);
        expired.map(|row| Met { served: row.payload, row_time: row.row_time, y: 0.0, label_time: row.due }).collect()
    }

    /// A label met its prediction.
    #[inline]
    pub fn resolved(&mut self, row_time: i64, y: f64, prediction: f64, frozen: BaselineGuess) {
        self.report.resolved(row_time, y, (!prediction.is_nan()).then_some(prediction), &frozen);
    }

    /// Monitors are to see the rows of the epoch at hand whose label is a column and known.
    pub fn watch_rows(&self, epoch: &ModelEpoch, answers: &Answers, resolved: &mut Resolved) {
        if !self.is_watched() {
            return;
        }
        let (times, labels) = (epoch.rows.times(), &epoch.input.labels);
        let known: Vec<u32> = (0..labels.len() as u32).filter(|row| !labels[*row as usize].is_nan()).collect();
        resolved.times.extend(known.iter().map(|row| times[*row as usize]));
        resolved.labels.extend(known.iter().map(|row| labels[*row as usize]));
        resolved.predictions.extend(known.iter().map(|row| answers.predictions[*row as usize]));
        match (self.keyed, &mut resolved.keys) {
            (true, ResolvedKeys::Rows(keys)) => keys.extend(known),
            (_, keys) => known.into_iter().for_each(|row| keys.push_text(self.key_text(&epoch.rows, row as usize).into())),
        }
    }

    /// Monitors are to see a row of an earlier epoch, or of this one, that met its label at `time`.
    pub fn watch_pair(&self, pair: &Met, time: i64, resolved: &mut Resolved) {
        if self.is_watched() {
            resolved.push(time, pair.y, pair.served.prediction);
            resolved.keys.push_text(pair.served.key.clone());
        }
    }

    /// Whether a sink reads `models.M.rows`.
    pub fn has_row_sinks(&self) -> bool {
        !self.rows_sinks.is_empty()
    }

    /// Whether a monitor watches this model.
    #[inline]
    pub fn is_watched(&self) -> bool {
        !self.monitors.is_empty()
    }

    /// Sends what sinks, monitors and the committer get of an epoch.
    #[allow(clippy::too_many_arguments, reason = "one call site; the arguments are the epoch's parts")]
    pub fn send(
        &mut self,
        epoch: &ModelEpoch,
        answers: &Answers,
        met: &[Met],
        resolved: Resolved,
        rejected: Vec<Rejected>,
        outbox: &mut Outbox<Packet>,
    ) -> Result<()> {
        let best = (0..epoch.len())
            .filter(|row| !answers.predictions[*row].is_nan())
            .max_by(|a, b| answers.predictions[*a].total_cmp(&answers.predictions[*b]));
        if let Some(best) = best {
            self.example = Some(self.key_text(&epoch.rows, best));
        }
        self.rows_unanswered += answers.predictions.iter().filter(|p| p.is_nan()).count() as u64;
        for sink in &self.prediction_sinks {
            let columns = ModelColumns { plan: &self.plan, model: self.declared(), epoch, answers, names: &self.names };
            let rows = relation(*sink, &self.plan.sinks[*sink], &columns)?;
            outbox.send(TO_SINKS, self.routes.sink(*sink), Packet::Relation(rows));
        }
        for (position, sink) in self.rows_sinks.iter().enumerate() {
            if let Some(rows) = self.labelled_rows(position, *sink, met)? {
                outbox.send(TO_SINKS, self.routes.sink(*sink), Packet::Relation(rows));
            }
        }
        if !rejected.is_empty() {
            outbox.send(TO_SINKS, self.routes.quarantine(), Packet::Rejected(rejected));
        }
        if !self.monitors.is_empty() {
            let mut watched = Watched {
                model: self.model,
                watermark: epoch.input.watermark,
                closing: epoch.input.closing,
                checkpoint: epoch.input.checkpoint,
                times: epoch.rows.times().to_vec(),
                predictions: answers.predictions.clone(),
                resolved,
                ..Watched::default()
            };
            let key = self.plan.streams[self.declared().stream].key;
            watched.keys = key.map(|column| epoch.rows.rows().project(&[column])).transpose().map_err(arrow_error)?.map(Columns);
            if self.watches_inputs {
                let mut all = Tile::default();
                epoch.gather(0..epoch.len(), &mut all);
                (watched.inputs, watched.valid, watched.width) = (all.x, all.valid, self.declared().inputs.len());
            }
            let watched = Arc::new(watched);
            for monitor in &self.monitors {
                outbox.send(TO_MONITORS, self.routes.monitor(&self.plan.monitors[*monitor]), Packet::Watched(watched.clone()));
            }
        }
        let pulse = Pulse { component: self.declared().id.to_string(), loss: self.report.running_loss().unwrap_or(f64::NAN), alarms: 0 };
        outbox.send(TO_COMMITTER, self.routes.leader(), Packet::Pulse(pulse));
        Ok(())
    }

    /// The rows of `models.M.rows` for one of its sinks: those whose label met them in this epoch.
    fn labelled_rows(&self, position: usize, sink: usize, met: &[Met]) -> Result<Option<RelationRows>> {
        let Some(first) = met.first() else { return Ok(None) };
        let plan = &self.plan.sinks[sink];
        let used = plan.used_columns();
        let schema = first.served.kept.columns()[position].0.schema();
        let mut sources: Vec<&Kept> = Vec::new();
        let mut indices = Vec::with_capacity(met.len());
        for one in met {
            let at = sources.iter().rposition(|kept| kept.is(&one.served.kept)).unwrap_or_else(|| {
                sources.push(&one.served.kept);
                sources.len() - 1
            });
            indices.push((at, one.served.kept_row as usize));
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(used.len());
        for (column, declared) in used.iter().enumerate() {
            columns.push(match plan.relation[*declared].origin {
                RelationOrigin::Label => Arc::new(Float64Array::from_iter_values(met.iter().map(|one| one.y))),
                RelationOrigin::LabelTime => timestamps(met.iter().map(|one| Some(one.label_time)).collect()),
                _ => {
                    let arrays: Vec<&dyn Array> =
                        sources.iter().map(|kept| &*kept.columns()[position].0.columns()[column] as &dyn Array).collect();
                    interleave(&arrays, &indices).map_err(arrow_error)?
                }
            });
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(met.len()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &options).map_err(arrow_error)?;
        Ok(Some(RelationRows { sink, filtered: false, columns: Columns(batch), times: met.iter().map(|one| one.row_time).collect() }))
    }

    /// The model's part of the closing summary.
    pub fn report(&mut self, learner: serde_json::Value, files: Vec<(String, Vec<u8>)>, outbox: &mut Outbox<Packet>) -> Result<()> {
        let last = Arc::new(Watched { model: self.model, closing: true, ..Watched::default() });
        for monitor in &self.monitors {
            outbox.send(TO_MONITORS, self.routes.monitor(&self.plan.monitors[*monitor]), Packet::Watched(last.clone()));
        }
        let counts = self.join.as_ref().map(LabelJoin::counts);
        let labels = counts.map(|counts| {
            serde_json::json!({
                "matched": counts.matched, "expired": counts.expired, "waiting": counts.waiting_rows, "duplicate": counts.duplicate,
                "orphan": counts.orphan + counts.waiting_labels, "out_of_window": counts.out_of_window, "repeated": counts.repeated,
                "median_delay": counts.median_delay,
            })
        });
        let summary =
            serde_json::to_value(self.report.summary()).map_err(|error| Error::internal(format!("a report cannot be written: {error}")))?;
        let json = serde_json::json!({
            "rows_predicted": self.rows_predicted, "rows_unanswered": self.rows_unanswered, "labels": labels, "metrics": summary, "learner": learner, "example": self.example,
        });
        let report = Report { component: self.declared().id.to_string(), json: json.to_string(), files };
        outbox.send(TO_COMMITTER, self.routes.leader(), Packet::Report(report));
        Ok(())
    }
}

fn position(epoch: u64, source: u16, rows: &EventBatch, row: usize) -> Position {
    Position { epoch, time: rows.times()[row], source, partition: rows.partitions()[row], offset: rows.offsets()[row], ordinal: 0 }
}

fn met(pair: Pair<Served>) -> Met {
    Met { served: pair.payload, row_time: pair.row_time, y: pair.y, label_time: pair.label_time }
}
