//! Reading the progress topic: to a nonce of one's own (B2), or, for onlookers that must not disturb the run, to its present end.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::kafka_log::{EPOCHS, GENERATION, HEAD, SENTINEL, epoch_key};
use super::{
    KafkaSettings, ProgressRecord, Reports, StartRecord, fenced, is_auth, partition_count, progress_topic, reader, refused, unreachable,
};
use crate::error::{Error, Exit, Result};
use crate::time::{Epoch, clock};

/// How long the reader waits for a next record before it gives up.
const SILENCE: Duration = Duration::from_secs(60);

/// What the progress topic holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KafkaRead {
    /// The newest generation; `None` on the first start of the pipeline.
    pub start: Option<StartRecord>,
    /// The progress records in order of epochs.
    pub records: Vec<ProgressRecord>,
}

impl KafkaRead {
    /// Whether `generation` is still the newest. Exit 76 if it is not; exit 65 if `topic` knows only older ones.
    pub(super) fn check_generation(&self, topic: &str, generation: u64) -> Result<()> {
        match self.start.as_ref().map_or(0, |start| start.generation) {
            newest if newest == generation => Ok(()),
            newest if newest > generation => Err(fenced(&format!("generation {newest}; this is {generation}"))),
            newest => Err(unusable(topic, &format!("has lost records: this process is generation {generation}, and it knows {newest}"))),
        }
    }

    /// Whether `epoch` of `generation` is committed, or the one before it. Exit 65 if it is neither.
    pub(super) fn settles(&self, topic: &str, generation: u64, epoch: Epoch) -> Result<bool> {
        self.check_generation(topic, generation)?;
        match self.records.last() {
            None if epoch == Epoch::FIRST => Ok(false),
            Some(last) if last.epoch == epoch && last.generation == generation => Ok(true),
            Some(last) if last.epoch.next() == epoch => Ok(false),
            last => {
                let found = last.map_or_else(|| "without an epoch".to_string(), |last| format!("with epoch {}", last.epoch));
                Err(unusable(topic, &format!("ends {found}, while epoch {epoch} was being committed")))
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) epoch: Epoch,
    pub(super) generation: u64,
}

/// Where reading ends.
#[derive(Clone, Copy)]
pub(super) enum Until<'a> {
    /// When this nonce is delivered: the only reliable end.
    Nonce(&'a [u8]),
    /// When the reader stands at this offset, or behind it.
    Offset(i64),
}

/// The progress records that a pipeline has committed, without fencing anybody. What is committed meanwhile may be missing.
pub fn peek_topic(kafka: &KafkaSettings, pipeline: &str) -> Result<Vec<ProgressRecord>> {
    let read = read_present(&reader(kafka, pipeline)?, kafka, &progress_topic(pipeline))?;
    Ok(read.unwrap_or_default().records)
}

/// What the topic holds now, without fencing anybody; `None` if the brokers do not know it.
pub(super) fn read_present(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, topic: &str) -> Result<Option<KafkaRead>> {
    if partition_count(reader, kafka, topic)?.is_none() {
        return Ok(None);
    }
    let (low, high) = reader.fetch_watermarks(topic, 0, Duration::from_secs(30)).map_err(|error| unreachable(reader, kafka, &error))?;
    if low == high {
        return Ok(Some(KafkaRead::default()));
    }
    read_topic(reader, kafka, topic, Until::Offset(high)).map(Some)
}

/// Reads from the beginning.
pub(super) fn read_topic(reader: &BaseConsumer<Reports>, kafka: &KafkaSettings, topic: &str, until: Until<'_>) -> Result<KafkaRead> {
    let failed = |error: &KafkaError| unreachable(reader, kafka, error);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).map_err(|error| failed(&error))?;
    reader.assign(&assignment).map_err(|error| failed(&error))?;
    let mut latest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut end = clock::now() + SILENCE;
    loop {
        match reader.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                end = clock::now() + SILENCE;
                let key = message.key().unwrap_or_default();
                match (message.payload(), until) {
                    (Some(value), Until::Nonce(nonce)) if key == SENTINEL && value == nonce => break,
                    (Some(value), _) => drop(latest.insert(key.to_vec(), value.to_vec())),
                    (None, _) => drop(latest.remove(key)),
                }
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_auth) => return Err(refused(&error.to_string())),
            Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::UnknownTopicOrPartition))) => {
                return Err(unusable(topic, "was deleted or cut while it was read"));
            }
            Some(Err(error)) => tracing::debug!(target: "kafka", "reading {topic}: {error}"),
            None => {}
        }
        if let Until::Offset(high) = until {
            let position = reader.position().map_err(|error| failed(&error))?;
            let stands = position.find_partition(topic, 0).map(|partition| partition.offset());
            if matches!(stands, Some(Offset::Offset(offset)) if offset >= high) && is_whole(&latest) {
                break;
            }
        }
        if clock::now() > end {
            return Err(failed(&KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
        }
    }
    reader.unassign().map_err(|error| failed(&error))?;
    decode(topic, &latest)
}

