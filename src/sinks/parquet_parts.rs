//! A Parquet sink: one open part per partition value, closed at the end of the epoch in which it grew large enough (S14.3), or at the end of the run.
//!
//! A closed part is durable as `.tmp`, listed in the progress record of that epoch, and renamed after its commit. Never more than [`MAX_OPEN`] parts
//! are open: beyond, the one whose latest row is oldest closes (ties by value), which depends on rows only and keeps memory and file handles bounded.
//! A path ending in `.parquet` is one file for the whole run: it appears when the run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    After, ClosedPart, Encoded, OpenPart, PartName, PartRecord, SinkOutput, SinkSettings, Target, Writer, folder_of, output_schema,
    remove_file, rename_file, sha256_of, shown, sync_folder, sync_folder_of,
};
use crate::error::{Error, Exit, Result};
use crate::time::Epoch;

/// Open parts of one sink.
const MAX_OPEN: usize = 128;

/// The writer of a Parquet sink.
pub(crate) struct ParquetParts {
    id: String,
    path: PathBuf,
    single: bool,
    partition_name: Option<String>,
    max_rows: u64,
    max_bytes: u64,
    schema: SchemaRef,
    open: BTreeMap<Option<String>, OpenPart>,
    /// Epochs that recorded parts cover, by value: replayed rows of these are visible already.
    covered: BTreeMap<Option<String>, Vec<(Epoch, Epoch)>>,
    /// Closed, named by no durable record yet: paths below `path`.
    unpublished: Vec<String>,
}

impl ParquetParts {
    /// A file of a Parquet sink at `path`, if there is one.
    pub(crate) fn holds_parts(path: &Path) -> Result<Option<PathBuf>> {
        if is_single_file(path) {
            return Ok(path.exists().then(|| path.to_path_buf()));
        }
        Ok(own_files(path, |name| name.contains('='))?.into_iter().next())
    }

    /// Finishes renames, deletes what no record lists, and is ready for `replay` and `stage`.
    pub(crate) fn open(settings: &SinkSettings, recorded: &[&SinkOutput], warnings: &mut Vec<String>) -> Result<Self> {
        let Target::Parquet { path, partition_name, max_rows, max_bytes } = &settings.target else {
            return Err(Error::internal(format!("{} is no Parquet sink", settings.id)));
        };
        let schema = output_schema(&settings.schema).map_err(|reason| Error::internal(format!("{}: {reason}", settings.id)))?;
        let mut sink = Self {
            id: settings.id.to_string(),
            path: path.clone(),
            single: is_single_file(path),
            partition_name: partition_name.clone(),
            max_rows: *max_rows,
            max_bytes: *max_bytes,
            schema,
            open: BTreeMap::new(),
            covered: BTreeMap::new(),
            unpublished: Vec::new(),
        };
        let mut listed = BTreeSet::new();
        for part in recorded.iter().flat_map(|output| &output.parts) {
            sink.settle(part, warnings)?;
            listed.insert(sink.place(&part.path));
            sink.covered.entry(part.value.clone()).or_default().push((part.first, part.last));
        }
        let found = if sink.single {
            let path = &sink.path;
            vec![path.clone(), with_suffix(path, ".tmp"), with_suffix(path, ".open.tmp")]
        } else {
            let start = partition_name.as_ref().map(|name| folder_of(name, Some("")));
            own_files(path, |name| start.as_ref().is_some_and(|start| name.starts_with(start)))?
        };
        for file in found.iter().filter(|file| !listed.contains(*file)) {
            remove_file(file)?;
        }
        Ok(sink)
    }

    /// The absolute place of a recorded path.
    fn place(&self, below: &str) -> PathBuf {
        if self.single { self.path.clone() } else { self.path.join(below) }
    }

