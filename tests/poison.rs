//! Poison through the real program: what cannot be used is put aside with path, position, reason and its original bytes, what can be used is used,
//! and every record is accounted for (S5). Whatever the worker count and the size of epochs, the same bytes are put aside.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PIPELINE: &str = r#"
[pipeline]
name = "poison"
epoch = { max_rows = 7 }

[sources.x]
kind = "file"
path = "in.ndjson"
schema = "x.json"
event_time = "ts"
key = "id"
dedup = "1h"
max_record = "64KiB"

[streams.numbers]
from = "x"
derive = { number = "cast(word as bigint)" }

[sinks.rows]
kind = "file"
from = "numbers"
path = "out/rows.ndjson"

[sinks.quarantine]
kind = "file"
from = "quarantine"
path = "out/quarantine.ndjson"
"#;

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "id": { "type": "integer" },
    "ts": { "type": "string", "format": "date-time", "x-tidemill-type": "timestamp_ms" },
    "n": { "type": "integer", "x-tidemill-type": "int32", "minimum": 0, "maximum": 1000000 },
    "x": { "type": ["number", "null"] },
    "yes": { "type": ["boolean", "null"] },
    "colour": { "enum": ["red", "green"], "type": ["string", "null"] },
    "word": { "type": ["string", "null"] }
  },
  "required": ["id", "ts", "n"]
}"#;

/// Longest original that is kept of a record that is too large.
const KEPT: usize = 64 << 10;

