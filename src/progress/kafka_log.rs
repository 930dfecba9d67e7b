//! The progress topic: the log of pipelines with a Kafka source or sink (recovery-protocol §2.1, §2.3 B1–B3, §2.4 E5–E10).
//!
//! One partition, compacted. Keys: `sentinel` (a nonce per start: reading ends when it is delivered, the only reliable end), `gen` (the newest
//! [`StartRecord`]), `lane/0/e/<20 digits>` (P(e)) and `lane/0/head` (the newest epoch). Every record is written by the one transactional producer,
//! so whatever a `read_committed` reader sees was written by the owner of that generation.
//!
//! When a producer is lost (brokers away for longer than a transaction may last, a commit that nobody answers), the process goes on with a new one,
//! and does what a start does, short of replaying: fence, read to a nonce, see whether the epoch is there. Before it fences it looks whether a
//! newer generation exists, so a process that slept through its succession leaves without disturbing its successor.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde::Serialize;

use super::kafka_read::{Head, KafkaRead, Until, read_present, read_topic};
use super::kafka_topics::{BROKERS_CHOICE, TopicShape, absent_topics, create_topic, too_many_partitions};
use super::{Failure, KafkaSettings, Outgoing, ProgressRecord, Reports, StartRecord, TransactionalProducer, partition_count, reader};
use crate::error::{Error, Exit, Result};
use crate::sinks::{Messages, partition_of};
use crate::time::{Epoch, clock};

pub(super) const SENTINEL: &[u8] = b"sentinel";
pub(super) const GENERATION: &[u8] = b"gen";
pub(super) const HEAD: &[u8] = b"lane/0/head";
pub(super) const EPOCHS: &str = "lane/0/e/";

/// For how long an epoch is tried to commit with new producers, how many of them may fail although brokers answer, and how soon brokers that did not
/// answer are asked again.
const PATIENCE: Duration = Duration::from_secs(300);
const RENEWALS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// The name of a pipeline's progress topic.
pub fn progress_topic(pipeline: &str) -> String {
    format!("__tidemill.{pipeline}.progress")
}

/// The transactional id of a pipeline: the same for every start, so that each start fences the one before.
pub fn transactional_id(pipeline: &str) -> String {
    format!("tidemill.{pipeline}.0")
}

/// The open log: this process owns the pipeline's transactional id until a newer one fences it.
pub struct KafkaLog {
    kafka: KafkaSettings,
    pipeline: String,
    topic: String,
    pub(super) producer: TransactionalProducer,
    reader: BaseConsumer<Reports>,
    generation: u64,
}

impl KafkaLog {
    /// B1 and B2: creates the topic if it is missing, fences older processes, and reads what they committed to the end.
    pub fn open(kafka: &KafkaSettings, pipeline: &str) -> Result<(Self, KafkaRead)> {
        let topic = progress_topic(pipeline);
        let reader = reader(kafka, pipeline)?;
        ensure_topic(&reader, kafka, &topic)?;
        let producer = TransactionalProducer::open(kafka, &transactional_id(pipeline))?;
        let log = Self { kafka: kafka.clone(), pipeline: pipeline.to_owned(), topic, producer, reader, generation: 0 };
        let read = log.read_to_nonce().map_err(|failure| failure.error)?;
        Ok((log, read))
    }

    /// B2: everything that was committed before this process fenced the others.
    fn read_to_nonce(&self) -> Result<KafkaRead, Failure> {
        let nonce = format!("{}-{}", std::process::id(), clock::wall().0);
        self.producer.commit(&|to| to.send(self.control(SENTINEL, Some(nonce.as_bytes()))))?;
        Ok(read_topic(&self.reader, &self.kafka, &self.topic, Until::Nonce(nonce.as_bytes()))?)
    }

    /// B3: commits the new generation; `forget` are epochs of a run that is replaced (`--fresh`). Nothing outside Kafka may change before.
    pub fn begin(&mut self, start: &StartRecord, forget: &[Epoch]) -> Result<()> {
        let json = to_json(start)?;
        let begun = self.producer.commit(&|to| {
            for epoch in forget {
                to.send(self.control(epoch_key(*epoch).as_bytes(), None))?;
            }
            if !forget.is_empty() {
                to.send(self.control(HEAD, None))?;
            }
            to.send(self.control(GENERATION, Some(&json)))
        });
        begun.map_err(|failure| failure.error)?;
        self.generation = start.generation;
        Ok(())
    }

