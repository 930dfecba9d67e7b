//! How an epoch of a model is settled, whatever kind of model it is: rows are answered, labels meet predictions, the books are kept, and what learns
//! learns; everything in canonical order (S10.2, S10.5).
//!
//! Answers never depend on the books. So rows are answered a tile at a time, and the books take a tile that is answered.

use std::ops::Range;

use super::input_rows::Tile;
use super::ledger::{Happening, Kept, Ledger, Met};
use super::model_epoch::{Answers, ModelEpoch};
use super::packet::Resolved;
use crate::data::Rejected;
use crate::error::Result;
use crate::models::Row;

/// Whoever answers the rows of a model.
pub trait Answerer {
    /// Whether each row is answered when its turn comes, after the labels before it (`learn = "record"`); else all rows are answered first.
    fn by_record(&self) -> bool;
    /// Appends the answers of `rows`, one after another, to `answers`; with `learns`, after each answer, learns from the row's own label if it has one.
    /// Gives the rows that were answered before anything had been learned: so many, the first ones. `tile` is room for their inputs.
    fn answer(&mut self, epoch: &ModelEpoch, rows: Range<usize>, learns: bool, tile: &mut Tile, answers: &mut Answers) -> usize;
    /// A label met a row that was answered before.
    fn learn(&mut self, row: Row<'_>, y: f64, weight: f64);
}

/// What an epoch left behind, for [`Ledger::send`].
#[derive(Default)]
pub struct Outcomes {
    /// Labels that met their rows.
    pub met: Vec<Met>,
    /// The same for monitors.
    pub resolved: Resolved,
    /// Labels that came second.
    pub rejected: Vec<Rejected>,
}

/// Settles `epoch`: fills `answers` and writes the books. `tile` is room for inputs.
pub fn settle<A: Answerer>(
    ledger: &mut Ledger,
    epoch: &ModelEpoch,
    answers: &mut Answers,
    answerer: &mut A,
    tile: &mut Tile,
) -> Result<Outcomes> {
    answers.predictions.reserve(epoch.len());
    match ledger.joins_labels() {
        true => late_labels(ledger, epoch, answers, answerer, tile),
        false => column_labels(ledger, epoch, answers, answerer, tile),
    }
}

/// The rows of `epoch`, a tile at a time.
fn tiles(epoch: &ModelEpoch) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = epoch.len();
    (0..rows).step_by(Tile::ROWS).map(move |start| start..rows.min(start + Tile::ROWS))
}

/// Labels are in the rows, or there are none.
fn column_labels<A: Answerer>(
    ledger: &mut Ledger,
    epoch: &ModelEpoch,
    answers: &mut Answers,
    answerer: &mut A,
    tile: &mut Tile,
) -> Result<Outcomes> {
    let rows = epoch.len();
    let by_record = answerer.by_record();
    // Guesses outlive their row only where it is settled later.
    let keeps_guesses = !by_record || ledger.has_row_sinks();
    let mut frozen = Vec::with_capacity(if keeps_guesses { rows } else { 0 });
    let mut outcomes = Outcomes::default();
    let times = epoch.rows.times();
    for rows in tiles(epoch) {
        let cold = answerer.answer(epoch, rows.clone(), by_record, tile, answers);
        for row in rows.clone() {
            let guess = ledger.asked(row - rows.start < cold);
            if keeps_guesses {
                frozen.push(guess);
            }
            if by_record && let Some((y, _)) = epoch.label(row) {
                ledger.resolved(times[row], y, answers.predictions[row], guess);
            }
        }
    }
    if !by_record {
        for rows in tiles(epoch) {
            let mut gathered = false;
            for row in rows.clone() {
                let Some((y, weight)) = epoch.label(row) else { continue };
                if !gathered {
                    epoch.gather(rows.clone(), tile);
                    gathered = true;
                }
                answerer.learn(tile.row(row - rows.start), y, weight);
                ledger.resolved(times[row], y, answers.predictions[row], frozen[row]);
            }
        }
    }
    ledger.watch_rows(epoch, answers, &mut outcomes.resolved);
    if ledger.has_row_sinks() {
        let kept = Kept::default();
        kept.fill(ledger.keep(epoch, answers)?);
        for (row, baseline) in frozen.iter().enumerate() {
            if let Some((y, _)) = epoch.label(row) {
                let served = ledger.served(epoch, row, answers.predictions[row], *baseline, &kept, tile);
                let time = times[row];
                outcomes.met.push(Met { served, row_time: time, y, label_time: time });
            }
        }
    }
    Ok(outcomes)
}

/// Labels arrive on another stream: rows and labels in canonical order, then what expired (S4.3).
fn late_labels<A: Answerer>(
    ledger: &mut Ledger,
    epoch: &ModelEpoch,
    answers: &mut Answers,
    answerer: &mut A,
    tile: &mut Tile,
) -> Result<Outcomes> {
    let by_record = answerer.by_record();
    let mut outcomes = Outcomes::default();
    // Rows asked before anything was learned: the first ones.
    let mut cold = 0;
    if !by_record {
        for rows in tiles(epoch) {
            cold += answerer.answer(epoch, rows, false, tile, answers);
        }
    }
    // By record a prediction is known only when its turn comes: rows wait under columns that are filled in at the end.
    let kept = Kept::default();
    for happening in ledger.happenings(epoch) {
        let pair = match happening {
            Happening::Row(row) => {
                if by_record {
                    cold += answerer.answer(epoch, row..row + 1, false, tile, answers);
                }
                let frozen = ledger.asked(row < cold);
                let served = ledger.served(epoch, row, answers.predictions[row], frozen, &kept, tile);
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
    ledger.watch_pair(&pair, time, &mut outcomes.resolved);
    outcomes.met.push(pair);
}