fn record(id: usize, second: usize, rest: &str) -> Vec<u8> {
    format!(r#"{{"id":{id},"ts":"2024-01-01T{:02}:{:02}:{:02}Z","n":1{rest}}}"#, second / 3600, second / 60 % 60, second % 60).into_bytes()
}

/// Every kind of poison: what it is, its bytes, the reason. `id` and `second` are of a record that would be good here.
fn kinds(id: usize, second: usize) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let with = |rest: &str| record(id, second, rest);
    let text = |text: &str| text.as_bytes().to_vec();
    let swapped = |from: &str, to: &str| String::from_utf8(record(id, second, "")).unwrap().replacen(from, to, 1).into_bytes();
    let mut invalid = with(r#","word":"??""#);
    let at = invalid.windows(2).position(|pair| pair == b"??").unwrap();
    invalid[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    let mut truncated = with("");
    truncated.pop();
    vec![
        ("invalid UTF-8", invalid, "decode"),
        ("truncated JSON", truncated, "decode"),
        ("no JSON at all", text("nonsense"), "decode"),
        ("a zero byte", text("\0"), "decode"),
        ("an array", text("[1,2,3]"), "decode"),
        ("a number", text("17"), "decode"),
        ("null", text("null"), "decode"),
        ("something behind the object", [with(""), text(" {}")].concat(), "decode"),
        ("a missing field", swapped(r#","n":1"#, ""), "decode"),
        ("a null where none may be", swapped(r#""n":1"#, r#""n":null"#), "decode"),
        ("text for a number", swapped(r#""n":1"#, r#""n":"1""#), "decode"),
        ("a fraction for an integer", swapped(r#""n":1"#, r#""n":1.5"#), "decode"),
        ("a number for a boolean", with(r#","yes":1"#), "decode"),
        ("a number for text", with(r#","word":5"#), "decode"),
        ("beyond int32", swapped(r#""n":1"#, r#""n":2147483648"#), "decode"),
        ("beyond int64", swapped(&format!(r#""id":{id}"#), r#""id":9223372036854775808"#), "decode"),
        ("beyond float64", with(r#","x":1e400"#), "decode"),
        ("NaN", with(r#","x":NaN"#), "decode"),
        ("Infinity", with(r#","x":-Infinity"#), "decode"),
        ("a leading zero", with(r#","x":01"#), "decode"),
        ("a repeated key", with(r#","n":2"#), "decode"),
        ("half a surrogate pair", with(r#","word":"\ud83d""#), "decode"),
        ("a raw control character", with(",\"word\":\"\u{1}\""), "decode"),
        ("no time at all", text(&format!(r#"{{"id":{id},"n":1}}"#)), "decode"),
        ("a time in words", text(&format!(r#"{{"id":{id},"ts":"noon","n":1}}"#)), "decode"),
        ("a day that does not exist", text(&format!(r#"{{"id":{id},"ts":"2023-02-29T00:00:00Z","n":1}}"#)), "decode"),
        ("nesting 1,000 deep", with(&format!(r#","other":{}{}"#, "[".repeat(1000), "]".repeat(1000))), "decode"),
        ("10 MB in one line", with(&format!(r#","other":"{}""#, "z".repeat(10_000_000))), "too_large"),
        ("below the least value", swapped(r#""n":1"#, r#""n":-1"#), "check"),
        ("above the greatest value", swapped(r#""n":1"#, r#""n":1000001"#), "check"),
        ("none of the values", with(r#","colour":"blue""#), "check"),
        ("a time after 2100", text(&format!(r#"{{"id":{id},"ts":"2150-01-01T00:00:00Z","n":1}}"#)), "future"),
        ("a time long gone", text(&format!(r#"{{"id":{id},"ts":"2023-12-31T00:00:00Z","n":1}}"#)), "late"),
        ("an identity seen before", record(0, second, ""), "duplicate"),
        ("an expression that fails", with(r#" , "word":"s\u0065ven","other":[1.50]"#), "expression"),
    ]
}

/// One record of the input that must be put aside.
struct Poison {
    what: &'static str,
    offset: u64,
    bytes: Vec<u8>,
    reason: &'static str,
}

/// The input: a good record, then poison and good records in turns. Also what must be put aside, and the number of good records.
fn input() -> (Vec<u8>, Vec<Poison>, u64) {
    let mut text = record(0, 0, r#","word":"0""#);
    let (mut poison, mut good) = (Vec::new(), 1);
    for number in 0..kinds(0, 0).len() {
        let (id, second) = (100 + number, 10 * (number + 1));
        let (what, bytes, reason) = kinds(id, second).swap_remove(number);
        text.push(b'\n');
        poison.push(Poison { what, offset: text.len() as u64, bytes: bytes.clone(), reason });
        text.extend(bytes);
        // A blank line is no record; some lines end in CRLF; the last one in nothing.
        text.extend(if number % 3 == 0 { b"\r\n\n".as_slice() } else { b"\n" });
        text.extend(record(1000 + number, second + 1, &format!(r#","word":"{number}","other":{{"deep":[null]}}"#)));
        good += 1;
    }
    (text, poison, good)
}

fn tidemill(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidemill")).args(arguments).current_dir(folder).output().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            out.push(if place <= chunk.len() { char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]) } else { '=' });
        }
    }
    out
}

#[test]
fn every_kind_of_poison_is_put_aside_whole_and_everything_else_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (text, poison, good) = input();
    assert!(poison.len() >= 30, "{} kinds", poison.len());
    fs::write(folder.path().join("in.ndjson"), &text).unwrap();
    fs::write(folder.path().join("x.json"), SCHEMA).unwrap();
    let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
    for (workers, rows) in [("1", 7), ("3", 7), ("2", 1), ("1", 16384)] {
        let pipeline = PIPELINE.replace("max_rows = 7", &format!("max_rows = {rows}"));
        fs::write(folder.path().join("p.toml"), pipeline).unwrap();
        let run = tidemill(folder.path(), &["run", "p.toml", "--fresh", "--json", "-w", workers]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let summary: Value = serde_json::from_slice(&run.stdout).unwrap();
        let figure = |name: &str| summary["rows"][name].as_u64().unwrap();
        assert_eq!(figure("read"), good + poison.len() as u64);
        assert_eq!(figure("used"), good);
        assert_eq!(figure("read"), figure("used") + figure("late") + figure("quarantined"));
        let by_reason: u64 = summary["rows"]["reasons"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(by_reason, poison.len() as u64);
        let used = fs::read(folder.path().join("out/rows.ndjson")).unwrap();
        let aside = fs::read(folder.path().join("out/quarantine.ndjson")).unwrap();
        assert_eq!(used.iter().filter(|byte| **byte == b'\n').count() as u64, good);
        match &first {
            None => {
                check_quarantine(&String::from_utf8(aside.clone()).unwrap(), &poison);
                first = Some((used, aside));
            }
            Some(first) => assert!(*first == (used, aside), "{workers} workers and epochs of {rows} rows gave other bytes"),
        }
    }
}

fn check_quarantine(aside: &str, poison: &[Poison]) {
    let mut lines: Vec<Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["offset"].as_u64());
    let mut wrong = String::new();
    for (poison, line) in poison.iter().zip(&lines) {
        let bytes = if poison.reason == "too_large" { &poison.bytes[..KEPT] } else { &poison.bytes };
        let original = match std::str::from_utf8(bytes) {
            Ok(text) => line["raw"].as_str() == Some(text) && line["raw_base64"].is_null(),
            Err(_) => line["raw"].is_null() && line["raw_base64"].as_str() == Some(&base64(bytes)),
        };
        let place = line["source"] == "x" && line["partition"] == "in.ndjson" && line["offset"] == poison.offset;
        let says = line["detail"].as_str().is_some_and(|detail| !detail.is_empty() && !detail.contains('\n') && detail.len() < 500);
        if !(original && place && says && line["reason"] == poison.reason) {
            let mut seen = line.clone();
            seen["raw"] = Value::from(line["raw"].as_str().map(|raw| raw.chars().take(100).collect::<String>()));
            let _ = writeln!(
                wrong,
                "{}: {} at {} was expected (original {original}, place {place}, detail {says}): {seen}",
                poison.what, poison.reason, poison.offset
            );
        }
    }
    assert!(wrong.is_empty() && lines.len() == poison.len(), "{} lines for {} records\n{wrong}", lines.len(), poison.len());
}

#[test]
fn an_input_that_is_mostly_poison_stops_the_run_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    for id in 0..12_000 {
        text.extend(if id % 10 > 0 { record(id, id, r#","word":"1""#) } else { b"nonsense".to_vec() });
        text.push(b'\n');
    }
    fs::write(folder.path().join("in.ndjson"), text).unwrap();
    fs::write(folder.path().join("x.json"), SCHEMA).unwrap();
    fs::write(folder.path().join("p.toml"), PIPELINE.replace("max_rows = 7 }", "max_rows = 100 }\nmax_quarantine = 0.05")).unwrap();
    let run = tidemill(folder.path(), &["run", "p.toml", "--json"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(65), "{said}");
    assert!(said.contains("error: ") && said.contains("max_quarantine"), "{said}");
    let rows = fs::read(folder.path().join("out/rows.ndjson")).unwrap();
    assert_eq!(
        rows.iter().filter(|byte| **byte == b'\n').count(),
        9_900 / 10 * 9,
        "the epoch that completes a window of 10,000 is not committed"
    );
}
