//! The naive model: it keeps every record of every key and computes each feature from that list, once more for every row.
//!
//! Numbers are exact where the rule is about sums: values become integers in units of a fixed power of two (`EXACT`), so Σx and n·x − Σx have no rounding,
//! and only their squares, which cannot cancel, are added as floats.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::declaration::Window;
use crate::data::{Cell, CellType, FeatureRows};
use crate::features::{FeatureSpec, ViewSpec};
use crate::ids::ShardMap;

/// One value of a record.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    Null,
    Float(f64),
    Int(i64),
    Bool(bool),
    Time(i64),
    Text(&'static str),
}

/// One record: its event time, its arguments and which filters it passes.
#[derive(Clone, Debug)]
pub struct Record {
    pub time: i64,
    pub values: Vec<Value>,
    pub passes: Vec<bool>,
}

/// Which records a feature sees (S7.3, S7.4, S8.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sees {
    /// Those with a smaller time: `include_current = false`.
    Earlier,
    /// Those that precede the record: `lag`, `time_since_last`.
    Preceding,
    /// Those, and the record itself.
    Itself,
}

pub fn sees(feature: &FeatureSpec) -> Sees {
    match (feature.function.is_prior(), feature.include_current) {
        (true, _) => Sees::Preceding,
        (false, true) => Sees::Itself,
        (false, false) => Sees::Earlier,
    }
}

/// All records of a key, by (time, arrival): S3.2.
#[derive(Clone, Debug)]
struct Key {
    records: Vec<Record>,
    /// Greatest time of a record that `max_records_per_key` has dropped.
    dropped: Option<i64>,
    /// A record was dropped after a newer one: what tumbling windows made of that is not decided by any rule.
    muddled: bool,
}

/// A view as the rules describe it.
#[derive(Debug)]
pub struct Model {
    spec: Arc<ViewSpec>,
    map: ShardMap,
    keys: BTreeMap<(u16, Vec<u8>), Key>,
    pub evicted_keys: u64,
    pub dropped_records: u64,
    pub null_entities: u64,
}

impl Model {
    pub fn new(spec: Arc<ViewSpec>, map: ShardMap) -> Self {
        Self { spec, map, keys: BTreeMap::new(), evicted_keys: 0, dropped_records: 0, null_entities: 0 }
    }

