//! The label join against its rules, and against a model that keeps everything.

use super::*;

fn at(offset: u64) -> Position {
    Position { epoch: 1, offset, ..Position::default() }
}

#[test]
fn either_side_comes_first_and_the_pair_stands_at_the_later_one() {
    let mut join = LabelJoin::new(10);
    assert_eq!(join.row(b"a", 100, at(1), "row a"), RowOutcome::Waiting);
    let LabelOutcome::Matched(pair) = join.label(b"a", 105, at(2), 1.0) else { panic!("a waits") };
    assert_eq!((pair.payload, pair.row_time, pair.label_time, pair.y, pair.position), ("row a", 100, 105, 1.0, at(2)));
    assert_eq!(join.label(b"b", 105, at(3), 0.0), LabelOutcome::Waiting);
    let RowOutcome::Matched(pair) = join.row(b"b", 102, at(4), "row b") else { panic!("b waits") };
    assert_eq!((pair.payload, pair.y, pair.position), ("row b", 0.0, at(4)));
    let counts = join.counts();
    assert_eq!((counts.matched, counts.waiting_rows, counts.waiting_labels, counts.median_delay), (2, 0, 0, Some(3)));
}

#[test]
fn the_first_label_wins_and_later_ones_are_duplicates() {
    let mut join = LabelJoin::new(10);
    join.row(b"a", 0, at(1), ());
    assert!(matches!(join.label(b"a", 3, at(2), 1.0), LabelOutcome::Matched(_)));
    assert_eq!(join.label(b"a", 4, at(3), 0.0), LabelOutcome::Duplicate);
    assert_eq!(join.label(b"early", 4, at(4), 0.0), LabelOutcome::Waiting);
    assert_eq!(join.label(b"early", 5, at(5), 1.0), LabelOutcome::Duplicate);
    let RowOutcome::Matched(pair) = join.row(b"early", 1, at(6), ()) else { panic!("the label waits") };
    assert_eq!(pair.y, 0.0);
    assert_eq!((join.counts().matched, join.counts().duplicate), (2, 2));
}

#[test]
fn a_label_outside_the_window_claims_nothing() {
    let mut join = LabelJoin::new(10);
    join.row(b"a", 100, at(1), ());
    assert_eq!(join.label(b"a", 99, at(2), 1.0), LabelOutcome::OutOfWindow);
    assert_eq!(join.label(b"a", 111, at(3), 1.0), LabelOutcome::OutOfWindow);
    assert!(matches!(join.label(b"a", 110, at(4), 1.0), LabelOutcome::Matched(_)));
    join.label(b"b", 50, at(5), 1.0);
    assert_eq!(join.row(b"b", 51, at(6), ()), RowOutcome::Waiting);
    assert!(matches!(join.label(b"b", 51, at(7), 1.0), LabelOutcome::Matched(_)));
    assert_eq!((join.counts().out_of_window, join.counts().matched), (3, 2));
}

#[test]
fn rows_expire_when_the_watermark_reaches_their_due_time_in_order_of_time_and_key() {
    let mut join = LabelJoin::new(10);
    for (key, time) in [(&b"z"[..], 5), (b"b", 5), (b"a", 6), (b"c", 4), (b"matched", 5)] {
        join.row(key, time, at(time as u64), time);
    }
    join.label(b"matched", 7, at(9), 1.0);
    assert!(join.expire(13).is_empty());
    let keys = |expired: Vec<Expired<i64>>| expired.iter().map(|row| (row.key.to_vec(), row.due)).collect::<Vec<_>>();
    assert_eq!(keys(join.expire(15)), [(b"c".to_vec(), 14), (b"b".to_vec(), 15), (b"z".to_vec(), 15)]);
    assert_eq!(join.label(b"matched", 7, at(10), 1.0), LabelOutcome::Waiting, "forgotten with its window");
    assert_eq!(keys(join.expire(i64::MAX)), [(b"a".to_vec(), 16)]);
    let counts = join.counts();
    assert_eq!((counts.expired, counts.orphan, counts.waiting_rows, counts.waiting_labels), (4, 1, 0, 0));
    assert_eq!(join.identities.len(), 0);
}

#[test]
fn a_label_is_an_orphan_once_no_row_can_come() {
    let mut join: LabelJoin<()> = LabelJoin::new(10);
    join.label(b"a", 20, at(1), 1.0);
    join.expire(20);
    assert_eq!(join.counts().waiting_labels, 1, "a row at 20 is not late yet");
    join.expire(21);
    assert_eq!((join.counts().waiting_labels, join.counts().orphan), (0, 1));
}

