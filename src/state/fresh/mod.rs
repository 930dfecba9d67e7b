//! Property tests of keyed windows: random views and random histories against a model that computes every row afresh from the list of all records.
//!
//! A history interleaves records of several keys (in order, out of order within lateness, and as far back as the watermark lets them, with ties), probes,
//! watermarks, announcements of what comes next, restores from a snapshot, and checkpoints that are written later. What a row must be is decided by
//! S3.2 (ties), S6.2 (null entities), S6.3 (`ttl`, `max_keys`), S7.2 to S7.5 (windows, who is seen, functions, exactness), S8.4 (probes) and S8.6
//! (`max_records_per_key`); `model` names the rule at each place. By default the same histories are tried in every run; longer, with others:
//!
//!     TIDEMILL_WINDOWS_SECONDS=600 cargo test --release --lib -- state::fresh --nocapture
//!
//! A failure says the seed and gives the shortest history that was found to fail.

mod chance;
mod model;

use std::cell::Cell as Shared;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};

use chance::Size;
use model::{Fault, Model, Record, Value};

use super::laws::{restored, snapshot};
use super::{FrozenView, ViewState};
use crate::data::{CellType, FeatureRows, KeyColumn};
use crate::features::{Argument, CallShape, FunctionParameter, Resolved, Updates, ViewSpec, function_names, resolve};
use crate::ids::ShardMap;

/// Types of argument columns; floats twice, for most is about them.
const KINDS: [CellType; 6] = [CellType::Float64, CellType::Float64, CellType::Int64, CellType::Bool, CellType::Timestamp, CellType::Text];
/// Histories tried where no time is given.
const CASES: u64 = 400;
/// Features tried alone.
const ALONE: usize = 1_000;
const SMALL: Size = Size { steps: 200, keys: 4, longest: 200, checked: 1 };
/// Records of one or two keys fill several segments of a ring.
const LONG: Size = Size { steps: 5_000, keys: 2, longest: 20_000, checked: 40 };

/// One thing that happens to a view.
#[derive(Clone, Debug)]
enum Step {
    /// A record comes; its row is asked for and checked, or not.
    Update {
        key: Option<u8>,
        record: Record,
        checked: bool,
    },
    Probe {
        key: Option<u8>,
        time: i64,
    },
    /// An epoch ends with this watermark.
    Advance(i64),
    /// The next records are announced.
    LookAhead,
    /// The view is written down, and what is read back goes on.
    Restore,
    /// The view is frozen; what was frozen must not change with what comes.
    Freeze,
}

/// A view and its history.
#[derive(Clone, Debug)]
struct Case {
    spec: ViewSpec,
    shards: u32,
    steps: Vec<Step>,
}

/// Every call of every function that takes these arguments.
fn calls(arguments: &[CellType]) -> Vec<(Option<usize>, Resolved)> {
    let kinds = arguments.iter().map(|kind| match kind {
        CellType::Float64 => DataType::Float64,
        CellType::Int64 => DataType::Int64,
        CellType::Bool => DataType::Boolean,
        CellType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        CellType::Text => DataType::Utf8,
    });
    let choices: Vec<(Option<usize>, Option<DataType>)> =
        kinds.enumerate().map(|(argument, kind)| (Some(argument), Some(kind))).chain([(None, None)]).collect();
    let mut calls = Vec::new();
    for (function, distinct) in function_names().into_iter().map(|name| (name, false)).chain([("count", true)]) {
        let parameters: &[Vec<FunctionParameter>] = match function {
            "approx_quantile" => &[0.0, 0.5, 0.95].map(|quantile| vec![FunctionParameter::Number(quantile)]),
            "ewm_sum" | "ewm_avg" => &["7us", "30us", "1ms"].map(|life| vec![FunctionParameter::Text(life.into())]),
            _ => &[vec![]],
        };
        for (argument, kind) in &choices {
            let call = |parameters| resolve(&CallShape { function, distinct, argument: kind.as_ref(), parameters });
            calls.extend(parameters.iter().filter_map(|parameters| Some((*argument, call(parameters).ok()?))));
        }
    }
    calls
}

/// Short and long keys: those over 11 bytes do not fit the head.
fn key_text(key: u8) -> String {
    if key.is_multiple_of(2) { format!("k{key}") } else { format!("a key that is longer than a head holds, {key}") }
}

