//! Streams: `join`, `where` and `derive` over the records of an epoch, and the selection of rows for views, models and sinks.
//!
//! Stateless, so epochs take turns among the workers. What a record becomes depends on that record and the tables alone (S8.1, S8.2); a record an
//! expression fails on goes to quarantine (S9.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, UInt32Array};
use arrow::compute::{prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};

use super::packet::{Arrivals, EpochInput, ModelInput, OwnReader, Packet, Positions, ProbeSet, Reader, UpdateSet, ViewInput};
use super::relation::{SourceNames, StreamColumns, relation};
use super::routes::Routes;
use super::tables::TableIndex;
use crate::checkpoint::Piece;
use crate::data::{Columns, EventBatch, KeyColumn, Reason, Rejected};
use crate::dataflow::Outbox;
use crate::error::{Error, Result};
use crate::expressions::Expression;
use crate::ids::{ComponentId, PartitionIndex, ShardId, SourceIndex, WorkerIndex};
use crate::plan::{LabelPlan, ModelPlan, Plan, SinkFrom, SinkPlan, StreamIndex, StreamPlan, ViewPlan};
use crate::time::{Busy, BusyTimes, Epoch};

/// The operator's logic.
pub struct Streams {
    plan: Arc<Plan>,
    tables: Arc<Vec<TableIndex>>,
    routes: Routes,
    sources: Arc<SourceNames>,
    busy: StreamsBusy,
}

/// What each component takes of this operator's time, by position in the plan.
struct StreamsBusy {
    streams: Vec<Busy>,
    models: Vec<Busy>,
    views: Vec<Busy>,
    sinks: Vec<Busy>,
}

impl StreamsBusy {
    fn new(plan: &Plan, times: &BusyTimes) -> Self {
        // A source's own stream is what the source gave: nothing is done for it.
        let stream = |stream: &StreamPlan| stream.upstream.map_or_else(Busy::default, |_| times.of(&stream.id, "evaluate"));
        let sink = |sink: &SinkPlan| match sink.from {
            SinkFrom::Stream(_) => times.of(&sink.id, "select"),
            _ => Busy::default(),
        };
        Self {
            streams: plan.streams.iter().map(stream).collect(),
            models: plan.models.iter().map(|model| times.of(&model.id, "select")).collect(),
            views: plan.views.iter().map(|view| times.of(&view.id, "select")).collect(),
            sinks: plan.sinks.iter().map(sink).collect(),
        }
    }
}

/// The batches of one epoch and what failed in them.
struct Evaluation<'a> {
    plan: &'a Plan,
    rejected: Vec<Rejected>,
    /// Records already rejected by an expression, so that each is reported once.
    seen: BTreeSet<(SourceIndex, u32, u64)>,
}

impl Streams {
    /// The logic for `plan`.
    pub fn new(plan: Arc<Plan>, tables: Arc<Vec<TableIndex>>, routes: Routes, sources: Arc<SourceNames>, times: &BusyTimes) -> Self {
        let busy = StreamsBusy::new(&plan, times);
        Self { plan, tables, routes, sources, busy }
    }

    /// Evaluates a closed epoch.
    pub fn close(&mut self, epoch: Epoch, parcels: Vec<Packet>, outbox: &mut Outbox<Packet>) -> Result<()> {
        for parcel in parcels {
            let Packet::Epoch(input) = parcel else {
                return Err(Error::internal("the streams operator got something other than an epoch"));
            };
            self.evaluate(epoch, &input, outbox)?;
        }
        Ok(())
    }

