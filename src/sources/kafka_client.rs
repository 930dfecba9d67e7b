//! The Kafka client of a source: its settings, and what its errors mean for the user.
//!
//! Settings that exactly-once rests on cannot be changed by `[kafka] options`: offsets are ours alone, an offset out of range is an error and never a
//! silent jump, only committed records are read, and a misspelt topic is not created.

use std::sync::{Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Error, Exit, Result};
use crate::plan::KafkaPlan;

/// Settings that a user may change.
const DEFAULTS: [(&str, &str); 7] = [
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "1000"),
    ("check.crcs", "true"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.message.max.bytes", "1048576"),
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("group.id", "tidemill"),
];

/// Settings that a user may not change. `group.id` is only asked for by the client library: nothing is committed under it and no group is joined, so
/// the poll interval is out of force.
const OWNED: [(&str, &str); 9] = [
    ("group.protocol", "classic"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("max.poll.interval.ms", "86400000"),
    ("session.timeout.ms", "45000"),
];

/// Remembers the last thing that went wrong between client and brokers: calls that time out do not say why themselves.
#[derive(Default)]
pub(super) struct Watch {
    last: Mutex<Option<(KafkaError, String)>>,
}

impl Watch {
    /// The last trouble, code and words.
    fn last(&self) -> Option<(KafkaError, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "kafka", facility, "{message}");
            }
            _ => tracing::debug!(target: "kafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown)) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((error, reason.to_string()));
        }
    }
}

impl ConsumerContext for Watch {}

/// A consumer for the source called `name`. Nothing is connected yet.
pub(super) fn consumer(kafka: &KafkaPlan, name: &str) -> Result<BaseConsumer<Watch>> {
    let mut config = ClientConfig::new();
    config.set("client.id", format!("tidemill-{name}"));
    for (key, value) in DEFAULTS {
        config.set(key, value);
    }
    for (key, value) in &kafka.options {
        config.set(key, value);
    }
    for (key, value) in OWNED {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &kafka.brokers);
    config.create_with_context(Watch::default()).map_err(|error| match error {
        KafkaError::ClientConfig(_, words, key, _) => {
            Error::new(Exit::Config, format!("the Kafka property `{key}` cannot be used: {words}"), "correct it under [kafka] options")
        }
        other => Error::new(Exit::Config, format!("the Kafka client cannot be made: {other}"), "check [kafka] options"),
    })
}

/// What an error of the client means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The client goes on trying by itself.
    Passing,
    Expired,
    NoTopic,
    Refused,
    Damaged,
    Unreachable,
}

fn meaning(code: RDKafkaErrorCode) -> Meaning {
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Meaning::Expired,
        RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition => Meaning::NoTopic,
        RDKafkaErrorCode::Authentication
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::UnsupportedSASLMechanism => Meaning::Refused,
        RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::BadCompression | RDKafkaErrorCode::InvalidMessage => Meaning::Damaged,
        RDKafkaErrorCode::Fatal | RDKafkaErrorCode::SSL => Meaning::Unreachable,
        _ => Meaning::Passing,
    }
}

/// The error of an answer about `topic`, or of none: `trouble` is what the call said. Takes events from the client, records among them, which are lost.
pub(super) fn unanswered(consumer: &BaseConsumer<Watch>, topic: &str, brokers: &str, trouble: &KafkaError) -> Error {
    // The reason arrives as an event behind the call.
    for _ in 0..32 {
        if consumer.poll(std::time::Duration::from_millis(5)).is_none() {
            break;
        }
    }
    let (cause, words) = match rdkafka::consumer::Consumer::context(consumer).last() {
        Some((error, words)) => (error.rdkafka_error_code(), words),
        None => (None, trouble.to_string()),
    };
    let codes = [trouble.rdkafka_error_code(), cause];
    let found = codes.into_iter().flatten().map(meaning).find(|meaning| *meaning != Meaning::Passing).unwrap_or(Meaning::Unreachable);
    describe(found, topic, brokers, &words)
}

/// What an error while reading means: `None` if the client goes on by itself.
pub(super) fn judge(error: &KafkaError, topic: &str, brokers: &str) -> Option<Error> {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    match error.rdkafka_error_code().map_or(Meaning::Passing, meaning) {
        Meaning::Passing if fatal => Some(describe(Meaning::Unreachable, topic, brokers, &error.to_string())),
        Meaning::Passing => None,
        known => Some(describe(known, topic, brokers, &error.to_string())),
    }
}

/// Whether the brokers say that they do not know the topic; brokers that have just started may say so for a while.
pub(super) fn is_missing(error: &KafkaError) -> bool {
    error.rdkafka_error_code().map(meaning) == Some(Meaning::NoTopic)
}

/// Cause and help for people.
fn describe(meaning: Meaning, topic: &str, brokers: &str, words: &str) -> Error {
    match meaning {
        Meaning::Passing | Meaning::Unreachable => Error::new(
            Exit::Unreachable,
            format!("no answer from the Kafka brokers at {brokers} about topic `{topic}`: {words}"),
            "check `brokers` under [kafka], that they run, and that security.protocol is theirs",
        ),
        Meaning::NoTopic => Error::new(
            Exit::Unreachable,
            format!("the topic {topic} does not exist at {brokers}"),
            format!(
                "correct `topic`; or `tidemill topics init FILE --inputs` makes it; or by hand: \
                 kafka-topics.sh --bootstrap-server {brokers} --create --topic {topic} --partitions 4"
            ),
        ),
        Meaning::Refused => Error::new(
            Exit::Auth,
            format!("the Kafka brokers at {brokers} refuse access to topic `{topic}`: {words}"),
            "check sasl.* and ssl.* under [kafka] options, and that the user may Read and Describe the topic",
        ),
        Meaning::Expired => Error::new(
            Exit::Data,
            format!("topic `{topic}` no longer holds the records that come next: {words}"),
            "they fell to retention, or the topic was created anew; start over with --fresh, and keep records longer",
        ),
        Meaning::Damaged => Error::new(
            Exit::Data,
            format!("topic `{topic}` holds a record batch that cannot be read: {words}"),
            "check the brokers' disks; the batch can be removed with kafka-delete-records.sh",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_settings_win_over_options_and_bad_options_are_named() {
        let options = vec![("auto.offset.reset".to_string(), "latest".to_string()), ("check.crcs".to_string(), "false".to_string())];
        assert!(consumer(&KafkaPlan { brokers: "localhost:1".into(), options }, "x").is_ok());
        let options = vec![("queued.max.messages.kbytes".to_string(), "many".to_string())];
        let Err(error) = consumer(&KafkaPlan { brokers: "localhost:1".into(), options }, "x") else { panic!("the option is refused") };
        assert!(error.exit == Exit::Config && error.cause.contains("queued.max.messages.kbytes"), "{error}");
    }

    #[test]
    fn errors_are_told_apart() {
        let exit = |code| judge(&KafkaError::MessageConsumption(code), "t", "b").map(|error| error.exit);
        assert_eq!(exit(RDKafkaErrorCode::AutoOffsetReset), Some(Exit::Data));
        assert_eq!(exit(RDKafkaErrorCode::TopicAuthorizationFailed), Some(Exit::Auth));
        assert_eq!(exit(RDKafkaErrorCode::BrokerTransportFailure), None);
        assert_eq!(
            judge(&KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::Fenced), "t", "b").map(|error| error.exit),
            Some(Exit::Unreachable)
        );
    }
}
