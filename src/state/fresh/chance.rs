//! Random views and what happens to them, from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::model::{Record, Value};
use super::{Case, KINDS, Step, calls};
use crate::config::declaration::Window;
use crate::data::CellType;
use crate::features::{FeatureSpec, ViewSpec};

/// What the steps of a case are like.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub steps: usize,
    pub keys: u64,
    /// Longest sliding window.
    pub longest: u64,
    /// One row in so many is checked.
    pub checked: u64,
}

struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    fn up_to(&mut self, bound: u64) -> i64 {
        self.below(bound) as i64
    }

    /// True `share` times of 100.
    fn in_100(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Amounts in cents.
    Cents,
    /// Multiples of 10^-6 of all sizes: 1e12 beside 1e-6.
    Micros,
    /// Floats with all their digits, of all sizes.
    Wild,
    /// One float again and again.
    Equal(f64),
    /// −1, −0, 0, 1.
    Few,
    /// Cents up to some time, then multiples of 10^-6 and wild ones, then cents.
    Turning,
    /// Whole numbers of some hundreds, of all sizes, or the least and the greatest.
    Small,
    Large,
    Extreme,
    /// Of a boolean, a time, a text.
    Plain,
}

/// How often values of a column are missing, of 100; and whether what is not finite stands there, too.
#[derive(Clone, Copy, Debug)]
struct Column {
    kind: CellType,
    shape: Shape,
    nulls: u64,
    infinite: bool,
}

impl Random {
    fn wild(&mut self) -> f64 {
        let (fraction, exponent) = (self.0.next_u64() & ((1 << 52) - 1), 1023 - 20 + self.below(60));
        f64::from_bits(self.below(2) << 63 | exponent << 52 | fraction)
    }

    fn micros(&mut self) -> f64 {
        let most = self.pick(&[10, 1_000, 1_000_000, 1_000_000_000_000, 1_000_000_000_000_000_000]);
        (self.up_to(2 * most) - most as i64) as f64 / 1e6
    }

    fn cents(&mut self) -> f64 {
        (self.up_to(200_000) - 100_000) as f64 / 100.0
    }

    fn column(&mut self, kind: CellType) -> Column {
        let shape = match kind {
            CellType::Float64 => {
                let equal = self.wild();
                self.pick(&[Shape::Cents, Shape::Cents, Shape::Micros, Shape::Wild, Shape::Equal(equal), Shape::Few, Shape::Turning])
            }
            CellType::Int64 => self.pick(&[Shape::Small, Shape::Large, Shape::Extreme]),
            _ => Shape::Plain,
        };
        let nulls = self.pick(&[0, 0, 15, 60]);
        Column { kind, shape, nulls, infinite: self.in_100(30) }
    }

