//! A generalized linear model that learns row by row: inputs, scaler, optimizer and intercept together (S10.2, S10.3; River 0.26's `GLM`).
//!
//! Per learned row, in River's order: scale; linear sum; slope of the loss times the row's weight, clipped; intercept by its own rate, outside the
//! optimizer; weights by the optimizer, with `l2 · w` added to the gradient; then the cumulative L1 penalty. Everything is computed beside the current
//! state and replaces it only if all of it is finite, so a refused row changes nothing but its counter.
//!
//! Weights start at zero. The linear sum adds inputs in byte order of their names over eight lanes (`lanes`) and the intercept last.

use super::inputs::Inputs;
use super::lanes::{FiniteCheck, LANES, Lanes, dot, sum, zeros};
use super::learners::{self, Learner};
use super::optimizers::{self, Optimizer};
use super::penalty::CumulativeL1;
use super::{Learned, LinearSpec, NoPrediction, Outcome, Row, Skip};

/// An online linear model with all it needs to continue: statistics, parameters, optimizer state, counters.
#[derive(Clone, Debug)]
pub struct OnlineModel {
    pub(super) spec: LinearSpec,
    learner: &'static dyn Learner,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) inputs: Inputs,
    pub(super) weights: Lanes,
    next_weights: Lanes,
    pub(super) intercept: f64,
    pub(super) penalty: Option<CumulativeL1>,
    /// The scaled row at hand.
    z: Lanes,
    pub(super) learned_rows: u64,
    pub(super) skipped: [u64; Skip::ALL.len()],
}

impl OnlineModel {
    /// A model that has learned nothing. The spec should have passed `LinearSpec::check`.
    pub fn new(spec: LinearSpec) -> Self {
        let width = spec.inputs.len();
        Self {
            learner: learners::of(spec.logistic),
            optimizer: optimizers::build(&spec.optimizer, width),
            inputs: Inputs::new(&spec.nulls, spec.standard_scaler),
            weights: zeros(width),
            next_weights: zeros(width),
            intercept: spec.intercept_init,
            penalty: (spec.l1 > 0.0).then(|| CumulativeL1::new(spec.l1, width)),
            z: zeros(width),
            learned_rows: 0,
            skipped: [0; Skip::ALL.len()],
            spec,
        }
    }

    /// What the model was built from.
    pub fn spec(&self) -> &LinearSpec {
        &self.spec
    }

