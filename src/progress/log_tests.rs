//! Damage to `progress.log`: cut anywhere, changed anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::error::Exit;
use crate::time::Epoch;

fn start() -> StartRecord {
    StartRecord {
        pipeline: "p".into(),
        fingerprint: "f".into(),
        semantics: 1,
        generation: 1,
        sinks: BTreeMap::new(),
        components: BTreeMap::new(),
    }
}

fn epoch(number: u64) -> LogEntry {
    LogEntry::Epoch(Box::new(ProgressRecord::new(Epoch(number))))
}

/// A log of a start and three records, the last two appended together, and the ends of its entries.
fn three_records(path: &Path) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut log = FileLog::create(path, &start()).unwrap();
    let mut note = || ends.push(fs::metadata(path).unwrap().len() as usize);
    note();
    log.append(&[epoch(1)]).unwrap();
    note();
    log.append(&[epoch(2)]).unwrap();
    note();
    log.append(&[epoch(3)]).unwrap();
    note();
    ends
}

#[test]
fn every_truncation_leaves_the_whole_entries_and_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.log");
    let ends = three_records(&path);
    let whole = fs::read(&path).unwrap();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let opened = FileLog::open(&path);
        if length < ends[0] {
            // The start was durable before the file had its name: a shorter file is damage, never a crash.
            assert_eq!(opened.unwrap_err().exit, Exit::Data, "at {length}");
            continue;
        }
        let (mut log, entries, warning) = opened.unwrap().unwrap();
        let kept = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(entries.len(), kept, "at {length}");
        assert_eq!(warning.is_some(), !ends.contains(&length), "at {length}");
        assert_eq!(fs::metadata(&path).unwrap().len() as usize, ends[kept - 1]);
        // And it goes on.
        log.append(&[epoch(9)]).unwrap();
        let (_, again, warning) = FileLog::open(&path).unwrap().unwrap();
        assert_eq!((again.len(), again.last(), warning), (kept + 1, Some(&epoch(9)), None));
    }
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.log");
    let ends = three_records(&path);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for flip in [0x01, 0x80] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            fs::write(&path, &damaged).unwrap();
            let opened = FileLog::open(&path);
            if at < ends[2] {
                let error = opened.unwrap_err();
                assert_eq!(error.exit, Exit::Data, "byte {at}");
                assert!(error.help.contains("--fresh"));
            } else {
                // Damage to the newest entry cannot be told from a torn write of it.
                let (_, entries, warning) = opened.unwrap().unwrap();
                assert_eq!((entries.len(), warning.is_some()), (3, true), "byte {at}");
            }
        }
    }
}

#[test]
fn a_group_that_reached_the_disk_out_of_order_is_torn_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("progress.log");
    let mut log = FileLog::create(&path, &start()).unwrap();
    log.append(&[epoch(1)]).unwrap();
    let before = fs::metadata(&path).unwrap().len() as usize;
    log.append(&[epoch(2), epoch(3)]).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[before..before + 20].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, entries, warning) = FileLog::open(&path).unwrap().unwrap();
    assert_eq!((entries.len(), warning.is_some()), (2, true));
}

#[test]
fn records_survive_json_and_chains_are_checked() {
    let mut first = ProgressRecord::new(Epoch(1));
    let binding = |start, end| Binding { start, end, rows: 2, xxh3: crate::sinks::Digest(u64::MAX), max_time: None };
    let source = |start, end| SourceProgress {
        partitions: BTreeMap::from([("a.ndjson".to_owned(), binding(start, end))]),
        watermark: crate::time::EventTime::MIN,
        idle: Default::default(),
    };
    first.sources.insert("s".into(), source(5, 10));
    first.quarantined.insert("s".into(), BTreeMap::from([(crate::data::Reason::LabelDuplicate, 3)]));
    first.control.push(serde_json::json!({"op": "degrade"}));
    let text = serde_json::to_string(&first).unwrap();
    assert!(text.contains("\"xxh3\":\"ffffffffffffffff\"") && !text.contains("final"), "{text}");
    assert_eq!(serde_json::from_str::<ProgressRecord>(&text).unwrap(), first);

    let mut second = ProgressRecord::new(Epoch(2));
    second.sources.insert("s".into(), source(10, 11));
    check_chain(&[first.clone(), second.clone()]).unwrap();
    assert!(check_chain(&[second.clone()]).unwrap_err().contains("epoch 2 where epoch 1"));
    let mut gap = second.clone();
    gap.sources.insert("s".into(), source(11, 12));
    assert!(check_chain(&[first.clone(), gap]).unwrap_err().contains("from 11 to 12, after 10"));
    let mut ended = first.clone();
    ended.last = true;
    assert!(check_chain(&[ended, second.clone()]).unwrap_err().contains("after the final epoch"));
    let mut older = first;
    older.generation = 4;
    assert!(check_chain(&[older, second]).unwrap_err().contains("generation"));
}
