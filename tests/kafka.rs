//! Tidemill against a real Apache Kafka (`tests/kafka/broker.sh`): what comes out, read by clients that are not Tidemill's code, after undisturbed runs
//! and after everything that goes wrong.
//!
//! Runs where Java and Maven are found; elsewhere one line says `not run`. Everything random has a seed. Waiting is always for a condition.

#[path = "kafka/cluster.rs"]
mod cluster;
#[path = "kafka/flights.rs"]
mod flights;
#[path = "kafka/ledger.rs"]
mod ledger;
#[path = "kafka/security.rs"]
mod security;
#[path = "kafka/tidemill.rs"]
mod tidemill;
#[path = "kafka/topics.rs"]
mod topics;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::{Kafka, Node, Seen, kafka};
use flights::Topics;
use ledger::Ledger;
use tidemill::Pipeline;

/// A generator of numbers with a seed (SplitMix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Keys as numbers, sorted.
fn identities<'a>(partitions: impl IntoIterator<Item = &'a Vec<Seen>>) -> Vec<i64> {
    let key = |seen: &Seen| String::from_utf8(seen.key.clone().unwrap()).unwrap().parse::<i64>().unwrap();
    let mut ids: Vec<i64> = partitions.into_iter().flatten().map(key).collect();
    ids.sort_unstable();
    ids
}

/// Headers and order of one run's output: each partition goes up in epochs and, within an epoch, in event time; an epoch belongs to one generation, and
/// it has as many rows as its progress record says. `sink` is the sink's id in the records.
fn check_epochs<'a>(partitions: impl IntoIterator<Item = &'a Vec<Seen>>, records: &[serde_json::Value], sink: &str) {
    let mut rows: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for partition in partitions {
        let order: Vec<(u64, i64)> = partition.iter().map(|seen| (seen.number("epoch"), seen.timestamp)).collect();
        assert!(order.is_sorted(), "a partition goes back in epochs or event time");
        assert!(partition.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        for seen in partition {
            let (generation, count) = rows.entry(seen.number("epoch")).or_insert((seen.number("generation"), 0));
            assert_eq!(*generation, seen.number("generation"), "one epoch, two generations");
            *count += 1;
        }
    }
    let recorded: BTreeMap<u64, (u64, u64)> = records
        .iter()
        .filter_map(|record| {
            let rows = record["outputs"][sink]["rows"].as_u64()?;
            Some((record["epoch"].as_u64().unwrap(), (record["generation"].as_u64().unwrap(), rows)))
        })
        .collect();
    assert_eq!(rows, recorded, "rows in the topic against the progress records");
    check_chain(records);
}

/// The progress records are dense from epoch 1; each partition goes on where it ended; watermarks never fall.
fn check_chain(records: &[serde_json::Value]) {
    let mut ends: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut watermark = i64::MIN;
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record["epoch"].as_u64(), Some(index as u64 + 1));
        assert!(record["watermark"].as_i64().unwrap() >= watermark);
        watermark = record["watermark"].as_i64().unwrap();
        for (source, progress) in record["sources"].as_object().unwrap() {
            for (partition, binding) in progress["partitions"].as_object().into_iter().flatten() {
                let end = ends.insert((source.clone(), partition.clone()), binding["end"].as_u64().unwrap());
                assert_eq!(binding["start"].as_u64(), Some(end.unwrap_or(binding["start"].as_u64().unwrap())), "{source} {partition}");
            }
        }
    }
}

/// Rows in, used and quarantined, summed over records.
fn rows(records: &[serde_json::Value]) -> (u64, u64, u64) {
    let count = |name: &str| records.iter().filter_map(|record| record["counters"][name].as_u64()).sum();
    let reasons = |record: &serde_json::Value| {
        let of_sources = record["quarantined"].as_object().cloned().unwrap_or_default();
        of_sources.values().flat_map(|reasons| reasons.as_object().unwrap().values()).filter_map(serde_json::Value::as_u64).sum::<u64>()
    };
    (count("rows_in"), count("rows_used"), records.iter().map(reasons).sum())
}