    fn evaluate(&self, epoch: Epoch, input: &EpochInput, outbox: &mut Outbox<Packet>) -> Result<()> {
        let plan = &*self.plan;
        if !input.restore.is_empty() {
            self.restore(&input.restore, outbox);
        }
        let mut evaluation = Evaluation { plan, rejected: input.rejected.clone(), seen: BTreeSet::new() };
        let mut batches: Vec<EventBatch> = Vec::with_capacity(plan.streams.len());
        for (index, stream) in plan.streams.iter().enumerate() {
            let batch = match stream.upstream {
                None => EventBatch::new(input.sources[usize::from(stream.source.0)].0.clone()),
                Some(upstream) => self.busy.streams[index].during(|| evaluation.stream(stream, &batches[upstream], &self.tables))?,
            };
            batches.push(batch);
        }
        let mut bases: Vec<Selection> = Vec::with_capacity(plan.models.len());
        for (index, model) in plan.models.iter().enumerate() {
            let (base, sent) = self.busy.models[index].during(|| -> Result<_> {
                let base = evaluation.select(&model.id, model.stream, model.filter.as_ref(), &batches[model.stream])?;
                let rows = base.apply(&batches[model.stream])?;
                let sent = self.model_input(&mut evaluation, index, model, &base, rows, &batches, input)?;
                Ok((base, sent))
            })?;
            bases.push(base);
            outbox.send(self.routes.to_model(index), self.routes.model(index), Packet::Rows(Arc::new(sent)));
        }
        for (index, view) in plan.views.iter().enumerate() {
            self.busy.views[index].during(|| self.view(&mut evaluation, index, view, &batches, &bases, input, outbox))?;
        }
        for (index, sink) in plan.sinks.iter().enumerate() {
            let SinkFrom::Stream(stream) = sink.from else { continue };
            let columns = StreamColumns { batch: &batches[stream], source: plan.streams[stream].source, epoch, names: &self.sources };
            let rows = self.busy.sinks[index].during(|| relation(index, sink, &columns))?;
            outbox.send(self.routes.to_sinks(), self.routes.sink(index), Packet::Relation(rows));
        }
        let failed = evaluation.seen.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<SourceIndex, u64>, (source, _, _)| {
            *counts.entry(*source).or_default() += 1;
            counts
        });
        for (source, count) in failed {
            outbox.send(self.routes.to_committer(), self.routes.leader(), Packet::Failed { source, count });
        }
        if !evaluation.rejected.is_empty() {
            outbox.send(self.routes.to_sinks(), self.routes.quarantine(), Packet::Rejected(evaluation.rejected));
        }
        Ok(())
    }

    /// Sends the state that components go on with to those who own it now.
    fn restore(&self, pieces: &[Piece], outbox: &mut Outbox<Packet>) {
        let plan = &*self.plan;
        let mut sent: BTreeMap<(usize, WorkerIndex), Vec<Piece>> = BTreeMap::new();
        for piece in pieces {
            let id = piece.name.component.as_str();
            let shard = piece.name.shard.and_then(|shard| u16::try_from(shard).ok()).map(ShardId);
            let view = plan.views.iter().position(|view| view.id.as_str() == id).zip(shard);
            let model = plan.models.iter().position(|model| model.id.as_str() == id);
            let monitor = plan.monitors.iter().find(|monitor| monitor.id.as_str() == id);
            let to = match (view, model, monitor) {
                (Some((view, shard)), _, _) => (self.routes.to_view(view), self.routes.shards().worker(shard)),
                (_, Some(model), _) => (self.routes.to_model(model), self.routes.model(model)),
                (_, _, Some(monitor)) => (self.routes.to_monitors(), self.routes.monitor(monitor)),
                _ => continue,
            };
            sent.entry(to).or_default().push(piece.clone());
        }
        for ((output, worker), pieces) in sent {
            outbox.send(output, worker, Packet::Restore(pieces));
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the arguments are the epoch's parts")]
    fn model_input(
        &self,
        evaluation: &mut Evaluation<'_>,
        index: usize,
        model: &ModelPlan,
        base: &Selection,
        rows: EventBatch,
        batches: &[EventBatch],
        input: &EpochInput,
    ) -> Result<ModelInput> {
        let mut sent = ModelInput {
            model: index,
            watermark: input.watermark,
            closing: input.closing,
            checkpoint: input.checkpoint,
            rows: Columns(rows.rows().clone()),
            keys: KeyColumn::default(),
            labels: Vec::new(),
            weights: Vec::new(),
            arrivals: None,
        };
        if let crate::plan::ModelKindPlan::Linear(linear) = &model.kind
            && let Some(weight) = &linear.weight
        {
            sent.weights = evaluation.floats(&model.id, model.stream, weight, &rows)?;
        }
        match &model.label {
            None => {}
            Some(LabelPlan::Column(value)) => sent.labels = evaluation.floats(&model.id, model.stream, value, &rows)?,
            Some(LabelPlan::Stream { stream, row_key, label_key, value, .. }) => {
                let keys = rows.rows().column(*row_key).clone();
                sent.keys = KeyColumn::encode(&[keys], rows.len());
                let arrived = &batches[*stream];
                if !arrived.is_empty() {
                    let keys = KeyColumn::encode(&[arrived.rows().column(*label_key).clone()], arrived.len());
                    let values = evaluation.floats(&model.id, *stream, value, arrived)?;
                    sent.arrivals = Some(Arrivals { rows: Columns(arrived.rows().clone()), keys, values });
                }
            }
        }
        debug_assert!(base.rows.as_ref().is_none_or(|rows| rows.len() == sent.rows.0.num_rows()));
        Ok(sent)
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the arguments are the epoch's parts")]
    fn view(
        &self,
        evaluation: &mut Evaluation<'_>,
        index: usize,
        view: &ViewPlan,
        batches: &[EventBatch],
        bases: &[Selection],
        input: &EpochInput,
        outbox: &mut Outbox<Packet>,
    ) -> Result<()> {
        let stream = &batches[view.stream];
        let updating = evaluation.select(&view.id, view.stream, view.filter.as_ref(), stream)?;
        let updates = updating.apply(stream)?;
        let columns = evaluation.columns(&view.id, view.stream, view.arguments.iter().chain(&view.filters), &updates)?;
        let keys = Arc::new(keys_of(&updates, &view.entity));
        let workers = self.routes.workers() as usize;
        let mut own = Vec::new();
        let mut probes: Vec<(ProbeSet, Vec<Vec<u32>>)> = Vec::new();
        for (reader, lookup, model) in readers(evaluation.plan, index) {
            let base = &bases[reader];
            let same_stream = model.stream == view.stream;
            let (own_row_of, probing) = if model.lookups[lookup].own { match_rows(&updating, base, stream.len()) } else { (None, None) };
            if model.lookups[lookup].own {
                own.push(OwnReader { reader: Reader::Model { model: reader, lookup }, row_of: own_row_of });
                if probing.as_ref().is_some_and(Vec::is_empty) {
                    continue;
                }
            }
            let rows = base.apply(&batches[model.stream])?;
            let keys = keys_of(&rows, &model.lookups[lookup].key);
            let mut chosen = vec![Vec::new(); workers];
            match &probing {
                Some(some) => some.iter().for_each(|row| chosen[self.owner(&keys, *row)].push(*row)),
                None => (0..rows.len() as u32).for_each(|row| chosen[self.owner(&keys, row)].push(row)),
            }
            let set = ProbeSet {
                reader: Reader::Model { model: reader, lookup },
                positions: Arc::new(Positions::of(&rows)),
                keys: Arc::new(keys),
                rows: Vec::new(),
                own_stream: same_stream,
            };
            probes.push((set, chosen));
        }
        for (sink, _) in evaluation.plan.sinks.iter().enumerate().filter(|(_, sink)| sink.from == SinkFrom::View(index)) {
            outbox.send(self.routes.to_sinks(), self.routes.sink(sink), Packet::ViewRows { sink, rows: Columns(updates.rows().clone()) });
            own.push(OwnReader { reader: Reader::Sink(sink), row_of: None });
        }
        let mut rows_of = vec![Vec::new(); workers];
        (0..updates.len() as u32).for_each(|row| rows_of[self.owner(&keys, row)].push(row));
        let positions = Arc::new(Positions::of(&updates));
        for (worker, rows) in rows_of.into_iter().enumerate() {
            let probes: Vec<ProbeSet> = probes
                .iter_mut()
                .map(|(set, chosen)| ProbeSet { rows: std::mem::take(&mut chosen[worker]), ..set.clone() })
                .filter(|set| !set.rows.is_empty())
                .collect();
            if rows.is_empty() && probes.is_empty() && view.spec.ttl.is_none() && !input.closing && !input.checkpoint {
                continue;
            }
            let updates = UpdateSet { positions: positions.clone(), keys: keys.clone(), columns: columns.clone(), rows, own: own.clone() };
            let sent = ViewInput {
                view: index,
                watermark: input.watermark,
                closing: input.closing,
                checkpoint: input.checkpoint,
                updates,
                probes,
            };
            outbox.send(self.routes.to_view(index), crate::ids::WorkerIndex(worker as u32), Packet::View(Arc::new(sent)));
        }
        Ok(())
    }

    fn owner(&self, keys: &KeyColumn, row: u32) -> usize {
        self.routes.shards().worker_of(keys.hash(row as usize)).0 as usize
    }
}

/// The models' lookups that read `view`.
pub fn readers(plan: &Plan, view: usize) -> impl Iterator<Item = (usize, usize, &ModelPlan)> {
    plan.models.iter().enumerate().flat_map(move |(model, declared)| {
        let lookups = declared.lookups.iter().enumerate().filter(move |(_, lookup)| lookup.view == view);
        lookups.map(move |(lookup, _)| (model, lookup, declared))
    })
}

fn keys_of(batch: &EventBatch, columns: &[usize]) -> KeyColumn {
    let columns: Vec<ArrayRef> = columns.iter().map(|column| batch.rows().column(*column).clone()).collect();
    KeyColumn::encode(&columns, batch.len())
}

/// Rows of a stream that a component takes; `None` = all.
struct Selection {
    rows: Option<Vec<u32>>,
}

impl Selection {
    fn apply(&self, batch: &EventBatch) -> Result<EventBatch> {
        match &self.rows {
            None => Ok(batch.clone()),
            Some(rows) => take_rows(batch, rows),
        }
    }
}

/// The rows of `batch` at `rows`.
pub fn take_rows(batch: &EventBatch, rows: &[u32]) -> Result<EventBatch> {
    Ok(EventBatch::new(take_batch(batch.rows(), rows)?))
}

/// The rows of `batch` at `rows`.
pub fn take_batch(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
    let indices = UInt32Array::from(rows.to_vec());
    let columns = batch
        .columns()
        .iter()
        .map(|column| take(column, &indices, None))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(arrow_error)?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(batch.schema(), columns, &options).map_err(arrow_error)
}

/// An Arrow kernel refused what the plan says is right.
pub fn arrow_error(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("an Arrow kernel failed: {error}"))
}

/// For records that are update and probe at once: update row → row of the base (`None`: the same row), and the base rows that are no updates.
#[allow(clippy::type_complexity, reason = "two optional lists of rows; a name for the pair would hide it")]
fn match_rows(updating: &Selection, base: &Selection, rows: usize) -> (Option<Arc<Vec<u32>>>, Option<Vec<u32>>) {
    if updating.rows.is_none() && base.rows.is_none() {
        return (None, Some(Vec::new()));
    }
    let mut base_row_of = vec![u32::MAX; rows];
    match &base.rows {
        None => base_row_of.iter_mut().enumerate().for_each(|(row, base)| *base = row as u32),
        Some(rows) => rows.iter().enumerate().for_each(|(base, row)| base_row_of[*row as usize] = base as u32),
    }
    let row_of: Vec<u32> = match &updating.rows {
        None => base_row_of.clone(),
        Some(rows) => rows.iter().map(|row| base_row_of[*row as usize]).collect(),
    };
    if let Some(rows) = &updating.rows {
        rows.iter().for_each(|row| base_row_of[*row as usize] = u32::MAX);
    } else {
        base_row_of.clear();
    }
    let mut probing: Vec<u32> = base_row_of.into_iter().filter(|row| *row != u32::MAX).collect();
    probing.sort_unstable();
    (Some(Arc::new(row_of)), Some(probing))
}

impl Evaluation<'_> {
    /// One declared stream: joins, then the filter, then the derived columns.
    fn stream(&mut self, stream: &StreamPlan, upstream: &EventBatch, tables: &[TableIndex]) -> Result<EventBatch> {
        let user = upstream.rows().num_columns() - EventBatch::HIDDEN;
        let mut columns: Vec<ArrayRef> = upstream.rows().columns()[..user].to_vec();
        let hidden: Vec<ArrayRef> = upstream.rows().columns()[user..].to_vec();
        let mut failed = vec![false; upstream.len()];
        for join in &stream.joins {
            let keys = self.evaluate(&stream.id, stream.source, &join.key, &columns, upstream, &mut failed);
            columns.extend(tables[join.table].lookup(&keys, upstream.times())?);
        }
        let mut keep: Option<Vec<u32>> = None;
        if let Some(filter) = &stream.filter {
            let kept = self.evaluate(&stream.id, stream.source, filter, &columns, upstream, &mut failed);
            keep = Some(true_rows(&kept));
        }
        let mut derived: Vec<ArrayRef> = Vec::with_capacity(stream.derive.len());
        let mut rows = upstream.clone();
        if let Some(keep) = &keep {
            columns = take_columns(&columns, keep)?;
            rows = take_rows(upstream, keep)?;
            failed = keep.iter().map(|row| failed[*row as usize]).collect();
        }
        for (_, expression) in &stream.derive {
            derived.push(self.evaluate(&stream.id, stream.source, expression, &columns, &rows, &mut failed));
        }
        let hidden = match &keep {
            Some(keep) => take_columns(&hidden, keep)?,
            None => hidden,
        };
        let mut all: Vec<ArrayRef> = columns.into_iter().chain(derived).chain(hidden).collect();
        if failed.contains(&true) {
            let kept: Vec<u32> = (0..failed.len() as u32).filter(|row| !failed[*row as usize]).collect();
            all = take_columns(&all, &kept)?;
        }
        let schema = EventBatch::schema_of(&stream.schema);
        Ok(EventBatch::new(RecordBatch::try_new(schema, all).map_err(arrow_error)?))
    }

    /// Evaluates over the columns of a batch; rows that fail are rejected and marked.
    fn evaluate(
        &mut self,
        component: &ComponentId,
        source: SourceIndex,
        expression: &Expression,
        columns: &[ArrayRef],
        rows: &EventBatch,
        failed: &mut [bool],
    ) -> ArrayRef {
        let inputs: Vec<ArrayRef> = expression.inputs().iter().map(|column| columns[*column].clone()).collect();
        let (array, failures) = expression.evaluate_rows(&inputs, rows.len());
        for (row, message) in failures {
            failed[row] = true;
            self.reject(component, source, rows, row, &message);
        }
        array
    }

    fn reject(&mut self, component: &ComponentId, source: SourceIndex, rows: &EventBatch, row: usize, message: &str) {
        let (partition, offset) = (rows.partitions()[row], rows.offsets()[row]);
        if self.seen.insert((source, partition, offset)) {
            self.rejected.push(Rejected {
                source,
                partition: PartitionIndex(partition),
                offset,
                reason: Reason::Expression,
                detail: format!("{component}: {message}"),
                event_time: Some(rows.times()[row]),
            });
        }
    }

    /// The rows of `batch` for which `filter` is true.
    fn select(
        &mut self,
        component: &ComponentId,
        stream: StreamIndex,
        filter: Option<&Expression>,
        batch: &EventBatch,
    ) -> Result<Selection> {
        let Some(filter) = filter else { return Ok(Selection { rows: None }) };
        let source = self.plan.streams[stream].source;
        let mut failed = vec![false; batch.len()];
        let kept = self.evaluate(component, source, filter, batch.rows().columns(), batch, &mut failed);
        Ok(Selection { rows: Some(true_rows(&kept)) })
    }

    /// Evaluates a float64 expression; NaN where it is null or fails.
    fn floats(&mut self, component: &ComponentId, stream: StreamIndex, expression: &Expression, batch: &EventBatch) -> Result<Vec<f64>> {
        let source = self.plan.streams[stream].source;
        let mut failed = vec![false; batch.len()];
        let array = self.evaluate(component, source, expression, batch.rows().columns(), batch, &mut failed);
        let array: &Float64Array = array.as_primitive::<Float64Type>();
        let values = array.values();
        Ok(match array.nulls() {
            None => values.to_vec(),
            Some(nulls) => values.iter().zip(nulls).map(|(value, valid)| if valid { *value } else { f64::NAN }).collect(),
        })
    }

    /// Evaluates the argument and filter columns of a view. A row an expression fails on counts as null there.
    fn columns<'e>(
        &mut self,
        component: &ComponentId,
        stream: StreamIndex,
        expressions: impl Iterator<Item = &'e Expression>,
        batch: &EventBatch,
    ) -> Result<Columns> {
        let source = self.plan.streams[stream].source;
        let mut failed = vec![false; batch.len()];
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for (index, expression) in expressions.enumerate() {
            let array = self.evaluate(component, source, expression, batch.rows().columns(), batch, &mut failed);
            fields.push(Field::new(format!("c{index}"), array.data_type().clone(), true));
            columns.push(array);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.len()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).map(Columns).map_err(arrow_error)
    }
}

/// A condition's outcome with unknown as false (S9.1).
pub fn certain(outcome: &BooleanArray) -> BooleanArray {
    if outcome.null_count() == 0 { outcome.clone() } else { prep_null_mask_filter(outcome) }
}

/// Rows where a boolean column is true.
fn true_rows(kept: &ArrayRef) -> Vec<u32> {
    debug_assert_eq!(kept.data_type(), &DataType::Boolean);
    let kept: &BooleanArray = kept.as_boolean();
    (0..kept.len()).filter(|row| kept.is_valid(*row) && kept.value(*row)).map(|row| row as u32).collect()
}

fn take_columns(columns: &[ArrayRef], rows: &[u32]) -> Result<Vec<ArrayRef>> {
    let indices = UInt32Array::from(rows.to_vec());
    columns.iter().map(|column| take(column, &indices, None)).collect::<std::result::Result<_, _>>().map_err(arrow_error)
}
