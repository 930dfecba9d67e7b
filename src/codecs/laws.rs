//! Laws of every registered codec: nothing is lost, positions stay, and how the input is cut into chunks changes neither rows nor digests.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::compute::concat_batches;

use super::*;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, Rejected, TimestampUnit};
use crate::ids::{PartitionIndex, SourceIndex};

const RECORDS: usize = 500;

fn spec() -> Arc<CodecSpec> {
    let columns = vec![
        DeclaredColumn::new("at", LogicalType::Timestamp(TimestampUnit::Second), false),
        DeclaredColumn::new("x", LogicalType::Float64, true),
    ];
    CodecSpec::new(SourceIndex(1), DeclaredSchema { columns, closed: false }, EventTimeFrom::Column(0), 1000)
}

/// Records `from..to` for a codec; every seventh cannot be used.
fn chunk(codec: &str, from: usize, to: usize) -> RawChunk {
    let partition = PartitionIndex(0);
    if codec == "columns" {
        let at: Int64Array = (from..to).map(|i| (i % 7 != 3).then_some(i as i64)).collect();
        let x: Float64Array = (from..to).map(|i| (i % 5 != 0).then_some(i as f64 / 8.0)).collect();
        let batch = RecordBatch::try_from_iter(vec![("at", Arc::new(at) as ArrayRef), ("x", Arc::new(x))]).unwrap();
        return RawChunk { partition, end: to as u64, payload: Payload::Rows(RowChunk { batch, first: from as u64 }) };
    }
    let (mut data, mut spans) = (Vec::new(), Vec::new());
    for i in from..to {
        let at = if i % 7 == 3 { "?".to_string() } else { i.to_string() };
        let x = i as f64 / 8.0;
        let line = match codec {
            "json" if i % 5 == 0 => format!("{{\"at\":{at}}}"),
            "json" => format!("{{\"at\":{at},\"x\":{x}}}"),
            _ if i % 5 == 0 => format!("{at},"),
            _ => format!("{at},\"{x}\""),
        };
        spans.push(Span { offset: i as u64, start: data.len() as u32, end: (data.len() + line.len()) as u32 });
        data.extend_from_slice(line.as_bytes());
        data.push(b'\n');
    }
    let header = (codec == "csv").then(|| Arc::new(CsvHeader { fields: 2, positions: vec![Some(0), Some(1)] }));
    RawChunk { partition, end: to as u64, payload: Payload::Text(TextChunk { data: Arc::new(data), spans, cut: None, header }) }
}

#[test]
fn nothing_is_lost_and_chunking_changes_nothing() {
    let mut results = Vec::new();
    for (name, _) in REGISTRY {
        let spec = spec();
        let mut codec = build(name, spec.clone()).unwrap();
        let whole = codec.decode(chunk(name, 0, RECORDS)).unwrap();
        assert_eq!(whole.records(), RECORDS);
        assert_eq!(whole.rows.num_rows() + whole.rejected.len(), RECORDS, "{name}");
        assert_eq!(whole.rejected.len(), (0..RECORDS).filter(|i| i % 7 == 3).count(), "{name}");
        assert_eq!(whole.offsets, (0..RECORDS as u64).collect::<Vec<_>>());
        assert!(whole.rejected.iter().all(|rejected| rejected.offset % 7 == 3));
        let original = |raw: &Payload, rejected: &Rejected| raw.original(rejected).map(|bytes| bytes.into_owned());
        assert!(whole.rejected.iter().all(|rejected| original(&whole.raw, rejected).is_some_and(|bytes| !bytes.is_empty())), "{name}");
        for i in 0..RECORDS {
            assert_eq!(whole.time(i), (i % 7 != 3).then_some(i as i64 * 1_000_000), "{name} {i}");
        }
        let (mut rows, mut digests, mut rejected, mut times) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for from in (0..RECORDS).step_by(37) {
            let part = codec.decode(chunk(name, from, RECORDS.min(from + 37))).unwrap();
            rows.push(part.rows);
            digests.extend(part.digests);
            for one in &part.rejected {
                assert_eq!(original(&part.raw, one), original(&whole.raw, one), "{name}: the same bytes, however the input was cut");
            }
            rejected.extend(part.rejected);
            times.extend(part.times);
        }
        assert_eq!(concat_batches(&spec.arrow, &rows).unwrap(), whole.rows, "{name}");
        assert_eq!((digests, rejected, times), (whole.digests.clone(), whole.rejected.clone(), whole.times.clone()), "{name}");
        results.push(whole.rows);
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "the same data gives the same rows in every format");
}

#[test]
fn the_registry_is_sorted_and_complete() {
    assert!(REGISTRY.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!([Format::Json, Format::Csv, Format::Parquet].iter().all(|format| build(codec_of(*format), spec()).is_ok()));
    assert!(build("xml", spec()).is_err());
}
