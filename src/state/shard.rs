//! One shard of keyed state: hash table, key bytes, slots; least recent keys first out (S6.3).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use crate::features::bytes::{Reader, put, put_bytes};
use crate::features::ring::Ring;
use crate::features::{Heap, KeyMut, Program};

const PREFIX: usize = 23;

#[inline]
fn prefix(key: &[u8]) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    let length = key.len().min(PREFIX);
    bytes[..length].copy_from_slice(&key[..length]);
    bytes
}

/// A slot of one key; a free one has `free` set and waits for the next new key.
#[derive(Debug)]
struct Slot {
    hash: u64,
    start: u32,
    length: u32,
    /// The first bytes of the key, padded with zeros: most keys are told apart without a look at the others.
    prefix: [u8; PREFIX],
    free: bool,
    ring: Ring,
    heap: Box<[Box<dyn Heap>]>,
}

/// The keys of one shard.
#[derive(Debug)]
pub struct Shard {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    /// Fixed words of all slots, one after another.
    fixed: Vec<u64>,
    width: usize,
    /// Key bytes of all slots; those of freed slots are garbage until the next compaction.
    bytes: Vec<u8>,
    garbage: usize,
    free: Vec<u32>,
    /// (last event time when it was put in, slot), for expiry; one entry per key, brought up to date when it comes out.
    queue: Option<BinaryHeap<Reverse<(i64, u32)>>>,
}

/// The shard is chosen by the hash's upper bits, so the table must not look at those alone.
#[inline]
fn spread(hash: u64) -> u64 {
    hash.rotate_left(24)
}

impl Shard {
    /// An empty shard; `ordered` if keys will ever be asked for by age.
    pub fn new(program: &Program, ordered: bool) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            fixed: Vec::new(),
            width: program.fixed().len(),
            bytes: Vec::new(),
            garbage: 0,
            free: Vec::new(),
            queue: ordered.then(BinaryHeap::new),
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn key(&self, slot: u32) -> &[u8] {
        let slot = &self.slots[slot as usize];
        &self.bytes[slot.start as usize..(slot.start + slot.length) as usize]
    }

    /// Whether a slot is that of a key.
    #[inline]
    pub fn holds(&self, slot: u32, hash: u64, key: &[u8]) -> bool {
        let Some(held) = self.slots.get(slot as usize) else { return false };
        held.hash == hash
            && held.length as usize == key.len()
            && !held.free
            && (if key.len() <= PREFIX { held.prefix[..key.len()] == *key } else { self.key(slot) == key })
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(spread(hash), |slot| self.holds(*slot, hash, key)).copied()
    }

    /// The records and the fixed words of a slot.
    #[inline]
    pub fn peek(&self, slot: u32) -> (&Ring, &[u64]) {
        (&self.slots[slot as usize].ring, &self.fixed[slot as usize * self.width..][..self.width])
    }