    /// E5–E10: one transaction with the messages of all topics (name, partitions to spread over, messages), P(e) and the head. If the producer is lost,
    /// with new ones: brokers that are away are waited for as long as `PATIENCE`, brokers that are there see `RENEWALS`. Each try is a warning.
    pub fn commit(&mut self, record: &ProgressRecord, outputs: &[(&str, u32, &Messages)]) -> Result<()> {
        let Err(mut failure) = self.produce(record, outputs) else { return Ok(()) };
        let (mut renewals, end) = (0, clock::now() + PATIENCE);
        while failure.renewable && renewals < RENEWALS && clock::now() < end {
            let epoch = record.epoch.0;
            tracing::warn!(epoch, "{}: connecting anew, to find out whether the epoch was committed", failure.error.cause);
            failure = match self.renew(record.epoch) {
                Ok(committed) => {
                    tracing::info!(epoch, committed, "connected anew");
                    renewals += 1;
                    let produced = if committed { Ok(()) } else { self.produce(record, outputs) };
                    let Err(next) = produced else { return Ok(()) };
                    next
                }
                Err(next) => {
                    std::thread::sleep(PAUSE);
                    next
                }
            };
        }
        Err(failure.error)
    }

    /// Replaces the producer. Whether `epoch`, whose commit failed, was committed after all. Exit 76, without fencing anybody, if a newer generation
    /// has begun; exit 65 if the topic does not end with the epoch or the one before.
    pub(super) fn renew(&mut self, epoch: Epoch) -> Result<bool, Failure> {
        self.reader = reader(&self.kafka, &self.pipeline)?;
        let present = read_present(&self.reader, &self.kafka, &self.topic)?.ok_or_else(|| {
            Error::new(
                Exit::Unreachable,
                format!("the brokers at {} do not know the progress topic {}", self.kafka.brokers, self.topic),
                "wait until they are all up; if it was deleted, restore it, or start over with --fresh",
            )
        })?;
        present.check_generation(&self.topic, self.generation)?;
        self.producer = TransactionalProducer::open(&self.kafka, &transactional_id(&self.pipeline))?;
        Ok(self.read_to_nonce()?.settles(&self.topic, self.generation, epoch)?)
    }

    fn produce(&self, record: &ProgressRecord, outputs: &[(&str, u32, &Messages)]) -> Result<(), Failure> {
        let json = to_json(record)?;
        let head = to_json(&Head { epoch: record.epoch, generation: record.generation })?;
        let (epoch, generation) = (record.epoch.to_string(), self.generation.to_string());
        let headers = [("epoch", epoch.as_str()), ("generation", generation.as_str())];
        let key = epoch_key(record.epoch);
        self.producer.commit(&|to| {
            for (topic, partitions, messages) in outputs {
                for message in messages.iter() {
                    to.send(Outgoing {
                        topic,
                        partition: partition_of(message.key, *partitions),
                        key: message.key,
                        value: Some(message.value),
                        timestamp: Some(message.timestamp),
                        headers: &headers,
                    })?;
                }
            }
            to.send(self.control(key.as_bytes(), Some(&json)))?;
            to.send(self.control(HEAD, Some(&head)))
        })
    }

    /// Number of partitions of an output topic. Exit 69 if it does not exist.
    pub fn partitions(&self, topic: &str) -> Result<u32> {
        partition_count(&self.reader, &self.kafka, topic)?.ok_or_else(|| absent_topics(&self.kafka, &[topic]))
    }

    /// Exit 69 that names every one of `topics` that does not exist.
    pub fn check_present<'a>(&self, topics: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut absent = Vec::new();
        for topic in topics {
            if partition_count(&self.reader, &self.kafka, topic)?.is_none() && !absent.contains(&topic) {
                absent.push(topic);
            }
        }
        if absent.is_empty() { Ok(()) } else { Err(absent_topics(&self.kafka, &absent)) }
    }

    /// The identity of the cluster, where the brokers tell it.
    pub fn cluster_id(&self) -> Option<String> {
        self.reader.client().fetch_cluster_id(Duration::from_secs(10))
    }

    fn control<'a>(&'a self, key: &'a [u8], value: Option<&'a [u8]>) -> Outgoing<'a> {
        Outgoing { topic: &self.topic, partition: 0, key: Some(key), value, timestamp: None, headers: &[] }
    }
}

pub(super) fn epoch_key(epoch: Epoch) -> String {
    format!("{EPOCHS}{:020}", epoch.0)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal(format!("a progress record has no JSON form: {error}")))
}

/// Creates the progress topic if it is missing; it must have one partition, or its order means nothing.
fn ensure_topic(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, topic: &str) -> Result<()> {
    match partition_count(reader, kafka, topic)? {
        Some(1) => Ok(()),
        Some(count) => Err(too_many_partitions(topic, count)),
        None => create_topic(reader, kafka, topic, TopicShape::progress(BROKERS_CHOICE)),
    }
}
