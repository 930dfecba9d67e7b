//! The progress topic: the log of pipelines with a Kafka source or sink (recovery-protocol §2.1, §2.3 B1–B3, §2.4 E5–E10).
//!
//! One partition, compacted. Keys: `sentinel` (a nonce per start: reading ends when it is delivered, the only reliable end), `gen` (the newest
//! [`StartRecord`]), `lane/0/e/<20 digits>` (P(e)) and `lane/0/head` (the newest epoch). Every record is written by the one transactional producer,
//! so whatever a `read_committed` reader sees was written by the owner of that generation.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use serde::Serialize;

use super::kafka_read::{Head, KafkaRead, Until, read_topic};
use super::{
    KafkaSettings, Outgoing, ProgressRecord, Reports, StartRecord, TransactionalProducer, block_on, client_config, is_auth, misconfigured,
    partition_count, reader, unreachable,
};
use crate::error::{Error, Exit, Result};
use crate::sinks::{Messages, partition_of};
use crate::time::{Epoch, clock};

pub(super) const SENTINEL: &[u8] = b"sentinel";
pub(super) const GENERATION: &[u8] = b"gen";
pub(super) const HEAD: &[u8] = b"lane/0/head";
pub(super) const EPOCHS: &str = "lane/0/e/";
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
    topic: String,
    producer: TransactionalProducer,
    reader: BaseConsumer<Reports>,
    generation: String,
}

impl KafkaLog {
    /// B1 and B2: creates the topic if it is missing, fences older processes, and reads what they committed to the end.
    pub fn open(kafka: &KafkaSettings, pipeline: &str) -> Result<(Self, KafkaRead)> {
        let topic = progress_topic(pipeline);
        let reader = reader(kafka, pipeline)?;
        ensure_topic(&reader, kafka, &topic)?;
        let producer = TransactionalProducer::open(kafka, &transactional_id(pipeline))?;
        let log = Self { kafka: kafka.clone(), topic, producer, reader, generation: String::new() };
        let nonce = format!("{}-{}", std::process::id(), clock::wall().0);
        log.producer.commit(&|to| to.send(log.control(SENTINEL, Some(nonce.as_bytes()))))?;
        let read = read_topic(&log.reader, &log.kafka, &log.topic, Until::Nonce(nonce.as_bytes()))?;
        Ok((log, read))
    }

    /// B3: commits the new generation; `forget` are epochs of a run that is replaced (`--fresh`). Nothing outside Kafka may change before.
    pub fn begin(&mut self, start: &StartRecord, forget: &[Epoch]) -> Result<()> {
        let json = to_json(start)?;
        self.producer.commit(&|to| {
            for epoch in forget {
                to.send(self.control(epoch_key(*epoch).as_bytes(), None))?;
            }
            if !forget.is_empty() {
                to.send(self.control(HEAD, None))?;
            }
            to.send(self.control(GENERATION, Some(&json)))
        })?;
        self.generation = start.generation.to_string();
        Ok(())
    }

    /// E5–E10: one transaction with the messages of all topics (name, partitions to spread over, messages), P(e) and the head.
    pub fn commit(&self, record: &ProgressRecord, outputs: &[(&str, u32, &Messages)]) -> Result<()> {
        let json = to_json(record)?;
        let head = to_json(&Head { epoch: record.epoch, generation: record.generation })?;
        let epoch = record.epoch.to_string();
        let headers = [("epoch", epoch.as_str()), ("generation", self.generation.as_str())];
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
        partition_count(&self.reader, &self.kafka, topic)?.ok_or_else(|| {
            Error::new(
                Exit::Unreachable,
                format!("the topic {topic} does not exist at {}", self.kafka.brokers),
                format!(
                    "create it first: kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 4",
                    self.kafka.brokers
                ),
            )
        })
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
        Some(1) => return Ok(()),
        Some(count) => {
            return Err(Error::new(
                Exit::Data,
                format!("the progress topic {topic} has {count} partitions where it must have one"),
                "delete the topic, if nothing else uses it; Tidemill creates it as it has to be",
            ));
        }
        None => {}
    }
    let admin: AdminClient<Reports> =
        client_config(kafka, "tidemill-admin").create_with_context(Reports::default()).map_err(|error| misconfigured(&error))?;
    let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(-1)).set("cleanup.policy", "compact");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10))).request_timeout(Some(Duration::from_secs(20)));
    let by_hand = format!(
        "create it by hand: kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions 1 --config cleanup.policy=compact",
        kafka.brokers
    );
    let created = block_on(admin.create_topics([&wanted], &options)).map_err(|error| unreachable(reader, kafka, &error))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) if is_auth(code) => {
                return Err(Error::new(Exit::Auth, format!("Kafka does not let this pipeline create the topic {topic}: {code}"), by_hand));
            }
            Err((_, code)) => {
                return Err(Error::new(Exit::Unreachable, format!("Kafka cannot create the topic {topic}: {code}"), by_hand));
            }
        }
    }
    for _ in 0..100 {
        if partition_count(reader, kafka, topic)? == Some(1) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Error::new(Exit::Unreachable, format!("the topic {topic} was created and does not appear"), "run the same command again"))
}
