//! Whether the input of a finished run is what that run has read (S14.2): a file that no longer looks as it did then is read once more and compared,
//! record by record, with what the progress records bind. A file that was only touched passes.

use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use crate::codecs::{self, DecodedChunk};
use crate::config::declaration::Format;
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SourceKindPlan, SourcePlan};
use crate::progress::{Binding, ProgressRecord};
use crate::sources::{self, Limits, Poll};

/// Refuses (exit 65) if a file of `touched`, by source and path, holds other records than `records` bind.
pub fn check_unchanged(plan: &Plan, touched: &[(String, String)], records: &[ProgressRecord]) -> Result<()> {
    for (source, path) in touched {
        let bindings: Vec<Binding> =
            records.iter().filter_map(|record| record.sources.get(source)?.partitions.get(path)).copied().collect();
        let Some(declared) = plan.sources.iter().find(|declared| declared.id.name() == source) else { continue };
        let differs = match difference(declared, path, &bindings) {
            // A file that cannot even be read as one of the source has changed as well.
            Err(error) if error.exit == Exit::Data => Some(error.cause),
            other => other?,
        };
        if let Some(what) = differs {
            let cause = format!("the input has changed: {} is not what this run has read: {what}", sources::absolute(Path::new(path)));
            return Err(Error::new(Exit::Data, cause, "put it back as it was, or start over and replace all outputs with --fresh"));
        }
    }
    Ok(())
}

/// Reads one file of a source as a run reads it; what differs from the bindings, in words.
fn difference(source: &SourcePlan, path: &str, bindings: &[Binding]) -> Result<Option<String>> {
    let SourceKindPlan::File { format, .. } = &source.kind else { return Ok(None) };
    let alone = SourcePlan { kind: SourceKindPlan::File { paths: vec![path.to_string()], format: *format }, ..source.clone() };
    let mut reader = sources::reader(&alone, None)?;
    let mut codec = codecs::build(reader.codec(), sources::codec_spec(&alone))?;
    let mut bound = Bound::new(bindings, if *format == Format::Parquet { "row" } else { "byte" });
    let limits = Limits::default();
    while let Poll::Chunk(chunk) = reader.poll(limits.chunk_rows, limits.chunk_bytes)? {
        if let Err(what) = bound.take(&codec.decode(chunk)?) {
            return Ok(Some(what));
        }
    }
    Ok(bound.end().err())
}

/// The records of one partition, held against its bindings in turn. An error says in words what differs.
struct Bound<'a> {
    bindings: std::slice::Iter<'a, Binding>,
    unit: &'static str,
    rows: u64,
    digest: Xxh3,
    /// Position after the last record.
    end: u64,
}

impl<'a> Bound<'a> {
    fn new(bindings: &'a [Binding], unit: &'static str) -> Self {
        Self { bindings: bindings.iter(), unit, rows: 0, digest: Xxh3::new(), end: bindings.first().map_or(0, |first| first.start) }
    }

    /// Takes the next records.
    fn take(&mut self, chunk: &DecodedChunk) -> Result<(), String> {
        for record in 0..chunk.records() {
            while self.bindings.as_slice().first().is_some_and(|binding| binding.end <= chunk.offsets[record]) {
                self.close()?;
            }
            if self.bindings.as_slice().is_empty() {
                return Err(format!("it goes on with a record at {} {}, where there was none", self.unit, chunk.offsets[record]));
            }
            self.rows += 1;
            self.digest.update(&chunk.digests[record].to_le_bytes());
            self.end = chunk.position_after(record);
        }
        Ok(())
    }

    /// Nothing follows.
    fn end(&mut self) -> Result<(), String> {
        while let [binding, ..] = self.bindings.as_slice() {
            if self.end < binding.end {
                let last = self.bindings.as_slice().last().map_or(binding.end, |last| last.end);
                return Err(format!("it ends at {} {}, and had records up to {last}", self.unit, self.end));
            }
            self.close()?;
        }
        Ok(())
    }

    /// The records of the binding in turn are complete.
    fn close(&mut self) -> Result<(), String> {
        let Some(binding) = self.bindings.next() else { return Ok(()) };
        if (self.rows, self.digest.digest(), self.end) != (binding.rows, binding.xxh3.0, binding.end) {
            return Err(format!("its records from {} {} to {} are others", self.unit, binding.start, binding.end));
        }
        (self.rows, self.digest) = (0, Xxh3::new());
        Ok(())
    }
}
