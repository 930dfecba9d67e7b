//! Tests of the Kafka reader: against the mock cluster of the client library, and against a real broker where `TIDEMILL_TEST_KAFKA=host:port` names one
//! (what the mock cluster cannot show: transactions, retention, growing topics).

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll as Polled, Waker};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::*;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType};
use crate::ids::{ComponentId, SourceIndex};
use crate::sources::{DecodePool, Limits, Next, open};
use crate::time::BusyTimes;

fn plan(topic: &str, start: KafkaStart, idle_timeout: i64) -> SourcePlan {
    SourcePlan {
        id: ComponentId::new("sources", "k"),
        index: SourceIndex(0),
        kind: SourceKindPlan::Kafka { topic: topic.into(), start, idle_timeout },
        schema: DeclaredSchema { columns: vec![DeclaredColumn::new("n", LogicalType::Int64, false)], closed: false },
        event_time: None,
        lateness: 0,
        ahead: 0,
        key: None,
        dedup: None,
        max_record: 1 << 20,
    }
}

fn cluster(brokers: &str) -> KafkaPlan {
    KafkaPlan { brokers: brokers.into(), options: Vec::new() }
}

fn producer(brokers: &str, id: Option<&str>) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("linger.ms", "1");
    if let Some(id) = id {
        config.set("transactional.id", id);
    }
    config.create().unwrap()
}

/// Sends records `from..to`, the number n to partition n modulo `partitions`, with n as milliseconds.
fn send(producer: &BaseProducer, topic: &str, partitions: i32, from: i64, to: i64) {
    for n in from..to {
        let value = format!("{{\"n\":{n}}}");
        let mut record = BaseRecord::<[u8], str>::to(topic).payload(&value).partition(n as i32 % partitions).timestamp(n);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(Duration::from_secs(20)).unwrap();
}

/// Everything a reader gives, at least `wanted` records, until all partitions are idle, as (partition, offset).
fn drain(reader: &mut KafkaReader, wanted: usize) -> Result<Vec<(u32, u64)>> {
    let mut found = Vec::new();
    let begun = clock::now();
    loop {
        match reader.poll(100, 1 << 20)? {
            Poll::Chunk(RawChunk { partition, end, payload: Payload::Messages(messages) }) => {
                assert!(messages.records.windows(2).all(|pair| pair[0].offset < pair[1].offset));
                assert_eq!(messages.records.last().map(|message| message.offset + 1), Some(end));
                found.extend(messages.records.iter().map(|message| (partition.0, message.offset)));
            }
            Poll::Idle if found.len() >= wanted && reader.status().idle.iter().all(|idle| *idle) => {
                found.sort_unstable();
                return Ok(found);
            }
            Poll::Idle => assert!(clock::now() - begun < Duration::from_secs(30), "the topic's end is never reached"),
            other => panic!("{other:?}"),
        }
    }
}

fn offsets(partitions: u32, from: u64, to: u64) -> Vec<(u32, u64)> {
    (0..partitions).flat_map(|partition| (from..to).map(move |offset| (partition, offset))).collect()
}

#[test]
fn all_records_come_once_from_any_start_and_then_the_partitions_are_idle() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 3, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let producer = producer(&brokers, None);
    send(&producer, "t", 3, 0, 3_000);
    let mut reader = KafkaReader::open(&plan("t", KafkaStart::Earliest, 50_000), Some(&cluster(&brokers))).unwrap();
    assert_eq!(reader.status().starts, [0, 0, 0]);
    assert_eq!(drain(&mut reader, 3_000).unwrap(), offsets(3, 0, 1_000));
    send(&producer, "t", 3, 0, 3);
    assert_eq!(drain(&mut reader, 3).unwrap(), offsets(3, 1_000, 1_001));
    reader.seek(&[(PartitionIndex(0), 990), (PartitionIndex(1), 1_001)]).unwrap();
    let expected: Vec<(u32, u64)> = (990..1_001).map(|offset| (0, offset)).chain((0..1_001).map(|offset| (2, offset))).collect();
    assert_eq!(drain(&mut reader, expected.len()).unwrap(), expected);
    assert_eq!(reader.seek(&[(PartitionIndex(0), 2_000)]).unwrap_err().exit, Exit::Data);
    assert!(reader.seek(&[(PartitionIndex(7), 0)]).unwrap_err().cause.contains("partition 7 was read before"));
    let latest = KafkaReader::open(&plan("t", KafkaStart::Latest, 0), Some(&cluster(&brokers))).unwrap();
    assert_eq!(latest.status().starts, [1_001, 1_001, 1_001]);
}

