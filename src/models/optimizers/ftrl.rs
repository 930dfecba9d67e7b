//! FTRL-Proximal: per-coordinate rates with L1 sparsity (McMahan et al., "Ad click prediction: a view from the trenches", KDD 2013, algorithm 1).
//!
//! The paper's order (S10.8): a prediction uses weights that follow from all gradients so far; then `σ = (√(n + g²) − √n) / alpha`,
//! `z ← z + g − σ · w`, `n ← n + g²`. Weights are therefore stored already solved: `w = 0` if `|z| ≤ l1`, else
//! `−(z − sgn(z) · l1) / ((beta + √n) / alpha + l2)`. River solves them one step late; this does not.

use super::Optimizer;
use crate::models::lanes::{FiniteCheck, Group, LANES, Lanes, zeros};

/// The paper's `z` and `n`, now and proposed.
#[derive(Clone, Debug)]
pub(super) struct Ftrl {
    alpha: f64,
    beta: f64,
    l1: f64,
    l2: f64,
    n: Lanes,
    z: Lanes,
    next_n: Lanes,
    next_z: Lanes,
}

impl Ftrl {
    pub(super) fn new(alpha: f64, beta: f64, l1: f64, l2: f64, width: usize) -> Self {
        Self { alpha, beta, l1, l2, n: zeros(width), z: zeros(width), next_n: zeros(width), next_z: zeros(width) }
    }
}

impl Optimizer for Ftrl {
    fn propose(&mut self, weights: &[Group], z: &[Group], gradient: f64, l2: f64, next: &mut [Group]) -> bool {
        let mut check = FiniteCheck::new();
        let (alpha, beta, l1, proximal) = (self.alpha, self.beta, self.l1, self.l2);
        let state = self.n.iter().zip(&self.z).zip(self.next_n.iter_mut().zip(&mut self.next_z));
        for (((w, x), next), ((n, z), (next_n, next_z))) in weights.iter().zip(z).zip(next).zip(state) {
            let (w, x, n, mut squares, mut sums, mut solved) = (*w, *x, *n, *n, *z, [0.0; LANES]);
            for lane in 0..LANES {
                let g = x[lane] * gradient + l2 * w[lane];
                squares[lane] += g * g;
                let root = squares[lane].sqrt();
                let sigma = (root - n[lane].sqrt()) / alpha;
                sums[lane] += g - sigma * w[lane];
                let weight = -(sums[lane] - l1.copysign(sums[lane])) / ((beta + root) / alpha + proximal);
                solved[lane] = if sums[lane].abs() <= l1 { 0.0 } else { weight };
            }
            check.see_all(&squares);
            check.see_all(&sums);
            check.see_all(&solved);
            (*next, *next_n, *next_z) = (solved, squares, sums);
        }
        check.passed()
    }

    fn commit(&mut self) {
        std::mem::swap(&mut self.n, &mut self.next_n);
        std::mem::swap(&mut self.z, &mut self.next_z);
    }

    fn learning_rate(&self) -> f64 {
        0.0
    }

    fn state(&self) -> Vec<(&'static str, &[Group])> {
        vec![("optimizer.n", &self.n), ("optimizer.z", &self.z)]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut [Group])> {
        vec![("optimizer.n", &mut self.n), ("optimizer.z", &mut self.z)]
    }

    fn boxed_clone(&self) -> Box<dyn Optimizer> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One input x = 1, always y = 1, alpha 0.05, logistic loss: the weights that follow from the paper by hand.
    #[test]
    fn weights_follow_the_paper_without_a_lag() {
        let mut ftrl = Ftrl::new(0.05, 1.0, 0.0, 1.0, 1);
        let x = vec![[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]];
        let (mut w, mut next) = (zeros(1), zeros(1));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(w[0][0]);
            let gradient = 1.0 / (1.0 + libm::exp(-w[0][0])) - 1.0;
            assert!(ftrl.propose(&w, &x, gradient, 0.0, &mut next));
            ftrl.commit();
            std::mem::swap(&mut w, &mut next);
        }
        for (got, expected) in seen.iter().zip([0.0, 0.016129, 0.030265, 0.043160]) {
            assert!((got - expected).abs() < 5e-7, "{seen:?}");
        }
    }
}
