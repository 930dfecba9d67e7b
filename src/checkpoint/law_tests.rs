//! Laws of checkpoints: what was written is read; what has not changed is not written; what was damaged is never believed; a crash at any moment leaves
//! the checkpoint before whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::error::{Error, Exit, Result};
use crate::time::Epoch;

/// Numbers from a seed.
struct Chance(ChaCha8Rng);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A store in memory that ends after so many effects, as a process that is killed does.
#[derive(Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    left: Mutex<Option<usize>>,
}

impl Memory {
    fn effect(&self) -> Result<()> {
        match &mut *self.left.lock().unwrap() {
            Some(0) => Err(Error::new(Exit::Io, "killed", "")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn survive(&self, effects: Option<usize>) {
        *self.left.lock().unwrap() = effects;
    }

    fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects.lock().unwrap().clone()
    }

    fn of(objects: BTreeMap<String, Vec<u8>>) -> Self {
        Self { objects: Mutex::new(objects), left: Mutex::default() }
    }
}

impl Store for Memory {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.effect()?;
        self.objects.lock().unwrap().insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects.lock().unwrap().get(name).cloned())
    }

    fn list(&self) -> Result<Vec<(String, u64)>> {
        Ok(self.objects.lock().unwrap().iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.effect()?;
        self.objects.lock().unwrap().remove(name);
        Ok(())
    }

    fn place(&self) -> String {
        "memory".to_string()
    }
}

/// State that changes as that of views does: blocks of words behind `Arc`, some of which are replaced, and small ones of bytes.
struct State {
    chance: Chance,
    shards: Vec<Vec<Arc<Vec<u64>>>>,
    learner: Vec<u8>,
}

impl State {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let block = |chance: &mut Chance| Arc::new((0..chance.below(200)).map(|_| chance.next()).collect());
        let shards = (0..5).map(|_| (0..chance.below(9)).map(|_| block(&mut chance)).collect()).collect();
        Self { chance, shards, learner: vec![1; 40] }
    }

    fn change(&mut self, blocks: usize) {
        for _ in 0..blocks {
            let (shard, kind, place) = (self.chance.below(self.shards.len()), self.chance.below(4), self.chance.below(1 << 20));
            let words: Vec<u64> = (0..self.chance.below(200)).map(|_| self.chance.next()).collect();
            let shard = &mut self.shards[shard];
            match kind {
                0 => shard.push(Arc::new(words)),
                1 if !shard.is_empty() => drop(shard.remove(place % shard.len())),
                _ if !shard.is_empty() => {
                    let at = place % shard.len();
                    shard[at] = Arc::new(words);
                }
                _ => {}
            }
        }
        let at = self.chance.below(self.learner.len());
        self.learner[at] = self.chance.next() as u8;
    }

    fn pieces(&self) -> Vec<Piece> {
        let learner = Block::Bytes(Arc::new(self.learner.clone()));
        let learner = Piece { name: PieceName { component: "models.m".to_string(), shard: None }, version: 3, blocks: vec![learner] };
        let shards = self.shards.iter().enumerate().map(|(shard, blocks)| Piece {
            name: PieceName { component: "features.v".to_string(), shard: Some(shard as u32) },
            version: 1,
            blocks: blocks.iter().cloned().map(Block::Words).collect(),
        });
        shards.chain([learner]).collect()
    }
}

fn origin(epoch: u64) -> Origin {
    let fingerprint = "0123456789abcdef".to_string();
    Origin { pipeline: "p".to_string(), fingerprint, semantics: 2, generation: 4, epoch: Epoch(epoch), shards: 256 }
}

fn read(store: &dyn Store, named: &Named) -> Result<Vec<Piece>> {
    let manifest = read_manifest(store, named)?;
    read_pieces(store, named, &manifest, |_| true)
}

