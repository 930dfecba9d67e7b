//! Checkpoints of a large state: `cargo bench --bench checkpoints`. `CHECKPOINT_MIB` says how large, 1,024 unless given.
//!
//! The state is that of workload W's view by user. Printed are: how long its owner is held up (freezing, and the first writes to frozen blocks), what the
//! checkpoint thread takes to write the first one and one after a hundredth of the keys have changed, and what a start takes to read it back into a view.
//! The folder is a temporary one, `TMPDIR` moves it. Nothing is judged: disks differ.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::ScalarBuffer;
use tidemill::checkpoint::{Folder, Origin, Store, Writer, Written, read_manifest, read_pieces};
use tidemill::data::KeyColumn;
use tidemill::features::{Argument, Updates};
use tidemill::ids::ShardMap;
use tidemill::render::view_pieces;
use tidemill::state::ViewState;
use tidemill::time::Epoch;

#[path = "workload/mod.rs"]
mod workload;

use workload::{uniform, w};

/// That of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 16_384;
const MIB: f64 = (1u64 << 20) as f64;

/// Applies an epoch of records of keys below `keys`, each 1 ms after the one before; the seconds it took.
fn apply(state: &mut ViewState, next: &mut impl FnMut() -> f64, keys: f64, start: &mut i64) -> f64 {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..RECORDS).map(|_| format!("u{:07}", (next() * keys) as usize))));
    let keys = KeyColumn::encode(&[names], RECORDS);
    let amounts: Vec<f64> = (0..RECORDS).map(|_| (next() * 20_000.0).round() / 100.0).collect();
    let times: ScalarBuffer<i64> = (0..RECORDS as i64).map(|record| *start + record * 1_000).collect();
    *start += RECORDS as i64 * 1_000;
    let updates = Updates { times, arguments: vec![Argument::Float64 { values: amounts.into(), nulls: None }], filters: Vec::new() };
    let began = Instant::now();
    (0..RECORDS).for_each(|row| state.update(&keys, row, &updates, None, None));
    began.elapsed().as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: f64 = std::env::var("CHECKPOINT_MIB").map_or(Ok(1_024.0), |text| text.parse())?;
    let plan = w();
    let view = plan.views.iter().find(|view| view.id.as_str() == "features.u").ok_or("W has no view by user")?;
    let map = ShardMap::new(plan.shards, 1);
    let mut state = ViewState::new(view.spec.clone(), map);
    let (mut next, mut start) = (uniform(7), 1_700_000_000_000_000);
    // As W has it: some sixteen records a user.
    let keys = wanted * 1_000.0;
    while (state.bytes() as f64) < wanted * MIB {
        for _ in 0..16 {
            apply(&mut state, &mut next, keys, &mut start);
        }
    }
    let counts = state.counts();
    println!("state                          {:.0} MiB, {} keys, {} records", state.bytes() as f64 / MIB, counts.keys, counts.records);
    let plain = (0..8).map(|_| apply(&mut state, &mut next, keys, &mut start)).fold(f64::INFINITY, f64::min);

    let folder = tempfile::tempdir()?;
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let mut writer = Writer::new(store.clone());
    let origin = |epoch| Origin {
        pipeline: plan.name.clone(),
        fingerprint: plan.fingerprint.whole.clone(),
        semantics: tidemill::progress::SEMANTICS_VERSION,
        generation: 1,
        epoch: Epoch(epoch),
        shards: plan.shards,
    };
    let mut checkpoint = |state: &mut ViewState, epoch| -> Result<Written, tidemill::error::Error> {
        let began = Instant::now();
        let pieces = view_pieces("features.u", state.freeze());
        println!("freeze                         {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let written = writer.write(origin(epoch), pieces)?;
        let (seconds, new) = (began.elapsed().as_secs_f64(), written.new_bytes as f64 / MIB);
        println!("write                          {seconds:.2} s, {new:.0} of {:.0} MiB", written.bytes as f64 / MIB);
        Ok(written)
    };
    checkpoint(&mut state, 1)?;
    // While a checkpoint is being written its blocks are shared: the first write to each copies it.
    let held = state.freeze();
    let copying = apply(&mut state, &mut next, keys, &mut start);
    drop(held);
    let (plain, copying) = (plain * 1e3, copying * 1e3);
    println!("epoch of {RECORDS} records        {plain:.1} ms, {copying:.1} ms right after freezing");
    checkpoint(&mut state, 2)?;
    apply(&mut state, &mut next, keys / 100.0, &mut start);
    let written = checkpoint(&mut state, 3)?;

    let began = Instant::now();
    let manifest = read_manifest(&*store, &written.named)?;
    let pieces = read_pieces(&*store, &written.named, &manifest, |_| true)?;
    let read = began.elapsed().as_secs_f64();
    let mut restored = ViewState::new(view.spec.clone(), map);
    for piece in &pieces {
        restored.thaw(piece.name.shard.unwrap_or_default(), piece.version, &piece.bytes())?;
    }
    println!("read, verify; into a view      {read:.2} s; {:.2} s", began.elapsed().as_secs_f64() - read);
    if restored.counts() == state.counts() { Ok(()) } else { Err("another state came back".into()) }
}
