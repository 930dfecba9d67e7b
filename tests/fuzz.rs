//! Fuzz of the decoders on the stable toolchain: records of `tests/fuzz/` are mutated with a fixed seed, and what a decoder makes of each is compared
//! with an oracle over serde_json that shares no code with it, and with what it makes of the same record alone.
//!
//! Without instrumentation the only feedback is what the decoder says: a mutant that is refused in words not seen before, or accepted with a set of
//! fields not seen before, joins the pool. By default a fixed number of mutants is tried, the same in every run. Longer, with other seeds:
//!
//!     TIDEMILL_FUZZ_SECONDS=600 cargo test --release --test fuzz -- --nocapture
//!
//! With `TIDEMILL_FUZZ_KEEP=1` the mutants that joined the pool are written to `tests/fuzz/`, one file per kind of record, to be replayed ever after.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tidemill::codecs::{CodecSpec, CsvHeader, DecodedChunk, EventTimeFrom, Payload, RawChunk, Span, TextChunk, build};
use tidemill::data::{DeclaredColumn, DeclaredSchema, LogicalType, Reason, TimestampUnit};
use tidemill::ids::{PartitionIndex, SourceIndex};

/// Mutants tried where no time is given.
const MUTANTS: usize = 20_000;
/// Records decoded together.
const TOGETHER: usize = 32;
/// Most records in the pool.
const POOL: usize = 1_000;
/// Longest record.
const MAX_RECORD: usize = 4096;

fn column(name: &str, kind: LogicalType, nullable: bool) -> DeclaredColumn {
    DeclaredColumn::new(name, kind, nullable)
}

/// What the oracle can decide.
fn plain() -> DeclaredSchema {
    let tags = LogicalType::List(Box::new(column("item", LogicalType::String, false)));
    let part = LogicalType::Struct(vec![column("a", LogicalType::Int32, false), column("b", LogicalType::String, true)]);
    let columns = vec![
        column("id", LogicalType::Int64, false),
        column("amount", LogicalType::Float64, true),
        column("name", LogicalType::String, true),
        column("flag", LogicalType::Bool, true),
        column("small", LogicalType::Int32, true),
        column("tags", tags, true),
        column("part", part, true),
    ];
    DeclaredSchema { columns, closed: false }
}

/// Every type, with bounds; nothing else than the schema's fields.
fn wide() -> DeclaredSchema {
    let mut columns = plain().columns;
    columns[1].minimum = Some(-1e6);
    columns[1].maximum = Some(1e6);
    columns[2].allowed = vec!["web".into(), "é".into(), String::new()];
    columns.extend([
        column("at", LogicalType::Timestamp(TimestampUnit::Millisecond), true),
        column("ratio", LogicalType::Float32, true),
        column("price", LogicalType::Decimal(12, 2), true),
        column("blob", LogicalType::Bytes, true),
        column("day", LogicalType::Date, true),
    ]);
    DeclaredSchema { columns, closed: true }
}

/// One kind of record: its codec, its schema and the file of its corpus.
struct Kind {
    file: &'static str,
    codec: &'static str,
    spec: Arc<CodecSpec>,
    header: Option<Arc<CsvHeader>>,
    tokens: Vec<&'static str>,
    with_oracle: bool,
}

