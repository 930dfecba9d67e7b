//! Models that learn from the stream: linear learners, their optimizers, scaling, imputation, artefacts, and the join with late labels (S10).
//!
//! Pure: no timely, no clock, no threads; only `artefact` touches files. Names, defaults and the order of operations follow River 0.26
//! (<https://riverml.xyz>), except where S10 says otherwise; each file names the paper its method comes from.
//!
//! Everything is deterministic to the bit: sums run over eight fixed lanes (`lanes`), `exp` is `libm`'s, and nothing depends on the number of
//! workers, on how rows are cut into epochs (`learn = "record"`) or on the machine. A non-finite number never reaches a parameter, a statistic of
//! the scaler or an imputation mean: such a row is skipped and counted (`Skip`).

pub mod artefact;
mod delays;
mod inputs;
pub mod label_join;
mod lanes;
#[cfg(test)]
mod laws;
pub mod learners;
mod little_endian;
mod online;
pub mod optimizers;
mod penalty;
mod snapshot;
mod tensors;

use crate::config::declaration::Optimizer;

pub use label_join::{Expired, LabelCounts, LabelJoin, LabelOutcome, Pair, Position, RowOutcome, VERSION as LABEL_JOIN_VERSION};
pub use online::OnlineModel;
pub use snapshot::VERSION as SNAPSHOT_VERSION;

/// What stands for a null of one input (S10.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputNulls {
    /// The input's mean so far, 0 before any value.
    Mean,
    /// A constant. It counts as observed: the same as `coalesce(input, constant)`.
    Constant(f64),
    /// The row is neither predicted nor learned.
    Skip,
}

/// An online linear model, resolved: everything that decides its bits.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSpec {
    /// True for `logistic_regression`, false for `linear_regression`.
    pub logistic: bool,
    /// The optimizer of the weights; the intercept has a rate of its own.
    pub optimizer: Optimizer,
    /// Whether inputs are standardised (S10.3).
    pub standard_scaler: bool,
    /// True for `update = "before"` (S10.3); needs `learn_record` and `standard_scaler`.
    pub scaler_before: bool,
    /// True for `learn = "record"`, false for `learn = "epoch"` (S10.2).
    pub learn_record: bool,
    /// Cumulative L1 penalty, per learned row; not together with `l2`, not with FTRL (which has its own).
    pub l1: f64,
    /// L2 penalty, added to the gradient before the optimizer sees it.
    pub l2: f64,
    /// Bound on the absolute value of the loss gradient, weight included.
    pub clip_gradient: f64,
    /// Learning rate of the intercept; 0 keeps it at `intercept_init`.
    pub intercept_lr: f64,
    /// First value of the intercept.
    pub intercept_init: f64,
    /// Seed of random initial parameters. The linear learners start at zero, so it only travels with the artefact.
    pub seed: u64,
    /// Names of the inputs, in byte order, distinct (S10.1).
    pub inputs: Vec<String>,
    /// What stands for nulls, by input.
    pub nulls: Vec<InputNulls>,
}

impl LinearSpec {
    /// The defaults: River's hyper-parameters (SGD 0.01, intercept rate 0.01, no penalty, clipping at 1e12), a standard scaler that observes what is
    /// learned, `learn = "epoch"`, nulls by the mean. `inputs` must be in byte order.
    pub fn new(logistic: bool, inputs: Vec<String>) -> Self {
        let nulls = vec![InputNulls::Mean; inputs.len()];
        Self {
            logistic,
            optimizer: optimizers::REGISTRY[0].default,
            standard_scaler: true,
            scaler_before: false,
            learn_record: false,
            l1: 0.0,
            l2: 0.0,
            clip_gradient: 1e12,
            intercept_lr: 0.01,
            intercept_init: 0.0,
            seed: 0,
            inputs,
            nulls,
        }
    }

