//! AdaGrad: a rate per weight that shrinks with the squares of its gradients (Duchi, Hazan and Singer, JMLR 12, 2011).
//!
//! `G ← G + g²`, then `w ← w − lr / √(G + eps) · g`, with `eps` inside the root, as River does.

use super::Optimizer;
use crate::models::lanes::{FiniteCheck, Group, LANES, Lanes, zeros};

/// The sums of squared gradients, now and proposed.
#[derive(Clone, Debug)]
pub(super) struct AdaGrad {
    lr: f64,
    eps: f64,
    g2: Lanes,
    next_g2: Lanes,
}

impl AdaGrad {
    pub(super) fn new(lr: f64, eps: f64, width: usize) -> Self {
        Self { lr, eps, g2: zeros(width), next_g2: zeros(width) }
    }
}

impl Optimizer for AdaGrad {
    fn propose(&mut self, weights: &[Group], z: &[Group], gradient: f64, l2: f64, next: &mut [Group]) -> bool {
        let (lr, eps, mut check) = (self.lr, self.eps, FiniteCheck::new());
        let state = self.g2.iter().zip(&mut self.next_g2);
        for (((w, z), next), (g2, next_g2)) in weights.iter().zip(z).zip(next).zip(state) {
            let (w, z, mut stepped, mut squares) = (*w, *z, [0.0; LANES], *g2);
            for lane in 0..LANES {
                let g = z[lane] * gradient + l2 * w[lane];
                squares[lane] += g * g;
                stepped[lane] = w[lane] - lr / (squares[lane] + eps).sqrt() * g;
            }
            check.see_all(&stepped);
            check.see_all(&squares);
            (*next, *next_g2) = (stepped, squares);
        }
        check.passed()
    }

    fn commit(&mut self) {
        std::mem::swap(&mut self.g2, &mut self.next_g2);
    }

    fn learning_rate(&self) -> f64 {
        self.lr
    }

    fn state(&self) -> Vec<(&'static str, &[Group])> {
        vec![("optimizer.g2", &self.g2)]
    }

    fn state_mut(&mut self) -> Vec<(&'static str, &mut [Group])> {
        vec![("optimizer.g2", &mut self.g2)]
    }

    fn boxed_clone(&self) -> Box<dyn Optimizer> {
        Box::new(self.clone())
    }
}