#[test]
fn a_second_row_of_an_identity_is_given_back() {
    let mut join = LabelJoin::new(10);
    join.row(b"a", 0, at(1), 1);
    assert_eq!(join.row(b"a", 1, at(2), 2), RowOutcome::Repeated(2));
    let LabelOutcome::Matched(pair) = join.label(b"a", 3, at(3), 1.0) else { panic!("a waits") };
    assert_eq!(pair.payload, 1);
    assert_eq!(join.row(b"a", 4, at(4), 3), RowOutcome::Repeated(3));
    assert!(join.expire(10).is_empty());
    assert_eq!(join.row(b"a", 12, at(5), 4), RowOutcome::Waiting, "the identity is free again");
    assert_eq!(join.counts().repeated, 2);
}

/// A stream of events: rows with a probability of a half, over a few identities, times roughly ascending.
fn events(count: u64) -> Vec<(bool, Vec<u8>, i64)> {
    let mut state = 7u64;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 33
    };
    (0..count).map(|i| (next() % 2 == 0, (next() % 40).to_le_bytes().to_vec(), (i * 3 + next() % 20) as i64)).collect()
}

#[test]
fn every_row_and_label_is_counted_once_and_a_restored_join_continues_alike() {
    let (mut join, mut rows, mut labels) = (LabelJoin::new(30), 0, 0);
    let mut log = Vec::new();
    for (i, (is_row, key, time)) in events(4000).into_iter().enumerate() {
        let position = at(i as u64);
        if is_row {
            rows += 1;
            log.push(format!("{:?}", join.row(&key, time, position, (i as u64, f64::to_bits(0.1)))));
        } else {
            labels += 1;
            log.push(format!("{:?}", join.label(&key, time, position, 0.1)));
        }
        if i % 50 == 49 {
            log.push(format!("{:?}", join.expire(i as i64 * 3 - 10)));
        }
        if i % 700 == 0 {
            let write = &mut |payload: &(u64, u64)| format!("{} {}", payload.0, payload.1).into_bytes();
            let bytes = join.snapshot(write).unwrap();
            let again = LabelJoin::restore(30, VERSION, &bytes, &mut |bytes| {
                let (a, b) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' ')).ok_or("a pair")?;
                Ok((a.parse().map_err(|_| "a number")?, b.parse().map_err(|_| "a number")?))
            });
            let again: LabelJoin<(u64, u64)> = again.unwrap();
            assert_eq!(again.counts(), join.counts());
            assert_eq!(again.snapshot(write).unwrap(), bytes);
            let mut both = [join.clone(), again];
            let futures = both.each_mut().map(|join| {
                let continued = events(300).into_iter().enumerate().map(|(i, (is_row, key, time))| {
                    let position = at(10_000 + i as u64);
                    if is_row {
                        format!("{:?}", join.row(&key, time + 900, position, (1, 2)))
                    } else {
                        format!("{:?}", join.label(&key, time + 900, position, 1.0))
                    }
                });
                (continued.collect::<Vec<_>>(), join.expire(1_500), join.counts())
            });
            assert_eq!(futures[0], futures[1]);
        }
    }
    let c = join.counts();
    assert_eq!(rows, c.matched + c.expired + c.repeated + c.waiting_rows);
    assert_eq!(labels, c.matched + c.duplicate + c.orphan + c.out_of_window + c.waiting_labels);
    assert!(c.matched > 100 && c.expired > 100 && c.duplicate > 100 && c.orphan > 100 && c.out_of_window > 10 && c.repeated > 100, "{c:?}");
    assert!(join.bytes() < 100_000);
    join.expire(i64::MAX);
    assert_eq!((join.counts().waiting_rows, join.counts().waiting_labels, join.identities.len()), (0, 0, 0));
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut join = LabelJoin::new(30);
    join.row(b"a", 0, at(1), 5u64);
    join.label(b"b", 0, at(2), 0.5);
    let bytes = join.snapshot(&mut |payload| payload.to_le_bytes().to_vec()).unwrap();
    let restore = |version, bytes: &[u8]| {
        LabelJoin::<u64>::restore(30, version, bytes, &mut |bytes| {
            bytes.try_into().map(u64::from_le_bytes).map_err(|_| "8 bytes".to_string())
        })
    };
    for length in 0..bytes.len() {
        assert!(restore(VERSION, &bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(restore(VERSION + 1, &bytes).unwrap_err().contains("version"));
    assert!(restore(VERSION, &[bytes, vec![0]].concat()).unwrap_err().contains("too many"));
}
