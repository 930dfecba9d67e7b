//! One shard of keyed state: which keys there are, where their words lie, who goes first (S6.3, S15).
//!
//! Three arenas hold all words: in `heads` each key has a *head* of fixed size (hash, key, where its records are, the program's fixed words), whose address
//! is the key's *slot*; in `records` lie the records; in `extents` queues and whatever else grows. The hash table from keys to slots is not state: it is
//! built again from the heads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::table::Table;
use crate::data::{Address, Arena, BLOCK_WORDS, FrozenArena, Outline, prefetch};
use crate::features::bytes::{Reader, put, put_bytes};
use crate::features::ring::{self, Ring, Rows};
use crate::features::{Heap, Kept, KeyMut, Program};

/// Words of a head in front of the ring's: hash; length of the key plus one, 0 for a free slot; the key's first bytes.
const FRONT: usize = 4;
/// Bytes of a key that its head holds; longer ones begin there and go on in an extent, whose address is in the upper half of the length's word.
const INLINE: usize = 8 * (FRONT - 2);
/// Words of a cache line.
const LINE: usize = 8;
/// Words before the program's fixed words.
const BEFORE: usize = FRONT + ring::META;

/// Address of a key's head.
pub type Slot = Address;

/// The keys of one shard.
#[derive(Debug)]
pub struct Shard {
    table: Table,
    heads: Arena,
    records: Arena,
    extents: Arena,
    /// Words of a head.
    width: usize,
    /// Heads ever used.
    slots: u32,
    free: Vec<Slot>,
    /// The parts of variable kind, by number of the head; empty if the program has none.
    heaps: Vec<Box<[Box<dyn Heap>]>>,
    /// (last event time when it was put in, slot), for expiry; one entry per key, brought up to date when it comes out.
    queue: Option<BinaryHeap<Reverse<(i64, Slot)>>>,
}

/// A shard at the moment it was frozen: shared blocks, and the few parts that are no blocks as bytes.
#[derive(Clone, Debug)]
pub struct FrozenShard {
    heads: FrozenArena,
    records: FrozenArena,
    extents: FrozenArena,
    rest: Vec<u8>,
}

/// The first bytes of a key as words, padded with zeros.
#[inline]
fn prefix(key: &[u8]) -> [u64; FRONT - 2] {
    let mut bytes = [0; INLINE];
    let length = key.len().min(INLINE);
    bytes[..length].copy_from_slice(&key[..length]);
    let (words, _) = bytes.as_chunks::<8>();
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}

/// Bytes as words, the last one padded with zeros.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

impl Shard {
    /// An empty shard; `ordered` if keys will ever be asked for by age.
    pub fn new(program: &Program, ordered: bool) -> Self {
        Self {
            table: Table::default(),
            heads: Arena::default(),
            records: Arena::default(),
            extents: Arena::default(),
            width: BEFORE + program.fixed().len(),
            slots: 0,
            free: Vec::new(),
            heaps: Vec::new(),
            queue: ordered.then(BinaryHeap::new),
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.slots as usize - self.free.len()
    }

    /// Heads to a block, at least one, and the words that these lie in: a block, or the blocks that one head needs.
    fn packing(&self) -> (u32, u32) {
        ((BLOCK_WORDS / self.width).max(1) as u32, self.width.next_multiple_of(BLOCK_WORDS) as u32)
    }

    /// The slot of head number `nth`.
    fn slot(&self, nth: u32) -> Slot {
        let (heads, words) = self.packing();
        nth / heads * words + nth % heads * self.width as u32
    }

    /// The number of a slot's head.
    fn number(&self, slot: Slot) -> usize {
        let (heads, words) = self.packing();
        (slot / words * heads + slot % words / self.width as u32) as usize
    }

    #[inline]
    fn head(&self, slot: Slot) -> &[u64] {
        self.heads.words(slot, self.width)
    }

    fn key(&self, slot: Slot) -> Vec<u8> {
        let head = self.head(slot);
        let length = (head[1] as u32).saturating_sub(1) as usize;
        let rest = length.saturating_sub(INLINE);
        let more = if rest > 0 { self.extents.words((head[1] >> 32) as u32, rest.div_ceil(8)) } else { &[] };
        head[2..FRONT].iter().chain(more).flat_map(|word| word.to_le_bytes()).take(length).collect()
    }

    /// Whether a slot, which the shard must have or have had, is that of a key.
    #[inline]
    pub fn holds(&self, slot: Slot, hash: u64, key: &[u8]) -> bool {
        self.is_key(self.head(slot), hash, key)
    }

    #[inline]
    fn is_key(&self, head: &[u64], hash: u64, key: &[u8]) -> bool {
        head[0] == hash
            && head[1] as u32 as usize == key.len() + 1
            && head[2..FRONT] == prefix(key)
            && (key.len() <= INLINE || {
                let rest = &key[INLINE..];
                words_of(rest).eq(self.extents.words((head[1] >> 32) as u32, rest.len().div_ceil(8)).iter().copied())
            })
    }

    /// The slot of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.table.find(hash, |slot| self.is_key(self.head(slot), hash, key))
    }

