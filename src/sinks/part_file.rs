//! One Parquet file while it is written: deterministic bytes, hashed on the way to the disk.
//!
//! Rows reach the Parquet writer in pieces of exactly 1,024, whatever the epochs' sizes, so equal rows give equal bytes; `created_by`, compression and
//! level are fixed, and nothing in the file comes from a clock.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use sha2::{Digest as _, Sha256};

use super::{logical_bytes, parent_of};
use crate::data::hex;
use crate::error::{Error, Result};
use crate::time::Epoch;

/// Rows per call of the Parquet writer.
const PIECE: usize = 1_024;
/// Rows per row group: a multiple of what DuckDB and Arrow scan at once.
const GROUP_ROWS: usize = 122_880;
/// Bytes of a column's dictionary beyond which the rest of a row group is written as it is: looking up values that are all different costs more than all
/// else and saves nothing.
const DICTIONARY_BYTES: usize = 32 << 10;
/// Encoded bytes per row group, which bounds memory.
const GROUP_BYTES: usize = 32 << 20;

/// A file that hashes and counts what passes.
struct HashedFile {
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A part that takes rows.
pub(crate) struct OpenPart {
    path: PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<HashedFile>,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    /// First epoch with rows.
    pub first: Epoch,
    /// Latest epoch with rows.
    pub latest: Epoch,
    /// Rows so far.
    pub rows: u64,
    /// Bytes of values so far (`logical_bytes`).
    pub bytes: u64,
}

/// What is known of a part once it is written and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClosedPart {
    /// Rows.
    pub rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// sha256 of the file, hexadecimal.
    pub sha256: String,
}

impl OpenPart {
    /// Creates the file (and its folder) at `path`, replacing what is there.
    pub(crate) fn create(path: PathBuf, schema: SchemaRef, first: Epoch) -> Result<Self> {
        let folder = parent_of(&path);
        fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, &error))?;
        let file = File::create(&path).map_err(|error| Error::io("create", &path, &error))?;
        let file = HashedFile { file: BufWriter::with_capacity(1 << 16, file), sha256: Sha256::new(), bytes: 0 };
        let level = ZstdLevel::try_new(1).map_err(|error| write_error(&path, &error))?;
        let properties = WriterProperties::builder()
            .set_created_by("tidemill".into())
            .set_compression(Compression::ZSTD(level))
            .set_write_batch_size(PIECE)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options).map_err(|error| write_error(&path, &error))?;
        Ok(Self { path, schema, writer, pending: Vec::new(), pending_rows: 0, first, latest: first, rows: 0, bytes: 0 })
    }

    /// Appends the rows of an epoch.
    pub(crate) fn push(&mut self, epoch: Epoch, rows: &RecordBatch) -> Result<()> {
        self.latest = epoch;
        self.rows += rows.num_rows() as u64;
        self.bytes += logical_bytes(rows);
        self.pending_rows += rows.num_rows();
        self.pending.push(rows.clone());
        if self.pending_rows < PIECE {
            return Ok(());
        }
        let whole = self.take_pending()?;
        let mut start = 0;
        while whole.num_rows() - start >= PIECE {
            self.write(&whole.slice(start, PIECE))?;
            start += PIECE;
        }
        if start < whole.num_rows() {
            // A copy, so that a few rows do not keep the columns of whole epochs in memory.
            let rest = concat_batches(&self.schema, [&whole.slice(start, whole.num_rows() - start)]).map_err(internal)?;
            self.pending_rows = rest.num_rows();
            self.pending.push(rest);
        }
        Ok(())
    }

    /// Writes the footer and makes the file durable, still under its own name.
    pub(crate) fn close(mut self) -> Result<(PathBuf, ClosedPart)> {
        let rest = self.take_pending()?;
        if rest.num_rows() > 0 {
            self.write(&rest)?;
        }
        let path = self.path;
        let inner = self.writer.into_inner().map_err(|error| write_error(&path, &error))?;
        let file = inner.file.into_inner().map_err(|error| Error::io("write", &path, error.error()))?;
        file.sync_all().map_err(|error| Error::io("sync", &path, &error))?;
        let sha256 = hex(&inner.sha256.finalize());
        Ok((path, ClosedPart { rows: self.rows, bytes: inner.bytes, sha256 }))
    }

    fn take_pending(&mut self) -> Result<RecordBatch> {
        self.pending_rows = 0;
        concat_batches(&self.schema, &std::mem::take(&mut self.pending)).map_err(internal)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(|error| write_error(&self.path, &error))
    }
}

