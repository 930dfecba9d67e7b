//! A Kafka topic: partitions assigned by us from offsets that we keep, never by a group (recovery protocol, §0.6 and §3).
//!
//! Start positions are made concrete when the source is opened, so a run can record them. Offsets below the expected one, which a broker may deliver again
//! after a reconnect, are dropped. That a partition is at its end is only known from the client's notice and only used for idleness. A partition that has
//! records and delivers none for 30 s is assigned again (librdkafka issue 5153), and so is one whose end moves without a word of the client, be it only
//! because a transaction ended there. New partitions are found within 30 s and read from their beginning.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::codecs::{Message, MessageChunk, Payload, RawChunk};
use crate::config::declaration::KafkaStart;
use crate::error::{Error, Exit, Result};
use crate::ids::PartitionIndex;
use crate::plan::{KafkaPlan, SourceKindPlan, SourcePlan};
use crate::time::clock;

use super::{Poll, SourceReader, SourceStatus, Watch, consumer, is_missing, judge, unanswered};

/// How long opening waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a poll waits for the first record.
const WAIT: Duration = Duration::from_millis(20);
/// How long a partition with records may be silent, how often partitions are counted unless `topic.metadata.refresh.interval.ms` says otherwise, and how
/// long that may take.
const LOOK: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_secs(2);

/// One partition.
struct Partition {
    /// First offset this reader asked for.
    start: u64,
    /// The offset that comes next.
    expected: u64,
    /// The end of the partition when it was last asked for, and when it was first seen there.
    high: u64,
    moved: Instant,
    /// Whether the client has said that there is nothing behind `expected`.
    ended: bool,
    /// When it last gave a record, or was assigned; when the client last gave a record of it or said that it is at its end.
    heard: Instant,
    told: Instant,
    idle: bool,
    data: Vec<u8>,
    records: Vec<Message>,
}

impl Partition {
    /// Whether it is known to hold more than was read. Its end, as the client tells it, also counts markers of transactions, which are never read.
    fn is_behind(&self) -> bool {
        !self.ended && self.expected < self.high
    }

    /// Takes the end of the partition as it is now.
    fn look(&mut self, high: u64, now: Instant) {
        if high != self.high {
            (self.high, self.moved) = (high, now);
        }
    }

    /// Whether there may be records that the client does not give, for `LOOK` by now. Until `busy` it had more than was taken.
    fn is_silent(&self, now: Instant, busy: Instant) -> bool {
        // A client that has not spoken since its end moved may have said so just before that was seen: asking it again is the only way to know.
        let since = if self.ended { if self.told < self.moved { self.moved } else { return false } } else { self.heard };
        self.expected < self.high && now.saturating_duration_since(since.max(busy)) >= LOOK
    }
}

/// Reads a topic.
pub(super) struct KafkaReader {
    consumer: BaseConsumer<Watch>,
    topic: String,
    brokers: String,
    start: KafkaStart,
    idle_timeout: Duration,
    partitions: Vec<Partition>,
    assigned: bool,
    looked: Instant,
    look: Duration,
    /// When the client last had more than was taken: until then a partition's silence says nothing.
    busy: Instant,
    polled: Instant,
    /// How long the last poll waited for its first record.
    waited: Duration,
    /// Partitions that are held back.
    held: BTreeSet<u32>,
    ready: VecDeque<RawChunk>,
    failed: Option<Error>,
    /// Since when the brokers have not known the topic.
    missing: Option<Instant>,
}

/// What the client says when it is asked.
type Answer<T> = std::result::Result<T, KafkaError>;

/// The offset of a position, for the client.
fn offset(position: u64) -> Offset {
    Offset::Offset(i64::try_from(position).unwrap_or(i64::MAX))
}

impl KafkaReader {
    /// Connects, finds the partitions and fixes where each begins.
    pub fn open(plan: &SourcePlan, kafka: Option<&KafkaPlan>) -> Result<Self> {
        Self::open_within(plan, kafka, PATIENCE)
    }

