//! Laws of keyed state: keys do not see each other, shards and snapshots change nothing, old keys go first.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::DataType;

use super::ViewState;
use crate::config::declaration::Window;
use crate::data::{CellType, FeatureRows, KeyColumn};
use crate::features::{Argument, CallShape, FeatureSpec, Updates, ViewSpec, resolve};
use crate::ids::ShardMap;

fn spec(windows: Vec<Window>, functions: &[&str]) -> ViewSpec {
    let mut features = Vec::new();
    for function in functions {
        let argument = (!matches!(*function, "time_since_last")).then_some(DataType::Float64);
        let Ok(resolved) = resolve(&CallShape { function, distinct: false, argument: argument.as_ref(), parameters: &[] }) else {
            continue;
        };
        let scopes = if resolved.own_horizon { vec![None] } else { (0..windows.len()).map(Some).collect::<Vec<_>>() };
        for window in scopes {
            let (function, cell) = (resolved.function, resolved.cell);
            features.push(FeatureSpec {
                function,
                argument: argument.as_ref().map(|_| 0),
                filter: None,
                window,
                include_current: true,
                cell,
            });
        }
    }
    ViewSpec {
        windows,
        arguments: vec![CellType::Float64],
        filters: 0,
        features,
        lateness: 0,
        ttl: None,
        max_keys_per_shard: None,
        max_records_per_key: None,
    }
}

fn keys(values: &[Option<i64>]) -> KeyColumn {
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    KeyColumn::encode(&[column], values.len())
}

fn updates(times: Vec<i64>, values: Vec<f64>) -> Updates {
    Updates { times: times.into(), arguments: vec![Argument::Float64 { values: ScalarBuffer::from(values), nulls: None }], filters: vec![] }
}

/// Records of a few hot and many rare keys, in order, with values that are no short decimals.
fn stream(count: usize) -> (KeyColumn, Updates) {
    let hash = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let ids: Vec<Option<i64>> =
        (0..count).map(|i| (hash(i) % 50 != 0).then_some((hash(i) % if i % 2 == 0 { 3 } else { 400 }) as i64)).collect();
    let values = (0..count).map(|i| (hash(i * 7) % 1000) as f64 / 7.0).collect();
    (keys(&ids), updates((0..count as i64).map(|i| i * 3 / 2).collect(), values))
}

const FUNCTIONS: [&str; 7] = ["count", "sum", "stddev_pop", "max", "min", "last", "approx_quantile"];

fn run(spec: &Arc<ViewSpec>, shards: u32, every: usize, restart: usize) -> FeatureRows {
    let (keys, updates) = stream(4000);
    let mut rows = FeatureRows::nulls(keys.len(), spec.features.len());
    let mut view = ViewState::new(spec.clone(), ShardMap::new(shards, 1));
    for row in 0..keys.len() {
        if row % every == 0 {
            view.advance(updates.times[row]);
        }
        if row % restart == restart - 1 {
            let parts = snapshot(&mut view);
            view = restored(spec, ShardMap::new(shards, 1), &parts).unwrap();
            assert_eq!(snapshot(&mut view), parts);
        }
        if row % ViewState::AHEAD == 0 {
            let next: Vec<u32> = (row..keys.len().min(row + ViewState::AHEAD)).map(|row| row as u32).collect();
            view.look_ahead(&keys, &next);
        }
        view.update(&keys, row, &updates, Some(row % ViewState::AHEAD).filter(|_| every.is_multiple_of(2)), Some((&mut rows, row)));
    }
    rows
}

#[test]
fn shards_epochs_and_restores_change_no_bit() {
    let windows = vec![Window::Sliding(90), Window::Sliding(700), Window::Tumbling { size: 250, offset: 0 }];
    let spec = Arc::new(spec(windows, &FUNCTIONS));
    let plain = run(&spec, 1, usize::MAX, usize::MAX);
    assert_eq!(plain, run(&spec, 256, 100, usize::MAX));
    assert_eq!(plain, run(&spec, 16, 1, 500));
    assert_eq!(plain, run(&spec, 3, 1234, 77));
}

