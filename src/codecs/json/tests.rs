//! Tests of the JSON codec: the law between its two paths, and the kinds of poison.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::codecs::{MAX_KEPT, Message, MessageChunk, Span, TextChunk};
use crate::data::{LogicalType, Reason, Rejected, TimestampUnit};
use crate::ids::{PartitionIndex, SourceIndex};

fn column(name: &str, kind: LogicalType, nullable: bool) -> DeclaredColumn {
    DeclaredColumn::new(name, kind, nullable)
}

/// Every type of S5.1, with bounds on some.
fn wide() -> DeclaredSchema {
    let mut amount = column("amount", LogicalType::Float64, false);
    (amount.minimum, amount.maximum) = (Some(-1e6), Some(1e6));
    let mut channel = column("channel", LogicalType::String, true);
    channel.allowed = vec!["web".into(), "pos".into(), "é".into()];
    let part = vec![column("a", LogicalType::Int32, false), column("b", LogicalType::String, true)];
    DeclaredSchema {
        columns: vec![
            column("id", LogicalType::Int64, false),
            column("ts", LogicalType::Timestamp(TimestampUnit::Millisecond), false),
            amount,
            channel,
            column("flag", LogicalType::Bool, true),
            column("small", LogicalType::Int32, true),
            column("ratio", LogicalType::Float32, true),
            column("price", LogicalType::Decimal(12, 2), true),
            column("blob", LogicalType::Bytes, true),
            column("day", LogicalType::Date, true),
            column("tags", LogicalType::List(Box::new(column("item", LogicalType::String, false))), true),
            column("part", LogicalType::Struct(part), true),
            column("näme", LogicalType::String, true),
        ],
        closed: false,
    }
}

