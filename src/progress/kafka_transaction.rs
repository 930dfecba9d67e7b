//! One Kafka transaction: fill, drain, commit; and what each way of failing leads to (recovery-protocol §2.5).
//!
//! The queue is drained before the commit is asked for: librdkafka's own flush inside it polls in steps of 100 ms, draining first makes an epoch six
//! times faster (measured). After a commit whose outcome stays unknown, or an abort that does not succeed, the producer is never used again, because
//! a late `EndTxn` of an old transaction could end a new one (Jepsen, Bufstream 0.1.0). `Failure::renewable` says that another one may go on.
//!
//! Shown by a real Apache Kafka 4.3, where recovery-protocol §2.5 has it otherwise: an abort after an outage often cannot succeed. If the coordinator
//! died before it heard of the transaction, it answers `INVALID_TXN_STATE`; if it came back after `transaction.timeout.ms`, it has ended the
//! transaction itself and answers as if the producer had been fenced. librdkafka is done with the producer in both cases.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{KafkaSettings, Reports, client_config, is_auth, misconfigured, refused};
use crate::error::{Error, Exit, Result};
use crate::time::clock;

/// How often one epoch is produced again after its transaction had to be aborted.
const ATTEMPTS: u32 = 5;
/// How long the outcome of a commit or abort is asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long the brokers let a transaction be open; then they end it, and refuse its producer.
const OPEN: Duration = Duration::from_secs(60);

/// What an error of librdkafka calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Ask again.
    Retry,
    /// Abort the transaction and produce the same epoch again.
    Abort,
    /// Somebody else owns the transactional id now: exit 76.
    Fenced,
    /// Exit 77.
    Auth,
    /// A message is larger than the brokers take: exit 71.
    TooLarge,
    /// A message's timestamp is further from the brokers' clock than they take: exit 65.
    Untimely,
    /// This producer is of no use any more: a new one, or exit 75.
    Fatal,
}

/// The class of an error, from its code and librdkafka's two flags; neither flag means fatal.
pub(crate) fn classify(code: RDKafkaErrorCode, retriable: bool, abortable: bool) -> Class {
    use RDKafkaErrorCode as C;
    match code {
        code if is_auth(code) => Class::Auth,
        C::MessageSizeTooLarge => Class::TooLarge,
        C::InvalidTimestamp => Class::Untimely,
        C::Fenced | C::ProducerFenced => Class::Fenced,
        _ if retriable => Class::Retry,
        _ if abortable => Class::Abort,
        C::InvalidProducerEpoch => Class::Fenced,
        _ => Class::Fatal,
    }
}

/// Why a transaction did not come about.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What to end with.
    pub(crate) error: Error,
    /// Nothing but this producer, or the brokers for now, is in the way: a new producer may find out whether the transaction was committed, and go on.
    pub(crate) renewable: bool,
}

impl From<Error> for Failure {
    /// Of what surrounds a transaction: brokers that do not answer now may answer later.
    fn from(error: Error) -> Self {
        Self { renewable: error.exit == Exit::Unreachable, error }
    }
}

/// A message to be sent within a transaction; timestamp in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub key: Option<&'a [u8]>,
    /// `None` deletes the key from a compacted topic.
    pub value: Option<&'a [u8]>,
    pub timestamp: Option<i64>,
    /// Header names and values.
    pub headers: &'a [(&'a str, &'a str)],
}

/// The one producer of a pipeline; its transactional id never changes, so a newer process fences an older one exactly.
pub(crate) struct TransactionalProducer {
    producer: BaseProducer<Reports>,
    id: String,
}

