//! Memory of keyed state (S15): words in blocks of 64 KiB, addressed by number and not by pointer, that can be frozen at a moment and are copied at their
//! first write after it.
//!
//! An *extent* is a run of words inside one block; freed extents are kept by size class and given out again. The contents of the blocks, with the
//! allocator's own few numbers, are the whole state of whoever keeps it here: writing them down and reading them back is a snapshot.

use std::sync::Arc;

/// Words of a block: 64 KiB. A block begins smaller and doubles, so that the last one of each arena, of which there are many, is not mostly empty.
pub const BLOCK_WORDS: usize = 8192;
const SHIFT: u32 = BLOCK_WORDS.trailing_zeros();
const FIRST_WORDS: usize = 512;
const NEXT_WORDS: usize = BLOCK_WORDS / 8;

/// Address of a word.
pub type Address = u32;

/// What a block is at the moment.
#[derive(Debug)]
enum Block {
    /// Only this arena has it.
    Owned(Vec<u64>),
    /// Someone may be reading it as it was when it was frozen.
    Frozen(Arc<Vec<u64>>),
    /// Its addresses belong to an extent that begins in an earlier block and is larger than one.
    Covered,
}

/// The words of an arena at the moment it was frozen; cheap to take and to keep.
#[derive(Clone, Debug)]
pub struct FrozenArena {
    blocks: Vec<Option<Arc<Vec<u64>>>>,
    allocator: Allocator,
}

/// Which words are in use.
#[derive(Clone, Debug, Default, PartialEq)]
struct Allocator {
    /// First unused word of the block that is being filled, and the end of that block.
    next: u32,
    limit: u32,
    /// Freed extents by size class.
    free: Vec<Vec<Address>>,
}

/// Words in blocks.
#[derive(Debug, Default)]
pub struct Arena {
    blocks: Vec<Block>,
    allocator: Allocator,
}

/// The size class of extents of `words` words, and how many words those have: even sizes up to 8, then four steps an octave.
#[inline]
fn class(words: usize) -> (usize, usize) {
    if words <= 8 {
        let class = words.max(1).div_ceil(2) - 1;
        return (class, 2 * class + 2);
    }
    let octave = (words - 1).ilog2() as usize;
    let step = 1 << (octave - 2);
    let steps = (words - (1 << octave)).div_ceil(step);
    (4 + (octave - 3) * 4 + steps - 1, (1 << octave) + steps * step)
}

impl Block {
    /// The words. Nearly all blocks are owned nearly always, so that is the one test.
    #[inline]
    fn words(&self) -> &[u64] {
        if let Self::Owned(words) = self { words } else { self.shared() }
    }

    #[cold]
    fn shared(&self) -> &[u64] {
        if let Self::Frozen(words) = self { words } else { &[] }
    }

    /// The words, to be written: a frozen block is taken back if nobody reads it any more, else copied.
    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        if let Self::Owned(words) = self { words } else { self.thaw() }
    }

    #[cold]
    fn thaw(&mut self) -> &mut [u64] {
        if let Self::Frozen(words) = self {
            let words = Arc::try_unwrap(std::mem::take(words)).unwrap_or_else(|shared| shared.to_vec());
            *self = Self::Owned(words);
        }
        if let Self::Owned(words) = self { words } else { &mut [] }
    }
}

impl Arena {
    /// `words` words at `at`, which lie in one extent.
    #[inline]
    pub fn words(&self, at: Address, words: usize) -> &[u64] {
        let start = at as usize & (BLOCK_WORDS - 1);
        &self.blocks[(at >> SHIFT) as usize].words()[start..start + words]
    }

    /// The same, to be written.
    #[inline]
    pub fn words_mut(&mut self, at: Address, words: usize) -> &mut [u64] {
        let start = at as usize & (BLOCK_WORDS - 1);
        &mut self.blocks[(at >> SHIFT) as usize].words_mut()[start..start + words]
    }

    /// Copies `words` words from `from` to `to`; each of the two lies in one extent, and they do not overlap.
    pub fn copy(&mut self, from: Address, to: Address, words: usize) {
        let (source, target) = ((from >> SHIFT) as usize, (to >> SHIFT) as usize);
        let (start, end) = (from as usize & (BLOCK_WORDS - 1), to as usize & (BLOCK_WORDS - 1));
        if source == target {
            return self.blocks[source].words_mut().copy_within(start..start + words, end);
        }
        if let Ok([source, target]) = self.blocks.get_disjoint_mut([source, target]) {
            target.words_mut()[end..end + words].copy_from_slice(&source.words()[start..start + words]);
        }
    }

