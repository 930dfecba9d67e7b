//! Reading a checkpoint: nothing is believed that does not have the sum that was recorded for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manifest::{Manifest, Named, sum};
use super::piece::{Block, Piece, PieceName};
use super::store::Store;
use super::write::MAGIC;
use crate::data::hex;
use crate::error::{Error, Exit, Result};

/// The manifest that a progress record names. Exit 65 if it is missing, damaged, or of another epoch or format.
pub fn read_manifest(store: &dyn Store, named: &Named) -> Result<Manifest> {
    let bytes = store.get(&named.manifest)?.ok_or_else(|| unusable(store, named, &format!("{} is missing", named.manifest)))?;
    if hex(&sum(&bytes)) != named.sha256 {
        return Err(unusable(store, named, &format!("{} does not have the sha256 that the progress record names", named.manifest)));
    }
    let manifest = Manifest::decode(&bytes).map_err(|reason| unusable(store, named, &format!("{}: {reason}", named.manifest)))?;
    if manifest.origin.epoch != named.epoch {
        return Err(unusable(store, named, &format!("{} is of epoch {}", named.manifest, manifest.origin.epoch)));
    }
    Ok(manifest)
}

/// The pieces that are `wanted`, in order of their names. Exit 65 if a block is missing or damaged. At most one segment is in memory beside the pieces.
pub fn read_pieces(store: &dyn Store, named: &Named, manifest: &Manifest, wanted: impl Fn(&PieceName) -> bool) -> Result<Vec<Piece>> {
    let chosen: Vec<_> = manifest.pieces.iter().filter(|piece| wanted(&piece.name)).collect();
    let empty = Arc::new(Vec::new());
    let mut pieces: Vec<Piece> = Vec::with_capacity(chosen.len());
    let mut by_segment: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
    for (piece, from) in chosen.iter().enumerate() {
        let blocks = vec![Block::Bytes(empty.clone()); from.blocks.len()];
        pieces.push(Piece { name: from.name.clone(), version: from.version, blocks });
        for (at, block) in from.blocks.iter().enumerate() {
            by_segment.entry(block.segment).or_default().push((piece, at));
        }
    }
    for (segment, blocks) in by_segment {
        let name = &manifest.segments[segment as usize];
        let bytes = store.get(name)?.ok_or_else(|| unusable(store, named, &format!("{name} is missing")))?;
        if !bytes.starts_with(MAGIC) {
            return Err(unusable(store, named, &format!("{name} is no segment")));
        }
        for (piece, at) in blocks {
            let block = &chosen[piece].blocks[at];
            let found = bytes.get(block.at as usize..(block.at + block.length) as usize);
            let found = found.filter(|found| sum(found) == block.sha256);
            let broken = || unusable(store, named, &format!("block {at} of {} in {name} is not what was written", chosen[piece].name));
            pieces[piece].blocks[at] = Block::Bytes(Arc::new(found.ok_or_else(broken)?.to_vec()));
        }
    }
    Ok(pieces)
}

fn unusable(store: &dyn Store, named: &Named, reason: &str) -> Error {
    Error::new(
        Exit::Data,
        format!("the checkpoint of epoch {} in {} cannot be used: {reason}", named.epoch, store.place()),
        "restore the object from a backup; without it an older checkpoint is used where the input since then is still there",
    )
}
