//! Files: each is a partition, read one after another in byte order of path (S2.3), from any position.

use std::path::PathBuf;

use crate::codecs::{Payload, RawChunk, codec_of};
use crate::config::declaration::Format;
use crate::data::DeclaredSchema;
use crate::error::{Error, Result};
use crate::ids::PartitionIndex;
use crate::plan::{SourceKindPlan, SourcePlan};

use super::{Framing, ParquetCursor, Poll, SourceReader, SourceStatus, TextCursor, csv_header};

/// The file being read.
enum Cursor {
    Text(TextCursor),
    Parquet(ParquetCursor),
}

/// Reads the files of one source.
pub(super) struct FileReader {
    paths: Vec<String>,
    format: Format,
    schema: DeclaredSchema,
    max_record: usize,
    /// Where each file begins.
    starts: Vec<u64>,
    /// The file being read, by position, and how far.
    current: usize,
    cursor: Option<Cursor>,
}

impl FileReader {
    /// A reader of a source's files from their beginnings. That all of them can be opened and have the declared columns is checked now, not in the middle of a run.
    pub fn open(plan: &SourcePlan) -> Result<Self> {
        let SourceKindPlan::File { paths, format } = &plan.kind else {
            return Err(Error::internal("other than a file source was handed to the file reader"));
        };
        let reader = Self::of_files(paths.clone(), *format, plan.schema.clone(), plan.max_record);
        for partition in 0..paths.len() {
            reader.cursor(partition, 1)?;
        }
        Ok(reader)
    }

    /// A reader of these files.
    pub fn of_files(paths: Vec<String>, format: Format, schema: DeclaredSchema, max_record: usize) -> Self {
        let starts = vec![0; paths.len()];
        Self { paths, format, schema, max_record, starts, current: 0, cursor: None }
    }

    /// Opens a file at its start, to be read in chunks of so many rows.
    fn cursor(&self, partition: usize, rows: usize) -> Result<Cursor> {
        let path = PathBuf::from(self.paths.get(partition).map_or("", String::as_str));
        let start = self.starts.get(partition).copied().unwrap_or(0);
        Ok(match self.format {
            Format::Json => Cursor::Text(TextCursor::open(&path, Framing::Lines, self.max_record, start, None)?),
            Format::Csv => {
                Cursor::Text(TextCursor::open(&path, Framing::Csv, self.max_record, start, Some(csv_header(&path, &self.schema)?))?)
            }
            Format::Parquet => Cursor::Parquet(ParquetCursor::open(&path, &self.schema, start, rows)?),
        })
    }
}

impl SourceReader for FileReader {
    fn status(&self) -> SourceStatus {
        SourceStatus {
            partitions: self.paths.clone(),
            starts: self.starts.clone(),
            idle: vec![false; self.paths.len()],
            behind: vec![false; self.paths.len()],
        }
    }

    fn poll(&mut self, max_rows: usize, max_bytes: usize) -> Result<Poll> {
        while self.current < self.paths.len() {
            let mut cursor = match self.cursor.take() {
                Some(cursor) => cursor,
                None => self.cursor(self.current, max_rows)?,
            };
            let next = match &mut cursor {
                Cursor::Text(text) => text.next(max_rows, max_bytes)?.map(|(chunk, end)| (Payload::Text(chunk), end)),
                Cursor::Parquet(parquet) => parquet.next(max_rows)?.map(|(chunk, end)| (Payload::Rows(chunk), end)),
            };
            match next {
                Some((payload, end)) => {
                    self.cursor = Some(cursor);
                    return Ok(Poll::Chunk(RawChunk { partition: PartitionIndex(self.current as u32), end, payload }));
                }
                None => self.current += 1,
            }
        }
        Ok(Poll::End)
    }

    fn seek(&mut self, starts: &[(PartitionIndex, u64)]) -> Result<()> {
        self.starts = vec![0; self.paths.len()];
        for (partition, start) in starts {
            match self.starts.get_mut(partition.0 as usize) {
                Some(known) => *known = *start,
                None => return Err(Error::internal(format!("a file source has no partition {}", partition.0))),
            }
        }
        (self.current, self.cursor) = (0, None);
        Ok(())
    }

    fn codec(&self) -> &'static str {
        codec_of(self.format)
    }
}
