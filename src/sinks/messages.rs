//! Kafka messages: the key's bytes, the row as a JSON object, the event time as the record's timestamp; and which partition a key goes to.
//!
//! Partitions follow Java's default partitioner, `(murmur2(key) & 0x7fffffff) % partitions` (MurmurHash2, A. Appleby; seed 0x9747b28c), so other
//! producers of the same keys agree (S6.4). Messages without a key go where the empty key goes: one partition, so their order is kept.

use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Digest, Encoded, Encoder, Encoding, JsonColumn, JsonRows, SinkRows, encodable, packed};

/// One message, borrowed from a [`Messages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The JSON object, without line end.
    pub value: &'a [u8],
    /// Event time in milliseconds since 1970 as Kafka keeps it; at least 1, because librdkafka reads 0 as "now". [`UNTIMED`] until it is stamped.
    pub timestamp: i64,
}

/// Event time, and timestamp, of a row that has none: its message gets the time at which its epoch was cut.
pub const UNTIMED: i64 = i64::MIN;

/// What Kafka can keep of an event time in microseconds.
fn kept(time: i64) -> i64 {
    if time == UNTIMED { UNTIMED } else { time.div_euclid(1_000).max(1) }
}

/// Messages in one buffer: key, value, key, value, …
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    #[serde(with = "packed")]
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    keyed: bool,
    key_end: u32,
    value_end: u32,
    timestamp: i64,
}

impl Messages {
    /// Number of messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Approximate memory, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Message number `at`.
    pub fn get(&self, at: usize) -> Message<'_> {
        let entry = self.entries[at];
        let start = if at == 0 { 0 } else { self.entries[at - 1].value_end as usize };
        let key_end = entry.key_end as usize;
        Message {
            key: entry.keyed.then(|| &self.bytes[start..key_end]),
            value: &self.bytes[key_end..entry.value_end as usize],
            timestamp: entry.timestamp,
        }
    }

    /// The messages in order.
    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Appends a message.
    pub fn push(&mut self, message: Message<'_>) {
        self.bytes.extend_from_slice(message.key.unwrap_or_default());
        let key_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(message.value);
        let value_end = self.bytes.len() as u32;
        self.entries.push(Entry { keyed: message.key.is_some(), key_end, value_end, timestamp: message.timestamp });
    }

    /// Gives messages without a time this one, in microseconds. It is the same in every replay: that of the progress record.
    pub fn stamp(&mut self, time: i64) {
        let stamp = if time == UNTIMED { 1 } else { kept(time) };
        self.entries.iter_mut().filter(|entry| entry.timestamp == UNTIMED).for_each(|entry| entry.timestamp = stamp);
    }

    /// Digest over keys, values and timestamps in order.
    pub fn digest(&self) -> Digest {
        let mut hasher = Xxh3::new();
        for message in self.iter() {
            let key_length = message.key.map_or(-1, |key| key.len() as i64);
            hasher.update(&key_length.to_le_bytes());
            hasher.update(message.key.unwrap_or_default());
            hasher.update(&(message.value.len() as u64).to_le_bytes());
            hasher.update(message.value);
            hasher.update(&message.timestamp.to_le_bytes());
        }
        Digest(hasher.digest())
    }
}

/// Rows to messages; `SinkRows::by` is the key, `SinkRows::times` the timestamp.
pub struct MessageEncoder {
    rows: JsonRows,
}

impl MessageEncoder {
    /// An encoder for output columns of `schema`; the error names the column that cannot be written.
    pub fn new(schema: &SchemaRef) -> Result<Self, String> {
        Ok(Self { rows: JsonRows::new(schema)? })
    }
}