#[test]
fn a_handle_decodes_messages_and_takes_their_timestamps() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 2, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let producer = producer(&brokers, None);
    send(&producer, "t", 2, 1, 501);
    producer.send(BaseRecord::<[u8], [u8]>::to("t").partition(0).timestamp(9)).unwrap();
    producer.flush(Duration::from_secs(20)).unwrap();
    let pool = DecodePool::new(2, BusyTimes::default()).unwrap();
    let plan = plan("t", KafkaStart::Earliest, 10_000);
    let mut handle = open(&plan, Some(&cluster(&brokers)), &[], Limits::default(), &pool, Arc::new(|| {})).unwrap();
    let (mut times, mut rejected) = (Vec::new(), Vec::new());
    loop {
        match handle.try_next().unwrap() {
            Next::Chunk(chunk) => {
                times.extend(chunk.times);
                rejected.extend(chunk.rejected);
            }
            Next::Idle => break,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    times.sort_unstable();
    assert_eq!(times, (1..501).map(|n| n * 1_000).collect::<Vec<i64>>());
    assert_eq!((rejected.len(), rejected[0].offset, rejected[0].event_time), (1, 250, Some(9_000)));
}

#[test]
fn a_missing_topic_and_silent_brokers_are_told_apart() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    let missing = KafkaReader::open(&plan("absent", KafkaStart::Earliest, 0), Some(&cluster(&brokers))).err().unwrap();
    assert!(missing.exit == Exit::Unreachable && missing.cause.contains("absent does not exist"), "{missing}");
    let patience = Duration::from_millis(500);
    let silent = KafkaReader::open_within(&plan("t", KafkaStart::Earliest, 0), Some(&cluster("127.0.0.1:1")), patience).err().unwrap();
    assert!(silent.exit == Exit::Unreachable && silent.cause.contains("127.0.0.1:1"), "{silent}");
}

#[test]
fn a_partition_is_silent_when_it_holds_records_and_nobody_speaks_of_them() {
    let begun = clock::now();
    let at = |seconds: u64| begun + Duration::from_secs(seconds);
    let partition = |expected, high, ended, told, moved| Partition {
        start: 0,
        expected,
        high,
        moved: at(moved),
        ended,
        heard: at(told),
        told: at(told),
        idle: false,
        data: Vec::new(),
        records: Vec::new(),
    };
    let silent = |partition: Partition, now, busy| partition.is_silent(at(now), at(busy));
    // Records and no end of them: silent after 30 s, unless nobody asked for them all the time.
    assert!(!silent(partition(5, 9, false, 10, 0), 39, 0) && silent(partition(5, 9, false, 10, 0), 40, 0));
    assert!(!silent(partition(5, 9, false, 10, 0), 40, 20) && !silent(partition(9, 9, false, 10, 0), 99, 0));
    // At its end, which has a marker: silent only if the end moved since it was told.
    assert!(!silent(partition(8, 9, true, 10, 5), 99, 0));
    assert!(!silent(partition(8, 12, true, 10, 15), 44, 0) && silent(partition(8, 12, true, 10, 15), 45, 0));
    let mut seen = partition(8, 9, true, 10, 5);
    seen.look(9, at(20));
    assert_eq!((seen.high, seen.moved), (9, at(5)));
    seen.look(10, at(21));
    assert_eq!((seen.high, seen.moved), (10, at(21)));
}

