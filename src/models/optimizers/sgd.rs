//! Stochastic gradient descent with a constant rate: `w ← w − lr · g` (Robbins and Monro, 1951).

use super::Optimizer;
use crate::models::lanes::{Group, all_finite};

/// The state of SGD: none but its rate.
#[derive(Clone, Debug)]
pub(super) struct Sgd {
    lr: f64,
}

impl Sgd {
    pub(super) fn new(lr: f64) -> Self {
        Self { lr }
    }
}

/// `next = w − lr · slope(z, w)`, element by element. All are of one length.
#[inline(always)]
fn step(weights: &[f64], z: &[f64], next: &mut [f64], lr: f64, slope: impl Fn(f64, f64) -> f64) {
    let width = weights.len();
    let (z, next) = (&z[..width], &mut next[..width]);
    for at in 0..width {
        next[at] = weights[at] - lr * slope(z[at], weights[at]);
    }
}

impl Optimizer for Sgd {
    fn propose(&mut self, weights: &[Group], z: &[Group], gradient: f64, l2: f64, next: &mut [Group]) -> bool {
        let (w, x, to) = (weights.as_flattened(), z.as_flattened(), next.as_flattened_mut());
        // Without a penalty its term only adds a zero, which changes no weight.
        if l2 == 0.0 {
            step(w, x, to, self.lr, |z, _| z * gradient);
        } else {
            step(w, x, to, self.lr, |z, w| z * gradient + l2 * w);
        }
        all_finite(next)
    }

    fn commit(&mut self) {}

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn state(&self) -> Vec<(&'static str, &[Group])> {
        Vec::new()
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut [Group])> {
        Vec::new()
    }

    fn boxed_clone(&self) -> Box<dyn Optimizer> {
        Box::new(self.clone())
    }
}