#[test]
fn what_was_written_is_read_whatever_changed_and_whoever_went_on() {
    for seed in 0..40 {
        let store = Arc::new(Memory::default());
        let mut writer = Writer::new(store.clone());
        let mut state = State::new(seed);
        let mut kept: Vec<(Named, Vec<Piece>)> = Vec::new();
        for epoch in 1..30 {
            let changes = state.chance.below(6);
            state.change(changes);
            let written = writer.write(origin(epoch), state.pieces()).unwrap();
            kept.push((written.named, state.pieces()));
            if state.chance.below(5) == 0 {
                let named = kept.last().unwrap().0.clone();
                let manifest = read_manifest(&*store, &named).unwrap();
                writer = Writer::resume(store.clone(), named, manifest).unwrap();
            }
            if kept.len() > 3 {
                kept.remove(0);
            }
            let manifests: Vec<_> = kept.iter().map(|(named, _)| (named.clone(), read_manifest(&*store, named).unwrap())).collect();
            writer.sweep(&manifests).unwrap();
            for (named, pieces) in &kept {
                let mut found = read(&*store, named).unwrap();
                let mut pieces = pieces.clone();
                pieces.sort_by(|a, b| a.name.cmp(&b.name));
                found.sort_by(|a, b| a.name.cmp(&b.name));
                assert_eq!(found, pieces, "seed {seed}, epoch {epoch}");
            }
        }
        let state_bytes: usize = state.pieces().iter().flat_map(|piece| &piece.blocks).map(Block::len).sum();
        let segments: usize = store.objects().iter().filter(|(name, _)| name.ends_with(".segment")).map(|(_, bytes)| bytes.len()).sum();
        // Three checkpoints at most, none in segments that were over half garbage when it was written.
        assert!(segments <= 6 * state_bytes + 4096, "seed {seed}: {segments} bytes for a state of {state_bytes}");
    }
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let store = Arc::new(Memory::default());
    let mut writer = Writer::new(store.clone());
    let blocks = |tag: u64| (0..100).map(|at| Arc::new(vec![at + 1000 * tag; 8192])).collect::<Vec<_>>();
    let mut shard = blocks(1);
    let piece = |shard: &[Arc<Vec<u64>>]| Piece {
        name: PieceName { component: "features.v".to_string(), shard: Some(0) },
        version: 1,
        blocks: shard.iter().cloned().map(Block::Words).collect(),
    };
    let first = writer.write(origin(1), vec![piece(&shard)]).unwrap();
    assert_eq!(first.bytes, 100 * 65536);
    assert!(first.new_bytes > first.bytes);
    let same = writer.write(origin(2), vec![piece(&shard)]).unwrap();
    assert!(same.new_bytes < 20_000, "only a manifest: {}", same.new_bytes);
    shard[17] = Arc::new(vec![7; 8192]);
    let one = writer.write(origin(3), vec![piece(&shard)]).unwrap();
    assert!((65536..65536 + 20_000).contains(&one.new_bytes), "{}", one.new_bytes);
    // By content, too: nobody knows the memory after a restart.
    let manifest = read_manifest(&*store, &one.named).unwrap();
    let mut writer = Writer::resume(store.clone(), one.named, manifest).unwrap();
    let copied: Vec<_> = shard.iter().map(|block| Arc::new(block.to_vec())).collect();
    assert!(writer.write(origin(4), vec![piece(&copied)]).unwrap().new_bytes < 20_000);
    // A block that occurs twice lies once.
    let twice: Vec<_> = copied.iter().chain(&copied).cloned().collect();
    let written = writer.write(origin(5), vec![piece(&twice)]).unwrap();
    assert!(written.new_bytes < 40_000 && written.bytes == 200 * 65536, "{written:?}");
}

#[test]
fn every_damaged_byte_of_a_manifest_and_of_what_it_names_is_found() {
    let store = Arc::new(Memory::default());
    let mut writer = Writer::new(store.clone());
    let mut state = State::new(5);
    writer.write(origin(1), state.pieces()).unwrap();
    state.change(3);
    let named = writer.write(origin(2), state.pieces()).unwrap().named;
    let manifest = read_manifest(&*store, &named).unwrap();
    let objects = store.objects();
    let whole = read(&*store, &named).unwrap();
    let needed = |name: &String| *name == named.manifest || manifest.segments.contains(name);
    for (name, bytes) in objects.iter().filter(|(name, _)| needed(name)) {
        for at in 0..bytes.len() {
            let mut damaged = objects.clone();
            damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            match read(&Memory::of(damaged), &named) {
                Err(error) => assert_eq!(error.exit, Exit::Data, "{error}"),
                // Garbage of an older checkpoint: nobody needs it.
                Ok(pieces) => assert!(name.ends_with(".segment") && pieces == whole, "{name} at {at}"),
            }
        }
        for length in (0..bytes.len()).step_by(7) {
            let mut cut = objects.clone();
            cut.get_mut(name).unwrap().truncate(length);
            match read(&Memory::of(cut), &named) {
                Err(error) => assert_eq!(error.exit, Exit::Data, "{error}"),
                Ok(pieces) => assert!(name.ends_with(".segment") && pieces == whole, "{name} cut at {length}"),
            }
        }
        let mut missing = objects.clone();
        missing.remove(name);
        let error = read(&Memory::of(missing), &named).unwrap_err();
        assert!(error.exit == Exit::Data && error.cause.contains("is missing"), "{error}");
    }
    let mut other = objects.clone();
    let older = objects.keys().find(|name| name.ends_with(".manifest") && **name != named.manifest).unwrap();
    other.insert(named.manifest.clone(), objects[older].clone());
    assert!(read(&Memory::of(other), &named).unwrap_err().cause.contains("sha256"));
}

