//! The operator of an online model on epochs of workload W that are already there: `cargo bench --bench model`.
//!
//! From feature rows to predictions, what is learned, the books and the columns that leave for sinks and monitors; what these do with it is not part
//! of it. The plan is that of `benches/w.toml`; feature rows are random, and come in one block per view (one worker) or in two with every second row
//! (two workers).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::datatypes::{Field, Schema};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::data::{CellType, Columns, EventBatch, FeatureRows, KeyColumn};
use tidemill::dataflow::Outbox;
use tidemill::plan::{ModelKindPlan, Plan};
use tidemill::render::{FeatureBlock, MODEL_OUTPUTS, ModelInput, Online, Packet, Reader, Routes, SourceNames};
use tidemill::time::Epoch;

#[path = "workload/mod.rs"]
mod workload;

use workload::{uniform, w};

/// Rows an epoch.
const ROWS: usize = 16_384;

/// The rows that the model is asked about.
fn rows(plan: &Plan) -> ModelInput {
    let stream = &plan.streams[plan.models[0].stream];
    let mut next = uniform(1);
    let time = |row: usize| 1_700_000_000_000_000 + row as i64 * 130_000;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("event_id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values((0..ROWS).map(time)).with_timezone("UTC"))),
        ("user", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("u{row:06}"))))),
        ("merchant", Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("m{:04}", row % 5000))))),
        ("amount", Arc::new(Float64Array::from_iter_values((0..ROWS).map(|_| 100.0 * next())))),
        ("label", Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| i64::from(row % 5 == 0))))),
    ];
    let schema = EventBatch::schema_of(&Schema::new(
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect::<Vec<_>>(),
    ));
    let mut arrays: Vec<ArrayRef> = columns.into_iter().map(|(_, column)| column).collect();
    arrays.push(Arc::new(Int64Array::from_iter_values((0..ROWS).map(time))));
    arrays.push(Arc::new(UInt32Array::from_value(0, ROWS)));
    arrays.push(Arc::new(UInt64Array::from_iter_values(0..ROWS as u64)));
    let batch = RecordBatch::try_new(schema, arrays).unwrap_or_else(|error| panic!("{}: {error}", stream.id));
    ModelInput {
        model: 0,
        watermark: time(ROWS),
        closing: false,
        checkpoint: false,
        rows: Columns(batch),
        keys: KeyColumn::default(),
        labels: (0..ROWS).map(|row| if row % 50 == 0 { f64::NAN } else { f64::from(u8::from(row % 5 == 0)) }).collect(),
        weights: Vec::new(),
        arrivals: None,
    }
}

/// Feature rows of every lookup, in `blocks` blocks that take turns.
fn features(plan: &Plan, blocks: usize) -> Vec<FeatureBlock> {
    let mut next = uniform(2);
    let mut all = Vec::new();
    for (lookup, declared) in plan.models[0].lookups.iter().enumerate() {
        let cells: Vec<CellType> = plan.views[declared.view].features.iter().map(|feature| feature.cell).collect();
        for block in 0..blocks {
            let rows: Vec<u32> = (block..ROWS).step_by(blocks).map(|row| row as u32).collect();
            let mut features = FeatureRows::nulls(rows.len(), cells.len());
            for row in 0..rows.len() {
                for (column, cell) in cells.iter().enumerate() {
                    let value = 1.0 + 1000.0 * next();
                    features.set(row, column, if *cell == CellType::Float64 { value.to_bits() } else { value as u64 });
                }
            }
            all.push(FeatureBlock { view: declared.view, reader: Reader::Model { model: 0, lookup }, rows, features });
        }
    }
    all
}

fn operator(c: &mut Criterion) {
    let mut group = c.benchmark_group("model of workload W");
    group.throughput(Throughput::Elements(ROWS as u64));
    let plan = Arc::new(w());
    let ModelKindPlan::Linear(linear) = &plan.models[0].kind else { return };
    let input = Arc::new(rows(&plan));
    for blocks in [1, 2] {
        let features = features(&plan, blocks);
        let parcels = || -> Vec<Packet> {
            std::iter::once(Packet::Rows(input.clone())).chain(features.iter().cloned().map(Packet::Features)).collect()
        };
        let online = Online::new(plan.clone(), 0, linear, Routes::new(&plan, 1), Arc::new(SourceNames::default()));
        let mut online = online.unwrap_or_else(|error| panic!("{}", error.cause));
        let mut epoch = 0;
        group.bench_function(BenchmarkId::new("blocks per view", blocks), |bencher| {
            bencher.iter_batched(
                parcels,
                |parcels| {
                    let mut outbox = Outbox::new(MODEL_OUTPUTS);
                    epoch += 1;
                    online.close(Epoch(epoch), parcels, &mut outbox).unwrap_or_else(|error| panic!("{}", error.cause));
                    outbox
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, operator);
criterion_main!(benches);
