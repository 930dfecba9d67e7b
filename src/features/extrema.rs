//! `min` and `max`: a monotonic queue threaded through the ring, shared by all windows.
//!
//! Each record knows the nearest earlier record with a greater value (its parent) and, while it is in the queue of the newest records, the one behind
//! it. Parents never change when newer records come, so following them from any record gives the queue as it was then: as-of queries need no other
//! structure. Each window remembers its front, which moves forward as the queue of a sliding maximum does: amortised O(1) in order.

use super::argument::Updates;
use super::call::{FunctionParameter, Resolved, plain};
use super::part::{Bounds, Builder, Emit, KeyMut, Part, Reads, Source, bucket, reads};
use super::registry::{Family, Row};
use super::ring::Ring;
use super::{FeatureSpec, Function};
use crate::config::declaration::Window;
use crate::data::CellType;

/// See the module.
pub static FAMILY: Family = Family { name: "extrema", group: |function: &Function| u64::from(function.name == "max"), build };

/// `min(x)`, `max(x)` of numbers, booleans and timestamps.
pub fn resolve(row: &'static Row, argument: Option<CellType>, parameters: &[FunctionParameter]) -> Result<Resolved, String> {
    use CellType::{Bool, Float64, Int64, Timestamp};
    plain(row, argument, parameters, &[Float64, Int64, Bool, Timestamp], |kind| kind)
}

const NONE: u64 = u64::MAX;

#[derive(Debug)]
struct Extrema {
    source: Source,
    max: bool,
    reads: Reads<()>,
    /// Word of a row: distance to the parent (low half) and to the successor (high half); 0 = none.
    link: usize,
    /// Fixed words: index of the newest record that counts; then by window the front and its rank.
    top: usize,
    windows: Vec<Window>,
    fronts: Vec<Option<usize>>,
    /// Tumbling and lifetime windows: fixed words bucket, whether there is a value, the value.
    floored: Vec<(usize, usize)>,
    carries: Vec<Option<usize>>,
}

fn build(builder: &mut Builder<'_>, features: &[(usize, &FeatureSpec)]) -> Box<dyn Part> {
    let link = builder.row(1);
    let top = builder.fixed(&[NONE]);
    let (mut fronts, mut carries) = (vec![None; builder.spec.windows.len()], vec![None; builder.spec.windows.len()]);
    for window in features.iter().filter_map(|(_, feature)| feature.window) {
        if fronts[window].is_none() {
            fronts[window] = Some(builder.fixed(&[NONE, 0]));
        }
    }
    let windows = builder.floored(features);
    let floored: Vec<(usize, usize)> = windows.iter().map(|window| (*window, builder.fixed(&[i64::MIN as u64, 0, 0]))).collect();
    floored.iter().for_each(|(window, at)| carries[*window] = Some(*at));
    Box::new(Extrema {
        source: builder.source(features[0].1),
        max: features[0].1.function.name == "max",
        reads: reads(features, |_| ()),
        link,
        top,
        windows: builder.spec.windows.clone(),
        fronts,
        floored,
        carries,
    })
}

impl Extrema {
    /// Maps a value to an integer that grows with it (for a maximum) or shrinks (for a minimum).
    #[inline]
    fn rank(&self, word: u64) -> u64 {
        let rank = if self.source.kind == CellType::Float64 {
            let bits = (f64::from_bits(word) + 0.0).to_bits();
            if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
        } else {
            word ^ 1 << 63
        };
        if self.max { rank } else { !rank }
    }

    #[inline]
    fn rank_at(&self, key: &KeyMut<'_>, index: u64) -> u64 {
        self.rank(self.source.word(key.ring.row(index)))
    }

    /// The parent of `index`, if the ring still has it.
    #[inline]
    fn parent(&self, key: &KeyMut<'_>, index: u64) -> Option<u64> {
        let distance = key.ring.row(index)[self.link] & 0xFFFF_FFFF;
        (distance != 0 && distance <= index - key.ring.base()).then(|| index - distance)
    }

    /// The successor of `index` in the queue.
    #[inline]
    fn next(&self, key: &KeyMut<'_>, index: u64) -> Option<u64> {
        let distance = key.ring.row(index)[self.link] >> 32;
        (distance != 0).then(|| index + distance)
    }

    /// The newest record that counts among those before `end`: where the queue of that time ends.
    fn tail(&self, key: &KeyMut<'_>, end: u64) -> Option<u64> {
        let last = end.checked_sub(1).filter(|last| *last >= key.ring.base())?;
        if self.source.present(key.ring.row(last)) { Some(last) } else { self.parent(key, last) }
    }

