//! The rim of the hot path, each part alone: `cargo bench --bench rim`.
//!
//! Records are those of workload W in shape: 64 Ki of them from memory that stays near, decoded chunk by chunk as a source hands them over. `file` is reading
//! a file from the page cache, splitting and decoding it, as a table is loaded. Figures are times per pass and records a second.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::codecs::{CodecSpec, CsvHeader, EventTimeFrom, Payload, RawChunk, RowChunk, Span, TextChunk, build};
use tidemill::config::declaration::Format;
use tidemill::data::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit};
use tidemill::ids::{ComponentId, PartitionIndex, SourceIndex};
use tidemill::plan::TablePlan;
use tidemill::sinks::{Encoder, LineEncoder, SinkRows};
use tidemill::sources::read_table;

/// Records of a pass, and of a chunk.
const RECORDS: u64 = 1 << 16;
const CHUNK: usize = 1 << 14;

fn schema() -> DeclaredSchema {
    let column = |name, kind, nullable| DeclaredColumn::new(name, kind, nullable);
    let columns = vec![
        column("event_id", LogicalType::Int64, false),
        column("ts", LogicalType::Timestamp(TimestampUnit::Millisecond), false),
        column("user", LogicalType::String, false),
        column("merchant", LogicalType::String, false),
        column("amount", LogicalType::Float64, false),
        column("label", LogicalType::Int64, true),
    ];
    DeclaredSchema { columns, closed: false }
}

fn spec() -> Arc<CodecSpec> {
    CodecSpec::new(SourceIndex(0), schema(), EventTimeFrom::Column(1), 1 << 20)
}

/// What is varied: how a record is written.
#[derive(Clone, Copy)]
enum Shape {
    Json,
    /// Each record begins with another key.
    TurningKeys,
    /// Every other record is none: cut off, no object, without a field, of a wrong type, beyond range, no UTF-8, nested too deeply.
    HalfGarbage,
    Csv,
}

fn record(i: u64, shape: Shape) -> Vec<u8> {
    let (user, merchant, cents) = (i * 7_919 % 124_000, i * 104_729 % 5_000, i * 15_485_863 % 100_000);
    let at = 1_700_000_000_000 + i * 37;
    if matches!(shape, Shape::Csv) {
        return format!("{i},{at},u{user:06},m{merchant:04},{}.{:02},{}", cents / 100, cents % 100, i % 2).into_bytes();
    }
    let mut members = [
        format!("\"event_id\":{i}"),
        format!("\"ts\":{at}"),
        format!("\"user\":\"u{user:06}\""),
        format!("\"merchant\":\"m{merchant:04}\""),
        format!("\"amount\":{}.{:02}", cents / 100, cents % 100),
        "\"country\":\"DE\"".to_string(),
        "\"channel\":\"web\"".to_string(),
        format!("\"label\":{}", i % 2),
    ];
    if matches!(shape, Shape::TurningKeys) {
        members.rotate_left(i as usize % 8);
    }
    let text = format!("{{{}}}", members.join(","));
    if !matches!(shape, Shape::HalfGarbage) || i.is_multiple_of(2) {
        return text.into_bytes();
    }
    match i / 2 % 7 {
        0 => text.as_bytes()[..text.len() / 2].to_vec(),
        1 => text.replace(['{', '}'], "").into_bytes(),
        2 => text.replace("\"ts\":", "\"t\":").into_bytes(),
        3 => text.replace("\"event_id\":", "\"event_id\":\"x\",\"x\":").into_bytes(),
        4 => text.replace("\"amount\":", "\"amount\":1e9999,\"a\":").into_bytes(),
        5 => text.bytes().map(|byte| if byte == b'D' { 0xFF } else { byte }).collect(),
        _ => text.replace("\"country\":", &format!("\"country\":{}", "[".repeat(150))).into_bytes(),
    }
}

/// The records as a file would hold them.
fn text(shape: Shape) -> Vec<u8> {
    (0..RECORDS).flat_map(|i| [record(i, shape), b"\n".to_vec()]).flatten().collect()
}

/// The records as a source hands them over.
fn chunks(shape: Shape) -> Vec<RawChunk> {
    let columns = schema().columns.len();
    let header = Arc::new(CsvHeader { fields: columns, positions: (0..columns).map(Some).collect() });
    let data = Arc::new(text(shape));
    let mut start = 0;
    let lines = data.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let span = Span { offset: start as u64, start: start as u32, end: (start + line.len() - 1) as u32 };
        start += line.len();
        span
    });
    let spans: Vec<Span> = lines.collect();
    let chunk = |spans: &[Span]| {
        let payload = Payload::Text(TextChunk { data: data.clone(), spans: spans.to_vec(), cut: None, header: Some(header.clone()) });
        RawChunk { partition: PartitionIndex(0), end: data.len() as u64, payload }
    };
    spans.chunks(CHUNK).map(chunk).collect()
}

fn rows() -> Vec<RecordBatch> {
    let mut codec = build("json", spec()).unwrap();
    chunks(Shape::Json).into_iter().map(|chunk| codec.decode(chunk).unwrap().rows).collect()
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS));
    let shapes = [
        ("json", "json", Shape::Json),
        ("json_turning_keys", "json", Shape::TurningKeys),
        ("json_half_garbage", "json", Shape::HalfGarbage),
        ("csv", "csv", Shape::Csv),
    ];
    for (name, codec, shape) in shapes {
        let (mut codec, chunks) = (build(codec, spec()).unwrap(), chunks(shape));
        let mut pass = |chunks: Vec<RawChunk>| chunks.into_iter().for_each(|chunk| drop(black_box(codec.decode(chunk).unwrap())));
        group.bench_function(name, |b| b.iter_batched(|| chunks.clone(), &mut pass, BatchSize::LargeInput));
    }
    let mut codec = build("columns", spec()).unwrap();
    let chunks: Vec<RawChunk> = rows()
        .into_iter()
        .zip(0..)
        .map(|(batch, chunk)| {
            let (first, end) = (chunk * CHUNK as u64, (chunk + 1) * CHUNK as u64);
            RawChunk { partition: PartitionIndex(0), end, payload: Payload::Rows(RowChunk { batch, first }) }
        })
        .collect();
    let mut pass = |chunks: Vec<RawChunk>| chunks.into_iter().for_each(|chunk| drop(black_box(codec.decode(chunk).unwrap())));
    group.bench_function("columns", |b| b.iter_batched(|| chunks.clone(), &mut pass, BatchSize::LargeInput));
    group.finish();
}

fn file(c: &mut Criterion) {
    let mut group = c.benchmark_group("file");
    group.throughput(Throughput::Elements(RECORDS));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&text(Shape::Json)).unwrap();
    let plan = TablePlan {
        id: ComponentId::new("tables", "t"),
        path: file.path().to_str().unwrap().to_string(),
        format: Format::Json,
        schema: schema(),
        key: 0,
        event_time: Some(1),
        digest: String::new(),
    };
    group.bench_function("json", |b| b.iter(|| black_box(read_table(&plan).unwrap())));
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(RECORDS));
    let rows = rows();
    let mut encoder = LineEncoder::new(&rows[0].schema()).unwrap();
    let mut pass = || {
        for columns in &rows {
            drop(black_box(encoder.encode(&SinkRows { columns, times: &[], by: None }).unwrap()));
        }
    };
    group.bench_function("lines", |b| b.iter(&mut pass));
    group.finish();
}

criterion_group!(benches, decode, file, encode);
criterion_main!(benches);
