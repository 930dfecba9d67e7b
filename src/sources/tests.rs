//! Tests of readers, pool and handle together: what comes out does not depend on chunk sizes, on threads or on where reading began.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::codecs::{DecodedChunk, Payload};
use crate::config::declaration::Format;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, Reason, Rejected, TimestampUnit};
use crate::error::{Error, Exit};
use crate::ids::{ComponentId, SourceIndex};
use crate::plan::TablePlan;
use crate::time::{BusyTimes, clock};

fn schema() -> DeclaredSchema {
    DeclaredSchema {
        columns: vec![
            DeclaredColumn::new("id", LogicalType::Int64, false),
            DeclaredColumn::new("at", LogicalType::Timestamp(TimestampUnit::Second), false),
            DeclaredColumn::new("name", LogicalType::String, true),
        ],
        closed: false,
    }
}

fn plan(kind: SourceKindPlan, schema: DeclaredSchema, event_time: Option<usize>) -> SourcePlan {
    SourcePlan {
        id: ComponentId::new("sources", "s"),
        index: SourceIndex(0),
        kind,
        schema,
        event_time,
        lateness: 0,
        ahead: 0,
        key: None,
        dedup: None,
        max_record: 1 << 20,
    }
}

/// Reads a source to its end through a handle.
fn read(plan: &SourcePlan, starts: &[(PartitionIndex, u64)], limits: Limits, threads: usize) -> Result<Vec<DecodedChunk>> {
    drained(threads, |pool, wake| open(plan, None, starts, limits, pool, wake))
}

/// Takes all that a handle gives.
fn drained(threads: usize, open: impl FnOnce(&DecodePool, Wake) -> Result<SourceHandle>) -> Result<Vec<DecodedChunk>> {
    let pool = DecodePool::new(threads, BusyTimes::default())?;
    let bell = Arc::new((Mutex::new(0u64), Condvar::new()));
    let ring = bell.clone();
    let wake: Wake = Arc::new(move || {
        *ring.0.lock().unwrap() += 1;
        ring.1.notify_all();
    });
    let mut handle = open(&pool, wake)?;
    let mut chunks = Vec::new();
    loop {
        let rung = *bell.0.lock().unwrap();
        match handle.try_next()? {
            Next::Chunk(chunk) => chunks.push(*chunk),
            Next::End => return Ok(chunks),
            Next::Pending | Next::Idle => {
                let guard = bell.0.lock().unwrap();
                let (_guard, timeout) = bell.1.wait_timeout_while(guard, Duration::from_secs(20), |now| *now == rung).unwrap();
                assert!(!timeout.timed_out(), "nobody woke the taker");
            }
        }
    }
}

/// All records as (partition, offset, digest, time), and the rejected ones.
type Records = (Vec<(u32, u64, u64, Option<i64>)>, Vec<Rejected>);

fn records(chunks: &[DecodedChunk]) -> Records {
    let one = |chunk: &DecodedChunk| {
        (0..chunk.records()).map(|i| (chunk.partition.0, chunk.offsets[i], chunk.digests[i], chunk.time(i))).collect::<Vec<_>>()
    };
    (chunks.iter().flat_map(one).collect(), chunks.iter().flat_map(|chunk| chunk.rejected.clone()).collect())
}

/// 3,000 records in two files of a format; every 500th of text is damaged.
fn files(folder: &std::path::Path, format: Format) -> SourcePlan {
    let mut paths = Vec::new();
    for file in 0..2 {
        let (path, ids) = (folder.join(format!("part-{file}")), file * 1_500..(file + 1) * 1_500);
        let damaged = |id: i64| id % 500 == 250;
        match format {
            Format::Json => {
                let line = |id: i64| {
                    if damaged(id) {
                        format!("{{\"id\":{id}\n")
                    } else {
                        format!("{{\"id\":{id},\"at\":{},\"name\":\"n{id}\"}}\r\n\n", id / 2)
                    }
                };
                std::fs::write(&path, ids.map(line).collect::<String>()).unwrap();
            }
            Format::Csv => {
                let line = |id: i64| if damaged(id) { format!("{id},soon,\n") } else { format!("{id},{},\"n\n{id}\"\r\n", id / 2) };
                std::fs::write(&path, format!("\u{feff}id,at,name\n{}", ids.map(line).collect::<String>())).unwrap();
            }
            Format::Parquet => {
                let at: Int64Array = ids.clone().map(|id| (!damaged(id)).then_some(id / 2)).collect();
                let names: StringArray = ids.clone().map(|id| Some(format!("n{id}"))).collect();
                let id = Int64Array::from_iter_values(ids);
                let batch =
                    RecordBatch::try_from_iter(vec![("id", Arc::new(id) as ArrayRef), ("at", Arc::new(at)), ("name", Arc::new(names))])
                        .unwrap();
                let mut writer =
                    ::parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
                writer.write(&batch).unwrap();
                writer.close().unwrap();
            }
        }
        paths.push(path.to_str().unwrap().to_string());
    }
    plan(SourceKindPlan::File { paths, format }, schema(), Some(1))
}