/// A source of records; a careful one makes valid records only.
struct Random(ChaCha8Rng, bool);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One of `valid`, or, unless careful, of `others`.
    fn pick_or<'a>(&mut self, valid: &[&'a str], others: &[&'a str]) -> &'a str {
        let from = if !self.1 && self.below(4) == 0 { others } else { valid };
        self.pick(from)
    }

    fn string(&mut self) -> String {
        let parts = [
            "",
            "a",
            "web",
            "pos",
            "é",
            "u000123",
            "\\n",
            "\\\"",
            "\\u00e9",
            "\\ud83d\\ude00",
            "日本",
            "longer text without end",
            "{",
            "]",
            ",",
        ];
        let text: String = (0..self.below(4)).map(|_| self.pick_or(&parts, &["\\ud83d", "\\x", "x"])).collect();
        format!("\"{text}\"")
    }

    fn number(&mut self) -> String {
        let whole = self.0.next_u64() >> self.below(64);
        match if self.1 { 3 } else { self.below(8) } {
            0 => format!("{whole}.{}", self.below(1000)),
            1 => format!("{}e{}", self.below(100), self.below(40) as i64 - 20),
            2 => self
                .pick(&["-0", "0", "1e999", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "0.1", "01", "1.", "-"])
                .to_string(),
            3 => format!("-{}.{:02}", self.below(1_000_000), self.below(100)),
            _ => self.below(1_000_000).to_string(),
        }
    }

    fn value(&mut self, name: &str, depth: usize) -> String {
        let kind = if !self.1 && self.below(40) == 0 { "any" } else { name };
        match kind {
            "id" | "small" => self.below(100_000).to_string(),
            "ts" => match self.below(4) {
                0 => "\"2024-02-29T12:00:00.123+01:00\"".into(),
                1 => format!("{}.5", 1_700_000_000_000u64 + self.below(1_000_000) as u64),
                _ => (1_700_000_000_000u64 + self.below(1_000_000) as u64).to_string(),
            },
            "amount" | "ratio" => self.number(),
            "price" => format!("{}.{:02}", self.below(10_000), self.below(100)),
            "channel" => self.pick_or(&["\"web\"", "\"pos\"", "\"é\"", "null", "\"\\u00e9\""], &["\"other\"", "1"]).into(),
            "flag" => self.pick(&["true", "false", "null"]).into(),
            "blob" => self.pick_or(&["\"\"", "\"Zm9v\"", "\"Zg==\"", "null"], &["\"Zg\"", "\"Zm\\u0038=\""]).into(),
            "day" => self.pick_or(&["\"2024-02-29\"", "\"1969-12-31\"", "null"], &["\"2023-02-29\""]).into(),
            "tags" => {
                let items: Vec<String> = (0..self.below(4)).map(|_| self.string()).collect();
                format!("[{}]", items.join(self.pick(&[",", " , "])))
            }
            "part" => {
                let mut members = vec![format!("\"a\":{}", self.below(100))];
                if self.below(2) == 0 {
                    members.push(format!("\"b\":{}", self.string()));
                }
                if !self.1 && self.below(9) == 0 {
                    members.push("\"a\":1".into());
                }
                if self.below(3) == 0 {
                    members.insert(0, "\"z\":[1,{}]".into());
                }
                format!("{{{}}}", members.join(","))
            }
            "any" | "extra" if depth < 4 => match self.below(6) {
                0 => self.number(),
                1 => self.string(),
                2 => format!("[{},{}]", self.value("any", depth + 1), self.value("any", depth + 1)),
                3 => format!("{{\"k\":{}}}", self.value("any", depth + 1)),
                4 => self.pick_or(&["true", "false", "null", "[]", "{}", "[ ]"], &["nul"]).into(),
                _ => "1".into(),
            },
            "any" | "extra" => "2".into(),
            _ => self.string(),
        }
    }

    fn record(&mut self, schema: &DeclaredSchema) -> Vec<u8> {
        self.1 = self.below(2) == 0;
        let mut names: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
        if self.below(3) == 0 {
            for index in (1..names.len()).rev() {
                names.swap(index, self.below(index + 1));
            }
        }
        let mut members = Vec::new();
        for name in names {
            if self.below(12) == 0 && !matches!(name, "id" | "ts" | "amount") {
                continue;
            }
            members.push(format!("\"{name}\":{}{}", self.pick(&["", "", "", " "]), self.value(name, 0)));
            if !(self.1 && schema.closed) && self.below(20) == 0 {
                members.push(format!("\"extra{}\":{}", self.below(3), self.value("extra", 0)));
            }
            if !self.1 && self.below(60) == 0 {
                members.push(members[0].clone());
            }
        }
        let comma = if self.below(4) == 0 { ", " } else { "," };
        let mut record = format!("{{{}}}{}", members.join(comma), self.pick_or(&["", "", " "], &["x", "}"])).into_bytes();
        match if self.1 { 9 } else { self.below(6) } {
            0 => {
                let at = self.below(record.len());
                record[at] = self.0.next_u32() as u8;
            }
            1 => {
                let at = self.below(record.len());
                record.truncate(at);
            }
            2 => {
                let at = self.below(record.len());
                record.insert(at, b"\"\\{}[],:e0-\xff\x01"[self.below(13)]);
            }
            _ => {}
        }
        record
    }
}

