//! A small pipeline over one topic: numbers in, the same numbers out, what cannot be read into quarantine. Identities say what is lost or came twice.

use std::ops::Range;

use super::cluster::{Kafka, Sender};
use super::tidemill::Pipeline;

/// 2001-01-01T00:00:00Z in milliseconds.
const BEGIN: i64 = 978_307_200_000;

/// The topics, and what was sent.
pub struct Ledger<'a> {
    kafka: &'a Kafka,
    sender: Sender,
    name: String,
    epoch: String,
    partitions: i32,
    pub input: String,
    pub output: String,
    pub quarantine: String,
    sent: Vec<i64>,
    offsets: Vec<u64>,
}

impl<'a> Ledger<'a> {
    /// Topics, created; `epoch` is a line of `[pipeline]`.
    pub fn new(kafka: &'a Kafka, what: &str, partitions: i32, epoch: &str) -> Self {
        let name = kafka.name(what);
        let (input, output, quarantine) = (format!("{name}-in"), format!("{name}-out"), format!("{name}-bad"));
        kafka.create(&input, partitions);
        kafka.create(&output, 3);
        kafka.create(&quarantine, 1);
        let (sender, epoch) = (kafka.producer(), epoch.to_string());
        Self { kafka, sender, name, epoch, partitions, input, output, quarantine, sent: Vec::new(), offsets: vec![0; 8] }
    }

    /// The pipeline file.
    pub fn text(&self) -> String {
        let Self { name, epoch, input, output, quarantine, .. } = self;
        format!(
            r#"[pipeline]
name = "{name}"
{epoch}

[kafka]
brokers = "${{KAFKA_BROKERS}}"
options = {{ "topic.metadata.refresh.interval.ms" = "500" }}

[sources.numbers]
kind = "kafka"
topic = "{input}"
format = "json"
schema = {{ id = "int64", at = "timestamp_ms", v = "float64" }}
event_time = "at"
lateness = "1h"
key = "id"
idle_timeout = "1s"
max_record = "8KiB"

[sinks.echo]
kind = "kafka"
from = "numbers"
topic = "{output}"

[sinks.bad]
kind = "kafka"
from = "quarantine"
topic = "{quarantine}"
"#
        )
    }

    /// The pipeline in a folder of its own.
    pub fn pipeline(&self) -> Pipeline {
        Pipeline::new(self.kafka, &self.text())
    }

    /// Sends by a new client, which knows the partitions there are now.
    pub fn reconnect(&mut self) {
        self.sender = self.kafka.producer();
    }

    /// Sends numbers to a partition, one millisecond apart.
    pub fn send_to(&mut self, partition: i32, numbers: Range<i64>) {
        for number in numbers {
            self.put(partition, number);
        }
        self.sender.flush();
    }

    fn put(&mut self, partition: i32, number: i64) {
        let value = format!(r#"{{"id":{number},"at":{},"v":{number}.5}}"#, BEGIN + number);
        self.sender.send(&self.input, partition, Some(number.to_string().as_bytes()), Some(value.as_bytes()));
        self.sent.push(number);
        self.offsets[partition as usize] += 1;
    }

    /// Sends numbers, each to the partition that it is modulo their count.
    pub fn send(&mut self, numbers: Range<i64>) {
        for number in numbers {
            self.put((number % i64::from(self.partitions)) as i32, number);
        }
        self.sender.flush();
    }

    fn next(&self, count: i64) -> Range<i64> {
        let next = self.sent.iter().max().map_or(0, |number| number + 1);
        next..next + count
    }

    /// Sends the next numbers.
    pub fn send_next(&mut self, count: i64) {
        self.send(self.next(count));
    }

    /// Sends the next numbers to one partition.
    pub fn send_next_to(&mut self, partition: i32, count: i64) {
        self.send_to(partition, self.next(count));
    }

    /// Everything sent, sorted.
    pub fn sent(&self) -> Vec<i64> {
        let mut sent = self.sent.clone();
        sent.sort_unstable();
        sent
    }

    /// The offset that comes next in a partition.
    pub fn offset(&self, partition: usize) -> u64 {
        self.offsets[partition]
    }

    /// Somebody else has sent so many records to a partition.
    pub fn skip(&mut self, partition: usize, records: usize) {
        self.offsets[partition] += records as u64;
    }
}

/// Bytes of their standard base64 form.
pub fn base64_decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|known| *known == digit).expect(text) as u32;
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
