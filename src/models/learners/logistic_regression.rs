//! Logistic regression: the sum through the logistic function, log loss.
//!
//! With `e = exp(−|s|)` both p and 1 − p come without cancellation from one exponential, so the slope of the loss keeps full precision at both ends.
//! River sets p to exactly 0 or 1 beyond |s| = 30; here it stays strictly inside, a difference below 1e-13.

use super::Learner;

/// `logistic_regression`
#[derive(Debug)]
pub(super) struct LogisticRegression;

/// p and 1 − p at the sum `raw`.
#[inline]
fn probabilities(raw: f64) -> (f64, f64) {
    let e = libm::exp(-raw.abs());
    let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
    if raw >= 0.0 { (large, small) } else { (small, large) }
}

impl Learner for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic_regression"
    }

    fn output(&self) -> &'static str {
        "probability"
    }

    fn accepts(&self, y: f64) -> bool {
        y == 0.0 || y == 1.0
    }

    #[inline]
    fn value(&self, raw: f64) -> f64 {
        probabilities(raw).0
    }

    #[inline]
    fn respond(&self, raw: f64, y: f64) -> (f64, f64) {
        let (p, q) = probabilities(raw);
        (p, if y == 0.0 { p } else { -q })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_symmetric_and_never_leave_the_interval() {
        for raw in [0.0, 0.3, 5.0, 40.0, 700.0, 1e300] {
            let (p, q) = probabilities(raw);
            assert_eq!((q, p), probabilities(-raw));
            assert!((0.0..=1.0).contains(&p) && (0.0..=1.0).contains(&q));
        }
        assert_eq!(LogisticRegression.respond(0.0, 1.0), (0.5, -0.5));
        assert_eq!(LogisticRegression.respond(0.0, 0.0), (0.5, 0.5));
        let (_, slope) = LogisticRegression.respond(50.0, 1.0);
        assert!(slope < 0.0 && slope > -1e-20);
    }
}