#[test]
fn where_the_fast_path_succeeds_the_reference_path_gives_the_same_row() {
    for closed in [false, true] {
        let schema = DeclaredSchema { closed, ..wide() };
        let arrow = schema.arrow();
        let names = Names::new(&schema.columns);
        let mut fast = fast::Fast::new(schema.columns.len());
        let (mut quick, mut slow) = (RowBuffers::new(&schema.columns), RowBuffers::new(&schema.columns));
        let mut random = Random(ChaCha8Rng::from_seed([9; 32]), false);
        let (mut taken, mut valid) = (0, 0);
        for _ in 0..20_000 {
            let record = random.record(&schema);
            let shown = String::from_utf8_lossy(&record);
            let succeeded = fast.record(&record, (0, record.len()), &schema, &names, &mut quick);
            if succeeded {
                quick.commit()
            } else {
                quick.rollback()
            }
            let outcome = reference::record(&record, &schema, &names, EventTimeFrom::Column(1), &mut slow);
            let accepted = outcome.is_ok();
            if accepted {
                slow.commit()
            } else {
                slow.rollback()
            }
            assert!(accepted || !succeeded, "only the fast path accepts {shown}: {outcome:?}");
            if let Err(fault) = &outcome {
                assert!(!fault.detail.is_empty() && !fault.detail.contains(" at line "), "{shown}: {}", fault.detail);
            }
            let (quick, slow) = (quick.finish(&arrow).unwrap(), slow.finish(&arrow).unwrap());
            if succeeded {
                assert_eq!(quick, slow, "{shown}");
            }
            taken += usize::from(succeeded);
            valid += usize::from(accepted);
        }
        assert!(valid > 8_000, "{valid} of 20,000 records are valid");
        assert!(taken * 10 > valid * 8, "the fast path took {taken} of {valid} valid records");
    }
}

fn small() -> Arc<CodecSpec> {
    let mut amount = column("amount", LogicalType::Float64, true);
    amount.minimum = Some(0.0);
    let mut channel = column("channel", LogicalType::String, true);
    channel.allowed = vec!["web".into()];
    let columns = vec![
        column("id", LogicalType::Int64, false),
        column("ts", LogicalType::Timestamp(TimestampUnit::Millisecond), false),
        amount,
        channel,
        column("user", LogicalType::String, true),
        column("blob", LogicalType::Bytes, true),
        column("items", LogicalType::List(Box::new(column("item", LogicalType::Int64, false))), true),
    ];
    CodecSpec::new(SourceIndex(2), DeclaredSchema { columns, closed: false }, EventTimeFrom::Column(1), 1 << 20)
}

fn lines(records: &[Vec<u8>], spec: Arc<CodecSpec>) -> DecodedChunk {
    let (mut data, mut spans) = (Vec::new(), Vec::new());
    for record in records {
        let start = data.len();
        data.extend_from_slice(record);
        spans.push(Span { offset: start as u64, start: start as u32, end: data.len() as u32 });
        data.push(b'\n');
    }
    let end = data.len() as u64;
    let payload = Payload::Text(TextChunk { data: Arc::new(data), spans, cut: None, header: None });
    JsonCodec::new(spec).decode(RawChunk { partition: PartitionIndex(4), end, payload }).unwrap()
}

