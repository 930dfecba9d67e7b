//! The cumulative L1 penalty of Tsuruoka, Tsujii and Ananiadou (ACL 2009), as River applies it after each step of the optimizer.
//!
//! Every learned row raises the penalty each weight could have had, `u ← u + l1 · lr`; a weight is then pulled towards zero, never across it, by the
//! part of `u` that it has not yet received (`q`, zero or negative for a positive weight).

use super::lanes::{Group, LANES, Lanes, zeros};

/// The state of the penalty: `u` and, per weight, `q`.
#[derive(Clone, Debug)]
pub(crate) struct CumulativeL1 {
    l1: f64,
    /// `u`: what each weight could have received.
    pub(crate) total: f64,
    /// `q`: what each weight did receive, signed.
    pub(crate) received: Lanes,
}

impl CumulativeL1 {
    /// No penalty yet.
    pub(crate) fn new(l1: f64, width: usize) -> Self {
        Self { l1, total: 0.0, received: zeros(width) }
    }

    /// Pulls `weights`, just stepped with rate `lr`.
    pub(crate) fn apply(&mut self, lr: f64, weights: &mut [Group]) {
        self.total += self.l1 * lr;
        for (w, q) in weights.iter_mut().zip(&mut self.received) {
            for lane in 0..LANES {
                let before = w[lane];
                if before > 0.0 {
                    w[lane] = (before - (self.total + q[lane])).max(0.0);
                } else if before < 0.0 {
                    w[lane] = (before + (self.total - q[lane])).min(0.0);
                }
                q[lane] += w[lane] - before;
            }
        }
    }
}
