//! The state of one view on one worker: updates and probes by key (S8.4), expiry and bounds (S6.3), snapshots (S15).

use std::sync::Arc;

use super::shard::{Shard, Slot};
use crate::data::{FeatureRows, KeyColumn};
use crate::features::bytes::{Reader, put};
use crate::features::{Program, Scratch, Updates, ViewSpec};
use crate::ids::ShardMap;

/// Layout id of view snapshots, and its version.
const LAYOUT: u64 = u64::from_le_bytes(*b"TM-VIEW\0");

/// What a view holds and has let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewCounts {
    /// Keys present.
    pub keys: u64,
    /// Records retained. When they are let go depends on when their key is touched, so this number is for people only.
    pub records: u64,
    /// Keys evicted by `ttl` or `max_keys`.
    pub evicted_keys: u64,
    /// Records dropped by `max_records_per_key` while still inside the longest window (S8.6).
    pub dropped_records: u64,
    /// Updates and probes with a null entity (S6.2).
    pub null_entities: u64,
}

/// All keys of the shards one worker owns, for one view.
#[derive(Debug)]
pub struct ViewState {
    program: Program,
    map: ShardMap,
    /// By shard; shards that never had a key are absent.
    shards: Vec<Option<Box<Shard>>>,
    watermark: i64,
    evicted_keys: u64,
    dropped_records: u64,
    null_entities: u64,
    /// Where null entities belong, if there were any.
    null_shard: Option<u16>,
    scratch: Scratch,
    empty: FeatureRows,
    /// See `look_ahead`: where the next keys are.
    ahead: Vec<Option<(u16, Slot)>>,
}

impl ViewState {
    /// Version of the snapshots this build writes.
    pub const VERSION: u32 = 3;
    /// How many updates `look_ahead` is best called for at a time: their memory fits the first-level cache.
    pub const AHEAD: usize = 32;

    /// No keys yet.
    pub fn new(spec: Arc<ViewSpec>, shards: ShardMap) -> Self {
        let program = Program::new(spec);
        let empty = program.empty_row();
        let slots = (0..shards.shards()).map(|_| None).collect();
        Self {
            program,
            map: shards,
            shards: slots,
            watermark: i64::MIN,
            evicted_keys: 0,
            dropped_records: 0,
            null_entities: 0,
            null_shard: None,
            scratch: Scratch::default(),
            empty,
            ahead: Vec::with_capacity(Self::AHEAD),
        }
    }

    /// Whether keys are ever asked for by age.
    fn ordered(program: &Program) -> bool {
        let spec = program.spec();
        spec.ttl.is_some() || spec.max_keys_per_shard.is_some() || program.horizon().is_some()
    }

    /// Tells that the updates `rows` of `keys` come next, in this order: guesses where their keys are and asks the caches for what the updates will read.
    /// The keys of a batch are independent of each other, so their cache misses overlap here, where in `update` each would wait for the one before.
    /// Changes no result: what it finds out is a hint that `update` verifies. The method is group prefetching (Chen, Ailamaki, Gibbons and Mowry, "Improving
    /// hash join performance through prefetching", ICDE 2004).
    pub fn look_ahead(&mut self, keys: &KeyColumn, rows: &[u32]) {
        let (map, shards) = (self.map, &self.shards);
        for hash in rows.iter().map(|row| keys.hash(*row as usize)) {
            if let Some(shard) = &shards[map.shard(hash).0 as usize] {
                shard.prefetch_place(hash);
            }
        }
        self.ahead.clear();
        self.ahead.extend(rows.iter().map(|row| {
            let hash = keys.hash(*row as usize);
            let shard = map.shard(hash).0;
            shards[shard as usize].as_ref()?.guess(hash).map(|slot| (shard, slot))
        }));
        for (row, guess) in rows.iter().zip(&self.ahead) {
            if let Some((shard, slot)) = guess
                && let Some(shard) = &shards[*shard as usize]
            {
                shard.prefetch(&self.program, *slot, keys.hash(*row as usize));
            }
        }
    }