#[test]
fn brokers_that_do_not_answer_cost_no_records() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("t", 1, 1).unwrap();
    let brokers = mock.bootstrap_servers();
    send(&producer(&brokers, None), "t", 1, 0, 1_000);
    let mut reader = KafkaReader::open(&plan("t", KafkaStart::Earliest, 50_000), Some(&cluster(&brokers))).unwrap();
    // One record is taken, and the client holds others, when nobody says how many partitions there are.
    let begun = clock::now();
    while matches!(reader.poll(1, 1).unwrap(), Poll::Idle) {
        assert!(clock::now() - begun < Duration::from_secs(30), "no record comes");
    }
    mock.broker_down(1).unwrap();
    reader.look().unwrap();
    mock.broker_up(1).unwrap();
    assert_eq!(drain(&mut reader, 999).unwrap(), offsets(1, 1, 1_000));
}

/// Waits for a future that other threads complete.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Polled::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_real_broker_hides_aborted_records_and_tells_of_expired_and_new_ones() {
    let Ok(brokers) = std::env::var("TIDEMILL_TEST_KAFKA") else {
        println!("not run: TIDEMILL_TEST_KAFKA names no broker");
        return;
    };
    let topic = format!("tidemill-reader-{}-{}", std::process::id(), crate::time::clock::wall().0);
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
    wait(admin.create_topics([&NewTopic::new(&topic, 2, TopicReplication::Fixed(1))], &options)).unwrap();
    let producer = producer(&brokers, Some(&topic));
    producer.init_transactions(Duration::from_secs(20)).unwrap();
    // Offsets per partition: 0..10 committed, 10 marker, 11..16 aborted, 16 marker, 17..27 committed, 27 marker.
    for (from, to, commit) in [(0, 20, true), (20, 30, false), (30, 50, true)] {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 2, from, to);
        let ended =
            if commit { producer.commit_transaction(Duration::from_secs(20)) } else { producer.abort_transaction(Duration::from_secs(20)) };
        ended.unwrap();
    }
    let source = plan(&topic, KafkaStart::Earliest, 100_000);
    let mut reader = KafkaReader::open(&source, Some(&cluster(&brokers))).unwrap();
    let visible: Vec<(u32, u64)> = (0..2).flat_map(|partition| (0..10).chain(17..27).map(move |offset| (partition, offset))).collect();
    assert_eq!(drain(&mut reader, 40).unwrap(), visible);
    reader.seek(&[(PartitionIndex(0), 27), (PartitionIndex(1), 12)]).unwrap();
    assert_eq!(drain(&mut reader, 10).unwrap(), (17..27).map(|offset| (1, offset)).collect::<Vec<(u32, u64)>>());

    wait(admin.create_partitions([&NewPartitions::new(&topic, 3)], &options)).unwrap();
    let value = "{\"n\":1}";
    let fresh = self::producer(&brokers, None);
    fresh.send(BaseRecord::<[u8], str>::to(&topic).payload(value).partition(2)).unwrap();
    fresh.flush(Duration::from_secs(20)).unwrap();
    reader.look().unwrap();
    assert_eq!(reader.status().partitions, ["0", "1", "2"]);
    assert_eq!(drain(&mut reader, 1).unwrap(), [(2, 0)]);

    let mut old = KafkaReader::open(&source, Some(&cluster(&brokers))).unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Offset(20)).unwrap();
    wait(admin.delete_records(&list, &options)).unwrap();
    let expired = drain(&mut old, 1).unwrap_err();
    assert!(expired.exit == Exit::Data && expired.cause.contains("no longer holds"), "{expired}");
    let expired = reader.seek(&[(PartitionIndex(0), 5), (PartitionIndex(1), 0), (PartitionIndex(2), 0)]).unwrap_err();
    assert!(expired.exit == Exit::Data && expired.cause.contains("no longer kept"), "{expired}");
    wait(admin.delete_topics(&[&topic], &options)).unwrap();
}