    /// A new extent of at least `words` words, with whatever they held before.
    pub fn allocate(&mut self, words: usize) -> Address {
        if words > BLOCK_WORDS {
            return self.allocate_large(words);
        }
        let (class, size) = class(words);
        if let Some(at) = self.allocator.free.get_mut(class).and_then(Vec::pop) {
            return at;
        }
        if self.allocator.next as usize + size > self.allocator.limit as usize {
            self.open_block();
        }
        let at = self.allocator.next;
        self.allocator.next += size as u32;
        let used = self.allocator.next as usize - (at as usize & !(BLOCK_WORDS - 1));
        if let Block::Owned(block) = self.writable((at >> SHIFT) as usize)
            && block.len() < used
        {
            block.resize((used.next_power_of_two()).clamp(FIRST_WORDS, BLOCK_WORDS), 0);
        }
        at
    }

    /// Sees to it that there are `words` words at `at`, for those who number their extents themselves and allocate none: blocks are added as they are
    /// needed, and no extent may cross from one into the next unless it begins with one.
    pub fn extend_to(&mut self, at: Address, words: usize) {
        let (block, start) = ((at >> SHIFT) as usize, at as usize & (BLOCK_WORDS - 1));
        while self.blocks.len() < block + words.div_ceil(BLOCK_WORDS) {
            self.blocks.push(if self.blocks.len() <= block { Block::Owned(Vec::new()) } else { Block::Covered });
        }
        if let Block::Owned(held) = self.writable(block)
            && held.len() < start + words
        {
            let wanted = (start + words).max(FIRST_WORDS.min(BLOCK_WORDS));
            held.resize(if words > BLOCK_WORDS { words } else { wanted.next_power_of_two().min(BLOCK_WORDS) }, 0);
        }
    }

    /// Whether there are `words` words at `at`.
    pub fn holds(&self, at: Address, words: usize) -> bool {
        self.blocks.get((at >> SHIFT) as usize).is_some_and(|block| block.words().len() >= (at as usize & (BLOCK_WORDS - 1)) + words)
    }

    fn writable(&mut self, block: usize) -> &mut Block {
        if let Block::Frozen(_) = self.blocks[block] {
            self.blocks[block].thaw();
        }
        &mut self.blocks[block]
    }

    /// Goes on in a new block; what is left of the present one becomes free extents.
    fn open_block(&mut self) {
        while self.allocator.limit - self.allocator.next >= 2 {
            let left = (self.allocator.limit - self.allocator.next) as usize;
            let words = (1..=left).rev().find(|words| class(*words).1 <= left).unwrap_or(2);
            let (class, size) = class(words);
            let at = self.allocator.next;
            self.allocator.next += size as u32;
            if let Block::Owned(block) = self.writable((at >> SHIFT) as usize) {
                block.resize(BLOCK_WORDS, 0);
            }
            self.put_free(class, at);
        }
        self.allocator.next = (self.blocks.len() << SHIFT) as u32;
        self.allocator.limit = self.allocator.next + BLOCK_WORDS as u32;
        let words = if self.blocks.is_empty() { FIRST_WORDS } else { NEXT_WORDS };
        self.blocks.push(Block::Owned(vec![0; words]));
    }

    /// An extent larger than a block is a block of its own; its addresses are not used again.
    fn allocate_large(&mut self, words: usize) -> Address {
        let at = (self.blocks.len() << SHIFT) as u32;
        self.blocks.push(Block::Owned(vec![0; words]));
        self.blocks.extend((1..words.div_ceil(BLOCK_WORDS)).map(|_| Block::Covered));
        at
    }

    /// Gives an extent back that `allocate(words)` gave out.
    pub fn free(&mut self, at: Address, words: usize) {
        if words > BLOCK_WORDS {
            self.blocks[(at >> SHIFT) as usize] = Block::Covered;
            return;
        }
        self.put_free(class(words).0, at);
    }

    fn put_free(&mut self, class: usize, at: Address) {
        if self.allocator.free.len() <= class {
            self.allocator.free.resize_with(class + 1, Vec::new);
        }
        self.allocator.free[class].push(at);
    }

    /// The words as they are now. Blocks are shared with the arena until it writes to them.
    pub fn freeze(&mut self) -> FrozenArena {
        let share = |block: &mut Block| {
            if let Block::Owned(words) = block {
                *block = Block::Frozen(Arc::new(std::mem::take(words)));
            }
            match block {
                Block::Frozen(words) => Some(words.clone()),
                _ => None,
            }
        };
        FrozenArena { blocks: self.blocks.iter_mut().map(share).collect(), allocator: self.allocator.clone() }
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        let free: usize = self.allocator.free.iter().map(|list| 24 + list.capacity() * 4).sum();
        self.blocks.capacity() * size_of::<Block>() + self.blocks.iter().map(|block| block.words().len() * 8).sum::<usize>() + free
    }
}