/// sha256 of a file, hexadecimal.
pub(crate) fn sha256_of(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    File::open(path).and_then(|mut file| std::io::copy(&mut file, &mut hasher)).map_err(|error| Error::io("read", path, &error))?;
    Ok(hex(&hasher.finalize()))
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::internal(format!("rows of a Parquet sink do not fit together: {error}"))
}

/// The error of the file system behind a Parquet error, if there is one.
fn write_error(path: &Path, error: &ParquetError) -> Error {
    if let ParquetError::External(inner) = error
        && let Some(io) = inner.downcast_ref::<std::io::Error>()
    {
        return Error::io("write", path, io);
    }
    Error::internal(format!("cannot encode {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::{Encoded, Encoder, RowEncoder, SinkRows};
    use arrow::array::*;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use std::sync::Arc;

    fn rows(range: std::ops::Range<i64>) -> RecordBatch {
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(range.clone())) as ArrayRef),
            ("x", Arc::new(Float64Array::from_iter(range.clone().map(|i| (i % 5 > 0).then_some(i as f64 / 3.0))))),
            ("s", Arc::new(StringArray::from_iter_values(range.clone().map(|i| format!("s{}", i % 700))))),
            ("t", Arc::new(TimestampMicrosecondArray::from_iter_values(range).with_timezone("UTC"))),
        ])
        .unwrap();
        let encoding = RowEncoder::new(&batch.schema()).unwrap().encode(&SinkRows { columns: &batch, times: &[], by: None }).unwrap();
        let Encoded::Rows(mut parts) = encoding.encoded else { panic!("rows") };
        parts.pop().map_or_else(|| batch, |part| part.rows.0)
    }

    fn write(path: &Path, cuts: &[i64]) -> ClosedPart {
        let mut part = OpenPart::create(path.to_path_buf(), rows(0..1).schema(), Epoch(1)).unwrap();
        for (at, cut) in cuts.windows(2).enumerate() {
            part.push(Epoch(at as u64 + 1), &rows(cut[0]..cut[1])).unwrap();
        }
        part.close().unwrap().1
    }

    #[test]
    fn bytes_do_not_depend_on_how_epochs_were_cut_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let one = write(&path("a"), &[0, 5_000]);
        let many = write(&path("b"), &[0, 1, 1_023, 1_024, 1_025, 3_000, 4_999, 5_000]);
        assert_eq!(one, many);
        assert_eq!(sha256_of(&path("a")).unwrap(), one.sha256);
        assert_eq!((one.rows, one.bytes), (5_000, fs::metadata(path("a")).unwrap().len()));
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path("a")).unwrap()).unwrap();
        assert_eq!(builder.metadata().file_metadata().created_by(), Some("tidemill"));
        let read: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
        assert_eq!(concat_batches(&read[0].schema(), &read).unwrap().columns(), rows(0..5_000).columns());
    }

    #[test]
    fn a_part_without_rows_is_a_valid_file() {
        let folder = tempfile::tempdir().unwrap();
        let closed = write(&folder.path().join("empty"), &[]);
        assert_eq!(closed.rows, 0);
        let file = File::open(folder.path().join("empty")).unwrap();
        assert_eq!(ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_exit_74_with_help() {
        for count in [10, 400_000] {
            let rows = rows(0..count);
            let result = OpenPart::create("/dev/full".into(), rows.schema(), Epoch(1)).and_then(|mut part| {
                part.push(Epoch(1), &rows)?;
                part.close()
            });
            let error = result.unwrap_err();
            assert_eq!(error.exit, crate::error::Exit::Io, "{error}");
            assert!(error.help.contains("free some space"), "{error}");
        }
    }
}