    /// Sees to it that a recorded part has its final name.
    fn settle(&self, part: &PartRecord, warnings: &mut Vec<String>) -> Result<()> {
        let place = self.place(&part.path);
        let length = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|found| found.len());
        let changed = |path: &Path| {
            Error::new(
                Exit::Data,
                format!("{} is not the file that {} wrote", shown(path), self.id),
                "put the file back as it was, or start over and replace all outputs with --fresh",
            )
        };
        let temporary = with_suffix(&place, ".tmp");
        match (length(&place), length(&temporary)) {
            (Some(found), _) if found == part.bytes => Ok(()),
            (Some(_), _) => Err(changed(&place)),
            (None, Some(found)) if found == part.bytes && sha256_of(&temporary)? == part.sha256 => {
                rename_file(&temporary, &place)?;
                sync_folder_of(&place)
            }
            (None, Some(_)) => Err(changed(&temporary)),
            (None, None) => {
                warnings.push(format!("{} was written by {} and is gone; it will not be written again", shown(&place), self.id));
                Ok(())
            }
        }
    }

    /// Rows to the part of their value; one file for the whole run takes every value.
    fn push(&mut self, epoch: Epoch, value: &Option<String>, rows: &RecordBatch) -> Result<()> {
        let value = if self.single { &None } else { value };
        if let Some(part) = self.open.get_mut(value) {
            return part.push(epoch, rows);
        }
        let path =
            if self.single { with_suffix(&self.path, ".open.tmp") } else { self.folder(value.as_deref()).join(PartName::open_name(epoch)) };
        let mut part = OpenPart::create(path, self.schema.clone(), epoch)?;
        part.push(epoch, rows)?;
        self.open.insert(value.clone(), part);
        Ok(())
    }

    fn folder(&self, value: Option<&str>) -> PathBuf {
        match &self.partition_name {
            Some(name) => self.path.join(folder_of(name, value)),
            None => self.path.clone(),
        }
    }

    /// Closes the part of `value`: durable, under its final name plus `.tmp`.
    fn close(&mut self, value: &Option<String>, epoch: Epoch, output: &mut SinkOutput) -> Result<()> {
        let Some(part) = self.open.remove(value) else { return Ok(()) };
        let first = part.first;
        let (from, ClosedPart { rows, bytes, sha256 }) = part.close()?;
        let below = if self.single {
            String::new()
        } else {
            let file = PartName::new(first, epoch, &sha256).file_name();
            match &self.partition_name {
                Some(name) => format!("{}/{file}", folder_of(name, value.as_deref())),
                None => file,
            }
        };
        rename_file(&from, &with_suffix(&self.place(&below), ".tmp"))?;
        self.unpublished.push(below.clone());
        output.parts.push(PartRecord { path: below, value: value.clone(), first, last: epoch, rows, bytes, sha256 });
        Ok(())
    }

    /// Values of the parts that close at the end of an epoch, in the order in which they do.
    fn due(&self, after: After) -> Vec<Option<String>> {
        if self.single && after != After::Nothing {
            return Vec::new();
        }
        if after != After::Epochs {
            return self.open.keys().cloned().collect();
        }
        let full = |part: &OpenPart| part.rows >= self.max_rows || part.bytes >= self.max_bytes;
        let mut due: Vec<Option<String>> = self.open.iter().filter(|(_, part)| full(part)).map(|(value, _)| value.clone()).collect();
        let mut rest: Vec<(Epoch, &Option<String>)> =
            self.open.iter().filter(|(_, part)| !full(part)).map(|(value, part)| (part.latest, value)).collect();
        if rest.len() > MAX_OPEN {
            rest.sort();
            due.extend(rest[..rest.len() - MAX_OPEN].iter().map(|(_, value)| (*value).clone()));
        }
        due
    }
}

impl Writer for ParquetParts {
    fn stage(&mut self, epoch: Epoch, rows: &Encoded, after: After, output: &mut SinkOutput) -> Result<()> {
        let Encoded::Rows(parts) = rows else {
            return Err(Error::internal(format!("rows for {} are not encoded for Parquet", self.id)));
        };
        for part in parts {
            self.push(epoch, &part.value, &part.rows.0)?;
        }
        if after == After::Nothing && self.single && self.open.is_empty() && self.covered.is_empty() {
            let empty = OpenPart::create(with_suffix(&self.path, ".open.tmp"), self.schema.clone(), epoch)?;
            self.open.insert(None, empty);
        }
        for value in self.due(after) {
            self.close(&value, epoch, output)?;
        }
        Ok(())
    }

    fn replay(&mut self, epoch: Epoch, rows: &Encoded) -> Result<()> {
        let Encoded::Rows(parts) = rows else {
            return Err(Error::internal(format!("rows for {} are not encoded for Parquet", self.id)));
        };
        for part in parts {
            let covered = self.covered.get(&part.value);
            if !covered.is_some_and(|spans| spans.iter().any(|(first, last)| (*first..=*last).contains(&epoch))) {
                self.push(epoch, &part.value, &part.rows.0)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let folders: BTreeSet<PathBuf> = self.unpublished.iter().map(|below| super::parent_of(&self.place(below)).to_path_buf()).collect();
        for folder in &folders {
            sync_folder(folder)?;
            if self.partition_name.is_some() {
                sync_folder_of(folder)?;
            }
        }
        if !folders.is_empty() {
            sync_folder_of(&self.path)?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        let mut folders = BTreeSet::new();
        for below in std::mem::take(&mut self.unpublished) {
            let place = self.place(&below);
            rename_file(&with_suffix(&place, ".tmp"), &place)?;
            folders.insert(super::parent_of(&place).to_path_buf());
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }
}

/// Whether a Parquet sink with this path is one file, written from the first epoch to the last.
pub fn is_single_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Files with names of this writer in `folder` and in those of its folders that `chosen` accepts by name, sorted.
fn own_files(folder: &Path, chosen: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let (mut found, folders) = files_in(folder)?;
    for inner in folders {
        if inner.file_name().is_some_and(|name| chosen(&name.to_string_lossy())) {
            found.extend(files_in(&inner)?.0);
        }
    }
    found.sort();
    Ok(found)
}

/// Files with names of this writer directly in `folder`, and its folders; nothing where there is no folder.
fn files_in(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let failed = |error: io::Error| Error::io("read the folder", folder, &error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        other => other.map_err(failed)?,
    };
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            folders.push(entry.path());
        } else if kind.is_file() && PartName::is_ours(&entry.file_name().to_string_lossy()) {
            files.push(entry.path());
        }
    }
    Ok((files, folders))
}
