//! Linear learners alone, one row after another from memory that stays near: `cargo bench --bench learner`.
//!
//! Rows are dense, labels column by column beside them; 32 inputs are workload W's number, 100 those of a wide view. Figures are times per 1,024 rows
//! and rows a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::config::declaration::Optimizer;
use tidemill::models::{LinearSpec, OnlineModel, Row};

/// Rows that are gone through again and again.
const ROWS: usize = 1024;

/// Numbers in [0, 1) from a seed (splitmix64, Vigna 2015).
fn uniform(mut seed: u64) -> impl FnMut() -> f64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Inputs, row-major, and labels that depend on them.
struct Data {
    width: usize,
    x: Vec<f64>,
    valid: Vec<u64>,
    labels: Vec<f64>,
}

impl Data {
    fn new(width: usize, nulls: bool) -> Self {
        let mut next = uniform(11);
        let x: Vec<f64> = (0..ROWS * width).map(|at| next() * (1 + at % width) as f64).collect();
        let words = width.div_ceil(64);
        let full = |word: usize| if width - word * 64 >= 64 { u64::MAX } else { (1 << (width - word * 64)) - 1 };
        let mut valid: Vec<u64> = (0..ROWS).flat_map(|_| (0..words).map(full)).collect();
        if nulls {
            valid.iter_mut().step_by(words).for_each(|word| *word &= !1);
        }
        let labels = x.chunks(width).map(|row| f64::from(u8::from(row[0] + next() > 1.2))).collect();
        Self { width, x, valid, labels }
    }

    fn row(&self, at: usize) -> Row<'_> {
        let words = self.width.div_ceil(64);
        Row { x: &self.x[at * self.width..(at + 1) * self.width], valid: &self.valid[at * words..(at + 1) * words] }
    }
}

fn spec(width: usize, logistic: bool) -> LinearSpec {
    LinearSpec::new(logistic, (0..width).map(|input| format!("x{input:03}")).collect())
}

fn learner(c: &mut Criterion) {
    let mut group = c.benchmark_group("learner");
    group.throughput(Throughput::Elements(ROWS as u64));
    let ftrl = Optimizer::Ftrl { alpha: 0.05, beta: 1.0, l1: 0.0, l2: 1.0 };
    for width in [32, 100] {
        let (dense, holes) = (Data::new(width, false), Data::new(width, true));
        // As workload W: every row is observed, predicted, then learned from.
        let w = LinearSpec { learn_record: true, scaler_before: true, ..spec(width, true) };
        let record = LinearSpec { learn_record: true, ..spec(width, true) };
        let cases = [
            ("logistic, sgd, scaler before", &dense, w.clone()),
            ("the same, one input null", &holes, w.clone()),
            ("logistic, sgd, scaler on_learn", &dense, record.clone()),
            ("logistic, sgd, no scaler", &dense, LinearSpec { standard_scaler: false, ..record.clone() }),
            ("logistic, ftrl, scaler before", &dense, LinearSpec { optimizer: ftrl, ..w.clone() }),
            ("logistic, adagrad, scaler before", &dense, LinearSpec { optimizer: Optimizer::AdaGrad { lr: 0.1, eps: 1e-8 }, ..w.clone() }),
            ("linear, sgd, scaler before", &dense, LinearSpec { logistic: false, optimizer: Optimizer::Sgd { lr: 1e-3 }, ..w.clone() }),
        ];
        for (name, data, spec) in cases {
            group.bench_function(BenchmarkId::new(name, width), |bencher| {
                let mut model = OnlineModel::new(spec.clone());
                bencher.iter(|| {
                    for (at, y) in data.labels.iter().enumerate() {
                        black_box(model.record(data.row(at), Some((*y, 1.0))));
                    }
                });
            });
        }
        group.bench_function(BenchmarkId::new("logistic, predicted only", width), |bencher| {
            let mut model = OnlineModel::new(record.clone());
            (0..ROWS).for_each(|at| {
                model.record(dense.row(at), Some((dense.labels[at], 1.0)));
            });
            bencher.iter(|| (0..ROWS).for_each(|at| _ = black_box(model.predict(dense.row(at)))));
        });
    }
    group.finish();
}

criterion_group!(benches, learner);
criterion_main!(benches);
