//! Connecting to Kafka: settings, what librdkafka reports on the side, and what failures mean for the user.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use crate::error::{Error, Exit, Result};

/// `[kafka]` as the log and the Kafka sinks need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Bootstrap brokers.
    pub brokers: String,
    /// Other librdkafka properties; those that delivery depends on are overruled.
    pub options: Vec<(String, String)>,
}

/// A client configuration with the user's options; the caller sets what it owns afterwards.
pub(crate) fn client_config(kafka: &KafkaSettings, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("socket.keepalive.enable", "true").set("reconnect.backoff.max.ms", "1000");
    for (key, value) in &kafka.options {
        config.set(key, value);
    }
    config.set("bootstrap.servers", &kafka.brokers).set("client.id", client_id);
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Keeps what librdkafka reports beside the results of calls: the latest global error and the first failed delivery.
#[derive(Default)]
pub(crate) struct Reports {
    global: Mutex<Option<(RDKafkaErrorCode, String)>>,
    delivery: Mutex<Option<KafkaError>>,
}

impl Reports {
    /// The latest global error and its text.
    pub(crate) fn global(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.global.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first failed delivery since the last call.
    pub(crate) fn take_delivery(&self) -> Option<KafkaError> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "kafka", facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", "{error}: {reason}");
        if let Some(code) = error.rdkafka_error_code() {
            // "All brokers down" follows the error that says why; the reason is worth more.
            let mut global = self.global.lock().unwrap_or_else(PoisonError::into_inner);
            if code != RDKafkaErrorCode::AllBrokersDown || global.is_none() {
                *global = Some((code, reason.to_owned()));
            }
        }
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.delivery.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

/// A consumer for metadata and for reading the progress topic: it never joins the group it is named after, never commits, never creates topics.
pub(crate) fn reader(kafka: &KafkaSettings, pipeline: &str) -> Result<BaseConsumer<Reports>> {
    let name = format!("tidemill.{pipeline}");
    let mut config = client_config(kafka, &name);
    config.set("group.id", &name).set("group.protocol", "classic").set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false").set("auto.offset.reset", "error").set("isolation.level", "read_committed");
    config.set("allow.auto.create.topics", "false").set("check.crcs", "true").set("fetch.wait.max.ms", "20");
    config.create_with_context(Reports::default()).map_err(|error| misconfigured(&error))
}

/// Number of partitions of `topic`; `None` if it does not exist. Exit 69 or 77 if the brokers cannot say.
pub(crate) fn partition_count(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, topic: &str) -> Result<Option<u32>> {
    let metadata = reader.fetch_metadata(Some(topic), Duration::from_secs(10)).map_err(|error| unreachable(reader, kafka, &error))?;
    let Some(found) = metadata.topics().first() else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None => Ok(Some(found.partitions().len() as u32).filter(|count| *count > 0)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(code) if is_auth(code) => Err(refused(&format!("no ACL Describe on topic {topic}: {code}"))),
        Some(code) => {
            Err(Error::new(Exit::Unreachable, format!("Kafka has no usable topic {topic}: {code}"), "run the same command again"))
        }
    }
}

/// Whether the brokers refused credentials or permissions.
pub(crate) fn is_auth(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::Authentication
            | C::SaslAuthenticationFailed
            | C::TopicAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::ClusterAuthorizationFailed
            | C::TransactionalIdAuthorizationFailed
            | C::SSL
    )
}

/// Exit 77.
pub(crate) fn refused(what: &str) -> Error {
    Error::new(
        Exit::Auth,
        format!("Kafka refused the credentials or permissions of this pipeline: {what}"),
        "check `sasl.*`, `ssl.*` and `security.protocol` in [kafka] options, and the ACLs: Read on inputs and group, Write on outputs, \
         Read, Write and Create on the progress topic, Write on the transactional id",
    )
}

/// Exit 78: librdkafka does not accept the options.
pub(crate) fn misconfigured(error: &KafkaError) -> Error {
    let cause = match error {
        KafkaError::ClientConfig(_, text, key, value) => format!("[kafka] options: `{key} = {value}` is not accepted: {text}"),
        other => format!("no Kafka client can be made with these [kafka] options: {other}"),
    };
    Error::new(Exit::Config, cause, "see librdkafka's list of configuration properties")
}

/// Exit 69 (or 77 where the brokers were reached and said no), from what `reader` has been told meanwhile.
pub(crate) fn unreachable(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, error: &KafkaError) -> Error {
    for _ in 0..20 {
        let _ = reader.poll(Duration::from_millis(1));
    }
    let report = reader.context().global();
    if let Some((code, text)) = report.as_ref().filter(|(code, _)| is_auth(*code)) {
        return refused(&format!("{code}: {text}"));
    }
    let why = report.map_or_else(|| error.to_string(), |(_, text)| text);
    Error::new(
        Exit::Unreachable,
        format!("no Kafka broker answers at {}: {why}", kafka.brokers),
        "check `brokers` in [kafka], that Kafka runs and can be reached from here, and that `security.protocol` in its options is what it speaks",
    )
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future of librdkafka's admin client, which is completed by a thread of its own, on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