    fn open_within(plan: &SourcePlan, kafka: Option<&KafkaPlan>, patience: Duration) -> Result<Self> {
        let (SourceKindPlan::Kafka { topic, start, idle_timeout }, Some(kafka)) = (&plan.kind, kafka) else {
            return Err(Error::internal("a Kafka source was opened without its connection"));
        };
        let mut reader = Self {
            consumer: consumer(kafka, plan.id.name())?,
            topic: topic.clone(),
            brokers: kafka.brokers.clone(),
            start: *start,
            idle_timeout: Duration::from_micros(u64::try_from(*idle_timeout).unwrap_or(0)),
            partitions: Vec::new(),
            assigned: false,
            looked: clock::now(),
            busy: clock::now(),
            polled: clock::now(),
            waited: Duration::ZERO,
            look: refresh_interval(kafka),
            held: BTreeSet::new(),
            ready: VecDeque::new(),
            failed: None,
            missing: None,
        };
        for partition in 0..reader.count(patience).map_err(|error| reader.unanswered(&error))? {
            let (low, high) = reader.bounds(partition, patience).map_err(|error| reader.unanswered(&error))?;
            let start = if reader.start == KafkaStart::Earliest { low } else { high };
            reader.add(start, high);
        }
        Ok(reader)
    }

    fn add(&mut self, start: u64, high: u64) {
        let heard = clock::now();
        self.partitions.push(Partition {
            start,
            expected: start,
            high,
            moved: heard,
            ended: false,
            heard,
            told: heard,
            idle: false,
            data: Vec::new(),
            records: Vec::new(),
        });
    }

