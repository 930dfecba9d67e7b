//! Parquet files by row number, through the `parquet` crate's Arrow reader; only the declared columns are read.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::codecs::{RowChunk, check_types};
use crate::data::DeclaredSchema;
use crate::error::{Error, Exit, Result};

/// Most rows decoded at a time.
const MOST_ROWS: usize = 65_536;

/// A Parquet file being read.
pub(super) struct ParquetCursor {
    reader: ParquetRecordBatchReader,
    path: PathBuf,
    /// Rows decoded but not given out, and the position of their first.
    rest: Option<RecordBatch>,
    next: u64,
}

/// An error of the file's contents.
fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    let cause = format!("{} cannot be read as Parquet: {error}", super::absolute(path));
    Error::new(Exit::Data, cause, "check that the file is complete and compressed with snappy or zstd, or not at all")
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, &error))
}

/// The Arrow schema of a Parquet file.
pub(super) fn schema_of_file(path: &Path) -> Result<SchemaRef> {
    Ok(builder(path)?.schema().clone())
}

impl ParquetCursor {
    /// Opens `path` at a row; `rows` are decoded at a time, and chunks are slices of those.
    pub fn open(path: &Path, schema: &DeclaredSchema, start: u64, rows: usize) -> Result<Self> {
        let builder = builder(path)?;
        check_types(builder.schema(), schema, &super::absolute(path))?;
        if schema.closed
            && let Some(field) = builder.schema().fields().iter().find(|field| schema.index_of(field.name()).is_none())
        {
            let cause = format!("{} has a column `{}`, but the schema allows no others than its own", super::absolute(path), field.name());
            return Err(Error::new(Exit::Data, cause, "add it to the schema, or allow `additionalProperties`"));
        }
        let held = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        if start > held {
            let cause = format!("{} has {held} rows, but was read up to row {start} before", super::absolute(path));
            return Err(Error::new(Exit::Data, cause, "the file was changed since; put it back, or start over with --fresh"));
        }
        let fields = builder.schema().fields().iter().enumerate();
        let wanted: Vec<usize> = fields.filter(|(_, field)| schema.index_of(field.name()).is_some()).map(|(index, _)| index).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let offset = usize::try_from(start).unwrap_or(usize::MAX);
        let builder = builder.with_projection(mask).with_batch_size(rows.clamp(1, MOST_ROWS)).with_offset(offset);
        let reader = builder.build().map_err(|error| damaged(path, &error))?;
        Ok(Self { reader, path: path.to_path_buf(), rest: None, next: start })
    }

    /// The next rows and the position behind them; `None` at the end of the file.
    pub fn next(&mut self, max_rows: usize) -> Result<Option<(RowChunk, u64)>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.reader.next() {
                None => return Ok(None),
                Some(batch) => batch.map_err(|error| damaged(&self.path, &error))?,
            },
        };
        let rows = batch.num_rows().min(max_rows.max(1));
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let first = self.next;
        self.next += rows as u64;
        Ok(Some((RowChunk { batch: batch.slice(0, rows), first }, self.next)))
    }
}
