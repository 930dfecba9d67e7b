//! Writing a checkpoint: only what is new goes to the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use super::manifest::{BlockRef, FORMAT, MANIFEST, Manifest, Named, Origin, PieceRef, SEGMENT, Sum, object_name, sum};
use super::piece::{Block, Piece, PieceName};
use super::store::Store;
use super::sweep::sweep;
use crate::data::hex;
use crate::error::{Error, Result};
use crate::time::Epoch;

/// How a segment begins.
pub(super) const MAGIC: &[u8; 8] = b"TIDESEG1";
/// Bytes after which a segment is closed.
const SEGMENT_BYTES: usize = 64 << 20;

/// Writes one checkpoint after another to a store. Knows what the newest one consists of, so the next one reuses it.
pub struct Writer {
    store: Arc<dyn Store>,
    /// The newest one, and where its blocks lie.
    newest: Option<(Named, Manifest)>,
    places: BTreeMap<Sum, Place>,
    /// Memory of the newest one's blocks, by piece: the same memory has the same bytes.
    memory: BTreeMap<PieceName, Vec<(Memory, Sum)>>,
    /// Sizes of the segments of the newest one.
    sizes: BTreeMap<Arc<str>, u64>,
}

/// Where a block lies.
#[derive(Clone)]
struct Place {
    segment: Arc<str>,
    at: u64,
}

/// Which memory a block was, kept in a way that does not keep it alive.
enum Memory {
    Words(Weak<Vec<u64>>),
    Bytes(Weak<Vec<u8>>),
}

/// A checkpoint that is in the store, and that nothing names yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What the progress record is to say.
    pub named: Named,
    /// Bytes of state.
    pub bytes: u64,
    /// Bytes that were written for it, its manifest included.
    pub new_bytes: u64,
}

impl Memory {
    fn of(block: &Block) -> Self {
        match block {
            Block::Words(words) => Self::Words(Arc::downgrade(words)),
            Block::Bytes(bytes) => Self::Bytes(Arc::downgrade(bytes)),
        }
    }

    /// Whether `block` is this memory. A weak reference keeps its place from being given to anything else, so equal places are the same block.
    fn is(&self, block: &Block) -> bool {
        match (self, block) {
            (Self::Words(held), Block::Words(words)) => std::ptr::eq(held.as_ptr(), Arc::as_ptr(words)),
            (Self::Bytes(held), Block::Bytes(bytes)) => std::ptr::eq(held.as_ptr(), Arc::as_ptr(bytes)),
            _ => false,
        }
    }
}

/// A segment being filled.
struct Open<'a> {
    store: &'a dyn Store,
    epoch: Epoch,
    bytes: Vec<u8>,
    /// Sums and places of its blocks.
    blocks: Vec<(Sum, u64)>,
    /// Segments that are written, with their sizes, and what lies in them.
    sizes: BTreeMap<Arc<str>, u64>,
    places: BTreeMap<Sum, Place>,
    new_bytes: u64,
}

impl Open<'_> {
    fn push(&mut self, sha256: Sum, block: &Block) -> Result<()> {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(MAGIC);
        }
        self.blocks.push((sha256, self.bytes.len() as u64));
        block.put(&mut self.bytes);
        if self.bytes.len() >= SEGMENT_BYTES { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let sums: Vec<u8> = self.blocks.iter().flat_map(|(sum, _)| *sum).collect();
        let name: Arc<str> = object_name(self.epoch, &sum(&sums), SEGMENT).into();
        self.store.put(&name, &self.bytes)?;
        self.new_bytes += self.bytes.len() as u64;
        self.sizes.insert(name.clone(), self.bytes.len() as u64);
        self.places.extend(self.blocks.drain(..).map(|(sum, at)| (sum, Place { segment: name.clone(), at })));
        self.bytes.clear();
        Ok(())
    }
}

