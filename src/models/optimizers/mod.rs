//! Optimizers of the weights: one file each, one row of the registry each. Names and defaults are River 0.26's.
//!
//! An optimizer proposes new weights into a second buffer and says whether all of them, and its own state, stay finite; only then does the model
//! commit. So a refused row leaves no trace, and nothing is copied on the way.

mod adagrad;
mod ftrl;
mod sgd;

use std::fmt;

use super::lanes::Group;
use crate::config::declaration;

/// Turns a row's gradient into new weights. The gradient of weight `j` is `z[j] · gradient + l2 · weights[j]`, in that order (River adds L2 before
/// the optimizer).
pub(crate) trait Optimizer: fmt::Debug + Send + Sync {
    /// Writes the weights after this row to `next` and remembers its own state after it. False if any of these is not finite.
    fn propose(&mut self, weights: &[Group], z: &[Group], gradient: f64, l2: f64, next: &mut [Group]) -> bool;

    /// The last proposal becomes the state.
    fn commit(&mut self);

    /// The rate by which a cumulative L1 penalty grows per row; 0 for an optimizer with a penalty of its own.
    fn learning_rate(&self) -> f64;

    /// The state by tensor name.
    fn state(&self) -> Vec<(&'static str, &[Group])>;

    /// The same, to be overwritten.
    fn state_mut(&mut self) -> Vec<(&'static str, &mut [Group])>;

    /// A copy that goes its own way.
    fn boxed_clone(&self) -> Box<dyn Optimizer>;
}

impl Clone for Box<dyn Optimizer> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

/// One row of the registry.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The name in pipeline files and artefacts.
    pub name: &'static str,
    /// The optimizer with its default options.
    pub default: declaration::Optimizer,
}

/// All optimizers; the first is the default.
pub const REGISTRY: [Registered; 3] = [
    Registered { name: "sgd", default: declaration::Optimizer::Sgd { lr: 0.01 } },
    Registered { name: "adagrad", default: declaration::Optimizer::AdaGrad { lr: 0.1, eps: 1e-8 } },
    Registered { name: "ftrl", default: declaration::Optimizer::Ftrl { alpha: 0.05, beta: 1.0, l1: 0.0, l2: 1.0 } },
];

/// Builds an optimizer for `width` weights.
pub(crate) fn build(declared: &declaration::Optimizer, width: usize) -> Box<dyn Optimizer> {
    match *declared {
        declaration::Optimizer::Sgd { lr } => Box::new(sgd::Sgd::new(lr)),
        declaration::Optimizer::AdaGrad { lr, eps } => Box::new(adagrad::AdaGrad::new(lr, eps, width)),
        declaration::Optimizer::Ftrl { alpha, beta, l1, l2 } => Box::new(ftrl::Ftrl::new(alpha, beta, l1, l2, width)),
    }
}

/// What is wrong with the options, naming the key.
pub fn check(declared: &declaration::Optimizer) -> Result<(), String> {
    type Options = Vec<(&'static str, f64)>;
    let (above, at_least): (Options, Options) = match *declared {
        declaration::Optimizer::Sgd { lr } => (vec![("lr", lr)], vec![]),
        declaration::Optimizer::AdaGrad { lr, eps } => (vec![("lr", lr), ("eps", eps)], vec![]),
        declaration::Optimizer::Ftrl { alpha, beta, l1, l2 } => (vec![("alpha", alpha)], vec![("beta", beta), ("l1", l1), ("l2", l2)]),
    };
    for (name, value) in above {
        if !(value.is_finite() && value > 0.0) {
            return Err(format!("`optimizer.{name}` must be a finite number above 0, not {value}"));
        }
    }
    for (name, value) in at_least {
        if !(value.is_finite() && value >= 0.0) {
            return Err(format!("`optimizer.{name}` must be a finite number of at least 0, not {value}"));
        }
    }
    if matches!(*declared, declaration::Optimizer::Ftrl { beta, l2, .. } if beta == 0.0 && l2 == 0.0) {
        return Err("`optimizer.beta` and `optimizer.l2` cannot both be 0: the first step would divide by 0".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_bad_options_are_named() {
        for row in REGISTRY {
            assert_eq!(check(&row.default), Ok(()), "{}", row.name);
        }
        let error = check(&declaration::Optimizer::AdaGrad { lr: 0.1, eps: 0.0 }).unwrap_err();
        assert!(error.contains("optimizer.eps"), "{error}");
        assert!(check(&declaration::Optimizer::Ftrl { alpha: 1.0, beta: 0.0, l1: 0.0, l2: 0.0 }).is_err());
        assert!(check(&declaration::Optimizer::Sgd { lr: f64::NAN }).is_err());
    }
}
