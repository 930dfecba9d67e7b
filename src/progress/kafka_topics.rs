//! The topics of a pipeline as the brokers have them: looked at, and made where they are missing. The progress topic has one shape, whoever makes it.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode;

use super::{KafkaSettings, Reports, block_on, client_config, is_auth, misconfigured, partition_count, reader, unreachable};
use crate::error::{Error, Exit, Result};

/// The replication factor that the brokers choose.
pub const BROKERS_CHOICE: i32 = -1;

/// What a topic is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicShape {
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor, or [`BROKERS_CHOICE`].
    pub replication: i32,
    /// `cleanup.policy=compact`
    pub compacted: bool,
}

impl TopicShape {
    /// Of a progress topic: the order of its records is that of one partition, and its latest records must never be deleted.
    pub fn progress(replication: i32) -> Self {
        Self { partitions: 1, replication, compacted: true }
    }
}

/// The brokers, asked about topics.
pub struct KafkaTopics {
    kafka: KafkaSettings,
    reader: BaseConsumer<Reports>,
}

impl KafkaTopics {
    /// Nothing is connected yet.
    pub fn new(kafka: &KafkaSettings, pipeline: &str) -> Result<Self> {
        Ok(Self { kafka: kafka.clone(), reader: reader(kafka, pipeline)? })
    }

    /// Number of partitions; `None` if the topic does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>> {
        partition_count(&self.reader, &self.kafka, topic)
    }

    /// Makes a topic; returns when the brokers know it.
    pub fn create(&self, topic: &str, shape: TopicShape) -> Result<()> {
        create_topic(&self.reader, &self.kafka, topic, shape)
    }

    /// `cleanup.policy` of a topic; `None` where the brokers do not let this user know it.
    pub fn cleanup_policy(&self, topic: &str) -> Result<Option<String>> {
        let (admin, options) = admin(&self.kafka)?;
        let described = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options))
            .map_err(|error| unreachable(&self.reader, &self.kafka, &error))?;
        match described.into_iter().next() {
            Some(Ok(config)) => Ok(config.get("cleanup.policy").and_then(|entry| entry.value.clone())),
            Some(Err(code)) if !is_auth(code) => Err(Error::new(
                Exit::Unreachable,
                format!("Kafka does not tell the settings of the topic {topic}: {code}"),
                "run the same command again",
            )),
            Some(Err(_)) | None => Ok(None),
        }
    }
}

/// Exit 65: the progress topic cannot keep records in order.
pub(crate) fn too_many_partitions(topic: &str, count: u32) -> Error {
    Error::new(
        Exit::Data,
        format!("the progress topic {topic} has {count} partitions where it must have one"),
        "delete the topic, if nothing else uses it; Tidemill creates it as it has to be",
    )
}

/// Makes a topic that may appear meanwhile, and waits until the brokers know it in this shape.
pub(crate) fn create_topic(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, topic: &str, shape: TopicShape) -> Result<()> {
    let (admin, options) = admin(kafka)?;
    let mut wanted = NewTopic::new(topic, shape.partitions, TopicReplication::Fixed(shape.replication));
    if shape.compacted {
        wanted = wanted.set("cleanup.policy", "compact");
    }
    let created = block_on(admin.create_topics([&wanted], &options)).map_err(|error| unreachable(reader, kafka, &error))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(not_created(kafka, topic, shape, code)),
        }
    }
    for _ in 0..100 {
        if partition_count(reader, kafka, topic)? == u32::try_from(shape.partitions).ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Error::new(Exit::Unreachable, format!("the topic {topic} was created and does not appear"), "run the same command again"))
}

fn admin(kafka: &KafkaSettings) -> Result<(AdminClient<Reports>, AdminOptions)> {
    let admin = client_config(kafka, "tidemill-admin").create_with_context(Reports::default()).map_err(|error| misconfigured(&error))?;
    Ok((admin, AdminOptions::new().operation_timeout(Some(Duration::from_secs(10))).request_timeout(Some(Duration::from_secs(20)))))
}

fn not_created(kafka: &KafkaSettings, topic: &str, shape: TopicShape, code: RDKafkaErrorCode) -> Error {
    let TopicShape { partitions, replication, compacted } = shape;
    let by_hand = format!(
        "create it by hand: kafka-topics.sh --bootstrap-server {} --create --topic {topic} --partitions {partitions}{}",
        kafka.brokers,
        if compacted { " --config cleanup.policy=compact" } else { "" }
    );
    match code {
        code if is_auth(code) => Error::new(
            Exit::Auth,
            format!("Kafka does not let this pipeline create the topic {topic}: {code}"),
            format!("give its user the ACL Create on topic {topic}; or {by_hand}"),
        ),
        RDKafkaErrorCode::InvalidReplicationFactor => Error::new(
            Exit::Unreachable,
            format!("Kafka cannot create the topic {topic} with the replication factor {}: {code}", replicas(replication)),
            "run `tidemill topics init FILE --replication N`, with N at most the number of brokers that are up",
        ),
        RDKafkaErrorCode::InvalidPartitions | RDKafkaErrorCode::PolicyViolation => Error::new(
            Exit::Unreachable,
            format!("Kafka refuses to create the topic {topic} with {partitions} partitions: {code}"),
            format!("give --partitions and --replication as the brokers' policy wants them; or {by_hand}"),
        ),
        code => Error::new(Exit::Unreachable, format!("Kafka cannot create the topic {topic}: {code}"), by_hand),
    }
}

fn replicas(replication: i32) -> String {
    if replication == BROKERS_CHOICE { "that is the brokers' default".to_string() } else { replication.to_string() }
}

/// Exit 69: topics that must exist before a run; none of `absent` is made by it.
pub(crate) fn absent_topics(kafka: &KafkaSettings, absent: &[&str]) -> Error {
    let (noun, verb) = if absent.len() == 1 { ("topic", "does") } else { ("topics", "do") };
    Error::new(
        Exit::Unreachable,
        format!("the {noun} {} {verb} not exist at {}", absent.join(", "), kafka.brokers),
        format!(
            "`tidemill topics init FILE` shows and makes what is missing (inputs only with --inputs); or correct `topic`; or by hand: \
             kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions 4",
            kafka.brokers,
            absent.first().copied().unwrap_or("TOPIC")
        ),
    )
}