#[test]
fn a_process_that_is_killed_at_any_effect_leaves_the_named_checkpoint_whole() {
    for seed in 0..30 {
        for survived in 0.. {
            let store = Arc::new(Memory::default());
            let mut writer = Writer::new(store.clone());
            let mut state = State::new(seed);
            let first = writer.write(origin(1), state.pieces()).unwrap().named;
            let before = state.pieces();
            state.change(8);
            store.survive(Some(survived));
            let second = writer.write(origin(2), state.pieces());
            // Only once a record that names it is committed the garbage goes.
            let swept = second.is_ok().then(|| writer.sweep(&[]));
            store.survive(None);
            let (named, expected) = match &second {
                Ok(second) => (&second.named, state.pieces()),
                Err(_) => (&first, before),
            };
            assert!(same(read(&*store, named).unwrap(), expected), "seed {seed}, {survived} effects");
            if swept.is_some_and(|swept| swept.is_ok()) {
                break;
            }
            // The writer goes on after an error.
            let third = writer.write(origin(3), state.pieces()).unwrap().named;
            assert!(same(read(&*store, &third).unwrap(), state.pieces()), "seed {seed}");
        }
    }
}

fn same(mut found: Vec<Piece>, mut expected: Vec<Piece>) -> bool {
    found.sort_by(|a, b| a.name.cmp(&b.name));
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    found == expected
}

#[test]
fn a_sweep_leaves_what_is_named_and_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(&folder.path().join("checkpoints")));
    assert!(store.list().unwrap().is_empty() && store.get("x").unwrap().is_none());
    let mut writer = Writer::new(store.clone());
    let mut state = State::new(9);
    let mut all = Vec::new();
    for epoch in 1..6 {
        state.change(6);
        all.push((writer.write(origin(epoch), state.pieces()).unwrap().named, state.pieces()));
    }
    store.put("notes.txt", b"mine").unwrap();
    store.put("000000000001-0123456789abcdef.segment.tmp", b"torn").unwrap();
    let keep: Vec<_> = all[2..4].iter().map(|(named, _)| (named.clone(), read_manifest(&*store, named).unwrap())).collect();
    let gone = writer.sweep(&keep).unwrap();
    assert!(gone.iter().any(|name| name.ends_with(".tmp")) && !gone.contains(&"notes.txt".to_string()), "{gone:?}");
    let first_segment = gone.iter().position(|name| name.contains(".segment")).unwrap_or(gone.len());
    assert!(gone[first_segment..].iter().all(|name| name.contains(".segment")), "manifests go first: {gone:?}");
    for (named, pieces) in &all[2..] {
        assert!(same(read(&*store, named).unwrap(), pieces.clone()), "epoch {}", named.epoch);
    }
    assert!(read(&*store, &all[0].0).unwrap_err().cause.contains("is missing"));
    assert_eq!(store.get("notes.txt").unwrap().as_deref(), Some(&b"mine"[..]));
}

#[test]
fn manifests_of_other_formats_and_nonsense_are_refused_with_the_reason() {
    let refused = |text: &str| Manifest::decode(text.as_bytes()).unwrap_err();
    assert!(refused("{\"format\":2,\"anything\":1}").contains("format 2"));
    assert!(refused("GET / HTTP/1.1").contains("expected"));
    let manifest = |segment: &str, block: &str| {
        let origin = serde_json::to_string(&origin(1)).unwrap();
        let piece = format!("{{\"name\":{{\"component\":\"a\"}},\"version\":1,\"blocks\":[{block}]}}");
        format!("{{\"format\":1,\"origin\":{origin},\"segments\":[\"{segment}\"],\"pieces\":[{piece}]}}")
    };
    let (good, zeros) = ("000000000001-0123456789abcdef.segment", "0".repeat(64));
    assert!(Manifest::decode(manifest(good, &format!("[\"{zeros}\",0,8,5]")).as_bytes()).is_ok());
    assert!(refused(&manifest("../../etc/passwd", &format!("[\"{zeros}\",0,8,5]"))).contains("no name of a segment"));
    assert!(refused(&manifest(good, &format!("[\"{zeros}\",1,8,5]"))).contains("nowhere"));
    assert!(refused(&manifest(good, &format!("[\"{zeros}\",0,18446744073709551615,5]"))).contains("nowhere"));
    assert!(refused(&manifest(good, "[\"zz\",0,8,5]")).contains("64 hexadecimal digits"));
}
