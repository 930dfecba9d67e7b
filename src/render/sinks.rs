//! Sinks: a relation's rows through `where` and `columns` into the bytes that become visible.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};

use super::ingest::Minted;
use super::packet::{FeatureBlock, Packet, Reader, RelationRows, SinkOutput};
use super::quarantine::Quarantined;
use super::relation::{SourceNames, StreamColumns, ViewColumns, relation, timestamps};
use super::routes::Routes;
use super::streams::{arrow_error, certain};
use crate::data::{CellType, Columns, EventBatch, FeatureRows, Rejected};
use crate::dataflow::Outbox;
use crate::drift::Statistic;
use crate::error::{Error, Exit, Result};
use crate::expressions::Expression;
use crate::plan::{Plan, RelationOrigin, SinkFrom, SinkKindPlan, SinkPlan};
use crate::sinks::{Encoder, SinkRows};
use crate::time::{Busy, BusyTimes, Epoch};

/// The logic of the sinks that a worker has.
pub struct Sinks {
    plan: Arc<Plan>,
    routes: Routes,
    names: Arc<SourceNames>,
    /// On the leading worker the bytes of the records that may be quarantined.
    minted: Minted,
    open: BTreeMap<usize, Sink>,
    /// By position in the plan.
    busy: Vec<Busy>,
}

/// What arrived for one sink in one epoch.
#[derive(Default)]
struct Arrived {
    relations: Vec<RelationRows>,
    statistics: Vec<Statistic>,
    view_rows: Option<EventBatch>,
    blocks: Vec<FeatureBlock>,
}

impl Sinks {
    /// The logic for `plan`.
    pub fn new(plan: Arc<Plan>, routes: Routes, names: Arc<SourceNames>, minted: Minted, times: &BusyTimes) -> Self {
        let busy = plan.sinks.iter().map(|sink| times.of(&sink.id, "encode")).collect();
        Self { plan, routes, names, minted, open: BTreeMap::new(), busy }
    }

    /// Encodes a closed epoch.
    pub fn close(&mut self, epoch: Epoch, parcels: Vec<Packet>, outbox: &mut Outbox<Packet>) -> Result<()> {
        let mut arrived: BTreeMap<usize, Arrived> = BTreeMap::new();
        let mut rejected: Vec<Rejected> = Vec::new();
        for parcel in parcels {
            match parcel {
                Packet::Relation(rows) => arrived.entry(rows.sink).or_default().relations.push(rows),
                Packet::Rejected(records) => rejected.extend(records),
                Packet::Statistics { sink, rows } => arrived.entry(sink).or_default().statistics.extend(rows),
                Packet::ViewRows { sink, rows } => arrived.entry(sink).or_default().view_rows = Some(EventBatch::new(rows.0)),
                Packet::Features(block) => match block.reader {
                    Reader::Sink(sink) => arrived.entry(sink).or_default().blocks.push(block),
                    Reader::Model { .. } => return Err(Error::internal("features for a model reached a sink")),
                },
                _ => return Err(Error::internal("a sink got something that is no row")),
            }
        }
        for (index, arrived) in arrived {
            let busy = self.busy[index].clone();
            let sink = self.sink(index)?;
            busy.during(|| sink.close(epoch, arrived, outbox))?;
        }
        if rejected.is_empty() { Ok(()) } else { self.quarantine(epoch, &rejected, outbox) }
    }

    /// The sink at position `index`, opened at its first use.
    fn sink(&mut self, index: usize) -> Result<&mut Sink> {
        Ok(match self.open.entry(index) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(slot) => slot.insert(Sink::new(self.plan.clone(), index, self.routes, self.names.clone())?),
        })
    }

    /// Encodes the rejected records of an epoch for every sink that reads the quarantine.
    fn quarantine(&mut self, epoch: Epoch, rejected: &[Rejected], outbox: &mut Outbox<Packet>) -> Result<()> {
        let (plan, names, minted) = (self.plan.clone(), self.names.clone(), self.minted.clone());
        for (index, declared) in plan.sinks.iter().enumerate().filter(|(_, sink)| sink.from == SinkFrom::Quarantine) {
            let in_messages = matches!(declared.kind, SinkKindPlan::Kafka { .. });
            let shown = minted.look(epoch, |minted| -> Result<_> {
                let rows = Quarantined::new(rejected, &minted.originals, in_messages)?;
                Ok((rows.columns(&names), rows.times()))
            });
            let Some(shown) = shown else {
                return Err(Error::internal(format!("records rejected in epoch {epoch} reached a worker that has not their bytes")));
            };
            let (columns, times) = shown?;
            let busy = self.busy[index].clone();
            let sink = self.sink(index)?;
            busy.during(|| sink.fixed(columns, times).and_then(|rows| sink.encode(&rows, outbox)))?;
        }
        Ok(())
    }
}

/// One sink on its worker.
struct Sink {
    plan: Arc<Plan>,
    sink: usize,
    routes: Routes,
    names: Arc<SourceNames>,
    encoder: Box<dyn Encoder>,
    used: Vec<usize>,
}

impl Sink {
    fn new(plan: Arc<Plan>, sink: usize, routes: Routes, names: Arc<SourceNames>) -> Result<Self> {
        let declared = &plan.sinks[sink];
        let encoder = crate::sinks::encoder(declared.kind.name(), &declared.schema).map_err(|cause| {
            Error::new(Exit::Config, format!("{}: {cause}", declared.id), "leave the column out or turn it into another type in `columns`")
        })?;
        let used = declared.used_columns();
        Ok(Self { sink, routes, names, encoder, used, plan })
    }

    fn declared(&self) -> &SinkPlan {
        &self.plan.sinks[self.sink]
    }