    /// Puts `index` behind the queue that ends in `tail`; returns the new end.
    #[inline]
    fn push(&self, key: &mut KeyMut<'_>, tail: Option<u64>, index: u64) -> Option<u64> {
        let row = key.ring.row(index);
        let mut parent = tail;
        let present = self.source.present(row);
        if present {
            let rank = self.rank(self.source.word(row));
            while let Some(earlier) = parent {
                if self.rank_at(key, earlier) > rank {
                    break;
                }
                parent = self.parent(key, earlier);
            }
            if let Some(parent) = parent {
                let link = &mut key.ring.row_mut(parent)[self.link];
                *link = *link & 0xFFFF_FFFF | (index - parent) << 32;
            }
        }
        key.ring.row_mut(index)[self.link] = parent.map_or(0, |parent| index - parent);
        if present { Some(index) } else { tail }
    }

    /// The record with the greatest rank in `[lo, hi)`.
    #[inline]
    fn find(&self, key: &mut KeyMut<'_>, window: usize, lo: u64, hi: u64) -> Option<u64> {
        if lo >= hi {
            return None;
        }
        if let Some(front) = self.fronts[window] {
            let top = Some(key.fixed[self.top]).filter(|top| *top != NONE && *top >= key.ring.base())?;
            let mut found = if key.fixed[front] == NONE || key.fixed[front] < key.ring.base() { top } else { key.fixed[front] };
            let start = found;
            while found < lo {
                match self.next(key, found) {
                    Some(next) => found = next,
                    None => return None,
                }
            }
            while let Some(parent) = self.parent(key, found).filter(|parent| *parent >= lo) {
                found = parent;
            }
            if found != start || key.fixed[front] == NONE {
                key.fixed[front] = found;
                key.fixed[front + 1] = self.rank_at(key, found);
            }
            if found < hi {
                return Some(found);
            }
        }
        let mut found = self.tail(key, hi).filter(|tail| *tail >= lo)?;
        while let Some(parent) = self.parent(key, found).filter(|parent| *parent >= lo) {
            found = parent;
        }
        Some(found)
    }
}

impl Part for Extrema {
    fn inserted(&self, key: &mut KeyMut<'_>, at: u64, _: &Updates, _: usize) {
        let end = key.ring.end();
        let in_order = at + 1 == end;
        let mut tail =
            if in_order { Some(key.fixed[self.top]).filter(|top| *top != NONE && *top >= key.ring.base()) } else { self.tail(key, at) };
        for index in at..end {
            key.ring.row_mut(index)[self.link] = 0;
            tail = self.push(key, tail, index);
        }
        key.fixed[self.top] = tail.unwrap_or(NONE);
        let present = tail == Some(at);
        for front in self.fronts.iter().flatten() {
            if !in_order {
                key.fixed[*front] = NONE;
            } else if present && key.fixed[*front] != NONE {
                let rank = self.rank_at(key, at);
                if key.fixed[*front + 1] <= rank {
                    key.fixed[*front] = at;
                    key.fixed[*front + 1] = rank;
                }
            }
        }
    }

    fn touch(&self, ring: &Ring, fixed: &[u64]) -> u64 {
        let fronts = self.fronts.iter().flatten().map(|front| ring.touch(fixed[*front]));
        let behind_top = Some(fixed[self.top]).filter(|top| (ring.base()..ring.end()).contains(top)).map_or(0, |top| {
            let parent = top.wrapping_sub(ring.row(top)[self.link] & 0xFFFF_FFFF);
            ring.touch(parent)
        });
        fronts.fold(behind_top, u64::wrapping_add)
    }

    fn settle(&self, key: &mut KeyMut<'_>) {
        let base = key.ring.base();
        for front in self.fronts.iter().flatten() {
            if key.fixed[*front] == base {
                let next = self.next(key, base);
                key.fixed[*front] = next.unwrap_or(NONE);
                key.fixed[*front + 1] = next.map_or(0, |next| self.rank_at(key, next));
            }
        }
        let row = key.ring.row(base);
        if !self.source.present(row) {
            return;
        }
        let (time, word) = (row[0] as i64, self.source.word(row));
        for (window, at) in &self.floored {
            let start = bucket(&self.windows[*window], time);
            let carry = &mut key.fixed[*at..*at + 3];
            let greater = carry[0] as i64 != start || carry[1] == 0 || self.rank(carry[2]) <= self.rank(word);
            if greater {
                carry.copy_from_slice(&[start as u64, 1, word]);
            }
        }
    }

    fn emit(&self, after: bool, key: &mut KeyMut<'_>, bounds: &Bounds, out: &mut Emit<'_>) {
        for read in &self.reads[usize::from(after)] {
            let Some(window) = read.window else { continue };
            let found = self.find(key, window, bounds.lo[window], bounds.hi[read.phase as usize]);
            let mut word = found.map(|index| self.source.word(key.ring.row(index)));
            if let Some(at) = self.carries[window] {
                let carry = &key.fixed[at..at + 3];
                let holds = carry[1] == 1 && carry[0] as i64 == bounds.bucket[window];
                if holds && word.is_none_or(|word| self.rank(word) < self.rank(carry[2])) {
                    word = Some(carry[2]);
                }
            }
            if let Some(word) = word {
                read.outputs.iter().for_each(|(column, ())| out.bits(*column, word));
            }
        }
    }
}
