//! Stochastic gradient descent with a constant rate: `w ← w − lr · g` (Robbins and Monro, 1951).

use super::Optimizer;
use crate::models::lanes::{FiniteCheck, Group, LANES};

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

impl Optimizer for Sgd {
    fn propose(&mut self, weights: &[Group], z: &[Group], gradient: f64, l2: f64, next: &mut [Group]) -> bool {
        let (lr, mut check) = (self.lr, FiniteCheck::new());
        for ((w, z), next) in weights.iter().zip(z).zip(next) {
            let (w, z, mut stepped) = (*w, *z, [0.0; LANES]);
            for lane in 0..LANES {
                let g = z[lane] * gradient + l2 * w[lane];
                stepped[lane] = w[lane] - lr * g;
            }
            check.see_all(&stepped);
            *next = stepped;
        }
        check.passed()
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