    fn close(&mut self, epoch: Epoch, arrived: Arrived, outbox: &mut Outbox<Packet>) -> Result<()> {
        let Arrived { mut relations, statistics, view_rows, blocks } = arrived;
        if let (Some(rows), SinkFrom::View(view)) = (view_rows, &self.declared().from) {
            let view = &self.plan.views[*view];
            let types: Vec<CellType> = view.features.iter().map(|feature| feature.cell).collect();
            let mut features = FeatureRows::nulls(rows.len(), types.len());
            for block in &blocks {
                for (from, row) in block.rows.iter().enumerate() {
                    features.copy_row(*row as usize, &block.features, from, &types);
                }
            }
            let stream = StreamColumns { batch: &rows, source: self.plan.streams[view.stream].source, epoch, names: &self.names };
            relations.push(relation(self.sink, self.declared(), &ViewColumns { stream, features: &features, plan: &view.features })?);
        }
        if !statistics.is_empty() {
            relations.push(self.fixed(statistics_columns(&statistics), statistics.iter().map(|one| one.event_time).collect())?);
        }
        for rows in relations {
            self.encode(&rows, outbox)?;
        }
        Ok(())
    }

    /// The used columns of a relation with a fixed schema.
    fn fixed(&self, columns: Vec<ArrayRef>, times: Vec<i64>) -> Result<RelationRows> {
        let plan = self.declared();
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for used in &self.used {
            let declared = &plan.relation[*used];
            let RelationOrigin::Fixed(column) = declared.origin else {
                return Err(Error::internal(format!("{}: {} is no column of a fixed schema", plan.id, declared.name)));
            };
            if columns[column].data_type() != &declared.data_type {
                let found = columns[column].data_type();
                return Err(Error::internal(format!("{}: column {} is {found}, not {}", plan.id, declared.name, declared.data_type)));
            }
            fields.push(Field::new(&declared.name, declared.data_type.clone(), true));
            arrays.push(columns[column].clone());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(times.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(arrow_error)?;
        Ok(RelationRows { sink: self.sink, filtered: false, columns: Columns(batch), times })
    }

    fn encode(&mut self, rows: &RelationRows, outbox: &mut Outbox<Packet>) -> Result<()> {
        let plan = self.plan.clone();
        let plan = &plan.sinks[self.sink];
        let mut batch = rows.columns.0.clone();
        let mut times = rows.times.clone();
        if let Some(filter) = plan.filter.as_ref().filter(|_| !rows.filtered) {
            let kept = self.evaluate(filter, &batch)?;
            let kept = certain(kept.as_boolean());
            times = times.iter().enumerate().filter(|(row, _)| kept.value(*row)).map(|(_, time)| *time).collect();
            batch = filter_record_batch(&batch, &kept).map_err(arrow_error)?;
        }
        if times.is_empty() {
            return Ok(());
        }
        let mut columns = Vec::with_capacity(plan.columns.len());
        for (_, expression) in &plan.columns {
            columns.push(self.evaluate(expression, &batch)?);
        }
        let output = RecordBatch::try_new(plan.schema.clone(), columns).map_err(arrow_error)?;
        let routing = match &plan.kind {
            SinkKindPlan::Parquet { partition_by: Some(expression), .. } => Some(self.evaluate(expression, &batch)?),
            SinkKindPlan::Kafka { message_key: Some(expression), .. } => Some(self.evaluate(expression, &batch)?),
            _ => None,
        };
        let rows = SinkRows { columns: &output, times: &times, by: routing.as_ref() };
        let encoding = self.encoder.encode(&rows).map_err(|cause| Error::internal(format!("{}: {cause}", plan.id)))?;
        let output = SinkOutput { sink: self.sink, encoded: encoding.encoded, non_finite: encoding.non_finite };
        outbox.send(0, self.routes.leader(), Packet::Encoded(output));
        Ok(())
    }

    /// Evaluates over the used columns. A row it fails on has a null there: the record was used, its output says what it can.
    fn evaluate(&self, expression: &Expression, batch: &RecordBatch) -> Result<ArrayRef> {
        let mut inputs = Vec::with_capacity(expression.inputs().len());
        for input in expression.inputs() {
            let at =
                self.used.binary_search(input).map_err(|_| Error::internal(format!("{}: an unused column is read", self.declared().id)))?;
            inputs.push(batch.column(at).clone());
        }
        Ok(expression.evaluate_rows(&inputs, batch.num_rows()).0)
    }
}

/// The columns of `monitors.N` (S13.1).
fn statistics_columns(rows: &[Statistic]) -> Vec<ArrayRef> {
    let strings = |value: fn(&Statistic) -> Option<&str>| Arc::new(StringArray::from_iter(rows.iter().map(value))) as ArrayRef;
    let floats = |value: fn(&Statistic) -> Option<f64>| Arc::new(arrow::array::Float64Array::from_iter(rows.iter().map(value))) as ArrayRef;
    let counts = |value: fn(&Statistic) -> Option<u64>| {
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| value(row).map(|n| n as i64)))) as ArrayRef
    };
    let times = |value: fn(&Statistic) -> Option<i64>| timestamps(rows.iter().map(value).collect());
    vec![
        strings(|row| Some(&row.monitor)),
        times(|row| Some(row.event_time)),
        strings(|row| row.key.as_deref()),
        strings(|row| Some(&row.column)),
        strings(|row| Some(&row.statistic)),
        floats(|row| row.value),
        floats(|row| row.threshold),
        Arc::new(arrow::array::BooleanArray::from_iter(rows.iter().map(|row| Some(row.alarm)))),
        strings(|row| row.direction.map(|direction| direction.as_str())),
        counts(|row| Some(row.rows)),
        counts(|row| row.reference_rows),
        times(|row| row.window_start),
        times(|row| row.window_end),
    ]
}
