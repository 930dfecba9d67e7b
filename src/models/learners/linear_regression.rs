//! Linear regression: the sum itself, squared loss. As in River, the loss is `(p − y)²` without a half, so its slope is `2 (p − y)`.

use super::Learner;

/// `linear_regression`
#[derive(Debug)]
pub(super) struct LinearRegression;

impl Learner for LinearRegression {
    fn name(&self) -> &'static str {
        "linear_regression"
    }

    fn output(&self) -> &'static str {
        "value"
    }

    fn accepts(&self, _y: f64) -> bool {
        true
    }

    fn value(&self, raw: f64) -> f64 {
        raw
    }

    #[inline]
    fn respond(&self, raw: f64, y: f64) -> (f64, f64) {
        (raw, 2.0 * (raw - y))
    }
}
