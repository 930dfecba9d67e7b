//! When too much goes to quarantine the input, not the records, is at fault (S5.4).

use std::collections::VecDeque;

/// Records looked back at.
pub const WINDOW: u64 = 10_000;

/// Watches the share of quarantined records over the last [`WINDOW`] records, counted in whole epochs.
#[derive(Clone, Debug)]
pub struct QuarantineGuard {
    most: f64,
    epochs: VecDeque<(u64, u64)>,
    rows: u64,
    quarantined: u64,
}

impl QuarantineGuard {
    /// Allows a share of at most `most`.
    pub fn new(most: f64) -> Self {
        Self { most, epochs: VecDeque::new(), rows: 0, quarantined: 0 }
    }

    /// Takes an epoch of `rows` records, `quarantined` of them not used. The share, if it is above the bound: the epoch must not be committed. Nothing is
    /// judged before a whole window has been seen.
    pub fn observe(&mut self, rows: u64, quarantined: u64) -> Option<f64> {
        self.epochs.push_back((rows, quarantined));
        self.rows += rows;
        self.quarantined += quarantined;
        while let Some((oldest, of_which)) = self.epochs.front().copied().filter(|(oldest, _)| self.rows - oldest >= WINDOW) {
            self.epochs.pop_front();
            self.rows -= oldest;
            self.quarantined -= of_which;
        }
        let share = self.quarantined as f64 / self.rows.max(1) as f64;
        (self.rows >= WINDOW && share > self.most).then_some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_above_the_bound_over_a_whole_window_is_refused() {
        let mut guard = QuarantineGuard::new(0.05);
        assert_eq!(guard.observe(5_000, 5_000), None, "half a window says nothing");
        assert_eq!(guard.observe(5_000, 0), Some(0.5));
        assert_eq!(guard.observe(5_000, 0), None, "the first epoch has left the window");
        assert_eq!(guard.observe(10_000, 500), None);
        assert_eq!(guard.observe(10_000, 501), Some(0.0501));
    }
}