#[test]
fn every_kind_of_poison_is_quarantined_with_place_reason_and_bytes() {
    let good = br#"{"id":1,"ts":1000,"amount":2.5,"user":"u"}"#.to_vec();
    let deep = |open: &str, close: &str| {
        [br#"{"id":1,"ts":1000,"x":"#.to_vec(), open.repeat(1000).into_bytes(), close.repeat(1000).into_bytes(), b"}".to_vec()].concat()
    };
    let text = |text: &str| text.as_bytes().to_vec();
    let poison: Vec<(Vec<u8>, Reason, &str)> = vec![
        (b"{\"id\":1,\"ts\":1000,\"user\":\"\xff\"}".to_vec(), Reason::Decode, "invalid UTF-8 at byte 26"),
        (text(r#"{"id":1,"ts":1000,"us"#), Reason::Decode, "truncated JSON: EOF while parsing a string at byte"),
        (text(r#"{"id":"1","ts":1000}"#), Reason::Decode, "field `id` at byte 6: expected int64, found the string \"1\""),
        (text(r#"{"ts":1000}"#), Reason::Decode, "field `id` is missing"),
        (deep("[", "]"), Reason::Decode, "nested deeper than 128 levels at byte 149"),
        (deep("{\"a\":", "}"), Reason::Decode, "nested deeper than 128 levels"),
        (text(r#"{"id":1,"ts":1000,"amount":1e999}"#), Reason::Decode, "field `amount` at byte 27: 1e999 is out of range for float64"),
        (
            text(r#"{"id":9223372036854775808,"ts":1000}"#),
            Reason::Decode,
            "field `id` at byte 6: 9223372036854775808 is out of range for int64",
        ),
        (text(r#"{"id":1,"ts":1000,"amount":NaN}"#), Reason::Decode, "not JSON: expected value at byte 27"),
        (text(r#"{"id":1,"ts":1000,"id":2}"#), Reason::Decode, "field `id` at byte 23: the key stands twice"),
        (
            [br#"{"id":1,"ts":1000,"user":""#.to_vec(), vec![b'x'; 10 << 20], b"\"}".to_vec()].concat(),
            Reason::TooLarge,
            "more than max_record = 1048576",
        ),
        (text(r#"{"id":1,"ts":1000} {"#), Reason::Decode, "not JSON: trailing characters at byte 19"),
        (text(r#"{"id":1,"ts":1000,"user":"\ud800"}"#), Reason::Decode, "field `user` at byte 25"),
        (b"{\"id\":1,\"ts\":1000,\"user\":\"a\x01b\"}".to_vec(), Reason::Decode, "not JSON: control character"),
        (text("\u{feff}{\"id\":1,\"ts\":1000}"), Reason::Decode, "a byte order mark at byte 0"),
        (text(r#"[{"id":1,"ts":1000}]"#), Reason::Decode, "a record is a JSON object; found an array at byte 0"),
        (text("17"), Reason::Decode, "a record is a JSON object; found the number 17 at byte 0"),
        (text(r#"{"id":null,"ts":1000}"#), Reason::Decode, "field `id` at byte 6: null, but it is required"),
        (text(r#"{"id":1.0,"ts":1000}"#), Reason::Decode, "field `id` at byte 6: expected int64, found the number 1.0"),
        (text(r#"{"id":true,"ts":1000}"#), Reason::Decode, "field `id` at byte 6: expected int64, found a bool"),
        (text(r#"{"id":1,"ts":"tomorrow"}"#), Reason::Decode, "field `ts` at byte 13: \"tomorrow\" is no RFC 3339 timestamp"),
        (text(r#"{"id":1,"ts":1000,"blob":"$$"}"#), Reason::Decode, "field `blob` at byte 25: \"$$\" is no base64"),
        (
            text(r#"{"id":1,"ts":1000,"items":[1,"x"]}"#),
            Reason::Decode,
            "field `items[1]` at byte 29: expected int64, found the string \"x\"",
        ),
        (
            text(r#"{"id":1,"ts":1000,"channel":"phone"}"#),
            Reason::Check,
            "field `channel` at byte 28: \"phone\" is none of the values allowed",
        ),
        (text(r#"{"id":1,"ts":1000,"amount":-1}"#), Reason::Check, "field `amount` at byte 27: -1 is below the minimum 0"),
        (
            text(r#"{"id":1,"ts":9223372036854775807}"#),
            Reason::Decode,
            "field `ts` at byte 13: 9223372036854775807 is out of range for timestamp_ms",
        ),
        (text(r#"{'id':1}"#), Reason::Decode, "not JSON: key must be a string at byte 1"),
    ];
    let mut records = vec![good.clone()];
    for (record, _, _) in &poison {
        records.push(record.clone());
        records.push(good.clone());
    }
    let chunk = lines(&records, small());
    assert_eq!(chunk.rows.num_rows(), poison.len() + 1);
    assert_eq!(chunk.records(), chunk.rows.num_rows() + chunk.rejected.len());
    assert_eq!(chunk.times, vec![1_000_000; poison.len() + 1]);
    for (index, ((record, reason, detail), rejected)) in poison.iter().zip(&chunk.rejected).enumerate() {
        assert_eq!(rejected.reason, *reason, "{rejected:?}");
        assert!(rejected.detail.contains(detail), "expected `{detail}`, found `{}`", rejected.detail);
        assert_eq!(rejected.offset, chunk.offsets[2 * index + 1]);
        assert_eq!((rejected.source, rejected.partition), (SourceIndex(2), PartitionIndex(4)));
        let kept = record.len().min(if *reason == Reason::TooLarge { MAX_KEPT } else { usize::MAX });
        assert_eq!(chunk.raw.original(rejected).as_deref(), Some(&record[..kept]));
        assert_eq!(chunk.row(2 * index + 1), None);
        assert_eq!(chunk.row(2 * index + 2), Some(index + 1));
    }
    assert_eq!(chunk.rejected[24].event_time, Some(1_000_000));
    let late = chunk.reject(SourceIndex(2), 2, Reason::Late, "older".into());
    assert_eq!((chunk.raw.original(&late).as_deref(), late.event_time), (Some(&good[..]), Some(1_000_000)));
    assert_eq!(chunk.raw.original(&Rejected { offset: late.offset + 1, ..late }), None, "inside a record");
}

#[test]
fn messages_without_value_are_poison_and_their_timestamp_can_be_the_event_time() {
    let schema = DeclaredSchema { columns: vec![column("id", LogicalType::Int64, false)], closed: true };
    let spec = CodecSpec::new(SourceIndex(0), schema, EventTimeFrom::Message, 64);
    let data = br#"k{"id":7}{"id":8,"more":1}"#.to_vec();
    let at = |offset, timestamp, value| Message { offset, timestamp, key: Some((0, 1)), value };
    let records = vec![
        at(10, Some(5_000), Some((1, 9))),
        at(12, Some(6_000), None),
        at(13, Some(7_000), Some((3, 3))),
        at(14, Some(8_000), Some((9, 26))),
        at(15, None, Some((1, 9))),
    ];
    let payload = Payload::Messages(MessageChunk { data: Arc::new(data), records });
    let chunk = JsonCodec::new(spec).decode(RawChunk { partition: PartitionIndex(0), end: 16, payload }).unwrap();
    assert_eq!(chunk.times, [5_000]);
    assert_eq!(chunk.rows.column(0).as_primitive::<Int64Type>().values(), &[7]);
    let rejected: Vec<(u64, &str, Option<i64>)> = chunk.rejected.iter().map(|r| (r.offset, r.detail.as_str(), r.event_time)).collect();
    assert_eq!(
        rejected,
        [
            (12, "the message's value is null (a tombstone)", Some(6_000)),
            (13, "the message's value is empty", Some(7_000)),
            (14, "field `more` at byte 15: the schema has no such field and allows no others", Some(8_000)),
            (15, "the message has no timestamp, which is the event time", None),
        ]
    );
    let originals: Vec<_> = chunk.rejected.iter().map(|rejected| chunk.raw.original(rejected).unwrap()).collect();
    assert_eq!(originals, [&b""[..], b"", br#"{"id":8,"more":1}"#, br#"{"id":7}"#]);
    assert_eq!(chunk.raw.original(&Rejected { offset: 11, ..chunk.rejected[0].clone() }), None);
    assert_eq!(chunk.digests.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn key_order_spacing_and_missing_fields_change_nothing() {
    let records: Vec<Vec<u8>> = [
        r#"{"id":1,"ts":1000,"amount":2,"user":"a"}"#,
        r#"{"user":"a","amount":2.0,"ts":1000,"id":1}"#,
        "{ \"id\" : 1 ,\t\"ts\" : \"1970-01-01T00:00:01Z\", \"amount\" : 2e0, \"user\" : \"\\u0061\" } ",
        r#"{"extra":{"id":5},"id":1,"ts":1000.0,"more":[[]],"amount":20e-1,"user":"a","items":null}"#,
    ]
    .map(|record| record.as_bytes().to_vec())
    .to_vec();
    let chunk = lines(&records, small());
    assert!(chunk.rejected.is_empty() && chunk.row_of.is_none(), "{:?}", chunk.rejected);
    assert_eq!(chunk.times, [1_000_000; 4]);
    assert_eq!(chunk.rows.column(2).as_primitive::<Float64Type>().values(), &[2.0; 4]);
    assert!((0..4).all(|row| chunk.rows.column(4).as_string::<i32>().value(row) == "a" && chunk.rows.column(6).is_null(row)));
}

impl Random {
    /// Any string, of ASCII with and without escapes, of characters of every length, of controls.
    fn any_text(&mut self) -> String {
        let below = [0x80, 0x80, 0x80, 0x20, 0x800, 0xFFFF, 0x11_0000][self.below(7)];
        (0..self.below(30)).filter_map(|_| char::from_u32(self.below(below) as u32)).collect()
    }

    /// Any float.
    fn any_float(&mut self) -> f64 {
        loop {
            let bits = self.0.next_u64();
            let value =
                if self.below(2) == 0 { f64::from_bits(bits) } else { (bits >> self.below(64)) as f64 / [1.0, 100.0, 1e6][self.below(3)] };
            if value.is_finite() {
                return value;
            }
        }
    }

    /// Any JSON.
    fn any_json(&mut self, depth: usize) -> Value {
        match self.below(if depth > 4 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2 => json!(self.0.next_u64() as i64),
            3 => json!(self.any_float()),
            4 => json!(self.any_text()),
            5 => (0..self.below(5)).map(|_| self.any_json(depth + 1)).collect(),
            _ => Value::Object((0..self.below(5)).map(|_| (self.any_text(), self.any_json(depth + 1))).collect()),
        }
    }

    /// Members as serde_json writes them, in any order, with any spacing, some characters as escapes.
    fn object(&mut self, mut members: Vec<(String, String)>) -> String {
        for index in (1..members.len()).rev() {
            // Mostly in one order, as records of a source are.
            if self.1 {
                members.swap(index, self.below(index + 1));
            }
        }
        let mut space = || if self.1 { [" ", "\t", "\r\n", "  ", ""][self.below(5)] } else { "" };
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("{}{}{}:{}{value}{}", space(), serde_json::to_string(name).unwrap(), space(), space(), space()))
            .collect();
        let text = format!("{{{}}}", members.join(","));
        let escape = self.below(4) == 0;
        let units = |letter: char| letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        text.chars().map(|letter| if escape && !letter.is_ascii() { units(letter) } else { letter.to_string() }).collect()
    }
}

#[test]
fn what_serde_json_writes_is_read_as_it_was() {
    let part = LogicalType::Struct(vec![column("a", LogicalType::Int32, false), column("b", LogicalType::String, true)]);
    let columns = vec![
        column("id", LogicalType::Int64, false),
        column("ts", LogicalType::Timestamp(TimestampUnit::Millisecond), false),
        column("amount", LogicalType::Float64, false),
        column("name", LogicalType::String, true),
        column("flag", LogicalType::Bool, true),
        column("small", LogicalType::Int32, true),
        column("ratio", LogicalType::Float32, true),
        column("price", LogicalType::Decimal(12, 2), true),
        column("day", LogicalType::Date, true),
        column("tags", LogicalType::List(Box::new(column("item", LogicalType::String, false))), true),
        column("part", part, true),
        column("n\"ä\\me\u{1}", LogicalType::String, false),
    ];
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let schema = DeclaredSchema { columns, closed: false };
    let spec = CodecSpec::new(SourceIndex(0), schema, EventTimeFrom::Column(1), 1 << 20);
    let epoch = chrono::DateTime::UNIX_EPOCH;
    let mut random = Random(ChaCha8Rng::from_seed([13; 32]), false);
    for round in 0..3_000 {
        random.1 = round % 3 == 0;
        let (id, amount, small) = (random.0.next_u64() as i64 >> random.below(64), random.any_float(), random.0.next_u32() as i32);
        let ratio = f32::from_bits(random.0.next_u32());
        let ratio = Some(ratio).filter(|ratio| ratio.is_finite());
        let (millis, cents, days) =
            (random.below(4_000_000_000_000) as i64, random.below(1_000_000) as i64 - 500_000, random.below(40_000) as i32);
        let (name, last) = (random.any_text(), random.any_text());
        let flag = [None, Some(true), Some(false)][random.below(3)];
        let tags: Vec<String> = (0..random.below(4)).map(|_| random.any_text()).collect();
        let (a, b) = (random.0.next_u32() as i32, Some(random.any_text()).filter(|text| text.len() % 2 == 0));
        let at = epoch + chrono::TimeDelta::milliseconds(millis);
        let ts = if random.below(3) == 0 { json!(at.to_rfc3339()) } else { json!(millis) };
        let day = (epoch + chrono::TimeDelta::days(days.into())).format("%Y-%m-%d").to_string();
        let sign = if cents < 0 { "-" } else { "" };
        let part = random.object(vec![("a".into(), a.to_string()), ("b".into(), json!(b).to_string())]);
        let values = [
            json!(id).to_string(),
            ts.to_string(),
            json!(amount).to_string(),
            json!(name).to_string(),
            json!(flag).to_string(),
            json!(small).to_string(),
            serde_json::to_string(&ratio).unwrap(),
            format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100),
            json!(day).to_string(),
            json!(tags).to_string(),
            part,
            json!(last).to_string(),
        ];
        let mut members: Vec<(String, String)> = names.iter().cloned().zip(values).collect();
        for extra in 0..random.below(3) {
            members.push((format!("extra {extra}{}", random.any_text()), random.any_json(0).to_string()));
        }
        let record = random.object(members);
        let chunk = lines(&[record.clone().into_bytes()], spec.clone());
        assert!(chunk.rejected.is_empty(), "{record}: {:?}", chunk.rejected);
        assert_eq!(chunk.times, [millis * 1_000], "{record}");
        let rows = &chunk.rows;
        let text = |column: usize| rows.column(column).as_string::<i32>().value(0).to_string();
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().value(0), id, "{record}");
        assert_eq!(rows.column(1).as_primitive::<TimestampMicrosecondType>().value(0), millis * 1_000, "{record}");
        assert_eq!(rows.column(2).as_primitive::<Float64Type>().value(0).to_bits(), amount.to_bits(), "{record}");
        assert_eq!(text(3), name, "{record}");
        assert_eq!(rows.column(4).as_boolean().iter().next().flatten(), flag, "{record}");
        assert_eq!(rows.column(5).as_primitive::<Int32Type>().value(0), small, "{record}");
        assert_eq!(
            rows.column(6).as_primitive::<Float32Type>().iter().next().flatten().map(f32::to_bits),
            ratio.map(f32::to_bits),
            "{record}"
        );
        assert_eq!(rows.column(7).as_primitive::<Decimal128Type>().value(0), i128::from(cents), "{record}");
        assert_eq!(rows.column(8).as_primitive::<Date32Type>().value(0), days, "{record}");
        let items = rows.column(9).as_list::<i32>().value(0);
        assert_eq!(items.as_string::<i32>().iter().map(|item| item.unwrap().to_string()).collect::<Vec<_>>(), tags, "{record}");
        let fields = rows.column(10).as_struct();
        assert_eq!(fields.column(0).as_primitive::<Int32Type>().value(0), a, "{record}");
        assert_eq!(fields.column(1).as_string::<i32>().iter().next().flatten().map(str::to_string), b, "{record}");
        assert_eq!(text(11), last, "{record}");
        if round % 20 == 0 {
            // No part of a record is a record.
            let prefixes: Vec<Vec<u8>> = (1..record.len()).map(|end| record.as_bytes()[..end].to_vec()).collect();
            let chunk = lines(&prefixes, spec.clone());
            assert_eq!((chunk.rejected.len(), chunk.rows.num_rows()), (prefixes.len(), 0), "{record}");
        }
    }
}