/// All records of a history as columns, one row a step.
fn columns(case: &Case) -> (KeyColumn, Updates) {
    let nothing = Record { time: 0, values: vec![Value::Null; case.spec.arguments.len()], passes: vec![false; case.spec.filters] };
    let records: Vec<&Record> =
        case.steps.iter().map(|step| if let Step::Update { record, .. } = step { record } else { &nothing }).collect();
    let keys = case.steps.iter().map(|step| match step {
        Step::Update { key, .. } | Step::Probe { key, .. } => key.map(key_text),
        _ => None,
    });
    let keys: ArrayRef = Arc::new(keys.collect::<StringArray>());
    let argument = |(nth, kind): (usize, &CellType)| {
        let values = || records.iter().map(|record| record.values[nth]);
        let array: ArrayRef = match kind {
            CellType::Float64 => {
                Arc::new(values().map(|value| if let Value::Float(value) = value { Some(value) } else { None }).collect::<Float64Array>())
            }
            CellType::Int64 => {
                Arc::new(values().map(|value| if let Value::Int(value) = value { Some(value) } else { None }).collect::<Int64Array>())
            }
            CellType::Bool => {
                Arc::new(values().map(|value| if let Value::Bool(value) = value { Some(value) } else { None }).collect::<BooleanArray>())
            }
            CellType::Timestamp => {
                let times = values().map(|value| if let Value::Time(value) = value { Some(value) } else { None });
                Arc::new(times.collect::<TimestampMicrosecondArray>())
            }
            CellType::Text => {
                Arc::new(values().map(|value| if let Value::Text(value) = value { Some(value) } else { None }).collect::<StringArray>())
            }
        };
        Argument::from(&array)
    };
    let updates = Updates {
        times: records.iter().map(|record| record.time).collect::<Vec<i64>>().into(),
        arguments: case.spec.arguments.iter().enumerate().map(argument).collect(),
        filters: (0..case.spec.filters).map(|nth| records.iter().map(|record| record.passes[nth]).collect()).collect(),
    };
    (KeyColumn::encode(std::slice::from_ref(&keys), keys.len()), updates)
}

/// The first step at which the view and the model disagree, or the view panics.
fn run(case: &Case) -> Result<(), (usize, Fault)> {
    let at = Shared::new(0);
    catch_unwind(AssertUnwindSafe(|| compare(case, &at)))
        .unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(Fault { feature: None, reason: format!("panicked: {}", words.unwrap_or_default()) })
        })
        .map_err(|fault| (at.get(), fault))
}

/// The shards of a view as bytes.
type Parts = Vec<(u32, Vec<u8>)>;

fn compare(case: &Case, at: &Shared<usize>) -> Result<(), Fault> {
    let (spec, map) = (Arc::new(case.spec.clone()), ShardMap::new(case.shards, 1));
    let (mut view, mut model) = (ViewState::new(spec.clone(), map), Model::new(spec.clone(), map));
    let (keys, updates) = columns(case);
    let (mut ahead, mut frozen): (Vec<u32>, Option<(FrozenView, Parts)>) = (Vec::new(), None);
    let key = |row: usize| (!keys.is_null(row)).then(|| keys.key(row));
    let thawed = |frozen: Option<(FrozenView, Parts)>| match frozen {
        Some((frozen, bytes)) if frozen.shards.iter().map(|part| (part.shard, part.bytes())).ne(bytes.iter().cloned()) => {
            Err(fault("what was frozen has changed (S15.1)"))
        }
        _ => Ok(()),
    };
    for (row, step) in case.steps.iter().enumerate() {
        at.set(row);
        let mut out = FeatureRows::nulls(1, spec.features.len());
        match step {
            Step::Update { record, checked, .. } => {
                let nth = ahead.iter().position(|announced| *announced as usize == row);
                view.update(&keys, row, &updates, nth, checked.then_some((&mut out, 0)));
                model.update(keys.hash(row), key(row), record, checked.then_some(&out))?;
            }
            Step::Probe { time, .. } => {
                view.probe(&keys, row, *time, &mut out, 0);
                model.probe(keys.hash(row), key(row), *time, &out)?;
            }
            Step::Advance(watermark) => {
                view.advance(*watermark);
                model.advance(*watermark);
            }
            Step::LookAhead => {
                let updates = (row..case.steps.len()).filter(|row| matches!(case.steps[*row], Step::Update { .. }));
                ahead = updates.take(ViewState::AHEAD).map(|row| row as u32).collect();
                view.look_ahead(&keys, &ahead);
            }
            Step::Restore => {
                let parts = snapshot(&mut view);
                view = restored(&spec, map, &parts).map_err(|reason| fault(&reason))?;
                if snapshot(&mut view) != parts {
                    return Err(fault("a restored view has another snapshot (S15.2)"));
                }
            }
            Step::Freeze => {
                thawed(frozen.take())?;
                let parts = snapshot(&mut view);
                frozen = Some((view.freeze(), parts));
            }
        }
        counts(&view, &model, &spec)?;
    }
    thawed(frozen)?;
    view.advance(i64::MAX);
    model.advance(i64::MAX);
    counts(&view, &model, &spec)
}