/// What mutation puts into records, between spaces; `UNSEEN` comes on top.
const JSON_TOKENS: &str = r#"{ } [ ] : , " \ \u00e9 \ud83d\ude00 \ud800 \n é 日本 null true false 0 -0 1 -1 9 . .5 e E+ e-3 1e999 2147483647 2147483648
 9223372036854775807 9223372036854775808 -9223372036854775808 123456789012345 1234567890123456 0.1234567890123456789 1.7976931348623157e308
 "id": ,"id":1 "amount": "name": "flag": "small": "tags":[ "part":{ "a":1 "b": "x": "at":"2024-02-29T12:00:00.5+01:00" "day":"2023-02-29"
 "blob":"Zg==" "price":12.345 [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ {"a":{"a":{"a":{"a":"#;
const CSV_TOKENS: &str = r#", " "" "," 1 -0 1e5 NaN true 2024-02-29 2024-01-01T00:00:00Z é ["a"] {"a":1}"#;
const UNSEEN: [&str; 7] = ["", " ", "\t", "\r", "\u{feff}", "\u{1}", "\u{7f}"];

fn kinds() -> Vec<Kind> {
    let spec = |schema| CodecSpec::new(SourceIndex(0), schema, EventTimeFrom::Nothing, MAX_RECORD);
    let tokens = |text: &'static str| text.split_ascii_whitespace().chain(UNSEEN).collect();
    let json = |file, schema, with_oracle| Kind {
        file,
        codec: "json",
        spec: spec(schema),
        header: None,
        tokens: tokens(JSON_TOKENS),
        with_oracle,
    };
    let wide_columns = wide().columns.len();
    let header = Arc::new(CsvHeader { fields: wide_columns, positions: (0..wide_columns).map(Some).collect() });
    vec![
        json("plain.ndjson", plain(), true),
        json("wide.ndjson", wide(), false),
        Kind { file: "wide.csv", codec: "csv", spec: spec(wide()), header: Some(header), tokens: tokens(CSV_TOKENS), with_oracle: false },
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// Whether the reader of a file could have cut out this record: in CSV a quote that is open at its end would take in the next line.
fn is_cut_right(kind: &Kind, record: &[u8]) -> bool {
    if kind.header.is_none() {
        return true;
    }
    let text = [record, b"\nx"].concat();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
    !record.is_empty() && reader.byte_records().last().is_some_and(|last| last.is_ok_and(|last| last == vec!["x"]))
}

/// Decodes records together.
fn decode(kind: &Kind, records: &[Vec<u8>]) -> DecodedChunk {
    let (mut data, mut spans) = (Vec::new(), Vec::new());
    for record in records {
        let start = data.len();
        data.extend_from_slice(record);
        spans.push(Span { offset: start as u64, start: start as u32, end: data.len() as u32 });
        data.push(b'\n');
    }
    let end = data.len() as u64;
    let payload = Payload::Text(TextChunk { data: Arc::new(data), spans, cut: None, header: kind.header.clone() });
    build(kind.codec, kind.spec.clone()).unwrap().decode(RawChunk { partition: PartitionIndex(0), end, payload }).unwrap()
}

/// The members of an object, in order, keys not made unique.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Gather)
    }
}

/// Whether a record nests deeper than 128 levels.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth -= 1,
            _ => {}
        }
        depth > 128
    })
}

/// The values of `columns` in an object as text, `None` where the object is no value of them.
fn oracle_fields(json: &str, columns: &[DeclaredColumn]) -> Option<Vec<String>> {
    let members: Members<'_> = serde_json::from_str(json).ok()?;
    let mut values = Vec::new();
    for column in columns {
        let mut own = members.0.iter().filter(|(key, _)| *key == column.name);
        let value = own.next().map(|(_, raw)| raw.get());
        if own.next().is_some() {
            return None;
        }
        values.push(match value {
            None | Some("null") => column.nullable.then(|| "null".to_string())?,
            Some(raw) => oracle_value(raw, column)?,
        });
    }
    Some(values)
}

fn oracle_value(raw: &str, column: &DeclaredColumn) -> Option<String> {
    let whole = !raw.contains(['.', 'e', 'E']);
    match &column.kind {
        LogicalType::Int64 => raw.parse::<i64>().ok().filter(|_| whole).map(|value| value.to_string()),
        LogicalType::Int32 => raw.parse::<i32>().ok().filter(|_| whole).map(|value| value.to_string()),
        LogicalType::Float64 if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            raw.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| format!("{:x}", value.to_bits()))
        }
        LogicalType::Bool => serde_json::from_str::<bool>(raw).ok().map(|value| value.to_string()),
        LogicalType::String => serde_json::from_str::<String>(raw).ok().map(|value| format!("{value:?}")),
        LogicalType::List(item) => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            let items = items.iter().map(|raw| if raw.get() == "null" { None } else { oracle_value(raw.get(), item) });
            Some(format!("{:?}", items.collect::<Option<Vec<_>>>()?))
        }
        LogicalType::Struct(columns) if raw.starts_with('{') => Some(format!("{:?}", oracle_fields(raw, columns)?)),
        _ => None,
    }
}