    /// What is wrong with the values or their combination, in one line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let at_least_zero = [("l1", self.l1), ("l2", self.l2), ("intercept_lr", self.intercept_lr)];
        for (name, value) in at_least_zero {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("`{name}` must be a finite number of at least 0, not {value}"));
            }
        }
        if !(self.clip_gradient.is_finite() && self.clip_gradient > 0.0) {
            return Err(format!("`clip_gradient` must be a finite number above 0, not {}", self.clip_gradient));
        }
        if !self.intercept_init.is_finite() {
            return Err(format!("`intercept_init` must be finite, not {}", self.intercept_init));
        }
        optimizers::check(&self.optimizer)?;
        if self.l1 > 0.0 && self.l2 > 0.0 {
            return Err("`l1` and `l2` cannot both be above 0: the cumulative L1 penalty is not defined together with L2".into());
        }
        if self.l1 > 0.0 && matches!(self.optimizer, Optimizer::Ftrl { .. }) {
            return Err("with `ftrl`, give `l1` inside `optimizer`, not to the model".into());
        }
        if self.scaler_before && !(self.standard_scaler && self.learn_record) {
            return Err("a scaler with `update = \"before\"` needs `kind = \"standard\"` and `learn = \"record\"`".into());
        }
        if self.nulls.len() != self.inputs.len() {
            return Err(format!("{} null policies for {} inputs", self.nulls.len(), self.inputs.len()));
        }
        if let Some(pair) = self.inputs.windows(2).find(|pair| pair[0].as_bytes() >= pair[1].as_bytes()) {
            return Err(format!("inputs must be distinct and in byte order: `{}` comes before `{}`", pair[0], pair[1]));
        }
        for (name, nulls) in self.inputs.iter().zip(&self.nulls) {
            if matches!(nulls, InputNulls::Constant(value) if !value.is_finite()) {
                return Err(format!("the constant for nulls of `{name}` must be finite"));
            }
        }
        Ok(())
    }
}

/// One row of inputs, in the order of `LinearSpec::inputs`.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Values, one per input; what stands at a null is ignored.
    pub x: &'a [f64],
    /// Bit `i` (word `i / 64`) is set when input `i` is not null; `inputs.len().div_ceil(64)` words.
    pub valid: &'a [u64],
}

/// Why a row has no prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPrediction {
    /// The input at this position is null and its policy is `skip`.
    NullInput(usize),
    /// The input at this position is NaN or infinite.
    NonFiniteInput(usize),
    /// Numbers of the row are so large that the result is not finite.
    OutOfRange,
}

impl NoPrediction {
    /// The reason as outputs show it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NullInput(_) => "null_input",
            Self::NonFiniteInput(_) => "non_finite_input",
            Self::OutOfRange => "out_of_range",
        }
    }

    /// The position of the input to blame.
    pub fn input(&self) -> Option<usize> {
        match self {
            Self::NullInput(input) | Self::NonFiniteInput(input) => Some(*input),
            Self::OutOfRange => None,
        }
    }
}

/// A prediction, or why there is none. A row asked is always a row answered (S10.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// The probability of the positive class (logistic) or the value (linear).
    Predicted(f64),
    /// None, and why.
    Missing(NoPrediction),
}

impl Outcome {
    /// The prediction, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Predicted(value) => Some(*value),
            Self::Missing(_) => None,
        }
    }
}

/// Why a labelled row was not learned from. Nothing of the model changes for such a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// An input is null under `skip`.
    NullInput,
    /// An input is NaN or infinite.
    NonFiniteInput,
    /// The label is NaN or infinite.
    NonFiniteLabel,
    /// The label of a classifier is neither 0 nor 1.
    NotAClass,
    /// The weight is negative, NaN or infinite (a null weight is handed over as NaN).
    BadWeight,
    /// The update would leave the range of finite numbers.
    OutOfRange,
}

impl Skip {
    /// All reasons, in the order they are counted in.
    pub const ALL: [Skip; 6] =
        [Skip::NullInput, Skip::NonFiniteInput, Skip::NonFiniteLabel, Skip::NotAClass, Skip::BadWeight, Skip::OutOfRange];

    /// The reason as counters show it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NullInput => "null_input",
            Self::NonFiniteInput => "non_finite_input",
            Self::NonFiniteLabel => "non_finite_label",
            Self::NotAClass => "not_a_class",
            Self::BadWeight => "bad_weight",
            Self::OutOfRange => "out_of_range",
        }
    }
}

impl From<NoPrediction> for Skip {
    fn from(reason: NoPrediction) -> Self {
        match reason {
            NoPrediction::NullInput(_) => Self::NullInput,
            NoPrediction::NonFiniteInput(_) => Self::NonFiniteInput,
            NoPrediction::OutOfRange => Self::OutOfRange,
        }
    }
}

/// What became of a labelled row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The parameters took it in.
    Yes,
    /// They did not, and it was counted.
    Skipped(Skip),
}