#[test]
fn files_give_the_same_records_for_all_chunks_threads_and_starts() {
    for format in [Format::Json, Format::Csv, Format::Parquet] {
        let folder = tempfile::tempdir().unwrap();
        let plan = files(folder.path(), format);
        let chunks = read(&plan, &[], Limits::default(), 2).unwrap();
        let all = records(&chunks);
        assert_eq!((all.0.len(), all.1.len()), (3_000, 6), "{format:?}");
        let ids: Vec<i64> = chunks.iter().flat_map(|chunk| chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(ids, (0..3_000).filter(|id| id % 500 != 250).collect::<Vec<i64>>());
        assert!(all.1.iter().all(|rejected| rejected.reason == Reason::Decode));
        let small = Limits { chunk_rows: 7, chunk_bytes: 300, chunks: 3, bytes: 2_000 };
        assert_eq!(records(&read(&plan, &[], small, 3).unwrap()), all, "{format:?}");
        for resume in [0usize, 1, 700, 1_499, 1_500, 2_999] {
            let (partition, offset, ..) = all.0[resume];
            let first_end = chunks.iter().filter(|chunk| chunk.partition.0 == 0).map(|chunk| chunk.end).max().unwrap();
            let starts = if partition == 0 {
                vec![(PartitionIndex(0), offset)]
            } else {
                vec![(PartitionIndex(0), first_end), (PartitionIndex(1), offset)]
            };
            assert_eq!(records(&read(&plan, &starts, Limits::default(), 1).unwrap()).0, all.0[resume..], "{format:?} from {resume}");
        }
        assert_eq!(read(&plan, &[(PartitionIndex(0), 1 << 40)], Limits::default(), 1).unwrap_err().exit, Exit::Data);
    }
}

#[test]
fn schemas_are_read_from_files_and_missing_columns_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let csv = files(folder.path(), Format::Csv);
    let SourceKindPlan::File { paths, .. } = &csv.kind else { panic!("a file source") };
    let read = read_schema(&paths[0], Format::Csv).unwrap();
    assert!(read.columns.iter().all(|column| column.kind == LogicalType::String && column.nullable));
    assert_eq!(read.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["id", "at", "name"]);
    let mut wrong = schema();
    wrong.columns[0].name = "idd".into();
    let error = reader(&plan(csv.kind.clone(), wrong, Some(1)), None).err().unwrap();
    assert_eq!((error.exit, error.help.as_str()), (Exit::Data, "did you mean `id`?"));
    let parquet = files(folder.path(), Format::Parquet);
    let SourceKindPlan::File { paths, .. } = &parquet.kind else { panic!("a file source") };
    let read = read_schema(&paths[0], Format::Parquet).unwrap();
    assert_eq!(read.columns[1].kind, LogicalType::Int64);
    assert!(read_schema(&paths[0], Format::Json).is_err());
    std::fs::write(&paths[0], "not parquet").unwrap();
    assert!(read_schema(&paths[0], Format::Parquet).unwrap_err().cause.contains("cannot be read as Parquet"));
    std::fs::write(&paths[0], "").unwrap();
    assert!(read_schema(&paths[0], Format::Csv).unwrap_err().cause.contains("is empty"));
}