/// What does not depend on which process wrote it: everything but offsets and the generation.
fn content(seen: &[Seen]) -> Vec<Seen> {
    let strip = |seen: &Seen| {
        let mut seen = Seen { offset: 0, ..seen.clone() };
        seen.headers.remove("generation");
        seen
    };
    seen.iter().map(strip).collect()
}

#[test]
fn flights_come_out_once_each_in_order_and_a_stopped_run_goes_on() {
    let Some(kafka) = kafka() else { return };
    let name = kafka.name("flights");
    let topics = Topics::create(&kafka, &name);
    let messages = flights::first(6_000);
    let (before, after) = messages.split_at(messages.len() / 2);
    let sender = kafka.producer();
    topics.send(&sender, before);
    let pipeline = Pipeline::new(&kafka, &topics.pipeline(&name, 1024));
    let first = flights::predicted(before).len();
    let mut run = pipeline.start(&["-w", "2"]);
    run.until("the first half is predicted", || kafka.count(&topics.predictions) >= first);
    // Idle now: a signal must be heard all the same.
    let said = run.stop();
    assert!(said.contains("run the same command again"), "{said}");
    let epochs = pipeline.records().len();

    topics.send(&sender, after);
    let mut run = pipeline.start(&["-w", "1"]);
    let all = flights::predicted(&messages);
    let file = pipeline.folder().join("console");
    let console = kafka.console(&topics.predictions, &file);
    run.until("a Java client has read all predictions", || console.lines() >= all.len());
    run.stop();
    let seen = console.end();
    assert_eq!(identities(seen.values()), all);
    let records = pipeline.records();
    assert!(records.len() > epochs);
    check_epochs(seen.values(), &records, "sinks.predictions");
    assert_eq!(rows(&records), (messages.len() as u64, messages.len() as u64, 0));
    // Both clients see the same.
    let again = kafka.read(&topics.predictions);
    assert!(seen.iter().all(|(partition, seen)| again[*partition as usize] == *seen));
    // Whoever catches up reads its streams side by side: no epoch has departures a day ahead of its arrivals.
    for record in &records {
        let newest = |source: &str| {
            record["sources"][source]["partitions"].as_object().into_iter().flatten().filter_map(|(_, b)| b["max_time"].as_i64()).max()
        };
        if let (Some(departures), Some(arrivals)) = (newest("departures"), newest("arrivals")) {
            assert!((departures - arrivals).abs() < 24 * 3_600_000_000, "epoch {}", record["epoch"]);
        }
    }
}

