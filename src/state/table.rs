//! From the hash of a key to its slot: open addressing with linear probing (Knuth, *The Art of Computer Programming* 3, 6.4), in one array of words, so that
//! whoever knows which keys come next can ask the caches for their places without reading anything. Not state: it is built again from the heads (S15).

use super::shard::Slot;
use crate::data::prefetch;

/// Least number of places, a power of two.
const LEAST: usize = 16;

/// The slots of a shard's keys, by hash. A place holds the lower half of the hash, which says where it belongs, and one more than the slot; 0: none.
#[derive(Debug, Default)]
pub struct Table {
    places: Vec<u64>,
    len: usize,
}

#[inline]
fn tag(hash: u64) -> u64 {
    hash << 32
}

#[inline]
fn slot(place: u64) -> Slot {
    (place as u32).wrapping_sub(1)
}

impl Table {
    /// The places in which a search for `hash` looks one after another; there must be some.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        hash as u32 as usize & (self.places.len() - 1)
    }

    /// Asks the caches for where a search for `hash` begins.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(place) = self.places.get(hash as u32 as usize & self.places.len().wrapping_sub(1)) {
            prefetch(place);
        }
    }

    /// The first slot of a key whose hash has the same lower half, for which `is` says so.
    #[inline]
    pub fn find(&self, hash: u64, is: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mut at = hash as u32 as usize & self.places.len().wrapping_sub(1);
        while let Some(place) = self.places.get(at).copied().filter(|place| *place != 0) {
            if place >> 32 << 32 == tag(hash) && is(slot(place)) {
                return Some(slot(place));
            }
            at = (at + 1) & (self.places.len() - 1);
        }
        None
    }

    /// Adds a slot that is not there.
    pub fn insert(&mut self, hash: u64, slot: Slot) {
        // At most three quarters are taken, so every search ends.
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        self.put(tag(hash) | (u64::from(slot) + 1));
        self.len += 1;
    }

    fn put(&mut self, place: u64) {
        let mut at = self.home(place >> 32);
        while self.places[at] != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        self.places[at] = place;
    }

    #[cold]
    fn grow(&mut self) {
        let fresh = vec![0; (self.places.len() * 2).max(LEAST)];
        for place in std::mem::replace(&mut self.places, fresh).into_iter().filter(|place| *place != 0) {
            self.put(place);
        }
    }

    /// Takes a slot out, if it is there. Those behind it that are not at home move up, so that no search ends too early.
    pub fn remove(&mut self, hash: u64, gone: Slot) {
        let Some(mask) = self.places.len().checked_sub(1) else { return };
        let mut hole = self.home(hash);
        while self.places[hole] != tag(hash) | (u64::from(gone) + 1) {
            if self.places[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.places[at];
            if place == 0 {
                break;
            }
            // It may fill the hole unless its home lies behind the hole.
            if at.wrapping_sub(self.home(place >> 32)) & mask >= at.wrapping_sub(hole) & mask {
                self.places[hole] = place;
                hole = at;
            }
        }
        self.places[hole] = 0;
        self.len -= 1;
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.places.capacity() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_is_a_map_whatever_collides() {
        for spread in [1u64, 3, 1 << 31, u64::MAX] {
            let (mut table, mut model, mut seed) = (Table::default(), BTreeMap::new(), 11u64);
            for _ in 0..20_000 {
                seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                let (slot, hash) = ((seed >> 40) as u32 % 700, (seed >> 40) % 700 % spread.max(1));
                table.prefetch(hash);
                if model.remove(&slot).is_some() {
                    table.remove(hash, slot);
                    table.remove(hash, slot);
                } else {
                    model.insert(slot, hash);
                    table.insert(hash, slot);
                }
                assert_eq!(table.len, model.len());
                let known = |hash: u64, slot: u32| table.find(hash, |found| found == slot) == Some(slot);
                assert_eq!(known(hash, slot), model.contains_key(&slot));
                if seed >> 60 == 0 {
                    assert!(model.iter().all(|(slot, hash)| known(*hash, *slot)));
                }
            }
        }
    }

    #[test]
    fn slots_and_hashes_may_be_anything() {
        let mut table = Table::default();
        for (hash, slot) in [(0, 0), (u64::MAX, Slot::MAX - 1), (1 << 40, 0)] {
            table.insert(hash, slot);
            assert!(table.find(hash, |_| true).is_some());
        }
        assert_eq!(table.find(0, |slot| slot == 7), None);
    }
}
