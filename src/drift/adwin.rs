//! ADWIN, adaptive windowing (Bifet and Gavaldà 2007, "Learning from time-changing data with adaptive windowing", the bucketed ADWIN2).
//!
//! The window is an exponential histogram: level `i` holds up to 5 buckets of `2^i` values each. Every 32 values all cuts between buckets are
//! tried; while the means of the two sides differ by more than the bound, the oldest bucket is dropped.
//!
//! **Same alarms as River 0.26.1** (S10.8), to which end the order of the arithmetic is the same: clock 32, 5 buckets a level, sides of at
//! least 5 values, more than 10 values before the first check; with `on_alarm = "reset"` the value after a detection starts an empty window, and
//! the clock with it. With `on_alarm = "keep"` the newest part stays, as in the paper. The logarithm is `libm`'s, so that replays agree on any
//! machine.
//!
//! An update costs 20 to 30 ns on average, the check of every 32nd included, in a window of a million values; memory grows with the logarithm of the window only, and is
//! never given back, so that nothing is allocated once the window has had its length.

use serde::{Deserialize, Serialize};

use super::{Built, Change, Direction, Entry, Sequential};
use crate::config::declaration;
use crate::metrics;

const CLOCK: u64 = 32;
const BUCKETS: usize = 5;
const SIDE: f64 = 5.0;
const GRACE: f64 = 10.0;

pub(super) const ENTRY: Entry = Entry {
    name: "adwin",
    about: "adaptive windowing on the error: alarms at the record where its mean changed",
    build: |declared| match declared {
        declaration::Detector::Adwin { delta, keep } => Some(if *delta > 0.0 && *delta < 1.0 {
            Ok(Built::Sequential(Box::new(Adwin::new(*delta, *keep))))
        } else {
            Err(format!("`delta` is the chance of a false alarm at one check, between 0 and 1, and not {delta}"))
        }),
        _ => None,
    },
};

/// The buckets of one size, oldest first: sums, and sums of squares around the bucket's mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
struct Level {
    used: usize,
    totals: [f64; BUCKETS + 1],
    variances: [f64; BUCKETS + 1],
}

impl Level {
    fn push(&mut self, total: f64, variance: f64) {
        if self.used <= BUCKETS {
            self.totals[self.used] = total;
            self.variances[self.used] = variance;
            self.used += 1;
        }
    }

    /// Drops the oldest `COUNT`. What is behind those in use moves along: so many plain moves, instead of a call for a length known only now.
    #[inline]
    fn drop_oldest<const COUNT: usize>(&mut self) {
        self.totals.copy_within(COUNT.., 0);
        self.variances.copy_within(COUNT.., 0);
        self.used -= COUNT;
    }
}

impl From<Vec<(u64, u64)>> for Level {
    fn from(buckets: Vec<(u64, u64)>) -> Self {
        let mut level = Self::default();
        for (total, variance) in buckets {
            level.push(f64::from_bits(total), f64::from_bits(variance));
        }
        level
    }
}

impl From<Level> for Vec<(u64, u64)> {
    fn from(level: Level) -> Self {
        (0..level.used).map(|i| (level.totals[i].to_bits(), level.variances[i].to_bits())).collect()
    }
}

/// The detector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Adwin {
    #[serde(with = "metrics::bits")]
    delta: f64,
    keep: bool,
    /// Levels in use are the first `depth`; the others are spare.
    depth: usize,
    levels: Vec<Level>,
    #[serde(with = "metrics::bits")]
    width: f64,
    #[serde(with = "metrics::bits")]
    total: f64,
    /// Sum of squares around the mean of the window.
    #[serde(with = "metrics::bits")]
    variance: f64,
    tick: u64,
    reset_next: bool,
}

impl Adwin {
    /// `delta`: the paper's confidence, in (0, 1), 0.002 by default; `keep`: keep the newest part after an alarm.
    pub fn new(delta: f64, keep: bool) -> Self {
        let levels = vec![Level::default(); 24];
        Self { delta, keep, depth: 1, levels, width: 0.0, total: 0.0, variance: 0.0, tick: 0, reset_next: false }
    }

    /// Values in the window.
    pub fn width(&self) -> u64 {
        self.width as u64
    }

    /// Mean of the window; 0 when it is empty.
    pub fn mean(&self) -> f64 {
        if self.width > 0.0 { self.total / self.width } else { 0.0 }
    }

    fn clear(&mut self) {
        self.levels.iter_mut().for_each(|level| level.used = 0);
        (self.depth, self.tick, self.reset_next) = (1, 0, false);
        (self.width, self.total, self.variance) = (0.0, 0.0, 0.0);
    }