    /// A value of a column, `done` of 100 steps into the case.
    fn value(&mut self, column: Column, done: usize) -> Value {
        if self.in_100(column.nulls) {
            return Value::Null;
        }
        if column.kind == CellType::Float64 {
            if column.infinite && self.in_100(5) {
                return Value::Float(self.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]));
            }
            return Value::Float(match column.shape {
                Shape::Micros => self.micros(),
                Shape::Wild => self.wild(),
                Shape::Equal(value) => value,
                Shape::Few => self.pick(&[-1.0, -0.0, 0.0, 1.0]),
                Shape::Turning if (33..45).contains(&done) => self.micros(),
                Shape::Turning if (45..55).contains(&done) => self.wild(),
                _ => self.cents(),
            });
        }
        match (column.kind, column.shape) {
            (CellType::Int64, Shape::Extreme) => Value::Int(self.pick(&[i64::MIN, i64::MAX, i64::MIN + 1, 0, -1, 1])),
            (CellType::Int64, Shape::Large) => Value::Int((self.0.next_u64() >> self.below(64)) as i64),
            (CellType::Int64, _) => Value::Int(self.up_to(1000) - 500),
            (CellType::Bool, _) => Value::Bool(self.in_100(50)),
            (CellType::Timestamp, _) => Value::Time(self.up_to(50)),
            _ => Value::Text(self.pick(&["", "a", "b", "ä", "a text that is longer than the others", "NaN"])),
        }
    }

    fn window(&mut self, longest: u64) -> Window {
        match self.below(5) {
            0 | 1 => Window::Sliding(1 + self.up_to(longest)),
            2 => Window::Sliding(self.pick(&[1, 2, 9])),
            3 => Window::Tumbling { size: 1 + self.up_to(longest), offset: self.up_to(100) - 50 },
            _ => Window::Lifetime,
        }
    }

    fn view(&mut self, size: Size) -> ViewSpec {
        let windows: Vec<Window> = (0..1 + self.below(5)).map(|_| self.window(size.longest)).collect();
        // Views of nothing but floats have a layout of their own.
        let floats = self.in_100(30);
        let arguments: Vec<CellType> = (0..1 + self.below(3)).map(|_| if floats { CellType::Float64 } else { self.pick(&KINDS) }).collect();
        let filters = if floats { 0 } else { self.below(3) as usize };
        let calls = calls(&arguments);
        let mut features = Vec::new();
        for _ in 0..1 + self.below(20) {
            let (argument, resolved) = &calls[self.below(calls.len() as u64) as usize];
            features.push(FeatureSpec {
                function: resolved.function,
                argument: *argument,
                filter: if filters > 0 && self.in_100(40) { Some(self.below(filters as u64) as usize) } else { None },
                window: if resolved.own_horizon { None } else { Some(self.below(windows.len() as u64) as usize) },
                include_current: self.in_100(65),
                cell: resolved.cell,
            });
        }
        ViewSpec {
            windows,
            arguments,
            filters,
            features,
            lateness: 0,
            ttl: if self.in_100(15) { Some(1 + self.up_to(300)) } else { None },
            max_keys_per_shard: if self.in_100(15) { Some(1 + self.below(3)) } else { None },
            max_records_per_key: if self.in_100(20) { Some(1 + self.below(8)) } else { None },
        }
    }
}

/// The case of a seed.
pub fn case(seed: u64, size: Size) -> Case {
    let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
    let spec = random.view(size);
    let columns: Vec<Column> = spec.arguments.iter().map(|kind| random.column(*kind)).collect();
    let shards = random.pick(&[1, 1, 3, 256]);
    // How far back a record may lie: in order, within lateness, or as far as the watermark lets it.
    let disorder = random.pick(&[0, 0, 12, 12, 2 * size.longest]);
    let (nulls, keys) = (random.pick(&[0, 5]), 1 + random.below(size.keys));
    let mut newest = random.pick(&[-5_000, 0, 1_700_000_000_000_000]);
    let mut watermark = i64::MIN;
    let mut steps = Vec::with_capacity(size.steps);
    while steps.len() < size.steps {
        let key = if random.in_100(nulls) { None } else { Some(random.below(keys) as u8) };
        steps.push(match random.below(100) {
            0..70 => {
                newest += random.pick(&[0, 0, 0, 1, 1, 2, 5, 30]);
                newest += if random.in_100(1) { random.up_to(3 * size.longest) } else { 0 };
                let back = if random.in_100(30) { random.up_to(disorder + 1) } else { 0 };
                let done = steps.len() * 100 / size.steps;
                let record = Record {
                    time: (newest - back).max(watermark),
                    values: columns.iter().map(|column| random.value(*column, done)).collect(),
                    passes: (0..spec.filters).map(|_| random.in_100(60)).collect(),
                };
                Step::Update { key, record, checked: random.below(size.checked) == 0 }
            }
            70..82 => Step::Probe { key, time: (newest - random.up_to(disorder + 1) + random.up_to(size.longest)).max(watermark) },
            82..90 => {
                watermark = watermark.max(newest - random.up_to(disorder + 1) - random.pick(&[0, 0, 3]));
                Step::Advance(watermark)
            }
            90..95 => Step::LookAhead,
            95..98 => Step::Restore,
            _ => Step::Freeze,
        });
    }
    Case { spec, shards, steps }
}