fn fault(reason: &str) -> Fault {
    Fault { feature: None, reason: reason.to_string() }
}

/// What is counted. Keys that no feature can see any more may be gone already: only views that see for ever have as many as the model, and records of
/// a window that no feature asks for may be gone with them.
fn counts(view: &ViewState, model: &Model, spec: &ViewSpec) -> Result<(), Fault> {
    let counts = view.counts();
    let forgets = spec
        .features
        .iter()
        .all(|feature| feature.window.is_some_and(|window| !matches!(spec.windows[window], crate::config::declaration::Window::Lifetime)));
    let idle = (0..spec.windows.len()).any(|window| spec.features.iter().all(|feature| feature.window != Some(window)));
    let same = counts.null_entities == model.null_entities
        && ((forgets && idle) || counts.dropped_records == model.dropped_records)
        && (forgets || (counts.keys, counts.evicted_keys) == (model.keys(), model.evicted_keys));
    let (keys, evicted, dropped, nulls) = (model.keys(), model.evicted_keys, model.dropped_records, model.null_entities);
    let reason = || format!("{counts:?}, but there are {keys} keys, {evicted} evicted, {dropped} records dropped, {nulls} null entities");
    if same { Ok(()) } else { Err(fault(&reason())) }
}

/// A shorter history of fewer features that fails, too.
fn shortened(case: &Case, (step, fault): &(usize, Fault)) -> Case {
    let mut short = case.clone();
    short.steps.truncate(step + 1);
    if let Some(feature) = fault.feature {
        let mut one = short.clone();
        one.spec.features = vec![one.spec.features[feature].clone()];
        short = if run(&one).is_err() { one } else { short };
    }
    let mut size = short.steps.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < short.steps.len() {
            let mut less = short.clone();
            less.steps.drain(from..(from + size).min(short.steps.len()));
            match run(&less) {
                Err((step, _)) => {
                    less.steps.truncate(step + 1);
                    short = less;
                }
                Ok(()) => from += size,
            }
        }
        size /= 2;
    }
    short
}

/// Runs a case; panics with what there is to say if it fails.
fn hold(case: &Case, of: &str) {
    let Err(found) = run(case) else { return };
    let short = shortened(case, &found);
    let reason = run(&short).err().map_or_else(String::new, |(_, fault)| fault.reason);
    let mut history = String::new();
    short.steps.iter().for_each(|step| writeln!(history, "  {step:?}").unwrap());
    let (step, fault) = (found.0, found.1.reason);
    panic!("{of}, step {step}: {fault}\nshortest: {reason}\n{:?}, {} shards\n{history}", short.spec, short.shards);
}

/// Tries the cases of `seeds`, or, for some seconds, also those behind them.
fn try_all(seeds: std::ops::Range<u64>, size: Size, seconds: Option<u64>) {
    let (began, limit) = (Instant::now(), seconds.map(Duration::from_secs));
    let mut tried = 0;
    for seed in seeds.start.. {
        if limit.map_or(seed >= seeds.end, |limit| began.elapsed() >= limit) {
            break;
        }
        hold(&chance::case(seed, size), &format!("seed {seed}, {size:?}"));
        tried += 1;
    }
    println!("{tried} histories of {} steps", size.steps);
}

fn seconds() -> Option<u64> {
    std::env::var("TIDEMILL_WINDOWS_SECONDS").ok().and_then(|seconds| seconds.parse().ok())
}

#[test]
fn every_row_of_a_random_view_is_what_the_model_computes() {
    try_all(0..CASES, SMALL, seconds());
}

#[test]
fn long_histories_of_few_keys_are_too() {
    try_all(0..6, LONG, seconds().map(|seconds| seconds / 4));
}

#[test]
fn every_function_is_right_where_it_is_alone() {
    let of = |seed| chance::case(seed, Size { steps: 60, ..SMALL });
    let mut tried = 0;
    for seed in 0.. {
        let case = of(seed);
        let mut alone: Vec<String> = Vec::new();
        for feature in &case.spec.features {
            let one = Case { spec: ViewSpec { features: vec![feature.clone()], ..case.spec.clone() }, ..case.clone() };
            if !alone.contains(&format!("{feature:?}")) {
                hold(&one, &format!("seed {seed}, {feature:?} alone"));
                alone.push(format!("{feature:?}"));
                tried += 1;
            }
        }
        if tried >= ALONE {
            break;
        }
    }
}