    /// The record `row` of `updates` becomes part of its key (a null entity: of none). If `out` is given, its feature row as of itself is written to row
    /// `out.1` of `out.0`, whose cells must be null before (S7.3, S8.4). `nth` is its place in the last `look_ahead`, if it was announced there.
    pub fn update(&mut self, keys: &KeyColumn, row: usize, updates: &Updates, nth: Option<usize>, out: Option<(&mut FeatureRows, usize)>) {
        if keys.is_null(row) {
            self.null_entities += 1;
            self.null_shard = Some(self.map.shard(keys.hash(row)).0);
            if let Some((rows, target)) = out {
                Self::write_empty(&self.empty, rows, target);
            }
            return;
        }
        let (hash, key) = (keys.hash(row), keys.key(row));
        let program = &self.program;
        let place = &mut self.shards[self.map.shard(hash).0 as usize];
        let shard = place.get_or_insert_with(|| Box::new(Shard::new(program, Self::ordered(program))));
        let hint = nth.and_then(|nth| self.ahead.get(nth).copied().flatten()).map(|(_, slot)| slot);
        let slot = match hint.filter(|slot| shard.holds(*slot, hash, key)).or_else(|| shard.find(hash, key)) {
            Some(slot) => slot,
            None => {
                let limit = program.spec().max_keys_per_shard.unwrap_or(u64::MAX).max(1);
                while shard.len() as u64 >= limit && shard.evict(program) {
                    self.evicted_keys += 1;
                }
                shard.insert(program, hash, key, updates.times[row])
            }
        };
        self.dropped_records += program.update(&mut shard.state(program, slot), updates, row, self.watermark, &mut self.scratch, out);
    }

    /// Writes the feature row of a key as of time `t` to row `out_row` of `out`, whose cells must be null before. Nothing that later results depend
    /// on changes.
    pub fn probe(&mut self, keys: &KeyColumn, row: usize, t: i64, out: &mut FeatureRows, out_row: usize) {
        if keys.is_null(row) {
            self.null_entities += 1;
            self.null_shard = Some(self.map.shard(keys.hash(row)).0);
            return Self::write_empty(&self.empty, out, out_row);
        }
        let (hash, key) = (keys.hash(row), keys.key(row));
        if let Some(shard) = &mut self.shards[self.map.shard(hash).0 as usize]
            && let Some(slot) = shard.find(hash, key)
        {
            return self.program.probe(&mut shard.state(&self.program, slot), t, &mut self.scratch, out, out_row);
        }
        Self::write_empty(&self.empty, out, out_row);
    }

    fn write_empty(empty: &FeatureRows, out: &mut FeatureRows, row: usize) {
        let (from_cells, from_valid) = empty.row(0);
        let (cells, valid) = out.row_mut(row);
        cells.copy_from_slice(from_cells);
        valid.copy_from_slice(from_valid);
    }

    /// End of an epoch with watermark `w` (`i64::MIN`, `i64::MAX`: the infinities): no later update or probe is before it. Keys expire (S6.3), and so
    /// do those that no window can see any more.
    pub fn advance(&mut self, w: i64) {
        self.watermark = self.watermark.max(w);
        let w = self.watermark;
        let (ttl, horizon) = (self.program.spec().ttl, self.program.horizon().filter(|_| w != i64::MAX));
        if (ttl.is_none() && horizon.is_none()) || w == i64::MIN {
            return;
        }
        let bound = |span: Option<i64>| span.map_or(i64::MIN, |span| if w == i64::MAX { w } else { w.saturating_sub(span) });
        for shard in self.shards.iter_mut().flatten() {
            if ttl.is_some() {
                self.evicted_keys += shard.expire(&self.program, bound(ttl));
            }
            if horizon.is_some() {
                shard.expire(&self.program, bound(horizon));
            }
        }
    }