impl TransactionalProducer {
    /// B1: fences older producers of `id`; the brokers finish or abort what they left open. Exit 69, 75, 77 or 78.
    pub(crate) fn open(kafka: &KafkaSettings, id: &str) -> Result<Self> {
        let mut config = client_config(kafka, id);
        config.set("transactional.id", id).set("transaction.timeout.ms", OPEN.as_millis().to_string()).set("message.timeout.ms", "30000");
        config.set("enable.idempotence", "true").set("acks", "all");
        for (key, value) in [("linger.ms", "5"), ("compression.codec", "lz4"), ("queue.buffering.max.kbytes", "65536")] {
            if !kafka.options.iter().any(|(option, _)| option == key) {
                config.set(key, value);
            }
        }
        let producer: BaseProducer<Reports> = config.create_with_context(Reports::default()).map_err(|error| misconfigured(&error))?;
        let this = Self { producer, id: id.to_owned() };
        let end = clock::now() + Duration::from_secs(60);
        loop {
            match this.producer.init_transactions(Duration::from_secs(10)) {
                Ok(()) => return Ok(this),
                Err(error) if this.class(&error) == Class::Retry && clock::now() < end => {}
                Err(error) if this.class(&error) == Class::Retry => {
                    return Err(Error::new(
                        Exit::Unreachable,
                        format!("Kafka's transaction coordinator does not answer: {error}"),
                        "check that the brokers are up and that __transaction_state has enough replicas",
                    ));
                }
                Err(error) => return Err(this.failed("begin", &error, end).error),
            }
        }
    }

    /// Commits one transaction with the messages that `fill` sends; `fill` is called again if the transaction has to be aborted.
    pub(crate) fn commit(&self, fill: &dyn Fn(&Self) -> Result<(), KafkaError>) -> Result<(), Failure> {
        let mut latest = None;
        for _ in 0..=ATTEMPTS {
            let expiry = clock::now() + OPEN;
            self.retrying("begin", expiry, || self.producer.begin_transaction())?;
            self.producer.context().take_delivery();
            let sent = fill(self);
            let drained = sent.and_then(|()| self.drain());
            let error = match drained.and_then(|()| self.end()) {
                Ok(()) => return Ok(()),
                // A failed delivery says more than the "erroneous state" it leads to.
                Err(error) => self.producer.context().take_delivery().filter(|first| !is_purge(first)).unwrap_or(error),
            };
            tracing::debug!(target: "kafka", "transaction of {} failed: {error}", self.id);
            match self.class(&error) {
                Class::Abort => self.abort(expiry)?,
                Class::TooLarge | Class::Untimely | Class::Auth => {
                    // Readers need not wait for the transaction to time out; whether this works changes nothing else.
                    let failed = self.failed("commit", &error, expiry);
                    let _ = self.abort(expiry);
                    return Err(failed);
                }
                _ => return Err(self.failed("commit", &error, expiry)),
            }
            latest = Some(error);
        }
        // Messages that nobody took mean brokers that did not answer; anything else will not pass by itself.
        let renewable = matches!(latest, Some(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)));
        let why = latest.map_or_else(String::new, |error| format!(": {error}"));
        let error = Error::new(
            Exit::Restart,
            format!("Kafka aborted the same epoch {} times{why}", ATTEMPTS + 1),
            "nothing is lost; check the brokers, then start the pipeline again",
        );
        Err(Failure { error, renewable })
    }

    /// Queues one message. A full queue is waited for; any other error is for the transaction to deal with.
    pub(crate) fn send(&self, message: Outgoing<'_>) -> Result<(), KafkaError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(message.topic).partition(message.partition as i32);
        record.key = message.key;
        record.payload = message.value;
        record.timestamp = message.timestamp;
        if !message.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(message.headers.len());
            let headers = message.headers.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
            record.headers = Some(headers);
        }
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => record,
                Err((error, _)) => return Err(error),
            };
            self.producer.poll(Duration::from_millis(1));
            if self.producer.client().fatal_error().is_some() {
                return Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal));
            }
        }
    }

    /// Waits until every message is acknowledged or has failed (`message.timeout.ms` sees to that).
    fn drain(&self) -> Result<(), KafkaError> {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
            if self.producer.client().fatal_error().is_some() {
                return Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal));
            }
        }
        Ok(())
    }

    /// Ends the transaction; asks again while the outcome is open.
    fn end(&self) -> Result<(), KafkaError> {
        let end = clock::now() + PATIENCE;
        loop {
            match self.producer.commit_transaction(Duration::from_secs(10)) {
                Err(error) if self.class(&error) == Class::Retry && clock::now() < end => {}
                other => return other,
            }
        }
    }

    /// Aborts the transaction. The call purges the queue (a purge of our own would leave gaps in the sequence numbers) and waits for an empty one
    /// without serving it, so it is given little time, the reports of the purged messages are served, and it is called again.
    fn abort(&self, expiry: Instant) -> Result<(), Failure> {
        self.retrying("abort", expiry, || {
            let result = self.producer.abort_transaction(Duration::from_millis(250));
            let end = clock::now() + PATIENCE;
            while result.is_err() && self.producer.in_flight_count() > 0 && clock::now() < end {
                self.producer.poll(Duration::from_millis(1));
            }
            result
        })
    }

    fn retrying(&self, doing: &str, expiry: Instant, call: impl Fn() -> Result<(), KafkaError>) -> Result<(), Failure> {
        let end = clock::now() + PATIENCE;
        loop {
            match call() {
                Ok(()) => return Ok(()),
                Err(error) if self.class(&error) == Class::Retry && clock::now() < end => self.producer.poll(Duration::from_millis(10)),
                Err(error) => return Err(self.failed(doing, &error, expiry)),
            }
        }
    }

    fn class(&self, error: &KafkaError) -> Class {
        if let Some((code, _)) = self.producer.client().fatal_error() {
            return classify(code, false, false);
        }
        match error {
            KafkaError::Transaction(inner) => classify(inner.code(), inner.is_retriable(), inner.txn_requires_abort()),
            KafkaError::Flush(_) => Class::Retry,
            // What was not sent or delivered makes the open transaction abortable, unless the code says worse.
            KafkaError::MessageProduction(RDKafkaErrorCode::Fatal) => Class::Fatal,
            KafkaError::MessageProduction(code) => classify(*code, false, true),
            _ => Class::Fatal,
        }
    }

    /// What became of a transaction that the brokers end by themselves after `expiry`.
    fn failed(&self, doing: &str, error: &KafkaError, expiry: Instant) -> Failure {
        let fatal = self.producer.client().fatal_error();
        let text = fatal.map_or_else(|| error.to_string(), |(code, text)| format!("{code}: {text}"));
        let class = match self.class(error) {
            // The brokers refuse producers whose transactions they have ended in the same words as those that another process replaced.
            Class::Fenced if clock::now() >= expiry => Class::Fatal,
            class => class,
        };
        let error = match class {
            Class::Fenced => fenced(&format!("transactional id {}: {text}", self.id)),
            Class::Auth => refused(&text),
            Class::TooLarge => Error::new(
                Exit::Limit,
                format!("a message is larger than Kafka takes: {text}"),
                "raise `max.message.bytes` of the topic and `message.max.bytes` in [kafka] options, or write fewer columns",
            ),
            Class::Untimely => Error::new(
                Exit::Data,
                format!("Kafka refuses the event time of a message, which is its timestamp: {text}"),
                "raise `message.timestamp.after.max.ms` (and `.before.max.ms`) of the output topic, or lower `ahead` of the source",
            ),
            Class::Retry | Class::Abort | Class::Fatal => Error::new(
                Exit::Restart,
                format!("cannot {doing} the Kafka transaction: {text}"),
                "nothing is lost; check the brokers, then start the pipeline again: it finds out whether the epoch was committed",
            ),
        };
        Failure { error, renewable: matches!(class, Class::Retry | Class::Abort | Class::Fatal) }
    }
}