    /// A new slot for a key that is not there; `time` is its first event time.
    pub fn insert(&mut self, program: &Program, hash: u64, key: &[u8], time: i64) -> u32 {
        let (start, length) = (self.bytes.len() as u32, key.len() as u32);
        self.bytes.extend_from_slice(key);
        let fresh =
            Slot { hash, start, length, prefix: prefix(key), free: false, ring: Ring::new(program.stride()), heap: program.heaps() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = fresh;
                self.fixed[slot as usize * self.width..][..self.width].copy_from_slice(program.fixed());
                slot
            }
            None => {
                self.slots.push(fresh);
                self.fixed.extend_from_slice(program.fixed());
                self.slots.len() as u32 - 1
            }
        };
        let slots = &self.slots;
        self.table.insert_unique(spread(hash), slot, |other| spread(slots[*other as usize].hash));
        if let Some(queue) = &mut self.queue {
            queue.push(Reverse((time, slot)));
        }
        slot
    }

    /// The state of a slot.
    #[inline]
    pub fn state(&mut self, slot: u32) -> KeyMut<'_> {
        let held = &mut self.slots[slot as usize];
        KeyMut { ring: &mut held.ring, fixed: &mut self.fixed[slot as usize * self.width..][..self.width], heap: &mut held.heap }
    }

    fn last(&self, program: &Program, slot: u32) -> i64 {
        program.last_time(&self.fixed[slot as usize * self.width..][..self.width])
    }

    fn remove(&mut self, program: &Program, slot: u32) {
        let held = &mut self.slots[slot as usize];
        if let Ok(entry) = self.table.find_entry(spread(held.hash), |other| *other == slot) {
            entry.remove();
        }
        self.garbage += held.length as usize;
        *held =
            Slot { hash: 0, start: 0, length: 0, prefix: [0; PREFIX], free: true, ring: Ring::new(program.stride()), heap: Box::default() };
        self.free.push(slot);
        if self.garbage > 4096 && self.garbage * 2 > self.bytes.len() {
            let mut bytes = Vec::with_capacity(self.bytes.len() - self.garbage);
            for held in self.slots.iter_mut().filter(|held| !held.free) {
                let start = bytes.len() as u32;
                bytes.extend_from_slice(&self.bytes[held.start as usize..(held.start + held.length) as usize]);
                held.start = start;
            }
            (self.bytes, self.garbage) = (bytes, 0);
        }
    }

    /// Removes the keys whose last event time is at or before `bound`; returns how many.
    pub fn expire(&mut self, program: &Program, bound: i64) -> u64 {
        let mut removed = 0;
        while let Some((time, slot)) = self.queue.as_ref().and_then(|queue| queue.peek()).map(|entry| entry.0) {
            if time > bound {
                break;
            }
            let last = self.last(program, slot);
            if let Some(queue) = &mut self.queue {
                queue.pop();
                if last > bound {
                    queue.push(Reverse((last, slot)));
                    continue;
                }
            }
            self.remove(program, slot);
            removed += 1;
        }
        removed
    }

    /// Removes the key with the least last event time, then the least key bytes (S6.3).
    pub fn evict(&mut self, program: &Program) -> bool {
        let mut oldest: Vec<u32> = Vec::new();
        let mut least = i64::MAX;
        while let Some(Reverse((time, slot))) = self.queue.as_mut().and_then(BinaryHeap::pop) {
            let last = self.last(program, slot);
            if last != time || (!oldest.is_empty() && time > least) {
                if let Some(queue) = &mut self.queue {
                    queue.push(Reverse((last, slot)));
                }
                if last == time {
                    break;
                }
                continue;
            }
            least = time;
            oldest.push(slot);
        }
        let Some(victim) = oldest.iter().copied().min_by(|a, b| self.key(*a).cmp(self.key(*b))) else { return false };
        if let Some(queue) = &mut self.queue {
            oldest.iter().filter(|slot| **slot != victim).for_each(|slot| queue.push(Reverse((least, *slot))));
        }
        self.remove(program, victim);
        true
    }

    /// Number of retained records.
    pub fn records(&self) -> u64 {
        self.slots.iter().map(|slot| slot.ring.len() as u64).sum()
    }

    /// Memory, in bytes.
    pub fn memory(&self) -> usize {
        let slots: usize =
            self.slots.iter().map(|slot| slot.ring.bytes() + slot.heap.iter().map(|heap| 16 + heap.bytes()).sum::<usize>()).sum();
        let queue = self.queue.as_ref().map_or(0, |queue| queue.capacity() * 16);
        slots
            + self.slots.capacity() * size_of::<Slot>()
            + self.fixed.capacity() * 8
            + self.bytes.capacity()
            + self.table.allocation_size()
            + self.free.capacity() * 4
            + queue
    }

    /// Appends the shard's keys, in byte order, to a snapshot.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut live: Vec<u32> = (0..self.slots.len() as u32).filter(|slot| !self.slots[*slot as usize].free).collect();
        live.sort_unstable_by(|a, b| self.key(*a).cmp(self.key(*b)));
        put(out, live.len() as u64);
        for slot in live {
            let held = &self.slots[slot as usize];
            put_bytes(out, self.key(slot));
            put(out, held.hash);
            self.fixed[slot as usize * self.width..][..self.width].iter().for_each(|word| put(out, *word));
            held.ring.save(out);
            held.heap.iter().for_each(|heap| heap.save(out));
        }
    }

    /// Reads back what `save` wrote.
    pub fn load(program: &Program, ordered: bool, reader: &mut Reader<'_>) -> Result<Self, String> {
        let mut shard = Self::new(program, ordered);
        for _ in 0..reader.length(16)? {
            let key = reader.bytes()?;
            let hash = reader.word()?;
            if shard.find(hash, key).is_some() {
                return Err("the snapshot of a view names a key twice".to_string());
            }
            let slot = shard.insert(program, hash, key, i64::MIN);
            for word in shard.state(slot).fixed {
                *word = reader.word()?;
            }
            let held = &mut shard.slots[slot as usize];
            held.ring = Ring::load(program.stride(), reader)?;
            held.heap.iter_mut().try_for_each(|heap| heap.load(reader))?;
        }
        Ok(shard)
    }
}