impl Writer {
    /// The first checkpoint will be written whole.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, newest: None, places: BTreeMap::new(), memory: BTreeMap::new(), sizes: BTreeMap::new() }
    }

    /// Goes on after `manifest`, a checkpoint that was read: what is still so is not written again.
    pub fn resume(store: Arc<dyn Store>, named: Named, manifest: Manifest) -> Result<Self> {
        let names: Vec<Arc<str>> = manifest.segments.iter().map(|name| name.as_str().into()).collect();
        let wanted: BTreeSet<&str> = manifest.segments.iter().map(String::as_str).collect();
        let sizes = store.list()?.into_iter().filter(|(name, _)| wanted.contains(name.as_str()));
        let sizes = sizes.map(|(name, size)| (name.into(), size)).collect();
        let blocks = manifest.pieces.iter().flat_map(|piece| &piece.blocks);
        let places = blocks.map(|block| (block.sha256, Place { segment: names[block.segment as usize].clone(), at: block.at })).collect();
        Ok(Self { store, newest: Some((named, manifest)), places, memory: BTreeMap::new(), sizes })
    }

    /// Writes the state after an epoch. After an error nothing is known of what was written, and the next checkpoint reuses the one before.
    pub fn write(&mut self, origin: Origin, mut pieces: Vec<Piece>) -> Result<Written> {
        pieces.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = pieces.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::internal(format!("{} has two states", pair[0].name)));
        }
        let sums: Vec<Vec<Sum>> = pieces.iter().map(|piece| self.sums(piece)).collect();
        let reused = self.reused(&pieces, &sums);
        let mut open = Open {
            store: &*self.store,
            epoch: origin.epoch,
            bytes: Vec::new(),
            blocks: Vec::new(),
            sizes: BTreeMap::new(),
            places: BTreeMap::new(),
            new_bytes: 0,
        };
        let mut added = BTreeSet::new();
        for (piece, sums) in pieces.iter().zip(&sums) {
            for (block, sha256) in piece.blocks.iter().zip(sums) {
                if !reused.contains_key(sha256) && added.insert(*sha256) {
                    open.push(*sha256, block)?;
                }
            }
        }
        open.close()?;
        let Open { sizes: mut segments, places: fresh, mut new_bytes, .. } = open;
        let mut places = reused;
        places.extend(fresh);
        let used: BTreeSet<&Arc<str>> = places.values().map(|place| &place.segment).collect();
        segments.extend(self.sizes.iter().filter(|(name, _)| used.contains(name)).map(|(name, size)| (name.clone(), *size)));
        let manifest = manifest(origin, &pieces, &sums, &places)?;
        let bytes = manifest.encode().map_err(|error| Error::internal(format!("a manifest has no JSON form: {error}")))?;
        let sha256 = sum(&bytes);
        let name = object_name(manifest.origin.epoch, &sha256, MANIFEST);
        self.store.put(&name, &bytes)?;
        new_bytes += bytes.len() as u64;
        let named = Named { epoch: manifest.origin.epoch, manifest: name, sha256: hex(&sha256) };
        let written = Written { named: named.clone(), bytes: manifest.bytes(), new_bytes };
        let memory = |(piece, sums): (Piece, Vec<Sum>)| (piece.name, piece.blocks.iter().map(Memory::of).zip(sums).collect());
        self.memory = pieces.into_iter().zip(sums).map(memory).collect();
        (self.newest, self.places, self.sizes) = (Some((named, manifest)), places, segments);
        Ok(written)
    }

    /// Removes what neither `keep`, the checkpoints that committed records name, nor the newest one needs. Only for who has just shown that nobody else
    /// leads this pipeline.
    pub fn sweep(&self, keep: &[(Named, Manifest)]) -> Result<Vec<String>> {
        let keep = keep.iter().chain(&self.newest).map(|(named, manifest)| (named.manifest.as_str(), manifest));
        let garbage = sweep(&self.store.list()?, keep);
        garbage.iter().try_for_each(|name| self.store.remove(name))?;
        Ok(garbage)
    }

    /// Sums of the blocks of a piece, read only where memory is not that of the checkpoint before.
    fn sums(&self, piece: &Piece) -> Vec<Sum> {
        let before = self.memory.get(&piece.name).map_or(&[][..], Vec::as_slice);
        let mut bytes = Vec::new();
        let sums = piece.blocks.iter().enumerate().map(|(at, block)| match before.get(at).filter(|(memory, _)| memory.is(block)) {
            Some((_, known)) => *known,
            None => {
                bytes.clear();
                block.put(&mut bytes);
                sum(&bytes)
            }
        });
        sums.collect()
    }

    /// Places of blocks that need not be written: they lie in segments that are still at least half in use.
    fn reused(&self, pieces: &[Piece], sums: &[Vec<Sum>]) -> BTreeMap<Sum, Place> {
        let mut reused = BTreeMap::new();
        let mut live: BTreeMap<&str, u64> = BTreeMap::new();
        for (block, sha256) in pieces.iter().zip(sums).flat_map(|(piece, sums)| piece.blocks.iter().zip(sums)) {
            if let Some(place) = self.places.get(sha256)
                && reused.insert(*sha256, place.clone()).is_none()
            {
                *live.entry(&place.segment).or_default() += block.len() as u64;
            }
        }
        let size = |segment: &Arc<str>| self.sizes.get(segment).copied();
        reused.retain(|_, place| size(&place.segment).is_some_and(|size| live[&*place.segment] * 2 >= size));
        reused
    }
}

fn manifest(origin: Origin, pieces: &[Piece], sums: &[Vec<Sum>], places: &BTreeMap<Sum, Place>) -> Result<Manifest> {
    let names: BTreeSet<&str> = places.values().map(|place| &*place.segment).collect();
    let segments: Vec<String> = names.into_iter().map(str::to_string).collect();
    let place = |(block, sha256): (&Block, &Sum)| {
        let place = places.get(sha256).ok_or_else(|| Error::internal("a block of a checkpoint was not written"))?;
        let segment = segments.binary_search_by(|name| name.as_str().cmp(&place.segment));
        let segment = segment.map_err(|_| Error::internal("a segment of a checkpoint has no name"))? as u32;
        Ok(BlockRef { sha256: *sha256, segment, at: place.at, length: block.len() as u64 })
    };
    let pieces = pieces.iter().zip(sums).map(|(piece, sums)| {
        let blocks = piece.blocks.iter().zip(sums).map(place).collect::<Result<_>>()?;
        Ok(PieceRef { name: piece.name.clone(), version: piece.version, blocks })
    });
    let pieces = pieces.collect::<Result<_>>()?;
    Ok(Manifest { format: FORMAT, origin, segments, pieces })
}