/// Whether what was read ends with a whole transaction: its epochs come before its head.
fn is_whole(latest: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    let head = latest.get(HEAD).and_then(|value| serde_json::from_slice::<Head>(value).ok());
    let newest = latest.keys().rev().find(|key| key.starts_with(EPOCHS.as_bytes()));
    head.map(|head| epoch_key(head.epoch).into_bytes()).as_ref() == newest
}

fn decode(topic: &str, latest: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<KafkaRead> {
    let bad = |key: &[u8], why: &str| unusable(topic, &format!("holds an unreadable record {}: {why}", String::from_utf8_lossy(key)));
    let mut read = KafkaRead::default();
    for (key, value) in latest {
        if key == GENERATION {
            read.start = Some(serde_json::from_slice(value).map_err(|error| bad(key, &error.to_string()))?);
        } else if key.starts_with(EPOCHS.as_bytes()) {
            let record: ProgressRecord = serde_json::from_slice(value).map_err(|error| bad(key, &error.to_string()))?;
            if *key != epoch_key(record.epoch).as_bytes() {
                return Err(bad(key, &format!("it is about epoch {}", record.epoch)));
            }
            read.records.push(record);
        }
    }
    let head = latest.get(HEAD).map(|value| serde_json::from_slice::<Head>(value)).transpose();
    let head = head.map_err(|error| bad(HEAD, &error.to_string()))?.map(|head| head.epoch);
    if head != read.records.last().map(|record| record.epoch) {
        return Err(unusable(topic, "ends at another epoch than its head says"));
    }
    Ok(read)
}

fn unusable(topic: &str, what: &str) -> Error {
    Error::new(
        Exit::Data,
        format!("the progress topic {topic} {what}"),
        "restore the topic; or start over with --fresh, which writes all outputs a second time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn read(newest: u64, epochs: &[(u64, u64)]) -> KafkaRead {
        let start = StartRecord {
            pipeline: "p".into(),
            fingerprint: "f".into(),
            semantics: 1,
            generation: newest,
            sinks: BTreeMap::new(),
            components: BTreeMap::new(),
        };
        let record = |(epoch, generation): &(u64, u64)| ProgressRecord { generation: *generation, ..ProgressRecord::new(Epoch(*epoch)) };
        KafkaRead { start: Some(start), records: epochs.iter().map(record).collect() }
    }

    #[test]
    fn what_the_topic_ends_with_settles_an_unanswered_commit() {
        let settles = |read: KafkaRead, epoch| read.settles("t", 2, Epoch(epoch)).map_err(|error| error.exit);
        assert_eq!(settles(read(2, &[]), 1), Ok(false));
        assert_eq!(settles(read(2, &[(1, 1)]), 2), Ok(false));
        assert_eq!(settles(read(2, &[(1, 1), (2, 2)]), 2), Ok(true));
        // The epoch of another generation is not the one that was being committed.
        assert_eq!(settles(read(2, &[(1, 1), (2, 1)]), 2), Err(Exit::Data));
        assert_eq!(settles(read(2, &[(1, 1)]), 3), Err(Exit::Data));
        assert_eq!(settles(read(3, &[(1, 1)]), 2), Err(Exit::Fenced));
        assert_eq!(settles(read(1, &[(1, 1)]), 2), Err(Exit::Data));
        assert_eq!(settles(KafkaRead::default(), 1), Err(Exit::Data));
    }
}