    pub fn keys(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Longest sliding window.
    fn span(&self) -> Option<i64> {
        self.spec.windows.iter().filter_map(|window| if let Window::Sliding(length) = window { Some(*length) } else { None }).max()
    }

    /// The record becomes part of its key; checks the row that the view wrote, if it was asked for one.
    pub fn update(&mut self, hash: u64, key: Option<&[u8]>, record: &Record, row: Option<&FeatureRows>) -> Result<(), Fault> {
        let Some(key) = key else {
            // S6.2
            self.null_entities += 1;
            return self.check(None, record.time, row, |_| true);
        };
        let place = (self.map.shard(hash).0, key.to_vec());
        if !self.keys.contains_key(&place) {
            self.make_room(place.0);
            self.keys.insert(place.clone(), Key { records: Vec::new(), dropped: None, muddled: false });
        }
        self.check(self.keys.get(&place), record.time, row, |sees| sees != Sees::Itself)?;
        let (limit, span) = (self.spec.max_records_per_key, self.span());
        let Some(held) = self.keys.get_mut(&place) else { return Ok(()) };
        let at = held.records.partition_point(|other| other.time <= record.time);
        held.records.insert(at, record.clone());
        // S8.6: the oldest that is left goes, this record itself if it is older. Inside the longest window it is counted.
        let excess = limit.and_then(|limit| (held.records.len() as u64).checked_sub(limit + 1));
        if let (Some(out), Some(newest)) = (excess, held.records.last().map(|newest| newest.time)) {
            let time = held.records[at.min(out as usize)].time;
            self.dropped_records += u64::from(span.is_some_and(|span| time > newest - span));
            held.muddled |= held.dropped.is_some_and(|dropped| time < dropped);
            held.dropped = held.dropped.max(Some(time));
        }
        self.check(self.keys.get(&place), record.time, row, |sees| sees == Sees::Itself)
    }

    /// Checks the row that the view wrote for a probe.
    pub fn probe(&mut self, hash: u64, key: Option<&[u8]>, time: i64, row: &FeatureRows) -> Result<(), Fault> {
        self.null_entities += u64::from(key.is_none());
        let held = key.and_then(|key| self.keys.get(&(self.map.shard(hash).0, key.to_vec())));
        self.check(held, time, Some(row), |_| true)
    }

    /// S6.3: the victim has the least last event time, then the least key bytes.
    fn make_room(&mut self, shard: u16) {
        let Some(limit) = self.spec.max_keys_per_shard else { return };
        loop {
            let of_shard = || self.keys.iter().filter(|((other, _), _)| *other == shard);
            if (of_shard().count() as u64) < limit.max(1) {
                return;
            }
            let Some((_, victim)) = of_shard().map(|(place, key)| (key.records.last().map(|last| last.time), place.clone())).min() else {
                return;
            };
            self.keys.remove(&victim);
            self.evicted_keys += 1;
        }
    }

    /// S6.3: a key expires when W ≥ last + ttl.
    pub fn advance(&mut self, watermark: i64) {
        let Some(ttl) = self.spec.ttl else { return };
        let before = self.keys.len();
        self.keys.retain(|_, key| key.records.last().is_none_or(|last| last.time.saturating_add(ttl) > watermark));
        self.evicted_keys += (before - self.keys.len()) as u64;
    }

    fn check(&self, key: Option<&Key>, t: i64, row: Option<&FeatureRows>, wanted: impl Fn(Sees) -> bool) -> Result<(), Fault> {
        let Some(row) = row else { return Ok(()) };
        for (column, feature) in self.spec.features.iter().enumerate().filter(|(_, feature)| wanted(sees(feature))) {
            let got = row.get(0, column, feature.cell);
            let rows = match key.map(|key| self.rows(key, feature, t)) {
                None => Vec::new(),
                Some(Some(rows)) => rows,
                Some(None) => continue,
            };
            check(feature, &rows, t, &got)
                .map_err(|reason| Fault { feature: Some(column), reason: format!("t = {t}: {feature:?}: {reason}") })?;
        }
        Ok(())
    }

    /// The records that a feature counts at `t`; `None` where `max_records_per_key` leaves that undecided.
    fn rows<'k>(&self, key: &'k Key, feature: &FeatureSpec, t: i64) -> Option<Vec<&'k Record>> {
        let window = feature.window.map(|window| &self.spec.windows[window]);
        let retained = match (self.spec.max_records_per_key, window) {
            (Some(limit), Some(Window::Sliding(_))) => key.records.len().saturating_sub(limit as usize),
            _ => 0,
        };
        let earlier = sees(feature) == Sees::Earlier;
        if !matches!(window, Some(Window::Sliding(_))) && key.dropped.is_some_and(|dropped| key.muddled || dropped + i64::from(earlier) > t)
        {
            return None;
        }
        // S7.2
        let from = match window {
            Some(Window::Sliding(length)) => t - length + 1,
            Some(Window::Tumbling { size, offset }) => (t - offset).div_euclid(*size) * size + offset,
            _ => i64::MIN,
        };
        let counts = |record: &&Record| {
            let passes = feature.filter.is_none_or(|filter| record.passes[filter]);
            // S7.4: nulls are skipped; S13.3: what is not finite is null.
            let present = feature.argument.is_none_or(|argument| !record.values[argument].is_null());
            record.time >= from && (record.time < t || (record.time == t && !earlier)) && passes && present
        };
        Some(key.records[retained..].iter().filter(counts).collect())
    }
}

/// What is wrong, and with which feature.
#[derive(Clone, Debug)]
pub struct Fault {
    pub feature: Option<usize>,
    pub reason: String,
}

impl Value {
    fn is_null(&self) -> bool {
        matches!(self, Value::Null) || matches!(self, Value::Float(value) if !value.is_finite())
    }

    fn number(&self) -> f64 {
        match self {
            Value::Float(value) => *value,
            Value::Int(value) | Value::Time(value) => *value as f64,
            Value::Bool(value) => f64::from(u8::from(*value)),
            Value::Null | Value::Text(_) => f64::NAN,
        }
    }

