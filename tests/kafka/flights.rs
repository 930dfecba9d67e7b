//! The first flights of `pipelines/data` as messages, the pipeline over them, and what must come out.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use super::cluster::{Kafka, Sender};

/// Partitions of the topics of departures and of arrivals.
pub const PARTITIONS: (i32, i32) = (4, 3);

/// One message.
pub struct Message {
    time: i64,
    arrives: bool,
    id: i64,
    value: String,
}

/// Departures and arrivals of the first flights, in the order of their event times.
pub fn first(flights: usize) -> Vec<Message> {
    let rows = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/data").join(file);
        SerializedFileReader::new(File::open(path).unwrap()).unwrap()
    };
    let instant = |micros: i64| chrono::DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let text = |row: &parquet::record::Row, column| row.get_string(column).unwrap().clone();
    let mut messages = Vec::new();
    let mut taken = BTreeSet::new();
    for row in rows("departures.parquet").get_row_iter(None).unwrap().take(flights) {
        let row = row.unwrap();
        let (id, time, distance) = (row.get_long(0).unwrap(), row.get_timestamp_micros(1).unwrap(), row.get_int(4).unwrap());
        let value = serde_json::json!({
            "flight_id": id, "departed_at": instant(time), "origin": text(&row, 2), "destination": text(&row, 3), "distance": distance,
        });
        taken.insert(id);
        messages.push(Message { time, arrives: false, id, value: value.to_string() });
    }
    for row in rows("arrivals.parquet").get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let (id, time, delay) = (row.get_long(0).unwrap(), row.get_timestamp_micros(1).unwrap(), row.get_int(4).unwrap());
        if taken.remove(&id) {
            let value = serde_json::json!({
                "flight_id": id, "arrived_at": instant(time), "origin": text(&row, 2), "destination": text(&row, 3), "delay": delay,
            });
            messages.push(Message { time, arrives: true, id, value: value.to_string() });
        }
    }
    messages.sort_by_key(|message| (message.time, message.arrives, message.id));
    messages
}

/// The topics of one run of the pipeline, and the shipped file with its own names replaced by these.
pub struct Topics {
    pub departures: String,
    pub arrivals: String,
    pub predictions: String,
    pub statistics: String,
    pub quarantine: String,
}

impl Topics {
    /// Inputs and outputs, created.
    pub fn create(kafka: &Kafka, name: &str) -> Self {
        let inputs = (format!("{name}-departures"), format!("{name}-arrivals"));
        kafka.create(&inputs.0, PARTITIONS.0);
        kafka.create(&inputs.1, PARTITIONS.1);
        Self::over(kafka, name, inputs)
    }

    /// Outputs of their own, created, over the inputs of another run.
    pub fn again(&self, kafka: &Kafka, name: &str) -> Self {
        Self::over(kafka, name, (self.departures.clone(), self.arrivals.clone()))
    }

    fn over(kafka: &Kafka, name: &str, (departures, arrivals): (String, String)) -> Self {
        let [predictions, statistics, quarantine] = ["predictions", "statistics", "quarantine"].map(|what| format!("{name}-{what}"));
        kafka.create(&predictions, 4);
        kafka.create(&statistics, 1);
        kafka.create(&quarantine, 2);
        Self { departures, arrivals, predictions, statistics, quarantine }
    }

    /// The shipped pipeline over these topics, as the pipeline `name`, with epochs of at most `rows`.
    pub fn pipeline(&self, name: &str, rows: usize) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/flights-kafka.toml");
        let mut text = std::fs::read_to_string(path).unwrap();
        let mut put = |from: &str, to: String| {
            assert_eq!(text.matches(from).count(), 1, "`{from}` in pipelines/flights-kafka.toml");
            text = text.replace(from, &to);
        };
        put("name = \"flights-kafka\"", format!("name = \"{name}\""));
        put("max_rows = 4096", format!("max_rows = {rows}"));
        for (shipped, own) in [
            ("departures", &self.departures),
            ("arrivals", &self.arrivals),
            ("flight-predictions", &self.predictions),
            ("flight-statistics", &self.statistics),
            ("flight-quarantine", &self.quarantine),
        ] {
            put(&format!("topic = \"{shipped}\""), format!("topic = \"{own}\""));
        }
        // Statistics from the first days on, so that some come out of a sample.
        put("reference = { rows = 25000 }", "reference = { rows = 1000 }".to_string());
        put("every = \"7d\"", "every = \"1d\"".to_string());
        put("min_rows = 20000", "min_rows = 1000".to_string());
        text
    }

    /// Sends messages in order, a flight always to the same partition.
    pub fn send(&self, sender: &Sender, messages: &[Message]) {
        for message in messages {
            let (topic, partitions) = if message.arrives { (&self.arrivals, PARTITIONS.1) } else { (&self.departures, PARTITIONS.0) };
            // Multiplied, so that a partition is no pattern of numbers.
            let partition = (message.id.wrapping_mul(0x9E37_79B1) >> 7).rem_euclid(i64::from(partitions)) as i32;
            sender.send(topic, partition, Some(message.id.to_string().as_bytes()), Some(message.value.as_bytes()));
        }
        sender.flush();
    }

    /// Sends messages as they would come in: `pieces` of them, one every 50 ms.
    pub fn feed(&self, sender: &Sender, messages: &[Message], pieces: usize) {
        for piece in messages.chunks(messages.len().div_ceil(pieces)) {
            self.send(sender, piece);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Identities of the flights that are predicted.
pub fn predicted(messages: &[Message]) -> Vec<i64> {
    let mut ids: Vec<i64> = messages.iter().filter(|message| !message.arrives).map(|message| message.id).collect();
    ids.sort_unstable();
    ids
}