#[test]
fn generators_give_the_same_records_from_anywhere_and_keep_their_rate() {
    let name = generator_names()[0];
    let schema = generator_schema(name).unwrap();
    let event_time = schema.index_of(generator_event_time(name).unwrap());
    let kind = |rows, rate| SourceKindPlan::Generator { generator: name.into(), seed: 3, rows: Some(rows), rate };
    let source = |rows, rate| plan(kind(rows, rate), schema.clone(), event_time);
    let all = records(&read(&source(2_000, None), &[], Limits::default(), 2).unwrap());
    assert_eq!((all.0.len(), all.1.len()), (2_000, 0));
    let small = Limits { chunk_rows: 33, ..Limits::default() };
    assert_eq!(records(&read(&source(2_000, None), &[(PartitionIndex(0), 1_234)], small, 2).unwrap()).0, all.0[1_234..]);
    let begun = crate::time::clock::now();
    assert_eq!(records(&read(&source(40, Some(200.0)), &[], Limits::default(), 1).unwrap()).0, all.0[..40]);
    assert!(begun.elapsed() >= Duration::from_millis(190), "40 records at 200 a second took {:?}", begun.elapsed());
    let unknown = plan(SourceKindPlan::Generator { generator: "x".into(), seed: 0, rows: None, rate: None }, schema.clone(), event_time);
    assert_eq!(reader(&unknown, None).err().unwrap().exit, Exit::Config);
}

#[test]
fn records_on_a_schedule_are_those_of_the_source_and_never_come_early() {
    for format in [Format::Json, Format::Csv, Format::Parquet] {
        let folder = tempfile::tempdir().unwrap();
        let plan = files(folder.path(), format);
        let all = records(&read(&plan, &[], Limits::default(), 2).unwrap());
        let feed = Feed::load(std::slice::from_ref(&plan), None, 50_000.0, 10_000).unwrap();
        let begun = clock::now();
        let given = drained(2, |pool, wake| open_paced(&plan, &feed, pool, wake)).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(59), "3,000 records at 50,000 a second took {:?}", begun.elapsed());
        assert_eq!((records(&given), feed.records()), (all.clone(), 3_000), "{format:?}");
        let cut = Feed::load(std::slice::from_ref(&plan), None, 1e6, 1_600).unwrap();
        assert_eq!(records(&drained(1, |pool, wake| open_paced(&plan, &cut, pool, wake)).unwrap()).0, all.0[..1_600]);
        let numbers: Vec<(usize, Option<u32>)> = cut.numbers()[0].1.iter().map(|(_, of)| (of.len(), of.last().copied())).collect();
        assert_eq!(numbers, [(1_500, Some(1_499)), (100, Some(1_599))]);
        let nothing = folder.path().join("nothing");
        std::fs::write(&nothing, "").unwrap();
        if format == Format::Json {
            let kind = SourceKindPlan::File { paths: vec![nothing.display().to_string()], format };
            assert_eq!(Feed::load(&[super::tests::plan(kind, schema(), Some(1))], None, 1.0, 9).unwrap_err().exit, Exit::Data);
        }
    }
}

#[test]
fn several_sources_on_one_schedule_are_merged_by_event_time() {
    let folder = tempfile::tempdir().unwrap();
    let source = |index: u16, times: &[i64]| {
        let path = folder.path().join(format!("{index}.ndjson"));
        let lines = times.iter().map(|at| if *at < 0 { "{\n".to_string() } else { format!("{{\"id\":0,\"at\":{at}}}\n") });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        let kind = SourceKindPlan::File { paths: vec![path.display().to_string()], format: Format::Json };
        SourcePlan { index: SourceIndex(index), ..plan(kind, schema(), Some(1)) }
    };
    // A record that cannot be decoded (-1 here) comes before all others; ties go to the first source.
    let sources = [source(0, &[10, 30, -1, 20]), source(1, &[10, 11, 40])];
    let feed = Feed::load(&sources, None, 1e6, 100).unwrap();
    let numbers: Vec<Vec<u32>> = feed.numbers().into_iter().map(|(_, mut partitions)| partitions.remove(0).1).collect();
    assert_eq!(numbers, [vec![0, 3, 4, 5], vec![1, 2, 6]]);
}

/// Gives chunks of one record and counts how far it is ahead; then fails, or turns idle and ends.
struct Scripted {
    inner: Box<dyn SourceReader>,
    polls: Arc<AtomicUsize>,
    fail_at: usize,
}