impl Encoder for MessageEncoder {
    fn encode(&mut self, rows: &SinkRows<'_>) -> Result<Encoding, String> {
        let arrays = self.rows.columns(rows.columns)?;
        let columns = arrays.iter().map(JsonColumn::new).collect::<Result<Vec<_>, _>>()?;
        let key_array = match rows.by {
            Some(array) => {
                let kind = encodable(array.data_type()).ok_or_else(|| format!("a key of type {} cannot be written", array.data_type()))?;
                Some(cast(array, &kind).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let keys = key_array.as_ref().map(JsonColumn::new).transpose()?;
        let count = rows.columns.num_rows();
        if rows.times.len() != count {
            return Err(format!("{} event times for {count} rows", rows.times.len()));
        }
        let (mut bytes, mut entries, mut non_finite) = (Vec::with_capacity(count * 96), Vec::with_capacity(count), 0);
        for row in 0..count {
            let keyed = keys.as_ref().is_some_and(|keys| !keys.is_null(row));
            if let Some(keys) = keys.as_ref().filter(|_| keyed) {
                keys.write_key(row, &mut bytes);
            }
            let key_end = bytes.len() as u32;
            self.rows.write(&columns, row, &mut bytes, &mut non_finite);
            entries.push(Entry { keyed, key_end, value_end: bytes.len() as u32, timestamp: kept(rows.times[row]) });
        }
        if u32::try_from(bytes.len()).is_err() {
            return Err("one epoch of one sink is over 4 GiB; lower `max_rows` or `max_bytes` of the epoch".into());
        }
        Ok(Encoding { encoded: Encoded::Messages(Messages { bytes, entries }), non_finite })
    }
}

/// Java's `Utils.murmur2` of Kafka's clients.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// The partition of a key among `partitions` (at least 1).
pub fn partition_of(key: Option<&[u8]>, partitions: u32) -> u32 {
    (murmur2(key.unwrap_or_default()) & 0x7fff_ffff) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
    use std::sync::Arc;

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_unit_test() {
        for (key, want) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, want, "{key}");
        }
        assert!((0..100).all(|i: i32| partition_of(Some(&i.to_le_bytes()), 7) < 7));
        assert_eq!(partition_of(None, 5), partition_of(Some(b""), 5));
    }

    #[test]
    fn messages_carry_key_value_and_time() {
        let batch = RecordBatch::try_from_iter([("p", Arc::new(Float64Array::from(vec![0.5, f64::NAN])) as ArrayRef)]).unwrap();
        let mut encoder = MessageEncoder::new(&batch.schema()).unwrap();
        let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("k"), None]));
        let encoding = encoder.encode(&SinkRows { columns: &batch, times: &[1_999, -5], by: Some(&keys) }).unwrap();
        let Encoded::Messages(messages) = &encoding.encoded else { panic!("messages") };
        assert_eq!(messages.get(0), Message { key: Some(b"k"), value: br#"{"p":0.5}"#, timestamp: 1 });
        assert_eq!(messages.get(1), Message { key: None, value: br#"{"p":null}"#, timestamp: 1 });
        assert_eq!((messages.len(), encoding.non_finite), (2, 1));
        let text = serde_json::to_string(&encoding.encoded).unwrap();
        assert_eq!(serde_json::from_str::<Encoded>(&text).unwrap(), encoding.encoded);

        let keys: ArrayRef = Arc::new(Int64Array::from(vec![-7, 8]));
        let untimed = encoder.encode(&SinkRows { columns: &batch, times: &[UNTIMED, 7_000], by: Some(&keys) }).unwrap();
        let Encoded::Messages(mut messages) = untimed.encoded else { panic!() };
        messages.stamp(9_000);
        assert_eq!((messages.get(0).timestamp, messages.get(1).timestamp), (9, 7));
        let encoding = encoder.encode(&SinkRows { columns: &batch, times: &[5_000_000, 6_000_000], by: Some(&keys) }).unwrap();
        let Encoded::Messages(messages) = &encoding.encoded else { panic!("messages") };
        assert_eq!((messages.get(0).key, messages.get(0).timestamp), (Some(&b"-7"[..]), 5_000));
    }

    #[test]
    fn the_digest_tells_a_null_key_from_an_empty_one() {
        let one = |key| {
            let mut messages = Messages::default();
            messages.push(Message { key, value: b"{}", timestamp: 1 });
            messages.digest()
        };
        assert_ne!(one(None), one(Some(b"")));
    }
}