    /// How many partitions the topic has.
    fn count(&self, patience: Duration) -> Answer<usize> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), patience)?;
        let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic).ok_or(missing.clone())?;
        match topic.error() {
            Some(code) => Err(KafkaError::MetadataFetch(code.into())),
            None if topic.partitions().is_empty() => Err(missing),
            None => Ok(topic.partitions().len()),
        }
    }

    /// The first offset a partition keeps, and the next it will give.
    fn bounds(&self, partition: usize, patience: Duration) -> Answer<(u64, u64)> {
        let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition as i32, patience)?;
        Ok((u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0)))
    }

    /// What ends the reader for want of an answer. Only for one that is about to end, or to be assigned anew: the reason is found behind records that
    /// the client holds, and they are lost to it.
    fn unanswered(&self, error: &KafkaError) -> Error {
        unanswered(&self.consumer, &self.topic, &self.brokers, error)
    }

    /// Assigns all partitions at what they expect.
    fn assign(&mut self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let mut outcome = Ok(());
        for (partition, state) in self.partitions.iter().enumerate() {
            outcome = outcome.and(list.add_partition_offset(&self.topic, partition as i32, offset(state.expected)));
        }
        outcome
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| Error::internal(format!("the partitions of topic `{}` cannot be assigned: {error}", self.topic)))?;
        let now = clock::now();
        for partition in &mut self.partitions {
            (partition.ended, partition.idle, partition.heard, partition.told) = (false, false, now, now);
        }
        self.assigned = true;
        // A new assignment holds nothing back.
        let held = std::mem::take(&mut self.held);
        self.hold(&held);
        Ok(())
    }

    /// Whether records of a partition are read and not given yet.
    fn has_ready(&self, partition: usize) -> bool {
        self.ready.iter().any(|chunk| chunk.partition.0 as usize == partition)
    }

    /// The partitions `of` as the client wants them.
    fn listed(&self, of: impl Iterator<Item = u32>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in of {
            list.add_partition(&self.topic, partition as i32);
        }
        list
    }

    /// Counts the partitions and looks after silent ones. Brokers that do not answer now will be asked again.
    fn look(&mut self) -> Result<()> {
        self.looked = clock::now();
        let Ok(count) = self.count(GLANCE) else { return Ok(()) };
        if count < self.partitions.len() {
            let cause = format!("topic `{}` had {} partitions and has {count} now: it was created anew", self.topic, self.partitions.len());
            return Err(Error::new(Exit::Data, cause, "start over with --fresh"));
        }
        let mut again = false;
        for partition in self.partitions.len()..count {
            let Ok((low, high)) = self.bounds(partition, GLANCE) else { break };
            self.add(low, high);
            again = true;
        }
        for index in 0..self.partitions.len() {
            let Ok((_, high)) = self.bounds(index, GLANCE) else { break };
            let held = self.held.contains(&(index as u32));
            let Some(partition) = self.partitions.get_mut(index) else { break };
            partition.look(high, self.looked);
            if !held && partition.is_silent(self.looked, self.busy) {
                if partition.ended {
                    tracing::info!(topic = self.topic, partition = index, "quiet for 30 s since its end moved: assigned again");
                } else {
                    tracing::warn!(topic = self.topic, partition = index, "silent for 30 s although it has records: assigned again");
                }
                again = true;
            }
        }
        if again { self.assign() } else { Ok(()) }
    }

    /// Asks for a topic that the client has missed since then. Brokers that have just started may not know a topic yet: it is gone if they say so for long.
    fn miss(&mut self, since: Instant) -> Result<()> {
        match self.count(GLANCE) {
            Ok(_) => {
                self.missing = None;
                self.assign()
            }
            Err(_) if since.elapsed() < LOOK => Ok(()),
            Err(error) => Err(self.unanswered(&error)),
        }
    }

    /// Takes what the client holds, at most about so much.
    fn drain(&mut self, max_rows: usize, max_bytes: usize) {
        let Self { consumer, partitions, topic, brokers, failed, missing, busy, waited, .. } = self;
        let (mut rows, mut bytes, mut wait) = (0, 0, WAIT);
        let now = clock::now();
        while rows < max_rows && bytes < max_bytes {
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let Some(partition) = usize::try_from(message.partition()).ok().and_then(|index| partitions.get_mut(index)) else {
                        continue;
                    };
                    let Some(offset) = u64::try_from(message.offset()).ok().filter(|offset| *offset >= partition.expected) else {
                        continue;
                    };
                    let (key, value) = (append(&mut partition.data, message.key()), append(&mut partition.data, message.payload()));
                    let timestamp =
                        message.timestamp().to_millis().filter(|millis| *millis >= 0).and_then(|millis| millis.checked_mul(1_000));
                    partition.records.push(Message { offset, timestamp, key, value });
                    (partition.expected, partition.ended, partition.heard, partition.told) = (offset + 1, false, now, now);
                    rows += 1;
                    bytes += message.payload_len() + message.key_len();
                }
                Some(Err(KafkaError::PartitionEOF(index))) => {
                    if let Some(partition) = usize::try_from(index).ok().and_then(|index| partitions.get_mut(index)) {
                        (partition.ended, partition.told) = (true, now);
                    }
                }
                Some(Err(error)) => {
                    if is_missing(&error) {
                        missing.get_or_insert(now);
                        break;
                    }
                    if let Some(error) = judge(&error, topic, brokers) {
                        *failed = Some(error);
                        break;
                    }
                    tracing::debug!(target: "kafka", topic = topic.as_str(), "{error}");
                }
            }
            if rows > 0 && !wait.is_zero() {
                (wait, *waited) = (Duration::ZERO, clock::now().saturating_duration_since(now));
            }
        }
        if rows >= max_rows || bytes >= max_bytes {
            *busy = now;
        }
    }
}

/// How often the client refreshes its metadata, and the reader counts partitions.
fn refresh_interval(kafka: &KafkaPlan) -> Duration {
    let option = kafka.options.iter().rev().find(|(key, _)| key == "topic.metadata.refresh.interval.ms");
    let millis = option.and_then(|(_, value)| value.parse().ok()).filter(|millis| *millis > 0);
    millis.map_or(LOOK, Duration::from_millis)
}

/// Appends bytes; returns where they are.
fn append(data: &mut Vec<u8>, bytes: Option<&[u8]>) -> Option<(u32, u32)> {
    bytes.map(|bytes| {
        let start = data.len() as u32;
        data.extend_from_slice(bytes);
        (start, data.len() as u32)
    })
}