    /// Asks the caches for where a search for the key with this hash begins.
    #[inline]
    pub fn prefetch_place(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// The slot that most likely is that of the key with this hash, found without looking at its head, which the caches are asked for.
    #[inline]
    pub fn guess(&self, hash: u64) -> Option<Slot> {
        let slot = self.table.find(hash, |_| true)?;
        let head = self.head(slot);
        head.iter().step_by(LINE).chain(head.last()).for_each(prefetch);
        Some(slot)
    }

    /// Asks the caches for what an update of the key with this hash at this slot will read beside its head.
    #[inline]
    pub fn prefetch(&self, program: &Program, slot: Slot, hash: u64) {
        let (before, fixed) = self.head(slot).split_at(BEFORE);
        if before[0] == hash {
            program.prefetch(&Rows::new(&self.records, &before[FRONT..], program.shape()), fixed, &self.extents);
        }
    }

    /// A new slot for a key that is not there; `time` is its first event time.
    pub fn insert(&mut self, program: &Program, hash: u64, key: &[u8], time: i64) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| self.new_slot());
        let rest = &key[key.len().min(INLINE)..];
        let mut more = 0;
        if !rest.is_empty() {
            more = self.extents.allocate(rest.len().div_ceil(8));
            self.extents.words_mut(more, rest.len().div_ceil(8)).iter_mut().zip(words_of(rest)).for_each(|(word, held)| *word = held);
        }
        let head = self.heads.words_mut(slot, self.width);
        head[0] = hash;
        head[1] = (key.len() as u64 + 1) | u64::from(more) << 32;
        head[2..FRONT].copy_from_slice(&prefix(key));
        head[FRONT..BEFORE].fill(0);
        head[BEFORE..].copy_from_slice(program.fixed());
        if program.has_heaps() {
            let number = self.number(slot);
            if self.heaps.len() <= number {
                self.heaps.resize_with(number + 1, Box::default);
            }
            self.heaps[number] = program.heaps();
        }
        self.table.insert(hash, slot);
        if let Some(queue) = &mut self.queue {
            queue.push(Reverse((time, slot)));
        }
        slot
    }

    fn new_slot(&mut self) -> Slot {
        let slot = self.slot(self.slots);
        self.slots += 1;
        self.heads.extend_to(slot, self.width);
        slot
    }

    /// The state of a slot.
    #[inline]
    pub fn state(&mut self, program: &Program, slot: Slot) -> KeyMut<'_> {
        let number = if self.heaps.is_empty() { 0 } else { self.number(slot) };
        let (before, fixed) = self.heads.words_mut(slot, self.width).split_at_mut(BEFORE);
        let heap = self.heaps.get_mut(number).map_or(&mut [][..], |heap| heap);
        let ring = Ring::new(&mut self.records, &mut before[FRONT..], program.shape());
        KeyMut { ring, kept: Kept { fixed, arena: &mut self.extents, heap } }
    }

    fn last(&self, program: &Program, slot: Slot) -> i64 {
        program.last_time(&self.head(slot)[BEFORE..])
    }

    fn remove(&mut self, program: &Program, slot: Slot) {
        let (hash, length, more) = (self.head(slot)[0], self.head(slot)[1] as u32 as usize - 1, (self.head(slot)[1] >> 32) as u32);
        self.table.remove(hash, slot);
        program.release(&mut self.state(program, slot));
        if length > INLINE {
            self.extents.free(more, (length - INLINE).div_ceil(8));
        }
        self.heads.words_mut(slot, self.width)[..FRONT].fill(0);
        if !self.heaps.is_empty() {
            let number = self.number(slot);
            self.heaps[number] = Box::default();
        }
        self.free.push(slot);
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
        let mut oldest: Vec<Slot> = Vec::new();
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
        let Some(victim) = oldest.iter().copied().min_by_key(|slot| self.key(*slot)) else { return false };
        if let Some(queue) = &mut self.queue {
            oldest.iter().filter(|slot| **slot != victim).for_each(|slot| queue.push(Reverse((least, *slot))));
        }
        self.remove(program, victim);
        true
    }

    /// The slots in use.
    fn live(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.slots).map(|nth| self.slot(nth)).filter(|slot| self.head(*slot)[1] != 0)
    }

    /// Number of retained records.
    pub fn records(&self) -> u64 {
        self.live().map(|slot| self.head(slot)[FRONT + 1] & 0xFFFF_FFFF).sum()
    }

    /// Memory, in bytes.
    pub fn memory(&self) -> usize {
        let heaps: usize = self.heaps.iter().flatten().map(|heap| 16 + heap.bytes()).sum();
        let queue = self.queue.as_ref().map_or(0, |queue| queue.capacity() * 16);
        heaps
            + self.heaps.capacity() * 16
            + self.heads.bytes()
            + self.records.bytes()
            + self.extents.bytes()
            + self.table.bytes()
            + self.free.capacity() * 4
            + queue
    }

    /// The shard as it is now. Blocks are shared until the shard writes to them (S15); parts of variable kind are written down.
    pub fn freeze(&mut self) -> FrozenShard {
        let mut rest = Vec::new();
        put(&mut rest, u64::from(self.slots));
        put(&mut rest, self.free.len() as u64);
        self.free.iter().for_each(|slot| put(&mut rest, u64::from(*slot)));
        let mut heaps = Vec::new();
        if !self.heaps.is_empty() {
            self.live().flat_map(|slot| self.heaps[self.number(slot)].iter()).for_each(|heap| heap.save(&mut heaps));
        }
        put_bytes(&mut rest, &heaps);
        FrozenShard { heads: self.heads.freeze(), records: self.records.freeze(), extents: self.extents.freeze(), rest }
    }

    /// Reads back what a frozen shard wrote: its outline, then its words.
    pub fn load(program: &Program, ordered: bool, reader: &mut Reader<'_>) -> Result<Self, String> {
        let mut shard = Self::new(program, ordered);
        let left = reader.left();
        let heads = Outline::load(&mut || reader.word(), left)?;
        let records = Outline::load(&mut || reader.word(), left)?;
        let extents = Outline::load(&mut || reader.word(), left)?;
        shard.slots = u32::try_from(reader.word()?).map_err(|_| "the snapshot of a view has too many keys".to_string())?;
        for _ in 0..reader.length(8)? {
            shard.free.push(reader.word()? as u32);
        }
        let mut heaps = Reader::new(reader.bytes()?);
        shard.heads = heads.fill(&mut || reader.word())?;
        shard.records = records.fill(&mut || reader.word())?;
        shard.extents = extents.fill(&mut || reader.word())?;
        if shard.slots > 0 && !shard.heads.holds(shard.slot(shard.slots - 1), shard.width) {
            return Err("the snapshot of a view names keys that it does not have".to_string());
        }
        let live: Vec<Slot> = shard.live().collect();
        if live.len() + shard.free.len() != shard.slots as usize {
            return Err("the snapshot of a view has lost count of its keys".to_string());
        }
        for slot in live {
            shard.table.insert(shard.head(slot)[0], slot);
            let last = shard.last(program, slot);
            if let Some(queue) = &mut shard.queue {
                queue.push(Reverse((last, slot)));
            }
            if program.has_heaps() {
                let number = shard.number(slot);
                shard.heaps.resize_with(number + 1, Box::default);
                let mut parts = program.heaps();
                parts.iter_mut().try_for_each(|heap| heap.load(&mut heaps))?;
                shard.heaps[number] = parts;
            }
        }
        Ok(shard)
    }
}

impl FrozenShard {
    /// Appends all but the words of its blocks.
    pub fn outline(&self, out: &mut Vec<u8>) {
        self.heads.outline(out);
        self.records.outline(out);
        self.extents.outline(out);
        out.extend_from_slice(&self.rest);
    }

    /// The words of its blocks, in the order in which `Shard::load` reads them.
    pub fn words(&self) -> impl Iterator<Item = &Arc<Vec<u64>>> {
        self.heads.words().chain(self.records.words()).chain(self.extents.words())
    }
}
