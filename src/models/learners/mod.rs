//! Learners: what a linear sum means as a prediction, and the slope of its loss. One file each, one row of the registry each.

mod linear_regression;
mod logistic_regression;

/// The link and the loss of a generalized linear model. Stateless: parameters live in `OnlineModel`.
pub trait Learner: std::fmt::Debug + Send + Sync {
    /// The `kind` in pipeline files and artefacts.
    fn name(&self) -> &'static str;

    /// What a prediction is, as artefacts call it: `probability` or `value`.
    fn output(&self) -> &'static str;

    /// Whether a finite number can be a label.
    fn accepts(&self, y: f64) -> bool;

    /// The prediction for a linear sum (intercept included).
    fn value(&self, raw: f64) -> f64;

    /// The prediction, and the derivative of the loss at label `y` by the linear sum.
    fn respond(&self, raw: f64, y: f64) -> (f64, f64);
}

/// All learners.
pub static REGISTRY: [&dyn Learner; 2] = [&logistic_regression::LogisticRegression, &linear_regression::LinearRegression];

/// The learner of a linear spec.
pub(crate) fn of(logistic: bool) -> &'static dyn Learner {
    if logistic { &logistic_regression::LogisticRegression } else { &linear_regression::LinearRegression }
}