    fn insert(&mut self, x: f64) {
        self.levels[0].push(x, 0.0);
        self.width += 1.0;
        if self.width > 1.0 {
            let d = x - self.total / (self.width - 1.0);
            self.variance += (self.width - 1.0) * d * d / self.width;
        }
        self.total += x;
        let mut i = 0;
        while self.levels[i].used > BUCKETS {
            if i + 1 == self.depth {
                self.depth += 1;
                if self.levels.len() < self.depth {
                    self.levels.push(Level::default());
                }
            }
            let size = (1i64 << i) as f64;
            let level = &mut self.levels[i];
            let d = level.totals[0] / size - level.totals[1] / size;
            let total = level.totals[0] + level.totals[1];
            let variance = level.variances[0] + level.variances[1] + size * 0.5 * d * d;
            level.drop_oldest::<2>();
            self.levels[i + 1].push(total, variance);
            i += 1;
        }
    }

    fn drop_oldest(&mut self) {
        let last = self.depth - 1;
        let size = (1i64 << last) as f64;
        let (total, variance) = (self.levels[last].totals[0], self.levels[last].variances[0]);
        self.width -= size;
        self.total -= total;
        let d = total / size - self.total / self.width;
        self.variance -= variance + size * self.width * d * d / (size + self.width);
        self.levels[last].drop_oldest::<1>();
        if self.levels[last].used == 0 && self.depth > 1 {
            self.depth -= 1;
        }
    }

    /// The first cut, from the oldest, at which the means differ by more than the bound.
    fn cut(&self) -> Option<Change> {
        let variance = self.variance / self.width;
        let confidence = libm::log(2.0 * libm::log(self.width) / self.delta);
        let slope = 2.0 / 3.0 * confidence;
        // The bound is above its root, and 1/(n0 − 4) + 1/(n1 − 4) above width / (n0·n1): so while |sum0·n1 − sum1·n0|² is below this times n0·n1,
        // there is no cut. With room for rounding on both sides this settles most cuts without a division, and never otherwise than the full test.
        let surely = 2.0 * variance * confidence * self.width * (1.0 - 1e-9);
        let (mut n0, mut n1, mut sum0, mut sum1) = (0.0, self.width, 0.0, self.total);
        for i in (0..self.depth).rev() {
            let size = (1i64 << i) as f64;
            let level = &self.levels[i];
            for total in &level.totals[..level.used] {
                n0 += size;
                n1 -= size;
                sum0 += total;
                sum1 -= total;
                if n1 < SIDE {
                    return None;
                }
                if n0 < SIDE {
                    continue;
                }
                let (cross0, cross1) = (sum0 * n1, sum1 * n0);
                let cross = (cross0 - cross1).abs() + 1e-12 * (cross0.abs() + cross1.abs());
                if cross * cross <= surely * n0 * n1 {
                    continue;
                }
                let (old, new) = (sum0 / n0, sum1 / n1);
                let difference = (old - new).abs();
                let m = 1.0 / (n0 - SIDE + 1.0) + 1.0 / (n1 - SIDE + 1.0);
                let bound = (2.0 * m * variance * confidence).sqrt() + slope * m;
                if difference > bound {
                    let (direction, threshold) =
                        if new > old { (Direction::Increase, old + bound) } else { (Direction::Decrease, old - bound) };
                    return Some(Change { direction, value: new, threshold, rows: n1 as u64, reference_rows: n0 as u64 });
                }
            }
        }
        None
    }
}

impl Sequential for Adwin {
    fn update(&mut self, x: f64) -> Option<Change> {
        if !x.is_finite() {
            return None;
        }
        if self.reset_next {
            self.clear();
        }
        self.insert(x);
        self.tick += 1;
        if !self.tick.is_multiple_of(CLOCK) || self.width <= GRACE {
            return None;
        }
        let found = self.cut()?;
        self.drop_oldest();
        while self.cut().is_some() {
            self.drop_oldest();
        }
        self.reset_next = !self.keep;
        Some(found)
    }

    fn snapshot(&self) -> Vec<u8> {
        metrics::encode(self)
    }

    fn restore(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let read: Self = metrics::decode(version, bytes)?;
        if read.levels.is_empty() || read.depth == 0 || read.depth > read.levels.len() {
            return Err("the snapshot of an ADWIN window has no buckets".to_string());
        }
        *self = read;
        Ok(())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.levels.capacity() * size_of::<Level>()
    }
}