    /// The value in units of 2^-EXACT.
    fn units(&self) -> i128 {
        match self {
            Value::Float(value) => units(*value).unwrap_or_else(|| panic!("{value:e} is no value for this model")),
            Value::Int(value) | Value::Time(value) => i128::from(*value) << Self::whole_bits(),
            Value::Bool(value) => i128::from(*value) << Self::whole_bits(),
            Value::Null | Value::Text(_) => 0,
        }
    }

    /// Integers have their own unit, 2^-50: they may be greater than floats here.
    const fn whole_bits() -> u32 {
        50
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap(),
            (Value::Int(a), Value::Int(b)) | (Value::Time(a), Value::Time(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            _ => unreachable!("a column has one type"),
        }
    }

    /// For telling values apart: −0 is 0.
    fn identity(&self) -> String {
        match self {
            Value::Float(value) => format!("{:?}", value + 0.0),
            other => format!("{other:?}"),
        }
    }
}

/// Floats of the model are multiples of 2^-72 and less than 2^41: n·x and Σx are exact in 128 bits for up to 2^12 records.
const EXACT: i32 = 72;

/// A float in units of 2^-EXACT, rounded to the nearest; `None` if it is out of range.
fn units(value: f64) -> Option<i128> {
    scaled(value, EXACT)
}

/// `value · 2^bits`, rounded to the nearest; `None` if that is out of range.
fn scaled(value: f64, bits: i32) -> Option<i128> {
    let raw = value.to_bits();
    let (exponent, fraction) = ((raw >> 52 & 0x7FF) as i32, i128::from(raw & ((1 << 52) - 1)));
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    let signed = if value < 0.0 { -mantissa } else { mantissa };
    match exponent + bits {
        shift if shift > 72 => (mantissa == 0).then_some(0),
        shift if shift >= 0 => Some(signed << shift),
        shift if shift > -100 => Some((signed + (1 << (-shift - 1))) >> -shift),
        _ => Some(0),
    }
}

/// Checks one cell against what the rules make of the records that count.
fn check(feature: &FeatureSpec, rows: &[&Record], t: i64, got: &Cell<'_>) -> Result<(), String> {
    let value = |record: &Record| feature.argument.map_or(Value::Null, |argument| record.values[argument]);
    let values = || rows.iter().map(|record| value(record));
    let n = rows.len() as i128;
    let name = feature.function.name;
    match name {
        "count" => same(got, Value::Int(rows.len() as i64)),
        "count distinct" | "approx_distinct" => {
            // S7.4; sketches of so few values are exact.
            let seen: std::collections::BTreeSet<String> = values().map(|value| value.identity()).collect();
            same(got, Value::Int(seen.len() as i64))
        }
        // S7.4: but for counts, nothing makes null.
        _ if rows.is_empty() => same(got, Value::Null),
        // Of equal values the newest: −0 and 0 are equal and print differently.
        "min" => same(got, values().reduce(|a, b| if b.order(&a).is_le() { b } else { a }).unwrap()),
        "max" => same(got, values().reduce(|a, b| if b.order(&a).is_ge() { b } else { a }).unwrap()),
        "first" => same(got, value(rows[0])),
        "last" | "lag" => same(got, value(rows[rows.len() - 1])),
        "time_since_last" => same(got, Value::Float((t - rows[rows.len() - 1].time) as f64 / 1e6)),
        // S7.5: integers exactly; what is no int64 is null.
        "sum" if feature.cell == CellType::Int64 => {
            let sum: i128 = values().map(|value| value.units() >> Value::whole_bits()).sum();
            same(got, i64::try_from(sum).map_or(Value::Null, Value::Int))
        }
        "sum" | "avg" => {
            let (sum, size): (i128, i128) = (values().map(|value| value.units()).sum(), values().map(|value| value.units().abs()).sum());
            let Cell::Float64(found) = got else { return Err(format!("{got:?} instead of a float")) };
            let bits = if matches!(value(rows[0]), Value::Float(_)) { EXACT } else { Value::whole_bits() as i32 };
            let found_units = scaled(*found, bits).filter(|units| units.abs() <= 2 * size).ok_or(format!("{found:e} is beyond Σ|x|"))?;
            let times = if name == "avg" { n } else { 1 };
            // S7.5: within 1e-12·Σ|x|, and of that 1/n for an average; `times` for the rounding of `found_units`.
            let (error, slack) = ((found_units * times - sum).abs(), size / 1_000_000_000_000 + times);
            if error <= slack { Ok(()) } else { Err(format!("{found:e} is off by {error} units of 2^-{bits}, allowed are {slack}")) }
        }
        "var_pop" | "var_samp" | "stddev_pop" | "stddev_samp" => spread(name, &values().collect::<Vec<_>>(), got),
        "approx_quantile" => {
            let mut sorted: Vec<f64> = values().map(|value| value.number()).collect();
            sorted.sort_by(f64::total_cmp);
            let wanted = sorted[(feature.function.parameter * (n - 1) as f64) as usize];
            near(got, wanted, wanted.abs() * 0.010_000_1)
        }
        "ewm_sum" | "ewm_avg" => {
            // Weights as of `t` for the sum; those of an average may be as of any time, and as of the newest record none is 0.
            let now = if name == "ewm_sum" { t } else { rows[rows.len() - 1].time };
            let weights: Vec<f64> = rows.iter().map(|record| (-(now - record.time) as f64 / feature.function.parameter).exp2()).collect();
            let weighted =
                |of: fn(f64) -> f64| weights.iter().zip(values()).map(|(weight, value)| weight * of(value.number())).sum::<f64>();
            let total = if name == "ewm_sum" { 1.0 } else { weights.iter().sum() };
            near(got, weighted(|x| x) / total, 1e-12 * weighted(f64::abs) / total + 1e-290)
        }
        name => Err(format!("the model does not know `{name}`")),
    }
}

/// S7.5: the same value, floats bit for bit.
fn same(got: &Cell<'_>, wanted: Value) -> Result<(), String> {
    let equal = match (got, wanted) {
        (Cell::Null, Value::Null) => true,
        (Cell::Float64(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Cell::Int64(a), Value::Int(b)) | (Cell::Timestamp(a), Value::Time(b)) => *a == b,
        (Cell::Bool(a), Value::Bool(b)) => *a == b,
        (Cell::Text(a), Value::Text(b)) => *a == b,
        _ => false,
    };
    if equal { Ok(()) } else { Err(format!("{got:?} instead of {wanted:?}")) }
}

fn near(got: &Cell<'_>, wanted: f64, slack: f64) -> Result<(), String> {
    match got {
        Cell::Float64(found) if (found - wanted).abs() <= slack => Ok(()),
        _ => Err(format!("{got:?} instead of {wanted:e} ± {slack:e}")),
    }
}

/// S7.5: within 1e-12·Σ(x − mean)², at least 1e-15 relative to the largest square; equal values have none.
fn spread(name: &str, values: &[Value], got: &Cell<'_>) -> Result<(), String> {
    let n = values.len() as i128;
    let degrees = (if name.ends_with("samp") { n - 1 } else { n }) as f64;
    if degrees == 0.0 {
        return same(got, Value::Null);
    }
    let numbers: Vec<i128> = values.iter().map(Value::units).collect();
    if numbers.iter().all(|number| *number == numbers[0]) {
        return near(got, 0.0, 0.0);
    }
    let bits = if matches!(values[0], Value::Float(_)) { EXACT } else { Value::whole_bits() as i32 };
    let unit = f64::from(-bits).exp2();
    let sum: i128 = numbers.iter().sum();
    let square = |number: i128| (number as f64 * unit).powi(2);
    let deviation: f64 = numbers.iter().map(|number| square(n * number - sum) / (n * n) as f64).sum();
    let largest = numbers.iter().map(|number| square(*number)).fold(0.0, f64::max);
    let (variance, slack) = (deviation / degrees, (1e-12 * deviation).max(1e-15 * largest) / degrees);
    match got {
        Cell::Float64(found) if name.starts_with("stddev") => {
            near(&Cell::Float64(found * found), variance, 2.0 * slack).map_err(|reason| format!("the square of {found:e}: {reason}"))
        }
        _ => near(got, variance, slack),
    }
}