#[test]
fn ten_kills_leave_every_prediction_once_and_the_bytes_of_an_undisturbed_run() {
    let Some(kafka) = kafka() else { return };
    let name = kafka.name("killed");
    let topics = Topics::create(&kafka, &name);
    let messages = flights::first(20_000);
    let all = flights::predicted(&messages);
    let pipeline = Pipeline::new(&kafka, &topics.pipeline(&name, 512));
    let file = pipeline.folder().join("console");
    let console = kafka.console(&topics.predictions, &file);
    let mut random = Seeded(0x7139_0001);
    // Seven kills when so many predictions are out, and a little later; three at some moment after the start: starting, replaying, catching up.
    let mut moments: Vec<usize> = (0..7).map(|_| random.below(all.len() as u64 * 9 / 10) as usize).collect();
    moments.sort_unstable();
    let mut moments: Vec<Option<usize>> = moments.into_iter().map(Some).collect();
    (0..3).for_each(|_| moments.insert(1 + random.below(moments.len() as u64 - 1) as usize, None));
    std::thread::scope(|scope| {
        scope.spawn(|| topics.feed(&kafka.producer(), &messages, 300));
        let mut from_checkpoints = 0;
        for (nth, moment) in moments.into_iter().enumerate() {
            // State goes from one number of workers to another.
            let mut run = pipeline.start(&["-w", ["2", "1", "3"][nth % 3], "--checkpoint-every", "50ms"]);
            let later = match moment {
                Some(predictions) => {
                    run.until("enough predictions are out", || console.lines() >= predictions);
                    random.below(200)
                }
                None => random.below(2_000),
            };
            std::thread::sleep(Duration::from_millis(later));
            from_checkpoints += usize::from(run.said().contains("going on from a checkpoint"));
            run.kill();
        }
        assert!(from_checkpoints >= 4, "{from_checkpoints} of ten went on from a checkpoint");
        let mut run = pipeline.start(&["-w", "2"]);
        run.until("all predictions are out", || console.lines() >= all.len());
        run.stop();
    });
    // The reader that watched all the time, and one that comes afterwards.
    let watched = console.end();
    assert_eq!(identities(watched.values()), all);
    let records = pipeline.records();
    check_epochs(watched.values(), &records, "sinks.predictions");
    let generations: std::collections::BTreeSet<u64> = records.iter().filter_map(|record| record["generation"].as_u64()).collect();
    assert!(generations.len() >= 6, "the kills fell into {generations:?}");
    let seen = kafka.read(&topics.predictions);
    assert!(watched.iter().all(|(partition, watched)| seen[*partition as usize] == *watched));

    // An undisturbed run, on one worker, over what was committed, into other topics (S1.2).
    let other = kafka.name("undisturbed");
    let others = topics.again(&kafka, &other);
    let undisturbed = Pipeline::new(&kafka, &others.pipeline(&other, 512));
    let bindings = undisturbed.folder().join("bindings.ndjson");
    std::fs::write(&bindings, pipeline.bindings()).unwrap();
    let ended = undisturbed.start(&["-w", "1", "--bindings", bindings.to_str().unwrap()]).end();
    assert_eq!(ended.code, 0, "{}", ended.said);
    assert_eq!(undisturbed.records().len(), records.len());
    for (one, two) in
        [(&topics.predictions, &others.predictions), (&topics.statistics, &others.statistics), (&topics.quarantine, &others.quarantine)]
    {
        let (one, two) = (kafka.read(one), kafka.read(two));
        assert_eq!(one.len(), two.len());
        assert!(
            one.iter().zip(&two).all(|(one, two)| content(one) == content(two)),
            "bytes differ between the killed and the undisturbed run"
        );
    }
    assert!(kafka.count(&topics.statistics) > 0);
}

#[test]
fn a_second_instance_takes_over_and_the_first_leaves_with_76() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "fenced", 2, "");
    let (first, second) = (ledger.pipeline(), ledger.pipeline());
    let mut older = first.start(&["-w", "1"]);
    ledger.send(0..200);
    older.until("the first instance writes", || kafka.count(&ledger.output) >= 200);
    let mut newer = second.start(&["-w", "1"]);
    newer.until("the second instance has taken over", || {
        second.records().last().is_some_and(|record| record["generation"] == 2) || {
            ledger.send_next(5);
            false
        }
    });
    let ended = older.end();
    assert_eq!(ended.code, 76, "{}", ended.said);
    assert!(ended.said.contains("a newer process of this pipeline took over"), "{}", ended.said);
    let sent = ledger.sent();
    newer.until("the second instance has written the rest", || kafka.count(&ledger.output) >= sent.len());
    newer.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), sent);
    check_epochs(&seen, &second.records(), "sinks.echo");
}

#[test]
fn whoever_slept_through_its_succession_leaves_its_successor_alone() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "slept", 2, "epoch = { every = \"0ms\", max_rows = 256 }");
    let (first, second) = (ledger.pipeline(), ledger.pipeline());
    ledger.send(0..20_000);
    let mut older = first.start(&["-w", "1"]);
    older.until("the first instance is amid its epochs", || kafka.count(&ledger.output) >= 500);
    older.freeze(true);
    let begun = Instant::now();
    let mut newer = second.start(&["-w", "1"]);
    newer.until("the second instance has written the rest", || kafka.count(&ledger.output) >= 20_000);
    // What the first one has open looks by now as if the brokers might have ended it by themselves.
    newer.until("`transaction.timeout.ms` is over", || begun.elapsed() > Duration::from_secs(61));
    older.freeze(false);
    ledger.send_next(10);
    let ended = older.end();
    assert_eq!(ended.code, 76, "{}", ended.said);
    ledger.send_next(10);
    newer.until("the second instance goes on", || kafka.count(&ledger.output) >= 20_020);
    newer.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), ledger.sent());
    check_epochs(&seen, &second.records(), "sinks.echo");
}