/// Exit 76.
pub(crate) fn fenced(how: &str) -> Error {
    Error::new(
        Exit::Fenced,
        format!("a newer process of this pipeline took over ({how})"),
        "nothing that this process wrote afterwards is visible; run one process per pipeline name",
    )
}

fn is_purge(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as C;

    #[test]
    fn errors_fall_into_the_classes_of_the_crash_table() {
        for (code, retriable, abortable, want) in [
            (C::Fenced, false, false, Class::Fenced),
            (C::ProducerFenced, false, true, Class::Fenced),
            (C::InvalidProducerEpoch, false, true, Class::Abort),
            (C::InvalidProducerEpoch, false, false, Class::Fenced),
            (C::OperationTimedOut, true, false, Class::Retry),
            (C::MessageTimedOut, false, true, Class::Abort),
            (C::InvalidTransactionalState, false, false, Class::Fatal),
            (C::TopicAuthorizationFailed, false, true, Class::Auth),
            (C::TransactionalIdAuthorizationFailed, false, false, Class::Auth),
            (C::MessageSizeTooLarge, false, true, Class::TooLarge),
            (C::InvalidTimestamp, false, true, Class::Untimely),
        ] {
            assert_eq!(classify(code, retriable, abortable), want, "{code:?}");
        }
    }
}
