//! File tables: a whole file as one batch of the declared columns. Unlike a source, a table has no quarantine: a record that cannot be used is an error.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::codecs::{CodecSpec, EventTimeFrom, build};
use crate::config::declaration::Format;
use crate::error::{Error, Exit, Result};
use crate::ids::SourceIndex;
use crate::plan::TablePlan;

use super::{FileReader, Poll, SourceReader, absolute};

/// Longest record of a table's file.
const MAX_RECORD: usize = 16 << 20;

/// Reads the file of a table. Exit 65, with file, line (or row) and column, if a record cannot be used.
pub fn read_table(plan: &TablePlan) -> Result<RecordBatch> {
    let spec = CodecSpec::new(
        SourceIndex(0),
        plan.schema.clone(),
        plan.event_time.map_or(EventTimeFrom::Nothing, EventTimeFrom::Column),
        MAX_RECORD,
    );
    let mut reader = FileReader::of_files(vec![plan.path.clone()], plan.format, plan.schema.clone(), MAX_RECORD);
    let mut codec = build(reader.codec(), spec.clone())?;
    let mut batches = Vec::new();
    while let Poll::Chunk(chunk) = reader.poll(65_536, 4 << 20)? {
        let decoded = codec.decode(chunk)?;
        if let Some(rejected) = decoded.rejected.first() {
            let path = std::path::Path::new(&plan.path);
            let place = match plan.format {
                Format::Parquet => format!("row {}", rejected.offset + 1),
                _ => format!("line {}", line_of(path, rejected.offset)?),
            };
            let cause = format!("{}, {place}: {}", absolute(path), rejected.detail);
            return Err(Error::new(
                Exit::Data,
                cause,
                format!("correct the record, or the schema of `{}`: a table has no quarantine", plan.id),
            ));
        }
        batches.push(decoded.rows);
    }
    concat_batches(&spec.arrow, &batches).map_err(|error| Error::internal(format!("the batches of a table do not fit together: {error}")))
}

/// The number of the line that begins at a byte, from 1.
fn line_of(path: &std::path::Path, offset: u64) -> Result<usize> {
    let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    let before = bytes.get(..usize::try_from(offset).unwrap_or(usize::MAX)).unwrap_or(&bytes);
    Ok(memchr::memchr_iter(b'\n', before).count() + 1)
}
