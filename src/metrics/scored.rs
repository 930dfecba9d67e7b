//! Rows about to be scored, column by column: what several metrics need of a row is computed once, in loops that do one kind of work each.

use std::ops::Range;

use super::histogram::place;
use super::log_loss;

/// Labels and predictions in canonical order of resolution, all of them finite; losses and places in a histogram once somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Scored {
    labels: Vec<f64>,
    predictions: Vec<f64>,
    losses: Vec<f64>,
    places: Vec<u32>,
}

impl Scored {
    /// Rows that are worth a round of scoring: few enough for the nearest cache, enough to share what a round costs.
    pub const ROUND: usize = 256;

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.predictions.clear();
        self.losses.clear();
        self.places.clear();
    }

    /// Appends a row: label `y`, prediction `p`.
    #[inline]
    pub fn push(&mut self, y: f64, p: f64) {
        self.labels.push(y);
        self.predictions.push(p);
    }

    /// The rows at hand are these instead.
    pub fn replace(&mut self, rows: impl Iterator<Item = (f64, f64)> + Clone) {
        self.clear();
        self.labels.extend(rows.clone().map(|(y, _)| y));
        self.predictions.extend(rows.map(|(_, p)| p));
    }

    /// The rows at hand keep their labels and have these predictions instead, as many as before.
    pub fn predict(&mut self, predictions: impl Iterator<Item = f64>) {
        self.predictions.clear();
        self.losses.clear();
        self.places.clear();
        self.predictions.extend(predictions);
    }

    /// Label and prediction of some rows.
    #[inline]
    pub fn rows(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = (f64, f64)> + '_ {
        self.labels[range.clone()].iter().copied().zip(self.predictions[range].iter().copied())
    }

    /// The log losses of some rows.
    pub fn losses(&mut self, range: Range<usize>) -> &[f64] {
        let known = self.losses.len();
        if known < self.labels.len() {
            self.losses.extend(self.labels[known..].iter().zip(&self.predictions[known..]).map(|(y, p)| log_loss(*y, *p)));
        }
        &self.losses[range]
    }

    /// Where some rows stand in a `ScoreHistogram`.
    pub fn places(&mut self, range: Range<usize>) -> &[u32] {
        let known = self.places.len();
        if known < self.labels.len() {
            self.places.extend(self.labels[known..].iter().zip(&self.predictions[known..]).map(|(y, p)| place(*p, *y >= 0.5)));
        }
        &self.places[range]
    }
}