impl SourceReader for KafkaReader {
    fn status(&self) -> SourceStatus {
        SourceStatus {
            partitions: (0..self.partitions.len()).map(|partition| partition.to_string()).collect(),
            starts: self.partitions.iter().map(|partition| partition.start).collect(),
            idle: self.partitions.iter().map(|partition| partition.idle).collect(),
            behind: self.partitions.iter().enumerate().map(|(index, partition)| partition.is_behind() || self.has_ready(index)).collect(),
        }
    }

    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Poll> {
        self.waited = Duration::ZERO;
        if let Some(chunk) = self.ready.pop_front() {
            return Ok(Poll::Chunk(chunk));
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(since) = self.missing {
            self.miss(since)?;
        }
        if !self.assigned {
            self.assign()?;
        }
        let now = clock::now();
        if now - self.looked >= self.look {
            self.look()?;
        }
        if now - self.polled >= GLANCE {
            self.busy = now;
        }
        self.drain(max_rows.max(1), max_bytes.max(1));
        self.polled = clock::now();
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.records.is_empty() {
                // Whatever the other partitions do: a silent one must not hold back the watermark of busy ones.
                partition.idle = partition.ended && now.saturating_duration_since(partition.heard) >= self.idle_timeout;
                continue;
            }
            partition.idle = false;
            let (data, records) = (std::mem::take(&mut partition.data), std::mem::take(&mut partition.records));
            partition.data.reserve(data.len());
            partition.records.reserve(records.len());
            let payload = Payload::Messages(MessageChunk { data: Arc::new(data), records });
            self.ready.push_back(RawChunk { partition: PartitionIndex(index as u32), end: partition.expected, payload });
        }
        match self.ready.pop_front() {
            Some(chunk) => Ok(Poll::Chunk(chunk)),
            None => Ok(Poll::Idle),
        }
    }

    fn seek(&mut self, starts: &[(PartitionIndex, u64)]) -> Result<()> {
        self.ready.clear();
        for index in 0..self.partitions.len() {
            let (low, high) = self.bounds(index, PATIENCE).map_err(|error| self.unanswered(&error))?;
            let named = starts.iter().find(|(partition, _)| partition.0 as usize == index).map(|(_, start)| *start);
            // Partitions that a run has not seen before are read from their beginning, whatever `start` says.
            let start = named.unwrap_or(low);
            if start < low || start > high {
                let what =
                    if start < low { "the records from there on are no longer kept" } else { "the topic was created anew or truncated" };
                let cause =
                    format!("partition {index} of topic `{}` holds offsets {low} to {high}, but {start} comes next: {what}", self.topic);
                return Err(Error::new(Exit::Data, cause, "start over with --fresh, and keep records longer than a restart takes"));
            }
            if let Some(partition) = self.partitions.get_mut(index) {
                (partition.start, partition.expected, partition.high) = (start, start, high);
                partition.records.clear();
                partition.data.clear();
            }
        }
        if let Some((partition, _)) = starts.iter().find(|(partition, _)| partition.0 as usize >= self.partitions.len()) {
            let cause =
                format!("topic `{}` has {} partitions, but partition {} was read before", self.topic, self.partitions.len(), partition.0);
            return Err(Error::new(Exit::Data, cause, "the topic was created anew; start over with --fresh"));
        }
        self.assigned = false;
        Ok(())
    }

    fn hold(&mut self, held: &BTreeSet<u32>) {
        if self.assigned {
            let pause = self.listed(held.difference(&self.held).copied());
            let resume = self.listed(self.held.difference(held).copied());
            // A partition that cannot be paused floods its taker, one that cannot be resumed is found silent: both are unassigned ones.
            let changed = self.consumer.pause(&pause).and_then(|()| self.consumer.resume(&resume));
            if let Err(error) = changed {
                tracing::warn!(topic = self.topic, "partitions cannot be held back: {error}");
            }
            let now = clock::now();
            for index in self.held.difference(held) {
                let Some(partition) = self.partitions.get_mut(*index as usize) else { continue };
                partition.heard = now;
                // Where the client goes on after a pause is its own affair: what comes next is said once more.
                let sought = self.consumer.seek(&self.topic, *index as i32, offset(partition.expected), Duration::ZERO);
                if let Err(error) = sought {
                    tracing::debug!(target: "kafka", topic = self.topic, partition = index, "{error}");
                }
            }
        }
        self.held.clone_from(held);
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn codec(&self) -> &'static str {
        "json"
    }
}

#[cfg(test)]
mod tests;
