//! Crash points of the file committer: the folder is copied after every step of a commit, and every copy is continued by a new committer. Whatever the
//! step, the files end up byte for byte as those of an undisturbed run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use super::*;
use crate::error::{Exit, Result};
use crate::ids::ComponentId;
use crate::sinks::{Encoded, SinkRows, SinkSettings, Target, encoder};
use crate::time::Epoch;

const EPOCHS: u64 = 8;

fn id(name: &str) -> ComponentId {
    ComponentId::new("sinks", name)
}

fn rows(epoch: u64) -> RecordBatch {
    let count = 40 + epoch as i64;
    let numbers = Int64Array::from_iter_values((0..count).map(|i| epoch as i64 * 1_000 + i));
    let values = Float64Array::from_iter((0..count).map(|i| (i % 7 > 0).then_some(i as f64 / epoch as f64)));
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef), ("x", Arc::new(values))]).unwrap()
}

fn schema() -> SchemaRef {
    rows(1).schema()
}

/// An NDJSON file, parts by value that close every few epochs, and one Parquet file for the whole run, all below `root`.
fn settings(root: &Path) -> CommitSettings {
    let parquet = |path: &str, partition_name: Option<&str>| Target::Parquet {
        path: root.join(path),
        partition_name: partition_name.map(str::to_owned),
        max_rows: 50,
        max_bytes: 1 << 20,
    };
    let sink = |name: &str, target| SinkSettings { id: id(name), schema: schema(), target, network: false };
    CommitSettings {
        pipeline: "p".into(),
        state_dir: root.join("state"),
        sinks: vec![
            sink("lines", Target::Lines { path: root.join("out/p.ndjson") }),
            sink("parts", parquet("out/parts", Some("k"))),
            sink("single", parquet("out/all.parquet", None)),
        ],
        kafka: None,
        topics_read: Vec::new(),
        fresh: false,
        fingerprint: "f".into(),
        components: BTreeMap::new(),
        inputs: Inputs::default(),
        device: None,
    }
}

/// Epoch 3 is empty; the others feed all sinks, with partition values that come and go.
fn epoch(number: u64) -> EpochOutputs {
    let mut record = ProgressRecord::new(Epoch(number));
    record.last = number == EPOCHS;
    let mut outputs = BTreeMap::new();
    if number != 3 {
        let batch = rows(number);
        let by: ArrayRef =
            Arc::new(Int64Array::from_iter((0..batch.num_rows() as i64).map(|i| (i % 5 > 0).then_some(i % 3 + number as i64 / 4))));
        for (name, kind, by) in [("lines", "file", None), ("parts", "parquet", Some(&by)), ("single", "parquet", None)] {
            let rows = SinkRows { columns: &batch, times: &[], by };
            outputs.insert(id(name), encoder(kind, &batch.schema()).unwrap().encode(&rows).unwrap().encoded);
        }
    }
    EpochOutputs { record, outputs }
}

/// All files below `root/out` with their content.
fn outputs(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join("out")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Opens, replays what is committed, and commits the rest in groups of `group`.
fn run(settings: CommitSettings, group: usize) -> Result<Recovered> {
    let (mut committer, recovered) = Committer::open(settings)?;
    for record in &recovered.records {
        committer.verify(&epoch(record.epoch.0))?;
    }
    let rest: Vec<u64> = (committer.next().0..=EPOCHS).collect();
    for group in rest.chunks(group) {
        committer.commit(group.iter().map(|number| epoch(*number)).collect())?;
    }
    Ok(recovered)
}

#[test]
fn groups_do_not_change_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for group in [1, 3, 8] {
        let root = folder.path().join(group.to_string());
        let recovered = run(settings(&root), group).unwrap();
        assert_eq!((recovered.records.len(), recovered.generation), (0, 1));
        seen.push(outputs(&root));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let names: Vec<&String> = seen[0].keys().collect();
    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
    assert!(names.iter().filter(|name| name.starts_with("out/parts/k=")).count() > 6, "{names:?}");
    let lines = String::from_utf8(seen[0]["out/p.ndjson"].clone()).unwrap();
    assert_eq!(lines.lines().count(), (1..=EPOCHS).filter(|e| *e != 3).map(|e| 40 + e as usize).sum::<usize>());
}

#[test]
fn every_crash_point_ends_in_the_bytes_of_an_undisturbed_run() {
    // The folder is moved aside and back under one name, because places of sinks are part of what must not change.
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    run(settings(&root), 1).unwrap();
    let want = outputs(&root);
    fs::remove_dir_all(&root).unwrap();

    let mut snapshots: Vec<PathBuf> = Vec::new();
    let snap = |snapshots: &mut Vec<PathBuf>| {
        let to = folder.path().join(format!("snap-{}", snapshots.len()));
        copy(&root, &to);
        snapshots.push(to);
    };
    let (mut committer, _) = Committer::open(settings(&root)).unwrap();
    snap(&mut snapshots);
    for group in [vec![1], vec![2, 3, 4], vec![5], vec![6, 7], vec![8]] {
        let mut staged = Vec::new();
        for number in group {
            let outputs = epoch(number);
            let record = committer.stage(&outputs).unwrap();
            staged.push((record, outputs.outputs));
            snap(&mut snapshots);
        }
        committer.sync().unwrap();
        snap(&mut snapshots);
        committer.record(&staged).unwrap();
        snap(&mut snapshots);
        committer.publish().unwrap();
        snap(&mut snapshots);
    }
    drop(committer);

    for (at, snapshot) in snapshots.iter().enumerate() {
        let (group, torn) = (1 + at % 4, at % 2 * 9);
        let _ = fs::remove_dir_all(&root);
        copy(snapshot, &root);
        let log = root.join("state/progress.log");
        let bytes = fs::read(&log).unwrap();
        if torn > 0 {
            // An append that reached the disk in part.
            fs::write(&log, [&bytes[..], &bytes[8..8 + torn]].concat()).unwrap();
        }
        let recovered = run(settings(&root), group).unwrap_or_else(|error| panic!("snapshot {at}: {error}"));
        assert_eq!(recovered.warnings.len(), usize::from(torn > 0), "snapshot {at}: {:?}", recovered.warnings);
        assert_eq!(outputs(&root), want, "snapshot {at}, groups of {group}");
    }
    assert!(snapshots.len() > 20);
}

#[test]
fn a_stopped_run_goes_on_after_each_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let want = folder.path().join("want");
    run(settings(&want), 2).unwrap();
    let root = folder.path().join("run");
    for stop in 1..=EPOCHS {
        let (mut committer, recovered) = Committer::open(settings(&root)).unwrap();
        assert_eq!((recovered.records.len() as u64, recovered.generation), (stop - 1, stop));
        recovered.records.iter().for_each(|record| committer.verify(&epoch(record.epoch.0)).unwrap());
        committer.commit(vec![epoch(stop)]).unwrap();
    }
    assert_eq!(outputs(&root), outputs(&want));
    let (committer, recovered) = Committer::open(settings(&root)).unwrap();
    assert!(recovered.finished);
    assert_eq!(recovered.generation, EPOCHS);
    let totals = committer.totals();
    assert_eq!(totals[0].bytes, outputs(&root)["out/p.ndjson"].len() as u64);
    assert_eq!(totals[1].parts as usize, outputs(&root).keys().filter(|name| name.contains("k=")).count());
    assert!(totals.iter().all(|sink| sink.rows == totals[0].rows));
}