/// A decoded value as the oracle writes it.
fn decoded_value(array: &ArrayRef, row: usize, column: &DeclaredColumn) -> String {
    if array.is_null(row) {
        return "null".to_string();
    }
    match &column.kind {
        LogicalType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        LogicalType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        LogicalType::Float64 => format!("{:x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        LogicalType::Bool => array.as_boolean().value(row).to_string(),
        LogicalType::String => format!("{:?}", array.as_string::<i32>().value(row)),
        LogicalType::List(item) => {
            let items = array.as_list::<i32>().value(row);
            format!("{:?}", (0..items.len()).map(|index| decoded_value(&items, index, item)).collect::<Vec<_>>())
        }
        LogicalType::Struct(columns) => {
            let fields = array.as_struct().columns().iter().zip(columns);
            format!("{:?}", fields.map(|(array, column)| decoded_value(array, row, column)).collect::<Vec<_>>())
        }
        other => panic!("the oracle knows no {other:?}"),
    }
}

fn decoded_row(rows: &RecordBatch, row: usize, columns: &[DeclaredColumn]) -> Vec<String> {
    rows.columns().iter().zip(columns).map(|(array, column)| decoded_value(array, row, column)).collect()
}

/// Decodes `records` together, checks everything that must hold, and returns per record in what words it was refused, or which fields it had.
fn check(kind: &Kind, records: &[Vec<u8>]) -> Vec<String> {
    let together = decode(kind, records);
    assert_eq!(together.records(), records.len());
    assert_eq!(together.rows.num_rows() + together.rejected.len(), records.len(), "rows in = rows used + rows rejected");
    let mut rejected = together.rejected.iter();
    let mut said = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let shown = record.escape_ascii();
        let alone = decode(kind, std::slice::from_ref(record));
        assert_eq!(alone.digests[0], together.digests[index], "{shown}");
        let row = together.row(index);
        match row {
            Some(row) => {
                assert!(alone.rejected.is_empty(), "refused alone, not together: {shown}: {:?}", alone.rejected);
                assert_eq!(alone.rows, together.rows.slice(row, 1), "{shown}");
                let has = |array: &ArrayRef| if array.is_null(row) { '-' } else { 'x' };
                said.push(together.rows.columns().iter().map(has).collect());
            }
            None => {
                let fault = rejected.next().unwrap();
                assert_eq!(fault.offset, together.offsets[index], "{shown}");
                assert_eq!(together.raw.original(fault).as_deref(), Some(&record[..]), "{shown}");
                let alone = alone.rejected.first().unwrap_or_else(|| panic!("accepted alone, not together: {shown}: {fault:?}"));
                assert_eq!((fault.reason, &fault.detail, fault.event_time), (alone.reason, &alone.detail, alone.event_time), "{shown}");
                assert!(!fault.detail.is_empty() && !fault.detail.contains(" at line "), "{shown}: {}", fault.detail);
                // Its words before and behind all that is quoted, which differs from record to record.
                let mut pieces = fault.detail.split(['`', '"']);
                let words = [pieces.next(), pieces.next_back()].into_iter().flatten().flat_map(str::chars);
                said.push(words.filter(char::is_ascii_alphabetic).collect());
            }
        }
        if kind.with_oracle && record.len() <= MAX_RECORD {
            let text = std::str::from_utf8(record).ok().filter(|text| !is_deep(text));
            let columns = &kind.spec.schema.columns;
            let expected = text.and_then(|text| oracle_fields(text, columns));
            assert_eq!(row.map(|row| decoded_row(&together.rows, row, columns)), expected, "{shown}");
        }
    }
    assert!(together.rejected.iter().all(|fault| matches!(fault.reason, Reason::Decode | Reason::Check | Reason::TooLarge)));
    said
}

