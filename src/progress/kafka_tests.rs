//! The progress topic and its transactions against a real Kafka: `TIDEMILL_TEST_KAFKA=127.0.0.1:9092 cargo test kafka_tests`. Without the variable they
//! print that they did not run. Every test uses names of its own, so a broker can be used again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::error::Exit;
use crate::ids::ComponentId;
use crate::sinks::{Encoded, Message, Messages, SinkSettings, Target, partition_of};
use crate::time::{Epoch, clock};

/// Connection, and a name that no earlier test run has used.
fn kafka(test: &str) -> Option<(KafkaSettings, String)> {
    match std::env::var("TIDEMILL_TEST_KAFKA") {
        Ok(brokers) => Some((KafkaSettings { brokers, options: Vec::new() }, format!("{test}-{}", clock::wall().0))),
        Err(_) => {
            println!("NOT RUN: {test} needs a real Kafka in TIDEMILL_TEST_KAFKA");
            None
        }
    }
}

fn create(kafka: &KafkaSettings, topic: &str, partitions: i32) {
    let admin: AdminClient<Reports> = client_config(kafka, "test").create_with_context(Reports::default()).unwrap();
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    block_on(admin.create_topics([&wanted], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
}

/// Key, value, timestamp, partition, epoch and generation header of every record of a topic that a `read_committed` (or other) reader sees.
type Seen = Vec<(Option<String>, String, i64, i32, String, String)>;

fn read(kafka: &KafkaSettings, topic: &str, partitions: i32, isolation: &str) -> Seen {
    let mut config = client_config(kafka, "test-reader");
    config
        .set("group.id", "test-reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer<Reports> = config.create_with_context(Reports::default()).unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (mut seen, mut ends) = (Vec::new(), 0);
    while ends < partitions {
        match consumer.poll(Duration::from_secs(10)).expect("the end of the topic within 10 s") {
            Ok(message) => {
                let header = |name: &str| {
                    let found = message.headers().and_then(|headers| headers.iter().find(|header| header.key == name));
                    String::from_utf8(found.unwrap().value.unwrap().to_vec()).unwrap()
                };
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let timestamp = message.timestamp().to_millis().unwrap();
                seen.push((
                    message.key().map(text),
                    text(message.payload().unwrap()),
                    timestamp,
                    message.partition(),
                    header("epoch"),
                    header("generation"),
                ));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    seen
}

fn settings(kafka: &KafkaSettings, name: &str, root: &Path) -> CommitSettings {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let sink = |id: &str, target| SinkSettings { id: ComponentId::new("sinks", id), schema: schema.clone(), target, network: false };
    CommitSettings {
        pipeline: name.into(),
        state_dir: root.join("state"),
        sinks: vec![sink("lines", Target::Lines { path: root.join("out.ndjson") }), sink("messages", Target::Topic { topic: name.into() })],
        kafka: Some(kafka.clone()),
        topics_read: Vec::new(),
        fresh: false,
        fingerprint: "f".into(),
        components: BTreeMap::new(),
        inputs: Inputs::default(),
        device: None,
    }
}

fn epoch(number: u64) -> EpochOutputs {
    let mut messages = Messages::default();
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for i in 0..20 {
        let (key, value) = (format!("k{}", i % 9), format!("{{\"n\":{}}}", number * 100 + i));
        messages.push(Message {
            key: (i % 7 > 0).then_some(key.as_bytes()),
            value: value.as_bytes(),
            timestamp: 978_307_200_000 + i as i64,
        });
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(b'\n');
        ends.push(bytes.len() as u32);
    }
    let outputs = BTreeMap::from([
        (ComponentId::new("sinks", "lines"), Encoded::Lines { bytes, ends }),
        (ComponentId::new("sinks", "messages"), Encoded::Messages(messages)),
    ]);
    EpochOutputs { record: ProgressRecord::new(Epoch(number)), outputs }
}

#[test]
fn epochs_are_transactions_and_a_restart_goes_on() {
    let Some((kafka, name)) = kafka("epochs") else { return };
    let root = tempfile::tempdir().unwrap();
    create(&kafka, &name, 4);
    let (mut committer, recovered) = Committer::open(settings(&kafka, &name, root.path())).unwrap();
    assert_eq!((recovered.records.len(), recovered.generation, recovered.finished), (0, 1, false));
    committer.commit(vec![epoch(1), epoch(2)]).unwrap();
    committer.commit(vec![epoch(3)]).unwrap();
    drop(committer);
    // What a crash leaves in a file is cut off.
    let lines = root.path().join("out.ndjson");
    std::fs::write(&lines, [&std::fs::read(&lines).unwrap()[..], b"{\"n\":1"].concat()).unwrap();

    let (mut committer, recovered) = Committer::open(settings(&kafka, &name, root.path())).unwrap();
    assert_eq!((recovered.records.len(), recovered.generation), (3, 2));
    check_chain(&recovered.records).unwrap();
    assert_eq!(recovered.records[1].outputs["sinks.messages"].partitions, Some(4));
    (1..=3).for_each(|number| committer.verify(&epoch(number)).unwrap());
    committer.commit(vec![epoch(4)]).unwrap();
    committer.finish(epoch(5)).unwrap();
    assert_eq!(committer.totals()[1].rows, 100);
    drop(committer);
    assert!(Committer::open(settings(&kafka, &name, root.path())).unwrap().1.finished);

    let seen = read(&kafka, &name, 4, "read_committed");
    assert_eq!(seen.len(), 100);
    let mut values = Vec::new();
    for (key, value, timestamp, partition, epoch, generation) in &seen {
        let n = value.trim_start_matches("{\"n\":").trim_end_matches('}').parse::<u64>().unwrap();
        assert_eq!(*partition as u32, partition_of(key.as_deref().map(str::as_bytes), 4));
        assert_eq!(*epoch, (n / 100).to_string());
        assert_eq!(*generation, if n < 400 { "1" } else { "2" });
        assert_eq!(*timestamp, 978_307_200_000 + (n % 100) as i64);
        values.push((*partition, n));
    }
    assert!((0..4).all(|p| values.iter().filter(|(partition, _)| *partition == p).is_sorted()), "canonical order per partition");
    let mut all: Vec<u64> = values.into_iter().map(|(_, n)| n).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=5).flat_map(|e| (0..20).map(move |i| e * 100 + i)).collect::<Vec<_>>());
    assert_eq!(std::fs::read_to_string(&lines).unwrap().lines().count(), 100);
}

#[test]
fn an_older_process_is_fenced_and_leaves_nothing() {
    let Some((kafka, name)) = kafka("fenced") else { return };
    let (older_root, newer_root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    create(&kafka, &name, 2);
    let topic_only = |root: &Path| {
        let mut settings = settings(&kafka, &name, root);
        settings.sinks.remove(0);
        settings
    };
    let only_messages = |number| {
        let mut outputs = epoch(number);
        outputs.outputs.remove(&ComponentId::new("sinks", "lines"));
        outputs
    };
    let (mut older, _) = Committer::open(topic_only(older_root.path())).unwrap();
    older.commit(vec![only_messages(1)]).unwrap();
    let (mut newer, recovered) = Committer::open(topic_only(newer_root.path())).unwrap();
    assert_eq!((recovered.records.len(), recovered.generation), (1, 2));
    newer.verify(&only_messages(1)).unwrap();
    let error = older.commit(vec![only_messages(2)]).unwrap_err();
    assert_eq!(error.exit, Exit::Fenced, "{error}");
    assert_eq!(older.commit(vec![only_messages(2)]).unwrap_err().exit, Exit::Internal);
    newer.commit(vec![only_messages(2)]).unwrap();
    let seen = read(&kafka, &name, 2, "read_committed");
    assert_eq!(seen.len(), 40);
    assert_eq!(seen.iter().filter(|message| message.4 == "2" && message.5 == "2").count(), 20);
}

#[test]
fn a_transaction_left_open_by_a_killed_process_is_aborted_by_the_next() {
    let Some((kafka, name)) = kafka("killed") else { return };
    create(&kafka, &name, 1);
    let killed = TransactionalProducer::open(&kafka, &transactional_id(&name)).unwrap();
    let calls = std::sync::atomic::AtomicU32::new(0);
    // Messages that reach the broker in a transaction that fails to commit: the filling fails after they were sent.
    let fill = |to: &TransactionalProducer| {
        calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let headers = [("epoch", "1"), ("generation", "1")];
        to.send(Outgoing { topic: &name, partition: 0, key: None, value: Some(b"{}"), timestamp: None, headers: &headers })?;
        std::thread::sleep(Duration::from_millis(300));
        Err(rdkafka::error::KafkaError::Canceled)
    };
    assert_eq!(killed.commit(&fill).unwrap_err().error.exit, Exit::Restart);
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1, "an error that is no part of a transaction is not tried again");
    // The transaction is still open: its producer is alive and neither committed nor aborted.
    let root = tempfile::tempdir().unwrap();
    let (mut committer, _) = Committer::open(settings(&kafka, &name, root.path())).unwrap();
    committer.commit(vec![epoch(1)]).unwrap();
    assert_eq!(read(&kafka, &name, 1, "read_committed").len(), 20);
    assert_eq!(read(&kafka, &name, 1, "read_uncommitted").len(), 21);
}

#[test]
fn a_lost_producer_is_replaced_and_every_epoch_is_committed_once() {
    let Some((kafka, name)) = kafka("renewed") else { return };
    create(&kafka, &name, 1);
    let open = |generation| {
        let start = StartRecord {
            pipeline: name.clone(),
            fingerprint: "f".into(),
            semantics: SEMANTICS_VERSION,
            generation,
            sinks: BTreeMap::new(),
            components: BTreeMap::new(),
        };
        let (mut log, read) = KafkaLog::open(&kafka, &name).unwrap();
        log.begin(&start, &[]).unwrap();
        (log, read)
    };
    let mut messages = Messages::default();
    messages.push(Message { key: None, value: b"{}", timestamp: 978_307_200_000 });
    let record = |number, generation| ProgressRecord { generation, ..ProgressRecord::new(Epoch(number)) };
    let outputs = [(name.as_str(), 1, &messages)];
    let (mut log, _) = open(1);
    log.commit(&record(1, 1), &outputs).unwrap();
    // A commit that was not answered: it took place, or it did not.
    assert!(log.renew(Epoch(1)).unwrap());
    assert!(!log.renew(Epoch(2)).unwrap());
    // A producer that is stuck in a transaction cannot begin another one.
    log.producer.commit(&|_| Err(rdkafka::error::KafkaError::Canceled)).unwrap_err();
    log.commit(&record(2, 1), &outputs).unwrap();
    assert_eq!(log.renew(Epoch(4)).unwrap_err().error.exit, Exit::Data);
    // Whoever was replaced leaves its successor alone, whatever it takes its own loss for.
    let (mut newer, read) = open(2);
    assert_eq!(read.records.len(), 2);
    let failure = log.renew(Epoch(3)).unwrap_err();
    assert_eq!((failure.error.exit, failure.renewable), (Exit::Fenced, false));
    newer.commit(&record(3, 2), &outputs).unwrap();
    assert_eq!(log.commit(&record(3, 1), &outputs).unwrap_err().exit, Exit::Fenced);
    let seen = read_epochs(&kafka, &name);
    assert_eq!(seen, [("1", "1"), ("2", "1"), ("3", "2")].map(|(epoch, generation)| (epoch.to_string(), generation.to_string())));
}

/// Epoch and generation of the records of a topic with one partition.
fn read_epochs(kafka: &KafkaSettings, topic: &str) -> Vec<(String, String)> {
    read(kafka, topic, 1, "read_committed").into_iter().map(|seen| (seen.4, seen.5)).collect()
}

#[test]
fn failed_messages_are_produced_again_five_times_or_refused() {
    let Some((kafka, name)) = kafka("again") else { return };
    create(&kafka, &name, 1);
    let producer = TransactionalProducer::open(&kafka, &transactional_id(&name)).unwrap();
    let headers = [("epoch", "1"), ("generation", "1")];
    let message =
        |partition, value| Outgoing { topic: &name, partition, key: None, value: Some(value), timestamp: None, headers: &headers };
    let calls = std::cell::Cell::new(0);
    // A partition that does not exist: the delivery fails, the transaction becomes abortable, the next attempt leaves it out.
    producer
        .commit(&|to| {
            calls.set(calls.get() + 1);
            to.send(message(0, b"good"))?;
            if calls.get() < 3 { to.send(message(7, b"bad")) } else { Ok(()) }
        })
        .unwrap();
    assert_eq!(calls.get(), 3);
    let error = producer.commit(&|to| to.send(message(7, b"bad"))).unwrap_err().error;
    assert_eq!(error.exit, Exit::Restart);
    assert!(error.cause.contains("6 times"), "{error}");
    let large = vec![b'x'; 2_000_000];
    let error = producer.commit(&|to| to.send(message(0, &large))).unwrap_err().error;
    assert_eq!(error.exit, Exit::Limit, "{error}");
    assert_eq!(read(&kafka, &name, 1, "read_committed").iter().map(|seen| seen.1.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_lost_progress_topic_is_noticed_and_fresh_starts_over() {
    let Some((kafka, name)) = kafka("lost") else { return };
    create(&kafka, &name, 1);
    let root = tempfile::tempdir().unwrap();
    let (mut committer, _) = Committer::open(settings(&kafka, &name, root.path())).unwrap();
    committer.commit(vec![epoch(1)]).unwrap();
    drop(committer);

    let changed = CommitSettings { fingerprint: "g".into(), ..settings(&kafka, &name, root.path()) };
    assert_eq!(Committer::open(changed.clone()).err().unwrap().exit, Exit::Data);
    let (mut committer, recovered) = Committer::open(CommitSettings { fresh: true, ..changed.clone() }).unwrap();
    assert_eq!((recovered.records.len(), recovered.generation), (0, 2));
    committer.commit(vec![epoch(1)]).unwrap();
    drop(committer);
    let (committer, recovered) = Committer::open(changed.clone()).unwrap();
    assert_eq!((recovered.records.len(), recovered.generation), (1, 3));
    drop(committer);

    let admin: AdminClient<Reports> = client_config(&kafka, "test").create_with_context(Reports::default()).unwrap();
    block_on(admin.delete_topics(&[&progress_topic(&name)], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let error = Committer::open(changed).err().unwrap();
    assert_eq!(error.exit, Exit::Data);
    assert!(error.cause.contains("has lost records"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    let nowhere = KafkaSettings { brokers: "127.0.0.1:1".into(), options: Vec::new() };
    let root = tempfile::tempdir().unwrap();
    let error = Committer::open(settings(&nowhere, "nowhere", root.path())).err().unwrap();
    assert_eq!(error.exit, Exit::Unreachable);
    assert!(error.cause.contains("127.0.0.1:1"), "{error}");
    let wrong = KafkaSettings { brokers: "127.0.0.1:1".into(), options: vec![("no.such.option".into(), "1".into())] };
    let error = Committer::open(settings(&wrong, "wrong", root.path())).err().unwrap();
    assert_eq!(error.exit, Exit::Config);
    assert!(error.cause.contains("no.such.option"), "{error}");

    let Some((kafka, name)) = kafka("missing") else { return };
    let error = Committer::open(settings(&kafka, &name, root.path())).err().unwrap();
    assert_eq!(error.exit, Exit::Unreachable);
    assert!(error.cause.contains(&name) && error.help.contains("--create"), "{error}");
    create(&kafka, &progress_topic(&format!("{name}-wide")), 3);
    let error = Committer::open(settings(&kafka, &format!("{name}-wide"), root.path())).err().unwrap();
    assert_eq!(error.exit, Exit::Data);
    assert!(error.cause.contains("3 partitions"), "{error}");
}

#[test]
fn an_epoch_takes_milliseconds() {
    let Some((kafka, name)) = kafka("latency") else { return };
    create(&kafka, &name, 4);
    let root = tempfile::tempdir().unwrap();
    let (mut committer, _) = Committer::open(settings(&kafka, &name, root.path())).unwrap();
    let mut took: Vec<u128> = Vec::new();
    for number in 1..=60 {
        let begin = clock::now();
        committer.commit(vec![epoch(number)]).unwrap();
        took.push(begin.elapsed().as_micros());
    }
    took.sort_unstable();
    println!("one epoch with 20 messages: p50 {} us, p95 {} us", took[30], took[57]);
    // Without draining first, the flush inside the commit makes every epoch take 100 ms at least.
    assert!(took[0] < 90_000, "the queue is not drained before the commit: {} us at best", took[0]);
}