#[test]
fn what_does_not_belong_together_is_refused_and_fresh_starts_over() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    run(settings(&root), 2).unwrap();
    let want = outputs(&root);

    let other = CommitSettings { fingerprint: "g".into(), ..settings(&root) };
    let refused = Committer::open(other.clone()).err().unwrap();
    assert_eq!(refused.exit, Exit::Data);
    assert!(refused.cause.contains("has changed") && refused.help.contains("--fresh"), "{refused}");
    let elsewhere = CommitSettings { state_dir: root.join("other-state"), ..settings(&root) };
    let refused = Committer::open(elsewhere).err().unwrap();
    assert!(refused.cause.contains("already exists") && refused.help.contains("--fresh"), "{refused}");
    assert_eq!(outputs(&root), want);

    store_summary(&root.join("state"), &1).unwrap();
    fs::write(root.join("out/parts/mine.txt"), "kept").unwrap();
    let (mut committer, recovered) = Committer::open(CommitSettings { fresh: true, ..other }).unwrap();
    assert_eq!((recovered.records.len(), recovered.finished, recovered.generation), (0, false, 1));
    assert_eq!(load_summary::<u32>(&root.join("state")).unwrap(), None);
    assert_eq!(outputs(&root).into_keys().collect::<Vec<_>>(), ["out/p.ndjson", "out/parts/mine.txt"]);
    let second = Committer::open(settings(&root)).err().unwrap();
    assert!(second.cause.contains(&std::process::id().to_string()), "{second}");
    for number in 1..=EPOCHS {
        committer.commit(vec![epoch(number)]).unwrap();
    }
    fs::remove_file(root.join("out/parts/mine.txt")).unwrap();
    assert_eq!(outputs(&root), want);
}

#[test]
fn a_replay_that_gives_something_else_stops() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let (mut committer, _) = Committer::open(settings(&root)).unwrap();
    committer.commit(vec![epoch(1), epoch(2)]).unwrap();
    drop(committer);

    let (mut committer, _) = Committer::open(settings(&root)).unwrap();
    assert_eq!(committer.commit(vec![epoch(3)]).unwrap_err().exit, Exit::Internal);
    committer.verify(&epoch(1)).unwrap();
    let mut wrong = epoch(2);
    if let Some(Encoded::Lines { bytes, .. }) = wrong.outputs.get_mut(&id("lines")) {
        bytes[5] = b'9';
    }
    let error = committer.verify(&wrong).unwrap_err();
    assert_eq!(error.exit, Exit::Internal);
    assert!(error.cause.contains("epoch 2") && error.cause.contains("sinks.lines"), "{error}");
    assert!(committer.commit(vec![epoch(3)]).is_err());
    drop(committer);

    fs::write(root.join("out/p.ndjson"), "short").unwrap();
    let error = Committer::open(settings(&root)).err().unwrap();
    assert_eq!(error.exit, Exit::Data);
}

#[test]
fn a_removed_part_is_a_warning_and_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    run(settings(&root), 8).unwrap();
    let part = outputs(&root).into_keys().find(|name| name.contains("k=")).unwrap();
    fs::remove_file(root.join(&part)).unwrap();
    let (_, recovered) = Committer::open(settings(&root)).unwrap();
    assert_eq!(recovered.warnings.len(), 1);
    assert!(!root.join(&part).exists());
}

#[test]
fn two_sinks_in_one_place_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut twice = settings(folder.path());
    twice.sinks[1].target = twice.sinks[0].target.clone();
    let refused = Committer::open(twice).err().unwrap();
    assert_eq!(refused.exit, Exit::Config);
    assert!(refused.cause.contains("sinks.lines and sinks.parts"), "{refused}");
}