/// Chance, from a seed.
struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    /// One of the records with some bytes changed, mostly one of those accepted: most changes to others change nothing.
    fn mutant(&mut self, pool: &[Vec<u8>], accepted: &[Vec<u8>], tokens: &[&str]) -> Vec<u8> {
        let from = if self.below(4) == 0 { pool } else { accepted };
        let mut record = from[self.below(from.len())].clone();
        // Mostly one: of those more are still records.
        for _ in 0..1 + self.below(2) * self.below(4) {
            let at = self.below(record.len() + 1);
            let to = (at + self.below(12)).min(record.len());
            match self.below(9) {
                0 if at < record.len() => record[at] = self.0.next_u32() as u8,
                1 if at < record.len() => record[at] ^= 1 << self.below(8),
                2 => drop(record.drain(at..to)),
                3 => record.truncate(at),
                4 => {
                    let piece = record[at..to].to_vec();
                    let place = self.below(record.len() + 1);
                    record.splice(place..place, piece);
                }
                5 => {
                    let other = &pool[self.below(pool.len())];
                    let from = self.below(other.len() + 1);
                    record.splice(at.., other[from..].iter().copied());
                }
                6 => {
                    let number = self.0.next_u64() >> self.below(64);
                    record.splice(at..to, number.to_string().into_bytes());
                }
                _ => {
                    let token = tokens[self.below(tokens.len())];
                    record.splice(at..(if self.below(2) == 0 { at } else { to }), token.bytes());
                }
            }
        }
        record.retain(|byte| *byte != b'\n');
        record.truncate(MAX_RECORD + 10);
        record
    }
}

#[test]
fn the_corpus_and_its_mutants_are_decoded_as_the_oracle_says() {
    let seconds: Option<u64> = std::env::var("TIDEMILL_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let keep = std::env::var_os("TIDEMILL_FUZZ_KEEP").is_some();
    let kinds = kinds();
    for (number, kind) in kinds.iter().enumerate() {
        let path = folder().join(kind.file);
        let corpus = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut pool: Vec<Vec<u8>> = corpus.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
        assert!(pool.len() > 5, "{} holds {} records", path.display(), pool.len());
        let said: Vec<String> = pool.chunks(TOGETHER).flat_map(|records| check(kind, records)).collect();
        let is_accepted = |said: &str| said.chars().all(|c| matches!(c, '-' | 'x'));
        let mut accepted: Vec<Vec<u8>> =
            pool.iter().zip(&said).filter(|(_, said)| is_accepted(said)).map(|(record, _)| record.clone()).collect();
        let mut seen: BTreeSet<String> = said.into_iter().collect();
        let known = pool.len();
        let began = Instant::now();
        let limit = seconds.map(|seconds| Duration::from_secs(seconds) / kinds.len() as u32);
        let (mut tried, mut good, mut seed) = (0, 0, number as u64);
        while limit.map_or(tried < MUTANTS / kinds.len(), |limit| began.elapsed() < limit) {
            let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
            seed += kinds.len() as u64;
            let mutants: Vec<Vec<u8>> =
                (0..TOGETHER).map(|_| random.mutant(&pool, &accepted, &kind.tokens)).filter(|mutant| is_cut_right(kind, mutant)).collect();
            for (mutant, said) in mutants.iter().zip(check(kind, &mutants)) {
                let is_good = is_accepted(&said);
                good += usize::from(is_good);
                if pool.len() < POOL && seen.insert(said) {
                    pool.push(mutant.clone());
                    accepted.extend(is_good.then(|| mutant.clone()));
                }
            }
            tried += mutants.len();
        }
        println!("{}: {tried} mutants, {good} accepted, {} joined the pool", kind.file, pool.len() - known);
        if keep {
            fs::write(&path, pool.iter().flat_map(|record| [record.as_slice(), b"\n"]).collect::<Vec<_>>().concat()).unwrap();
        }
    }
}
