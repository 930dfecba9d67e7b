//! Laws over every registered function: equality with a fresh computation over the present records, and indifference to probes, snapshots, and the
//! moment when records are let go. A function that is added to the registry without a case here fails `every_function_has_a_case`.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, TimeUnit};

use super::bytes::{Reader, put};
use super::exact::Dd;
use super::part::bucket;
use super::registry::REGISTRY;
use super::ring::{self, Ring};
use super::{Argument, CallShape, FeatureSpec, FunctionParameter, Heap, Kept, KeyMut, Program, Scratch, Updates, ViewSpec, resolve};
use crate::config::declaration::Window;
use crate::data::{Arena, Cell, CellType, FeatureRows, Outline};

/// Argument columns of the suite: short decimals, any floats, integers, booleans, timestamps, strings.
const KINDS: [CellType; 6] = [CellType::Float64, CellType::Float64, CellType::Int64, CellType::Bool, CellType::Timestamp, CellType::Text];
const LATENESS: i64 = 12;
/// Disorder beyond every sliding window.
const WIDE: i64 = 150;

fn arrow_type(kind: CellType) -> DataType {
    match kind {
        CellType::Float64 => DataType::Float64,
        CellType::Int64 => DataType::Int64,
        CellType::Bool => DataType::Boolean,
        CellType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        CellType::Text => DataType::Utf8,
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    fn below(&mut self, n: u64) -> i64 {
        (self.next() % n) as i64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Every function over every argument it takes, every window, with and without filter and current record.
fn spec() -> ViewSpec {
    let windows =
        vec![Window::Sliding(9), Window::Sliding(60), Window::Tumbling { size: 25, offset: 4 }, Window::Lifetime, Window::Sliding(1)];
    let mut features = Vec::new();
    for row in &REGISTRY {
        let (function, distinct) = row.name.split_once(' ').map_or((row.name, false), |(name, _)| (name, true));
        let choices: Vec<Vec<FunctionParameter>> = match function {
            "approx_quantile" => vec![vec![FunctionParameter::Number(0.5)], vec![FunctionParameter::Number(0.95)]],
            "ewm_sum" | "ewm_avg" => vec![vec![FunctionParameter::Text("30us".into())]],
            _ => vec![vec![]],
        };
        for parameters in &choices {
            for argument in [None].into_iter().chain((0..KINDS.len()).map(Some)) {
                let kind = argument.map(|argument: usize| arrow_type(KINDS[argument]));
                let Ok(resolved) = resolve(&CallShape { function, distinct, argument: kind.as_ref(), parameters }) else { continue };
                for filter in [None, Some(0)] {
                    for include_current in [true, false] {
                        let scopes: Vec<Option<usize>> =
                            if resolved.own_horizon { vec![None] } else { (0..windows.len()).map(Some).collect() };
                        for window in scopes {
                            let (function, cell) = (resolved.function, resolved.cell);
                            features.push(FeatureSpec { function, argument, filter, window, include_current, cell });
                        }
                    }
                }
            }
        }
    }
    ViewSpec {
        windows,
        arguments: KINDS.to_vec(),
        filters: 1,
        features,
        lateness: LATENESS,
        ttl: None,
        max_keys_per_shard: None,
        max_records_per_key: None,
    }
}

/// What the float column looks like in a run.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Gaussian,
    Offset,
    Mixed,
}

/// One record: time, the argument words as options, filter.
#[derive(Clone, Debug)]
struct Record {
    time: i64,
    decimal: Option<f64>,
    float: Option<f64>,
    int: Option<i64>,
    flag: Option<bool>,
    stamp: Option<i64>,
    text: Option<String>,
    pass: bool,
}

fn records(seed: u64, count: usize, shape: Shape, disorder: i64) -> Vec<Record> {
    let mut random = Random(seed);
    let mut newest = 100;
    let mut list = Vec::new();
    for _ in 0..count {
        newest +=
            [0, 0, 1, 1, 2, 5, 30][random.below(7) as usize] * i64::from(random.below(40) != 0) + 200 * i64::from(random.below(60) == 0);
        let time = if disorder > 0 && random.below(4) == 0 { newest - random.below(disorder as u64) } else { newest };
        let float = match shape {
            Shape::Gaussian => random.unit() * 2.0 - 1.0,
            Shape::Offset => 1e15 + random.below(9) as f64 / 8.0,
            Shape::Mixed => [1e15, -1e15, 0.1, 1.0 / 3.0, 1e-9, 7.7e7][random.below(6) as usize] * random.unit(),
        };
        let mut maybe = |share: u64| random.below(share) != 0;
        list.push(Record {
            time,
            float: maybe(7).then_some(float),
            decimal: maybe(7).then_some(0.0),
            int: maybe(7).then_some(0),
            flag: maybe(7).then_some(true),
            stamp: maybe(7).then_some(0),
            text: maybe(7).then(String::new),
            pass: maybe(3),
        });
        if let Some(record) = list.last_mut() {
            let huge = random.below(30) == 0;
            record.decimal = record.decimal.map(|_| (random.below(20_000) - 10_000) as f64 / if huge { 10_000.0 } else { 100.0 });
            record.int = record.int.map(|_| if huge { random.next() as i64 >> 4 } else { random.below(2000) - 1000 });
            record.flag = record.flag.map(|_| random.below(2) == 0);
            record.stamp = record.stamp.map(|_| random.below(50));
            record.text = record.text.as_ref().map(|_| format!("t{}", random.below(12)));
        }
    }
    list
}

fn updates(list: &[Record]) -> Updates {
    fn column<T: Copy, V: From<Vec<T>>>(values: Vec<Option<T>>, zero: T) -> (V, Option<NullBuffer>) {
        let nulls = NullBuffer::from_iter(values.iter().map(Option::is_some));
        (values.into_iter().map(|value| value.unwrap_or(zero)).collect::<Vec<T>>().into(), Some(nulls))
    }
    let (decimals, no_decimal) = column(list.iter().map(|r| r.decimal).collect(), 5.0);
    let (floats, no_float) = column(list.iter().map(|r| r.float).collect(), 5.0);
    let (ints, no_int) = column(list.iter().map(|r| r.int).collect(), 5);
    let (stamps, no_stamp) = column(list.iter().map(|r| r.stamp).collect(), 5);
    let (flags, no_flag): (BooleanBuffer, _) = column(list.iter().map(|r| r.flag).collect(), true);
    Updates {
        times: list.iter().map(|r| r.time).collect::<Vec<i64>>().into(),
        arguments: vec![
            Argument::Float64 { values: decimals, nulls: no_decimal },
            Argument::Float64 { values: floats, nulls: no_float },
            Argument::Int64 { values: ints, nulls: no_int },
            Argument::Bool { values: flags, nulls: no_flag },
            Argument::Timestamp { values: stamps, nulls: no_stamp },
            Argument::Text(StringArray::from(list.iter().map(|r| r.text.clone()).collect::<Vec<_>>())),
        ],
        filters: vec![list.iter().map(|r| r.pass).collect()],
    }
}

/// One key, driven directly.
struct Key {
    records: Arena,
    arena: Arena,
    meta: [u64; ring::META],
    fixed: Vec<u64>,
    heap: Box<[Box<dyn Heap>]>,
    scratch: Scratch,
}

impl Key {
    fn new(program: &Program) -> Self {
        let (fixed, heap) = (program.fixed().to_vec(), program.heaps());
        Self { records: Arena::default(), arena: Arena::default(), meta: [0; ring::META], fixed, heap, scratch: Scratch::default() }
    }

    fn state(&mut self, program: &Program) -> (KeyMut<'_>, &mut Scratch) {
        let ring = Ring::new(&mut self.records, &mut self.meta, program.shape());
        let kept = Kept { fixed: &mut self.fixed, arena: &mut self.arena, heap: &mut self.heap };
        (KeyMut { ring, kept }, &mut self.scratch)
    }

    fn update(&mut self, program: &Program, updates: &Updates, row: usize, watermark: i64) -> FeatureRows {
        let mut out = FeatureRows::nulls(1, program.spec().features.len());
        let (mut key, scratch) = self.state(program);
        program.update(&mut key, updates, row, watermark, scratch, Some((&mut out, 0)));
        out
    }

    fn probe(&mut self, program: &Program, t: i64) -> FeatureRows {
        let mut out = FeatureRows::nulls(1, program.spec().features.len());
        let (mut key, scratch) = self.state(program);
        program.probe(&mut key, t, scratch, &mut out, 0);
        out
    }

    fn reloaded(&mut self, program: &Program) -> Self {
        let mut bytes = Vec::new();
        for frozen in [self.records.freeze(), self.arena.freeze()] {
            frozen.outline(&mut bytes);
            frozen.words().flat_map(|block| block.iter()).for_each(|word| put(&mut bytes, *word));
        }
        self.meta.iter().chain(&self.fixed).for_each(|word| put(&mut bytes, *word));
        self.heap.iter().for_each(|heap| heap.save(&mut bytes));
        let mut reader = Reader::new(&bytes);
        let mut key = Self::new(program);
        for arena in [&mut key.records, &mut key.arena] {
            let outline = Outline::load(&mut || reader.word(), bytes.len()).unwrap();
            *arena = outline.fill(&mut || reader.word()).unwrap();
        }
        key.meta.iter_mut().chain(&mut key.fixed).for_each(|word| *word = reader.word().unwrap());
        key.heap.iter_mut().for_each(|heap| heap.load(&mut reader).unwrap());
        assert!(reader.is_done());
        key
    }
}

/// The smallest time that any record from `row` on, or a probe, may have.
fn floor(list: &[Record], row: usize) -> i64 {
    list[row..].iter().map(|record| record.time).min().unwrap_or(i64::MAX)
}

fn number(record: &Record, argument: usize) -> Option<f64> {
    match argument {
        0 => record.decimal,
        1 => record.float,
        2 => record.int.map(|int| int as f64),
        3 => record.flag.map(|flag| f64::from(u8::from(flag))),
        _ => record.stamp.map(|stamp| stamp as f64),
    }
}

fn cell(record: &Record, argument: Option<usize>) -> Cell<'_> {
    match argument {
        None => Cell::Bool(true),
        Some(0) => record.decimal.map_or(Cell::Null, Cell::Float64),
        Some(1) => record.float.map_or(Cell::Null, Cell::Float64),
        Some(2) => record.int.map_or(Cell::Null, Cell::Int64),
        Some(3) => record.flag.map_or(Cell::Null, Cell::Bool),
        Some(4) => record.stamp.map_or(Cell::Null, Cell::Timestamp),
        Some(_) => record.text.as_deref().map_or(Cell::Null, Cell::Text),
    }
}

/// Checks one feature against a fresh computation over `present`: the records that precede, sorted by (time, arrival); `own` is the record itself,
/// already among them, for an update.
fn check(spec: &ViewSpec, feature: &FeatureSpec, present: &[&Record], own: bool, t: i64, got: Cell<'_>) -> Result<(), String> {
    let prior = feature.function.is_prior();
    let preceding = &present[..present.len() - usize::from(own && prior)];
    let from = match feature.window.map(|window| &spec.windows[window]) {
        Some(Window::Sliding(length)) => t - length + 1,
        Some(window @ Window::Tumbling { .. }) => bucket(window, t),
        _ => i64::MIN,
    };
    let covers = |record: &&Record| {
        record.time >= from
            && (prior || feature.include_current || record.time < t)
            && (feature.filter.is_none() || record.pass)
            && cell(record, feature.argument) != Cell::Null
    };
    let rows: Vec<&Record> = preceding.iter().filter(|record| covers(record)).copied().collect();
    let numbers = || rows.iter().filter_map(|record| number(record, feature.argument?)).collect::<Vec<f64>>();
    let same = |wanted: Cell<'_>| if got == wanted { Ok(()) } else { Err(format!("{got:?} instead of {wanted:?}")) };
    let near = |wanted: f64, slack: f64| match got {
        Cell::Float64(value) if (value - wanted).abs() <= slack => Ok(()),
        _ => Err(format!("{got:?} instead of {wanted} ± {slack}")),
    };
    let by = |greater: bool| {
        rows.iter().map(|record| cell(record, feature.argument)).reduce(|a, b| {
            let order = match (&a, &b) {
                (Cell::Float64(a), Cell::Float64(b)) => a.partial_cmp(b).unwrap(),
                (Cell::Int64(a) | Cell::Timestamp(a), Cell::Int64(b) | Cell::Timestamp(b)) => a.cmp(b),
                (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
                _ => unreachable!(),
            };
            if order.is_gt() == greater { a } else { b }
        })
    };
    let n = rows.len() as f64;
    match feature.function.name {
        "count" => same(Cell::Int64(rows.len() as i64)),
        "count distinct" | "approx_distinct" => {
            let mut seen: Vec<String> = rows.iter().map(|record| format!("{:?}", cell(record, feature.argument))).collect();
            seen.sort();
            seen.dedup();
            same(Cell::Int64(seen.len() as i64))
        }
        "min" => same(by(false).unwrap_or(Cell::Null)),
        "max" => same(by(true).unwrap_or(Cell::Null)),
        "first" => same(rows.first().map_or(Cell::Null, |record| cell(record, feature.argument))),
        "last" | "lag" => same(rows.last().map_or(Cell::Null, |record| cell(record, feature.argument))),
        "time_since_last" => same(rows.last().map_or(Cell::Null, |record| Cell::Float64((t - record.time) as f64 / 1e6))),
        _ if rows.is_empty() => same(Cell::Null),
        "sum" if feature.cell == CellType::Int64 => {
            let sum: i128 = rows
                .iter()
                .map(|r| if feature.argument == Some(3) { i128::from(r.flag == Some(true)) } else { r.int.unwrap().into() })
                .sum();
            same(i64::try_from(sum).map_or(Cell::Null, Cell::Int64))
        }
        "sum" | "avg" => {
            let sum = numbers().iter().fold(Dd::default(), |sum, x| sum.plus(Dd::sum(*x, 0.0)));
            let size: f64 = numbers().iter().map(|x| x.abs()).sum();
            if feature.function.name == "sum" { near(sum.hi, 1e-12 * size) } else { near(sum.over(n).hi, 1e-12 * size / n) }
        }
        "var_pop" | "var_samp" | "stddev_pop" | "stddev_samp" => {
            let name = feature.function.name;
            let degrees = if name.ends_with("samp") { n - 1.0 } else { n };
            if degrees == 0.0 {
                return same(Cell::Null);
            }
            if numbers().windows(2).all(|pair| pair[0] == pair[1]) {
                return same(Cell::Float64(0.0));
            }
            let mean = numbers().iter().fold(Dd::default(), |sum, x| sum.plus(Dd::sum(*x, 0.0))).over(n);
            let deviation = numbers().iter().fold(Dd::default(), |sum, x| {
                let distance = Dd::sum(*x, 0.0).minus(mean);
                sum.plus(distance.times(distance))
            });
            let largest = numbers().iter().fold(0.0, |largest: f64, x| largest.max(x * x));
            let (variance, slack) = (deviation.hi / degrees, (1e-12 * deviation.hi).max(1e-15 * largest) / degrees);
            match got {
                Cell::Float64(value) if name.starts_with("stddev") => {
                    let error = (value * value - variance).abs();
                    if error <= slack * 2.0 { Ok(()) } else { Err(format!("{value} squared instead of {variance} ± {slack}")) }
                }
                _ => near(variance, slack),
            }
        }
        "approx_quantile" => {
            let mut sorted = numbers();
            sorted.sort_by(f64::total_cmp);
            let wanted = sorted[(feature.function.parameter * (n - 1.0)) as usize];
            near(wanted, wanted.abs() * 0.010_000_1)
        }
        "ewm_sum" | "ewm_avg" => {
            let weights: Vec<f64> = rows.iter().map(|record| (-(t - record.time) as f64 / feature.function.parameter).exp2()).collect();
            let sum: f64 = weights.iter().zip(numbers()).map(|(w, x)| w * x).sum();
            let size: f64 = weights.iter().zip(numbers()).map(|(w, x)| w * x.abs()).sum();
            let total: f64 = weights.iter().sum();
            if feature.function.name == "ewm_sum" { near(sum, 1e-9 * size) } else { near(sum / total, 1e-9 * size / total) }
        }
        name => Err(format!("`{name}` has no case in the law suite")),
    }
}

fn check_row(spec: &ViewSpec, present: &[&Record], own: bool, t: i64, row: &FeatureRows, note: &str) {
    for (column, feature) in spec.features.iter().enumerate() {
        if let Err(reason) = check(spec, feature, present, own, t, row.get(0, column, feature.cell)) {
            panic!("{note}, t = {t}: {feature:?}: {reason}");
        }
    }
}

fn insert<'a>(sorted: &mut Vec<&'a Record>, record: &'a Record) -> usize {
    let at = sorted.partition_point(|other| other.time <= record.time);
    sorted.insert(at, record);
    at
}

#[test]
fn every_row_equals_a_fresh_computation() {
    let program = Program::new(Arc::new(spec()));
    for (seed, shape, disorder, lag) in [
        (1, Shape::Gaussian, LATENESS, Some(0)),
        (2, Shape::Offset, LATENESS, Some(7)),
        (3, Shape::Mixed, LATENESS, Some(0)),
        (4, Shape::Mixed, 0, Some(0)),
        (5, Shape::Gaussian, LATENESS, None),
        (6, Shape::Mixed, WIDE, Some(0)),
    ] {
        let list = records(seed, 220, shape, disorder);
        let (updates, mut key, mut sorted, mut random) = (updates(&list), Key::new(&program), Vec::new(), Random(seed));
        let mut watermark = i64::MIN;
        for row in 0..list.len() {
            let note = format!("{shape:?}, seed {seed}, record {row}");
            if let (Some(lag), true) = (lag, random.below(3) == 0) {
                watermark = floor(&list, row) - lag;
            }
            let t = list[row].time;
            let out = key.update(&program, &updates, row, watermark);
            let at = insert(&mut sorted, &list[row]);
            check_row(program.spec(), &sorted[..=at], true, t, &out, &note);
            if random.below(4) == 0 {
                let t = floor(&list, row).max(watermark) + random.below(90);
                let seen = sorted.partition_point(|other| other.time <= t);
                check_row(program.spec(), &sorted[..seen], false, t, &key.probe(&program, t), &format!("{note}, probe"));
            }
        }
    }
}

#[test]
fn probes_snapshots_and_watermarks_change_no_bit() {
    let program = Program::new(Arc::new(spec()));
    for (seed, shape) in [(11, Shape::Gaussian), (12, Shape::Offset), (13, Shape::Mixed)] {
        let list = records(seed, 250, shape, LATENESS);
        let (updates, mut plain, mut other, mut random) = (updates(&list), Key::new(&program), Key::new(&program), Random(seed));
        let mut watermark = i64::MIN;
        for row in 0..list.len() {
            if random.below(5) == 0 {
                watermark = floor(&list, row);
            }
            if random.below(3) == 0 {
                other.probe(&program, floor(&list, row).max(watermark) + random.below(150));
            }
            if random.below(10) == 0 {
                other = other.reloaded(&program);
            }
            let (left, right) = (plain.update(&program, &updates, row, i64::MIN), other.update(&program, &updates, row, watermark));
            for (column, feature) in program.spec().features.iter().enumerate() {
                let bits = |rows: &FeatureRows| match rows.get(0, column, feature.cell) {
                    Cell::Float64(value) => format!("{:x}", value.to_bits()),
                    cell => format!("{cell:?}"),
                };
                assert_eq!(bits(&left), bits(&right), "{shape:?} record {row}: {feature:?}");
            }
        }
    }
}

#[test]
fn a_window_of_equal_values_has_no_variance() {
    let program = Program::new(Arc::new(spec()));
    for value in [0.1 + 0.2, 12.34, 1e15 + 0.125, -7.7e300, 1.0 / 3.0] {
        let mut list = records(21, 300, Shape::Mixed, 0);
        list[120..].iter_mut().for_each(|record| record.float = record.float.map(|_| value));
        let (updates, mut key) = (updates(&list), Key::new(&program));
        let settled = list[120].time + 100;
        for row in 0..list.len() {
            let out = key.update(&program, &updates, row, floor(&list, row));
            for (column, feature) in program.spec().features.iter().enumerate().filter(|_| list[row].time > settled) {
                let sliding = feature.window.is_some_and(|window| !matches!(program.spec().windows[window], Window::Lifetime));
                if feature.argument == Some(1)
                    && sliding
                    && (feature.function.name.starts_with("var") || feature.function.name.starts_with("std"))
                    && let Cell::Float64(spread) = out.get(0, column, CellType::Float64)
                {
                    assert_eq!(spread, 0.0, "{value}: {feature:?} at record {row}");
                }
            }
        }
    }
}

#[test]
fn an_empty_window_counts_zero_and_is_null_otherwise() {
    let program = Program::new(Arc::new(spec()));
    let row = program.empty_row();
    for (column, feature) in program.spec().features.iter().enumerate() {
        let counts = matches!(feature.function.name, "count" | "count distinct" | "approx_distinct");
        assert_eq!(row.get(0, column, feature.cell), if counts { Cell::Int64(0) } else { Cell::Null }, "{feature:?}");
    }
}

#[test]
fn only_the_newest_records_are_kept_where_they_are_bounded() {
    let bounded = ViewSpec { max_records_per_key: Some(5), ..spec() };
    let program = Program::new(Arc::new(bounded));
    let list = records(31, 200, Shape::Gaussian, 0);
    let (updates, mut key) = (updates(&list), Key::new(&program));
    for row in 0..list.len() {
        let out = key.update(&program, &updates, row, i64::MIN);
        assert!(key.state(&program).0.ring.len() <= 5);
        let newest: Vec<&Record> = list[(row + 1).saturating_sub(5)..=row].iter().collect();
        let all: Vec<&Record> = list[..=row].iter().collect();
        for (column, feature) in program.spec().features.iter().enumerate() {
            let sliding = feature.window.is_some_and(|window| matches!(program.spec().windows[window], Window::Sliding(_)));
            let ties = !feature.include_current && row > 0 && list[row - 1].time == list[row].time;
            if ties {
                continue;
            }
            let present = if !sliding {
                &all
            } else if feature.include_current {
                &newest
            } else {
                &list[row.saturating_sub(5)..=row].iter().collect()
            };
            let got = out.get(0, column, feature.cell);
            check(program.spec(), feature, present, true, list[row].time, got)
                .unwrap_or_else(|reason| panic!("record {row}: {feature:?}: {reason}"));
        }
    }
}

#[test]
fn every_function_has_a_case_and_wrong_calls_are_explained() {
    let spec = spec();
    for row in &REGISTRY {
        assert!(spec.features.iter().any(|feature| feature.function.name == row.name), "{} is not tested", row.name);
    }
    let float = DataType::Float64;
    let call = |function, argument, parameters| resolve(&CallShape { function, distinct: false, argument, parameters });
    assert!(
        call("averge", Some(&float), &[]).unwrap_err().contains("avg")
            || call("averge", Some(&float), &[]).unwrap_err().contains("there are")
    );
    assert!(call("stdev_pop", Some(&float), &[]).unwrap_err().contains("stddev_pop"));
    assert!(call("sum", Some(&DataType::Utf8), &[]).unwrap_err().contains("not strings"));
    assert!(call("sum", None, &[]).unwrap_err().contains("needs an argument"));
    assert!(call("approx_quantile", Some(&float), &[FunctionParameter::Number(1.5)]).unwrap_err().contains("between 0 and 1"));
    assert!(call("ewm_sum", Some(&float), &[]).unwrap_err().contains("half-life"));
}
