//! How an epoch of a model is settled, whatever kind of model it is: rows are answered, labels meet predictions, the books are kept, and what learns
//! learns; everything in canonical order (S10.2, S10.5).

use super::ledger::{Happening, Kept, Ledger, Met};
use super::model_epoch::{Answers, ModelEpoch};
use super::packet::{Resolved, ResolvedKey};
use crate::data::Rejected;
use crate::error::Result;
use crate::metrics::BaselineGuess;
use crate::models::Row;

/// Whoever answers the rows of a model.
pub trait Answerer {
    /// Whether each row is answered when its turn comes, after the labels before it (`learn = "record"`); else all rows are answered first.
    fn by_record(&self) -> bool;
    /// Appends the answer of row `row` to `answers`, and learns from `label` (value, weight) where one is given. True if nothing was learned before.
    fn answer(&mut self, epoch: &ModelEpoch, row: usize, label: Option<(f64, f64)>, answers: &mut Answers) -> bool;
    /// A label met a row that was answered before.
    fn learn(&mut self, row: Row<'_>, y: f64, weight: f64);
}

/// What an epoch left behind, for [`Ledger::send`].
#[derive(Default)]
pub struct Outcomes {
    /// Labels that met their rows.
    pub met: Vec<Met>,
    /// The same for monitors.
    pub resolved: Vec<Resolved>,
    /// Labels that came second.
    pub rejected: Vec<Rejected>,
}

/// Settles `epoch`: fills `answers` and writes the books.
pub fn settle<A: Answerer>(ledger: &mut Ledger, epoch: &ModelEpoch, answers: &mut Answers, answerer: &mut A) -> Result<Outcomes> {
    answers.predictions.reserve(epoch.len());
    answers.degraded.reserve(epoch.len());
    match ledger.joins_labels() {
        true => late_labels(ledger, epoch, answers, answerer),
        false => column_labels(ledger, epoch, answers, answerer),
    }
}

/// Labels are in the rows, or there are none.
fn column_labels<A: Answerer>(ledger: &mut Ledger, epoch: &ModelEpoch, answers: &mut Answers, answerer: &mut A) -> Result<Outcomes> {
    let rows = epoch.len();
    let by_record = answerer.by_record();
    let label_of = |row: usize| {
        let y = epoch.input.labels.get(row).copied().filter(|y| !y.is_nan())?;
        Some((y, epoch.input.weights.get(row).copied().unwrap_or(1.0)))
    };
    // Guesses outlive their row only where it is settled later.
    let keeps_guesses = !by_record || ledger.has_row_sinks();
    let mut frozen = Vec::with_capacity(if keeps_guesses { rows } else { 0 });
    let mut outcomes = Outcomes::default();
    outcomes.resolved.reserve(if ledger.is_watched() { rows } else { 0 });
    for row in 0..rows {
        let label = label_of(row).filter(|_| by_record);
        let cold = answerer.answer(epoch, row, label, answers);
        let guess = ledger.asked(cold);
        if keeps_guesses {
            frozen.push(guess);
        }
        if let Some((y, _)) = label {
            resolve(ledger, epoch, row, y, answers.predictions[row], guess, &mut outcomes);
        }
    }
    if !by_record {
        for (row, baseline) in frozen.iter().enumerate() {
            let Some((y, weight)) = label_of(row) else { continue };
            let (x, valid) = epoch.row(row);
            answerer.learn(Row { x, valid }, y, weight);
            resolve(ledger, epoch, row, y, answers.predictions[row], *baseline, &mut outcomes);
        }
    }
    if ledger.has_row_sinks() {
        let kept = Kept::default();
        kept.fill(ledger.keep(epoch, answers)?);
        for (row, baseline) in frozen.iter().enumerate() {
            if let Some((y, _)) = label_of(row) {
                let served = ledger.served(epoch, row, answers.predictions[row], *baseline, &kept);
                let time = epoch.rows.times()[row];
                outcomes.met.push(Met { served, row_time: time, y, label_time: time });
            }
        }
    }
    Ok(outcomes)
}

fn resolve(ledger: &mut Ledger, epoch: &ModelEpoch, row: usize, y: f64, prediction: f64, frozen: BaselineGuess, outcomes: &mut Outcomes) {
    let time = epoch.rows.times()[row];
    ledger.resolved(time, y, prediction, frozen);
    if ledger.is_watched() {
        outcomes.resolved.push(Resolved { time, key: ledger.resolved_key(&epoch.rows, row), label: y, prediction });
    }
}

/// Labels arrive on another stream: rows and labels in canonical order, then what expired (S4.3).
fn late_labels<A: Answerer>(ledger: &mut Ledger, epoch: &ModelEpoch, answers: &mut Answers, answerer: &mut A) -> Result<Outcomes> {
    let rows = epoch.len();
    let by_record = answerer.by_record();
    let mut outcomes = Outcomes::default();
    let mut cold = vec![false; rows];
    if !by_record {
        for (row, cold) in cold.iter_mut().enumerate() {
            *cold = answerer.answer(epoch, row, None, answers);
        }
    }
    // By record a prediction is known only when its turn comes: rows wait under columns that are filled in at the end.
    let kept = Kept::default();
    for happening in ledger.happenings(epoch) {
        let pair = match happening {
            Happening::Row(row) => {
                if by_record {
                    cold[row] = answerer.answer(epoch, row, None, answers);
                }
                let frozen = ledger.asked(cold[row]);
                let served = ledger.served(epoch, row, answers.predictions[row], frozen, &kept);
                ledger.row_waits(epoch, row, served)
            }
            Happening::Label(label) => ledger.label_arrives(epoch, label, &mut outcomes.rejected),
        };
        if let Some(pair) = pair {
            let time = pair.label_time.max(pair.row_time);
            meet(ledger, answerer, pair, time, &mut outcomes);
        }
    }
    for expired in ledger.expire(epoch.input.watermark) {
        let time = expired.label_time;
        meet(ledger, answerer, expired, time, &mut outcomes);
    }
    if ledger.has_row_sinks() {
        kept.fill(ledger.keep(epoch, answers)?);
    }
    Ok(outcomes)
}

/// A label met its row: learn, keep the books.
fn meet<A: Answerer>(ledger: &mut Ledger, answerer: &mut A, pair: Met, time: i64, outcomes: &mut Outcomes) {
    answerer.learn(pair.served.row(), pair.y, pair.served.weight);
    ledger.resolved(pair.row_time, pair.y, pair.served.prediction, pair.served.frozen);
    if ledger.is_watched() {
        let key = ResolvedKey::Text(pair.served.key.clone());
        outcomes.resolved.push(Resolved { time, key, label: pair.y, prediction: pair.served.prediction });
    }
    outcomes.met.push(pair);
}