#[test]
fn a_key_sees_only_its_own_records() {
    let spec = Arc::new(spec(vec![Window::Sliding(100), Window::Lifetime], &FUNCTIONS));
    let (keys, updates) = stream(3000);
    let mut all = FeatureRows::nulls(keys.len(), spec.features.len());
    let mut view = ViewState::new(spec.clone(), ShardMap::new(256, 1));
    (0..keys.len()).for_each(|row| view.update(&keys, row, &updates, None, Some((&mut all, row))));
    for wanted in [0, 1, 7, 44, 399] {
        let mut alone = FeatureRows::nulls(keys.len(), spec.features.len());
        let mut view = ViewState::new(spec.clone(), ShardMap::new(256, 1));
        for row in (0..keys.len()).filter(|row| !keys.is_null(*row) && keys.key(*row)[1..] == i64::to_le_bytes(wanted)) {
            view.update(&keys, row, &updates, None, Some((&mut alone, row)));
            assert_eq!(alone.row(row), all.row(row));
        }
    }
}

#[test]
fn keys_that_no_window_can_see_are_forgotten() {
    let spec = Arc::new(spec(vec![Window::Sliding(100)], &FUNCTIONS));
    let (keys, updates) = stream(4000);
    let mut view = ViewState::new(spec, ShardMap::new(16, 1));
    for row in 0..keys.len() {
        view.update(&keys, row, &updates, None, None);
        view.advance(updates.times[row]);
    }
    let counts = view.counts();
    assert!(counts.keys < 80 && counts.evicted_keys == 0 && counts.null_entities > 0, "{counts:?}");
    assert!(view.bytes() < 400_000, "{}", view.bytes());
}

#[test]
fn time_to_live_and_the_bound_on_keys_evict_the_oldest() {
    let bounded = ViewSpec { ttl: Some(50), max_keys_per_shard: Some(3), ..spec(vec![Window::Lifetime], &["count"]) };
    let (keys, updates) =
        (keys(&[Some(5), Some(4), Some(9), Some(5), Some(7), Some(4)]), updates(vec![10, 10, 10, 12, 13, 70], vec![1.0; 6]));
    let mut view = ViewState::new(Arc::new(bounded), ShardMap::new(1, 1));
    let count = |view: &mut ViewState, row: usize| {
        let mut out = FeatureRows::nulls(1, 1);
        view.probe(&keys, row, 100, &mut out, 0);
        out.row(0).0[0]
    };
    (0..5).for_each(|row| view.update(&keys, row, &updates, None, None));
    // 4 and 9 are equally old; 4 has the lesser bytes.
    assert_eq!([0, 1, 2, 4].map(|row| count(&mut view, row)), [2, 0, 1, 1]);
    view.advance(61);
    assert_eq!([0, 1, 2, 4].map(|row| count(&mut view, row)), [2, 0, 0, 1]);
    view.update(&keys, 5, &updates, None, None);
    view.advance(i64::MAX);
    assert_eq!((view.counts().keys, view.counts().evicted_keys), (0, 5));
}

#[test]
fn broken_snapshots_are_refused() {
    let spec = Arc::new(spec(vec![Window::Sliding(50), Window::Lifetime], &FUNCTIONS));
    let (keys, updates) = stream(60);
    let mut view = ViewState::new(spec.clone(), ShardMap::new(4, 1));
    (0..60).for_each(|row| view.update(&keys, row, &updates, None, None));
    let parts = snapshot(&mut view);
    for (at, (_, bytes)) in parts.iter().enumerate() {
        for length in (0..bytes.len()).step_by(13) {
            let mut cut = parts.clone();
            cut[at].1.truncate(length);
            assert!(restored(&spec, ShardMap::new(4, 1), &cut).is_err(), "shard {at} cut at {length}");
        }
    }
    assert!(restored(&spec, ShardMap::new(5, 1), &parts).is_err());
    let mut empty = ViewState::new(spec, ShardMap::new(4, 1));
    assert!(empty.thaw(parts[0].0, ViewState::VERSION + 1, &parts[0].1).is_err());
    assert!(empty.thaw(4, ViewState::VERSION, &parts[0].1).is_err());
}

/// The shards of a view as bytes.
pub(super) fn snapshot(view: &mut ViewState) -> Vec<(u32, Vec<u8>)> {
    view.freeze().shards.iter().map(|part| (part.shard, part.bytes())).collect()
}

/// The view that `snapshot` was taken of.
pub(super) fn restored(spec: &Arc<ViewSpec>, map: ShardMap, parts: &[(u32, Vec<u8>)]) -> Result<ViewState, String> {
    let mut view = ViewState::new(spec.clone(), map);
    parts.iter().try_for_each(|(shard, bytes)| view.thaw(*shard, ViewState::VERSION, bytes))?;
    Ok(view)
}