impl FrozenArena {
    /// Appends what is known of the blocks beside their words, little-endian: the allocator's numbers, and the length of each block.
    pub fn outline(&self, out: &mut Vec<u8>) {
        let mut put = |word: u64| out.extend_from_slice(&word.to_le_bytes());
        put(u64::from(self.allocator.next) | u64::from(self.allocator.limit) << 32);
        put(self.allocator.free.len() as u64);
        for list in &self.allocator.free {
            put(list.len() as u64);
            list.iter().for_each(|at| put(u64::from(*at)));
        }
        put(self.blocks.len() as u64);
        self.blocks.iter().for_each(|block| put(block.as_ref().map_or(u64::MAX, |words| words.len() as u64)));
    }

    /// The words, block by block.
    pub fn words(&self) -> impl Iterator<Item = &Arc<Vec<u64>>> {
        self.blocks.iter().flatten()
    }
}

/// What `FrozenArena::outline` wrote.
pub struct Outline {
    allocator: Allocator,
    blocks: Vec<Option<usize>>,
}

impl Outline {
    /// Reads it from `next`, which gives one word after another; `left` bytes are there at most.
    pub fn load(next: &mut dyn FnMut() -> Result<u64, String>, left: usize) -> Result<Self, String> {
        let bounded =
            |length: u64| if length as usize <= left / 8 { Ok(length as usize) } else { Err("a length is beyond the end".to_string()) };
        let position = next()?;
        let mut allocator = Allocator { next: position as u32, limit: (position >> 32) as u32, free: Vec::new() };
        for _ in 0..bounded(next()?)? {
            let length = bounded(next()?)?;
            allocator.free.push((0..length).map(|_| next().map(|at| at as Address)).collect::<Result<_, _>>()?);
        }
        let blocks = (0..bounded(next()?)?).map(|_| match next()? {
            u64::MAX => Ok(None),
            length => bounded(length).map(Some),
        });
        Ok(Self { allocator, blocks: blocks.collect::<Result<_, String>>()? })
    }

    /// The arena, its words from `next`.
    pub fn fill(self, next: &mut dyn FnMut() -> Result<u64, String>) -> Result<Arena, String> {
        let blocks = self.blocks.into_iter().map(|length| match length {
            None => Ok(Block::Covered),
            Some(length) => Ok(Block::Owned((0..length).map(|_| next()).collect::<Result<_, String>>()?)),
        });
        Ok(Arena { blocks: blocks.collect::<Result<_, String>>()?, allocator: self.allocator })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_is_asked_and_waste_at_most_a_quarter() {
        let mut last = (0, 0);
        for words in 1..=BLOCK_WORDS {
            let (class, size) = class(words);
            assert!(size >= words && (words <= 8 || size <= words + words / 4 + 1), "{words} words in {size}");
            assert!(class == last.0 && size == last.1 || (class == last.0 + usize::from(last.1 > 0) && size > last.1), "{words}");
            last = (class, size);
        }
        assert_eq!(last.1, BLOCK_WORDS);
    }

    #[test]
    fn extents_do_not_overlap_and_are_given_out_again() {
        let mut arena = Arena::default();
        let mut held: Vec<(Address, usize)> = Vec::new();
        let mut seed = 7u64;
        for round in 0..20_000u64 {
            seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            if held.len() > 300 || (seed >> 40).is_multiple_of(3) && !held.is_empty() {
                let (at, words) = held.swap_remove((seed >> 33) as usize % held.len());
                let mark = arena.words(at, words)[0];
                assert!(arena.words(at, words).iter().all(|word| *word == mark));
                arena.free(at, words);
            } else {
                let words = if seed >> 60 == 0 { 9_000 } else { 1 + (seed >> 50) as usize % 600 };
                let at = arena.allocate(words);
                arena.words_mut(at, words).fill(round);
                held.push((at, words));
            }
        }
        assert!(arena.bytes() < 12_000_000, "{}", arena.bytes());
    }

    #[test]
    fn what_is_frozen_stays_and_reads_back() {
        let mut arena = Arena::default();
        let extents: Vec<Address> = (0..500).map(|_| arena.allocate(40)).collect();
        extents.iter().for_each(|at| arena.words_mut(*at, 40).fill(u64::from(*at)));
        let frozen = arena.freeze();
        extents.iter().for_each(|at| arena.words_mut(*at, 40).fill(1));
        let mut bytes = Vec::new();
        frozen.outline(&mut bytes);
        bytes.extend(frozen.words().flat_map(|block| block.iter()).flat_map(|word| word.to_le_bytes()));
        let load = |bytes: &[u8]| {
            let mut words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
            let mut next = || words.next().ok_or_else(|| "the end".to_string());
            Outline::load(&mut next, bytes.len()).and_then(|outline| outline.fill(&mut next))
        };
        let mut loaded = load(&bytes).unwrap();
        assert!(extents.iter().all(|at| loaded.words(*at, 40).iter().all(|word| *word == u64::from(*at))));
        assert_eq!(loaded.allocate(40), { arena.freeze().allocator.next }, "the next extent is the same");
        assert!(load(&bytes[..bytes.len() / 2]).is_err());
    }
}
