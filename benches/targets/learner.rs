//! A learner alone, row after row from memory that stays near.

use std::hint::black_box;
use std::time::Instant;

use tidemill::models::{LinearSpec, OnlineModel, Row};

use crate::measured::Fallible;
use crate::{Bench, Line, rate};

const ROWS: usize = 1_024;
const WIDTH: usize = 32;
const PASSES: usize = 500;

/// W's learner: every row is observed, predicted, learned from.
pub fn learner(bench: &Bench) -> Fallible<Vec<Line>> {
    let inputs = (0..WIDTH).map(|input| format!("x{input:03}")).collect();
    let spec = LinearSpec { learn_record: true, scaler_before: true, ..LinearSpec::new(true, inputs) };
    let number = |at: usize| ((at * 7_919 + at / WIDTH * 104_729) % 10_007) as f64 / 10_007.0;
    let x: Vec<f64> = (0..ROWS * WIDTH).map(|at| number(at) * (1 + at % WIDTH) as f64).collect();
    let labels: Vec<f64> = x.chunks(WIDTH).enumerate().map(|(row, x)| f64::from(u8::from(x[0] + number(row * 31) > 1.2))).collect();
    let valid = [(1u64 << WIDTH) - 1];
    let mut best = f64::INFINITY;
    for _ in 0..bench.rounds {
        let mut model = OnlineModel::new(spec.clone());
        let began = Instant::now();
        for _ in 0..PASSES {
            for (x, label) in x.chunks(WIDTH).zip(&labels) {
                black_box(model.record(Row { x, valid: &valid }, Some((*label, 1.0))));
            }
        }
        best = best.min(began.elapsed().as_secs_f64() / (PASSES * ROWS) as f64);
    }
    let rows = 1.0 / best;
    Ok(vec![Line::new(
        "learner alone, 32 dense features, scaled and learned from, one core",
        "≥ 5 M rows/s",
        rate(rows),
        Some(rows >= 5e6),
    )])
}
