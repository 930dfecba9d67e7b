//! Views on epochs of workload W that are already there: `cargo bench --bench views`.
//!
//! A record is applied to its key and its feature row is written; the views are those of `benches/w.toml`: four windows by user, two by merchant. Users
//! come at random out of 20,000, with some records in each of their windows; merchants out of 5,000, with some hundreds.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::ScalarBuffer;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::data::{FeatureRows, KeyColumn};
use tidemill::features::{Argument, Updates};
use tidemill::ids::ShardMap;
use tidemill::state::ViewState;

#[path = "workload/mod.rs"]
mod workload;

use workload::{uniform, w};

/// Records an epoch.
const RECORDS: usize = 16_384;
/// Event time between two records, microseconds.
const GAP: i64 = 129_600;

/// An epoch that begins at `start`.
fn epoch(next: &mut impl FnMut() -> f64, keys: usize, arguments: usize, start: i64) -> (KeyColumn, Updates) {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..RECORDS).map(|_| format!("k{:06}", (next() * keys as f64) as usize))));
    let amounts: Vec<f64> = (0..RECORDS).map(|_| (next() * 20_000.0).round() / 100.0).collect();
    let amounts = Argument::Float64 { values: amounts.into(), nulls: None };
    let times: ScalarBuffer<i64> = (0..RECORDS as i64).map(|record| start + record * GAP).collect();
    (KeyColumn::encode(&[names], RECORDS), Updates { times, arguments: vec![amounts; arguments], filters: Vec::new() })
}

fn update(c: &mut Criterion) {
    let plan = w();
    let mut group = c.benchmark_group("views of workload W");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (view, keys) in plan.views.iter().zip([5_000, 20_000]) {
        let mut next = uniform(3);
        let mut state = ViewState::new(view.spec.clone(), ShardMap::new(plan.shards, 1));
        let mut start = 1_700_000_000_000_000;
        let rows: Vec<u32> = (0..RECORDS as u32).collect();
        let mut apply = |keys: &KeyColumn, updates: &Updates, out: &mut FeatureRows| {
            for row in 0..RECORDS {
                if row % ViewState::AHEAD == 0 {
                    state.look_ahead(keys, &rows[row..(row + ViewState::AHEAD).min(RECORDS)]);
                }
                state.update(keys, row, updates, Some(row % ViewState::AHEAD), Some((&mut *out, row)));
            }
            state.advance(updates.times[RECORDS - 1]);
        };
        let width = view.features.len();
        // A day of event time, so that every window holds what it will hold.
        for _ in 0..24 * 3_600 * 1_000_000 / (RECORDS as i64 * GAP) {
            let (names, updates) = epoch(&mut next, keys, view.arguments.len(), start);
            apply(&names, &updates, &mut FeatureRows::nulls(RECORDS, width));
            start += RECORDS as i64 * GAP;
        }
        group.bench_function(BenchmarkId::from_parameter(&view.id), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..rounds {
                    let (names, updates) = epoch(&mut next, keys, view.arguments.len(), start);
                    let mut out = FeatureRows::nulls(RECORDS, width);
                    start += RECORDS as i64 * GAP;
                    let began = std::time::Instant::now();
                    apply(&names, &updates, &mut out);
                    took += began.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, update);
criterion_main!(benches);