#[test]
fn poison_is_quarantined_with_position_reason_and_bytes() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "poison", 2, "");
    ledger.send(0..50);
    let deep = format!("{{\"id\":1,\"at\":1,\"v\":1,\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let long = format!("{{\"id\":1,\"at\":1,\"v\":1,\"x\":\"{}\"}}", "x".repeat(9_000));
    let good = r#"{"id":1,"at":"2001-01-01T00:00:00Z","v":1.5}"#;
    let poison: Vec<Option<&[u8]>> = vec![
        None,
        Some(b""),
        Some(b" "),
        Some(b"\xff\xfe"),
        Some(b"{\"id\":1,\"at\":\"2001-01-01T00:00:00Z\",\"v\":1,\"s\":\"\xc3\x28\"}"),
        Some(&good.as_bytes()[..good.len() - 4]),
        Some(br#"[1,2]"#),
        Some(br#""text""#),
        Some(br#"{"id":"one","at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"id":1.5,"at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"id":null,"at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"id":1,"v":1}"#),
        Some(br#"{"id":1,"at":"yesterday","v":1}"#),
        Some(br#"{"id":9223372036854775808,"at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"id":1,"at":"2001-01-01T00:00:00Z","v":1e999}"#),
        Some(br#"{"id":1,"at":"2001-01-01T00:00:00Z","v":NaN}"#),
        Some(br#"{"id":1,"id":2,"at":"2001-01-01T00:00:00Z","v":1}"#),
        Some(br#"{"id":1,"at":"2001-01-01T00:00:00Z","v":true}"#),
        Some(br#"{"id":1,"at":"2001-01-01T00:00:00Z","v":1} {}"#),
        Some(deep.as_bytes()),
        Some(long.as_bytes()),
        // Three hours before the rest (late), and beyond any clock (future).
        Some(br#"{"id":1,"at":"2000-12-31T21:00:00Z","v":1}"#),
        Some(br#"{"id":1,"at":"2999-01-01T00:00:00Z","v":1}"#),
        // Decoded, and then an expression fails.
        Some(br#" { "v" : 1.50, "at":"2001-01-01T00:00:00Z" , "id":-1,"more":[null] }"#),
    ];
    let sender = kafka.producer();
    let first = ledger.offset(1);
    poison.iter().for_each(|value| sender.send(&ledger.input, 1, Some(b"k"), *value));
    sender.flush();
    ledger.skip(1, poison.len());
    ledger.send(50..100);
    let text = ledger.text().replace("from = \"numbers\"", "from = \"shares\"");
    let pipeline = Pipeline::new(&kafka, &(text + "\n[streams.shares]\nfrom = \"numbers\"\nderive = { share = \"100 / (id + 1)\" }\n"));
    let mut run = pipeline.start(&["-w", "2"]);
    run.until("all records are echoed or quarantined", || {
        kafka.count(&ledger.output) >= 100 && kafka.count(&ledger.quarantine) >= poison.len()
    });
    run.stop();
    assert_eq!(identities(&kafka.read(&ledger.output)), ledger.sent());
    let mut found: BTreeMap<u64, serde_json::Value> = BTreeMap::new();
    for seen in kafka.read(&ledger.quarantine).iter().flatten() {
        let row = seen.json();
        assert_eq!((row["source"].as_str(), row["partition"].as_str()), (Some("numbers"), Some("1")), "{row}");
        assert!(!row["detail"].as_str().unwrap().is_empty(), "{row}");
        assert!(found.insert(row["offset"].as_u64().unwrap() - first, row).is_none());
    }
    assert_eq!(found.len(), poison.len());
    for (offset, row) in &found {
        let value = poison[*offset as usize];
        match value.map(std::str::from_utf8) {
            None => assert!(row["raw"] == "" && row["detail"].as_str().unwrap().contains("null"), "{row}"),
            Some(Ok(text)) => assert_eq!(row["raw"].as_str(), Some(text), "{row}"),
            Some(Err(_)) => assert_eq!(row["raw_base64"].as_str().map(ledger::base64_decoded).as_deref(), value, "{row}"),
        }
        let reason = match offset {
            21 => "too_large",
            22 => "late",
            23 => "future",
            24 => "expression",
            _ => "decode",
        };
        assert_eq!(row["reason"].as_str(), Some(reason), "{row}");
    }
    let records = pipeline.records();
    assert_eq!(rows(&records), (100 + poison.len() as u64, 100, poison.len() as u64));
    check_chain(&records);
}

#[test]
fn a_run_lives_through_a_broker_that_is_killed_and_comes_back() {
    let Some(mut node) = Node::start() else { return };
    let kafka = Kafka::at(&node.brokers());
    let mut ledger = Ledger::new(&kafka, "restarted", 2, "");
    let pipeline = ledger.pipeline();
    let mut run = pipeline.start(&["-w", "1"]);
    ledger.send(0..500);
    run.until("the first records are through", || kafka.count(&ledger.output) >= 500);
    for round in 1..=2 {
        // The producer's messages are in; those of the pipeline are somewhere between.
        ledger.send(round * 500..(round + 1) * 500);
        node.kill();
        node.up();
        run.is_alive();
    }
    ledger.send(1_500..2_000);
    run.until("everything is through", || kafka.count(&ledger.output) >= 2_000);
    run.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), ledger.sent());
    check_epochs(&seen, &pipeline.records(), "sinks.echo");
}

#[test]
fn an_outage_longer_than_a_transaction_may_be_open_is_lived_through() {
    let Some(mut node) = Node::start() else { return };
    let kafka = Kafka::at(&node.brokers());
    let mut ledger = Ledger::new(&kafka, "outage", 2, "epoch = { every = \"0ms\", max_rows = 256 }");
    let pipeline = ledger.pipeline();
    ledger.send(0..30_000);
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("epochs are committed", || kafka.count(&ledger.output) >= 500);
    node.kill();
    let begun = Instant::now();
    // By then the brokers have to end the transaction that was open, whatever its producer wants.
    run.until("`transaction.timeout.ms` is over", || begun.elapsed() > Duration::from_secs(61));
    node.up();
    run.until("everything is through", || kafka.count(&ledger.output) >= 30_000);
    run.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), ledger.sent());
    let records = pipeline.records();
    check_epochs(&seen, &records, "sinks.echo");
    assert!(records.iter().all(|record| record["generation"] == 1), "the same process all along");
}

#[test]
fn what_is_missing_or_gone_is_named_with_the_way_out() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "gone", 2, "");
    let good = ledger.text();
    for topic in [&ledger.input, &ledger.output] {
        let absent = kafka.name("absent");
        let pipeline = Pipeline::new(&kafka, &good.replace(&format!("\"{topic}\""), &format!("\"{absent}\"")));
        let ended = pipeline.start(&["-w", "1"]).end();
        assert_eq!(ended.code, 69, "{}", ended.said);
        let create = format!("kafka-topics.sh --bootstrap-server {} --create --topic {absent}", kafka.brokers);
        assert!(ended.said.contains(&format!("the topic {absent} does not exist")) && ended.said.contains(&create), "{}", ended.said);
        assert!(ended.said.contains("tidemill topics init FILE"), "{}", ended.said);
    }
    ledger.send(0..100);
    let pipeline = ledger.pipeline();
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("the records are through", || kafka.count(&ledger.output) >= 100);
    run.stop();
    kafka.expire(&ledger.input, 0, 10);
    let ended = pipeline.start(&["-w", "1"]).end();
    assert_eq!(ended.code, 65, "{}", ended.said);
    assert!(ended.said.contains("no longer kept") && ended.said.contains("--fresh"), "{}", ended.said);
    let mut run = pipeline.start(&["-w", "1", "--fresh"]);
    // What is left of partition 0, and all of partition 1.
    run.until("the rest came once more", || kafka.count(&ledger.output) >= 100 + 90);
    run.stop();
    check_chain(&pipeline.records());
}

#[test]
fn replay_needs_no_luck_with_the_order_in_which_partitions_arrive() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "uneven", 2, "epoch = { max_rows = 16384 }");
    let (pipeline, half) = (ledger.pipeline(), 120_000);
    // First everything of partition 1, then everything of partition 0: a client gives a replay both at once.
    let mut run = pipeline.start(&["-w", "1"]);
    ledger.send_to(1, 0..half);
    run.until("partition 1 is through", || rows(&pipeline.records()).1 >= half as u64);
    ledger.send_to(0, half..2 * half);
    run.until("partition 0 is through", || rows(&pipeline.records()).1 >= 2 * half as u64);
    run.kill();
    ledger.send(2 * half..2 * half + 10);
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("the replay is over", || rows(&pipeline.records()).1 >= 2 * half as u64 + 10);
    run.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), ledger.sent());
    check_epochs(&seen, &pipeline.records(), "sinks.echo");
}

#[test]
fn a_silent_partition_holds_nobody_back_for_long_and_a_new_one_is_found() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "silent", 2, "epoch = { every = \"0ms\" }");
    let pipeline = ledger.pipeline();
    let mut run = pipeline.start(&["-w", "2"]);
    // Partition 1 is silent, partition 0 never is: the watermark goes on once the idle timeout (1 s) has passed.
    let watermark = |records: &[serde_json::Value]| records.last().map_or(i64::MIN, |record| record["watermark"].as_i64().unwrap());
    run.until("the watermark moves although a partition is silent", || {
        ledger.send_next_to(0, 1);
        watermark(&pipeline.records()) > 0
    });
    let idle = pipeline.records().last().unwrap()["sources"]["numbers"]["idle"].clone();
    assert_eq!(idle, serde_json::json!(["1"]));
    // It speaks again, and so does a partition that was not there.
    kafka.grow(&ledger.input, 3);
    ledger.reconnect();
    ledger.send_next_to(1, 10);
    ledger.send_next_to(2, 10);
    let sent = ledger.sent();
    run.until("records of a new partition come out", || kafka.count(&ledger.output) >= sent.len());
    run.stop();
    // Going on must not disturb what was decided: three partitions now, two in the first epochs.
    ledger.send_next_to(2, 10);
    let sent = ledger.sent();
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("the run has gone on", || kafka.count(&ledger.output) >= sent.len());
    run.stop();
    let seen = kafka.read(&ledger.output);
    assert_eq!(identities(&seen), sent);
    check_epochs(&seen, &pipeline.records(), "sinks.echo");
}

#[test]
fn a_run_that_begins_at_the_latest_record_goes_on_where_it_began() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "latest", 3, "");
    ledger.send(0..90);
    let pipeline = Pipeline::new(&kafka, &ledger.text().replace("format = \"json\"", "format = \"json\"\nstart = \"latest\""));
    let mut run = pipeline.start(&["-w", "1"]);
    // Only partition 0 gets records; when the first of them comes out, the run has begun.
    run.until("the run has begun", || {
        ledger.send_next_to(0, 1);
        kafka.count(&ledger.output) > 0
    });
    run.kill();
    ledger.send_next_to(1, 7);
    let last = *ledger.sent().last().unwrap();
    let mut run = pipeline.start(&["-w", "1"]);
    run.until("the last record is out", || identities(&kafka.read(&ledger.output)).contains(&last));
    run.stop();
    let seen = identities(&kafka.read(&ledger.output));
    // A suffix of what was sent, without a gap: nothing from before the first start, everything from then on.
    assert!(seen[0] >= 90, "{seen:?}");
    assert_eq!(seen, (seen[0]..=last).collect::<Vec<_>>());
}

#[test]
fn epochs_close_by_age() {
    let Some(kafka) = kafka() else { return };
    let mut ledger = Ledger::new(&kafka, "age", 1, "epoch = { every = \"500ms\" }");
    let pipeline = ledger.pipeline();
    let mut run = pipeline.start(&["-w", "1"]);
    let begun = Instant::now();
    // Forty records in about two seconds: epochs of half a second, not one for each record.
    while begun.elapsed() < Duration::from_secs(2) {
        ledger.send_next(1);
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = ledger.sent();
    run.until("all are out", || kafka.count(&ledger.output) >= sent.len());
    run.stop();
    let with_rows = pipeline.records().iter().filter(|record| record["counters"]["rows_in"].as_u64() > Some(0)).count();
    let most = begun.elapsed().as_millis() as usize / 500 + 1;
    assert!((1..=most).contains(&with_rows), "{with_rows} epochs for {} records", sent.len());
}