    /// The learner's name, `logistic_regression` or `linear_regression`.
    pub fn kind(&self) -> &'static str {
        self.learner.name()
    }

    /// What a prediction is: `probability` or `value`.
    pub fn output(&self) -> &'static str {
        self.learner.output()
    }

    /// The prediction for a row, by the parameters and statistics so far. Changes nothing.
    pub fn predict(&self, row: Row<'_>) -> Outcome {
        match self.linear_sum(row) {
            Ok(raw) => Outcome::Predicted(self.learner.value(raw)),
            Err(reason) => Outcome::Missing(reason),
        }
    }

    /// The predictions of all `rows` by the same version (`learn = "epoch"`), appended to `out`.
    pub fn predict_all<'a>(&self, rows: impl IntoIterator<Item = Row<'a>>, out: &mut Vec<Outcome>) {
        out.extend(rows.into_iter().map(|row| self.predict(row)));
    }

    /// With `update = "before"`: the row becomes part of the statistics of scaler and imputation, to be called once before its prediction. Otherwise
    /// nothing. An error leaves the statistics as they were and is the row's outcome: it is then neither to be predicted nor learned.
    pub fn observe(&mut self, row: Row<'_>) -> Result<(), NoPrediction> {
        if self.spec.scaler_before {
            self.inputs.propose(row, &mut self.z)?;
            self.inputs.commit();
        }
        Ok(())
    }

    /// Learns one row with label `y` (0 or 1 for a classifier) and a weight of at least 0. With `update = "on_learn"` the statistics take the row in
    /// first, and it is scaled by them; with `"before"` it was observed when it was asked for and is scaled by the statistics so far.
    pub fn learn(&mut self, row: Row<'_>, y: f64, weight: f64) -> Learned {
        let attempt = self.try_learn(row, y, weight);
        self.count(attempt)
    }

    /// Test-then-train on one row (`learn = "record"`): observe if `update = "before"`, predict, then learn if there is a label `(y, weight)`. Equal
    /// bit for bit to `observe`, `predict`, `learn` one after another.
    pub fn record(&mut self, row: Row<'_>, label: Option<(f64, f64)>) -> Outcome {
        if !self.spec.scaler_before {
            let outcome = self.predict(row);
            if let Some((y, weight)) = label {
                self.learn(row, y, weight);
            }
            return outcome;
        }
        let raw = match self.inputs.propose(row, &mut self.z) {
            Ok(()) => {
                self.inputs.commit();
                dot(&self.z, &self.weights) + self.intercept
            }
            Err(reason) => return self.refuse(label, reason),
        };
        if !raw.is_finite() {
            return self.refuse(label, NoPrediction::OutOfRange);
        }
        let Some((y, weight)) = label else { return Outcome::Predicted(self.learner.value(raw)) };
        if let Some(skip) = self.unusable(y, weight) {
            self.count(Err(skip));
            return Outcome::Predicted(self.learner.value(raw));
        }
        let (value, slope) = self.learner.respond(raw, y);
        let attempt = self.step(slope, weight);
        self.count(attempt);
        Outcome::Predicted(value)
    }

    /// What each input adds to the linear sum: `weight · scaled value`, in the order of the inputs. The sum is the intercept plus these: the value of a
    /// linear, the log odds of a logistic model. Where the row has no prediction, the reason.
    pub fn contributions(&self, row: Row<'_>, out: &mut [f64]) -> Result<(), NoPrediction> {
        self.linear_sum(row)?;
        let complete = self.inputs.is_complete(row);
        let mut check = FiniteCheck::new();
        for (c, (out, weights)) in out.chunks_mut(LANES).zip(&self.weights).enumerate() {
            let z = self.inputs.scaled(row, complete, c, &mut check);
            for (lane, out) in out.iter_mut().enumerate() {
                *out = z[lane] * weights[lane];
            }
        }
        Ok(())
    }

    /// Rows learned so far, `initial` model included.
    pub fn learned_rows(&self) -> u64 {
        self.learned_rows
    }

    /// Whether nothing has been learned yet: rows predicted now are cold rows (S10.2).
    pub fn is_cold(&self) -> bool {
        self.learned_rows == 0
    }

    /// Labelled rows that were not learned from, by reason, in the order of `Skip::ALL`.
    pub fn skipped(&self) -> impl Iterator<Item = (Skip, u64)> + '_ {
        Skip::ALL.into_iter().zip(self.skipped)
    }

    /// Labelled rows that were not learned from, all reasons together.
    pub fn learn_skipped(&self) -> u64 {
        self.skipped.iter().sum()
    }

    /// The intercept.
    pub fn intercept(&self) -> f64 {
        self.intercept
    }

    /// The weights, in the order of the inputs, for scaled values.
    pub fn weights(&self) -> Vec<f64> {
        super::lanes::to_vec(&self.weights, self.spec.inputs.len())
    }

    /// The linear sum of a row by the current statistics, finite.
    fn linear_sum(&self, row: Row<'_>) -> Result<f64, NoPrediction> {
        let complete = self.inputs.is_complete(row);
        if !complete && self.inputs.must_skip(row) {
            return Err(self.inputs.blame(row));
        }
        let (mut acc, mut check) = ([0.0; LANES], FiniteCheck::new());
        for (c, weights) in self.weights.iter().enumerate() {
            let z = self.inputs.scaled(row, complete, c, &mut check);
            for lane in 0..LANES {
                acc[lane] += z[lane] * weights[lane];
            }
        }
        let raw = sum(&acc) + self.intercept;
        if check.passed() && raw.is_finite() { Ok(raw) } else { Err(self.inputs.blame(row)) }
    }

    /// Why a label or weight cannot be learned from.
    #[inline]
    fn unusable(&self, y: f64, weight: f64) -> Option<Skip> {
        if y.is_finite() && self.learner.accepts(y) && (0.0..f64::INFINITY).contains(&weight) {
            None
        } else if !y.is_finite() {
            Some(Skip::NonFiniteLabel)
        } else if !self.learner.accepts(y) {
            Some(Skip::NotAClass)
        } else {
            Some(Skip::BadWeight)
        }
    }

    /// `learn` without counting.
    fn try_learn(&mut self, row: Row<'_>, y: f64, weight: f64) -> Result<(), Skip> {
        if self.spec.scaler_before {
            self.inputs.scale(row, &mut self.z)?;
        } else {
            self.inputs.propose(row, &mut self.z)?;
        }
        let raw = dot(&self.z, &self.weights) + self.intercept;
        if !raw.is_finite() {
            return Err(Skip::OutOfRange);
        }
        if let Some(skip) = self.unusable(y, weight) {
            return Err(skip);
        }
        let (_, slope) = self.learner.respond(raw, y);
        self.step(slope, weight)?;
        if !self.spec.scaler_before {
            self.inputs.commit();
        }
        Ok(())
    }

    /// One step of intercept and weights for the row in `z`.
    #[inline]
    fn step(&mut self, slope: f64, weight: f64) -> Result<(), Skip> {
        let slope = slope * weight;
        if !slope.is_finite() {
            return Err(Skip::OutOfRange);
        }
        let clip = self.spec.clip_gradient;
        let gradient = if slope.abs() <= clip { slope } else { clip.copysign(slope) };
        let intercept = self.intercept - self.spec.intercept_lr * gradient;
        let finite = self.optimizer.propose(&self.weights, &self.z, gradient, self.spec.l2, &mut self.next_weights);
        if !(finite && intercept.is_finite()) {
            return Err(Skip::OutOfRange);
        }
        self.optimizer.commit();
        std::mem::swap(&mut self.weights, &mut self.next_weights);
        self.intercept = intercept;
        if let Some(penalty) = &mut self.penalty {
            penalty.apply(self.optimizer.learning_rate(), &mut self.weights);
        }
        Ok(())
    }

    /// Counts an attempt to learn.
    #[inline]
    fn count(&mut self, attempt: Result<(), Skip>) -> Learned {
        match attempt {
            Ok(()) => {
                self.learned_rows += 1;
                Learned::Yes
            }
            Err(skip) => {
                self.skipped[skip as usize] += 1;
                Learned::Skipped(skip)
            }
        }
    }

    /// A row of `record` without a prediction: its label, if any, counts as skipped for the same reason.
    #[cold]
    fn refuse(&mut self, label: Option<(f64, f64)>, reason: NoPrediction) -> Outcome {
        if label.is_some() {
            self.count(Err(reason.into()));
        }
        Outcome::Missing(reason)
    }
}