impl SourceReader for Scripted {
    fn status(&self) -> SourceStatus {
        let idle = self.polls.load(Ordering::SeqCst) > self.fail_at;
        SourceStatus { idle: vec![idle; 2], ..self.inner.status() }
    }
    fn poll(&mut self, _: usize, _: usize) -> Result<Poll> {
        match self.polls.fetch_add(1, Ordering::SeqCst).cmp(&self.fail_at) {
            std::cmp::Ordering::Less => self.inner.poll(1, 1),
            std::cmp::Ordering::Equal => Ok(Poll::Idle),
            std::cmp::Ordering::Greater => {
                std::thread::sleep(Duration::from_millis(200));
                Err(Error::new(Exit::Io, "gone", ""))
            }
        }
    }
    fn seek(&mut self, starts: &[(PartitionIndex, u64)]) -> Result<()> {
        self.inner.seek(starts)
    }
    fn codec(&self) -> &'static str {
        self.inner.codec()
    }
}

#[test]
fn the_reader_waits_at_its_bounds_and_its_error_comes_after_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let plan = files(folder.path(), Format::Json);
    let busy = BusyTimes::default();
    let pool = DecodePool::new(2, busy.clone()).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let scripted = Box::new(Scripted { inner: reader(&plan, None).unwrap(), polls: polls.clone(), fail_at: 20 });
    let spec = CodecSpec::new(plan.index, plan.schema.clone(), EventTimeFrom::Column(1), 1 << 20);
    let limits = Limits { chunks: 4, ..Limits::default() };
    let mut handle = SourceHandle::start("s", scripted, spec.clone(), limits, &pool, Arc::new(|| {})).unwrap();
    assert_eq!((handle.partitions().len(), handle.starts()), (2, &[0, 0][..]));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(polls.load(Ordering::SeqCst), 4, "the reader is no further ahead than its bound");
    let (mut taken, mut idle) = (0, false);
    let error = loop {
        match handle.try_next() {
            Ok(Next::Chunk(chunk)) => {
                assert!(!idle && handle.idle() == [false, false]);
                taken += chunk.records();
            }
            Ok(Next::Idle) => idle = true,
            Ok(_) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!((taken, idle, error.exit), (20, true, Exit::Io));
    let worked: Vec<String> =
        busy.so_far().into_iter().map(|time| format!("{} {} {}", time.component, time.work, time.seconds > 0.0)).collect();
    assert!(worked.len() == 2 && worked.contains(&"sources.s read true".into()) && worked.contains(&"sources.s decode true".into()));
    let scripted = Box::new(Scripted { inner: reader(&plan, None).unwrap(), polls, fail_at: usize::MAX });
    drop(SourceHandle::start("s", scripted, spec.clone(), limits, &pool, Arc::new(|| {})).unwrap());
    let mut orphan = SourceHandle::start("s", reader(&plan, None).unwrap(), spec, limits, &pool, Arc::new(|| {})).unwrap();
    drop(pool);
    let end = (0..100_000).find_map(|_| orphan.try_next().err());
    assert!(end.is_none_or(|error| error.exit == Exit::Internal));
}

#[test]
fn tables_are_read_whole_and_their_faults_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("airports.csv");
    let table = |format, event_time| TablePlan {
        id: ComponentId::new("tables", "t"),
        path: path.to_str().unwrap().into(),
        format,
        schema: schema(),
        key: 0,
        event_time,
        digest: String::new(),
    };
    std::fs::write(&path, "name,id,at\nx,1,10\n\"y\nz\",2,20\n").unwrap();
    let rows = read_table(&table(Format::Csv, None)).unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(rows.column(2).as_string::<i32>().value(1), "y\nz");
    std::fs::write(&path, "name,id,at\n\"y\nz\",2,20\nx,one,10\n").unwrap();
    let error = read_table(&table(Format::Csv, Some(1))).unwrap_err();
    assert!(error.exit == Exit::Data && error.cause.contains("airports.csv, line 4: field `id`: `one` is no int64"), "{error}");
    std::fs::write(&path, "").unwrap();
    assert_eq!(read_table(&table(Format::Json, None)).unwrap().num_rows(), 0);
    let raw = Payload::Rows(crate::codecs::RowChunk { batch: rows, first: 0 });
    let (partition, reason) = (PartitionIndex(0), Reason::Late);
    let first = Rejected { source: SourceIndex(0), partition, offset: 0, reason, detail: String::new(), event_time: None };
    assert_eq!(raw.original(&first).as_deref(), Some(&br#"{"id":1,"at":"1970-01-01T00:00:10Z","name":"x"}"#[..]));
    assert_eq!(raw.original(&Rejected { offset: 2, ..first }), None);
}