    /// What the view holds and has let go.
    pub fn counts(&self) -> ViewCounts {
        let shards = || self.shards.iter().flatten();
        ViewCounts {
            keys: shards().map(|shard| shard.len() as u64).sum(),
            records: shards().map(|shard| shard.records()).sum(),
            evicted_keys: self.evicted_keys,
            dropped_records: self.dropped_records,
            null_entities: self.null_entities,
        }
    }

    /// The state as it is now: blocks are shared with it until it writes to them (S15), so this takes little time whatever there is. What is counted for
    /// the whole view goes with the first shard.
    pub fn freeze(&mut self) -> FrozenView {
        if let Some(shard) = self.null_shard {
            let program = &self.program;
            self.shards[usize::from(shard)].get_or_insert_with(|| Box::new(Shard::new(program, Self::ordered(program))));
        }
        let layout = [LAYOUT, self.program.stride() as u64, self.program.fixed().len() as u64, u64::from(self.map.shards())];
        let mut counts = [self.evicted_keys, self.dropped_records, self.null_entities];
        let mut shards = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let Some(shard) = shard else { continue };
            let frozen = shard.freeze();
            let mut outline = Vec::new();
            layout.iter().chain([&(self.watermark as u64)]).chain(&counts).for_each(|word| put(&mut outline, *word));
            counts = [0; 3];
            frozen.outline(&mut outline);
            shards.push(FrozenPart { shard: index as u32, outline, words: frozen.words().cloned().collect() });
        }
        FrozenView { shards }
    }

    /// Takes over a shard that `freeze` gave of the same spec: the bytes of its outline and then of its words; `version` is the one it was written with.
    pub fn thaw(&mut self, shard: u32, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != Self::VERSION {
            return Err(format!("the snapshot of a view has version {version}; this build reads version {}", Self::VERSION));
        }
        let mut reader = Reader::new(bytes);
        let layout = [LAYOUT, self.program.stride() as u64, self.program.fixed().len() as u64, u64::from(self.map.shards())];
        for expected in layout {
            if reader.word()? != expected {
                return Err("the snapshot was made by another view, or with another number of shards".to_string());
            }
        }
        self.watermark = self.watermark.max(reader.word()? as i64);
        self.evicted_keys += reader.word()?;
        self.dropped_records += reader.word()?;
        self.null_entities += reader.word()?;
        let place = self.shards.get_mut(shard as usize).ok_or("the snapshot of a view names a shard that does not exist")?;
        *place = Some(Box::new(Shard::load(&self.program, Self::ordered(&self.program), &mut reader)?));
        if reader.is_done() { Ok(()) } else { Err("the snapshot of a view goes on behind its end".to_string()) }
    }

    /// Memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.shards.capacity() * 8 + self.shards.iter().flatten().map(|shard| size_of::<Shard>() + shard.memory()).sum::<usize>()
    }
}

/// The state of a view at one moment.
#[derive(Clone, Debug)]
pub struct FrozenView {
    /// By shard, ascending; shards that never had a key are absent.
    pub shards: Vec<FrozenPart>,
}

/// One shard of a frozen view: what `ViewState::thaw` reads is the outline and then the words, little-endian.
#[derive(Clone, Debug)]
pub struct FrozenPart {
    /// Which.
    pub shard: u32,
    /// All but the words.
    pub outline: Vec<u8>,
    /// The words, block by block; they do not change any more.
    pub words: Vec<Arc<Vec<u64>>>,
}

impl FrozenPart {
    /// The bytes that `ViewState::thaw` reads.
    pub fn bytes(&self) -> Vec<u8> {
        let words = self.words.iter().flat_map(|block| block.iter()).flat_map(|word| word.to_le_bytes());
        self.outline.iter().copied().chain(words).collect()
    }
}
