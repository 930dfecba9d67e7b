//! What the committer asks of a file sink, in the order it asks: `stage` every epoch of a group, `sync` once, then, when the progress records are
//! durable, `publish`. A crash between any two calls loses nothing and shows nothing twice (S14.3): opening truncates and deletes what no record names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use super::{Digest, Encoded, LinesFile, ParquetParts};
use crate::error::{Error, Exit, Result};
use crate::ids::ComponentId;
use crate::time::Epoch;

/// A sink as the committer needs it.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// `sinks.NAME`
    pub id: ComponentId,
    /// The output columns.
    pub schema: SchemaRef,
    /// Where they go.
    pub target: Target,
    /// Whether the rows depend on a network, whose bits are the same on one kind of device only (S11.3).
    pub network: bool,
}

/// Where a sink's rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One NDJSON file.
    Lines {
        /// The file.
        path: PathBuf,
    },
    /// Parquet parts below a folder; or one file, if the path ends in `.parquet`.
    Parquet {
        /// Folder or file.
        path: PathBuf,
        /// Name before `=` in the folders of partition values; `None`: no such folders.
        partition_name: Option<String>,
        /// A part closes once it has this many rows.
        max_rows: u64,
        /// A part closes once its values have this many bytes.
        max_bytes: u64,
    },
    /// A Kafka topic.
    Topic {
        /// Its name.
        topic: String,
    },
}

impl Target {
    /// The kind and place as one line of text: `file out/p.ndjson`. A resumed run must find the same (sink places are no part of the fingerprint, S1.3).
    pub fn describe(&self) -> String {
        match self {
            Self::Lines { path } => format!("file {}", path.display()),
            Self::Parquet { path, .. } => format!("parquet {}", path.display()),
            Self::Topic { topic } => format!("kafka {topic}"),
        }
    }
}

/// What one sink made visible in one epoch, as the progress record holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkOutput {
    /// Rows.
    pub rows: u64,
    /// Digest of the rows (`Encoded::digest`).
    pub xxh3: Digest,
    /// NDJSON: length of the file after the epoch, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// NDJSON: digest of the whole file up to `length`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Digest>,
    /// Parquet: parts that the epoch closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartRecord>,
    /// Kafka: number of partitions that keys were spread over (S6.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
}

/// A closed Parquet part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Path below the sink's path; empty where the sink's path is the one file.
    pub path: String,
    /// Partition value; absent for null and for sinks without partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// First epoch whose rows it has.
    pub first: Epoch,
    /// The epoch whose record lists it.
    pub last: Epoch,
    /// Rows.
    pub rows: u64,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// sha256 of the file, hexadecimal.
    pub sha256: String,
}

/// What follows an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another epoch, as far as is known.
    Epochs,
    /// A checkpoint: what goes on from there knows no rows of earlier epochs, so parts close (S14.3).
    Checkpoint,
    /// Nothing in this run of the pipeline.
    Nothing,
}

/// One file sink. Errors are exit 74 for the file system, 65 for files that are not as recorded.
pub trait Writer: Send {
    /// Writes the rows of `epoch` (epochs in order) and fills in the file's part of `output`.
    fn stage(&mut self, epoch: Epoch, rows: &Encoded, after: After, output: &mut SinkOutput) -> Result<()>;
    /// Takes the rows of a committed epoch again (epochs in order, before any `stage`): writes nothing that is already visible, and rebuilds what was
    /// being written when the run stopped, so that later bytes are those of an undisturbed run.
    fn replay(&mut self, epoch: Epoch, rows: &Encoded) -> Result<()>;
    /// Makes everything staged durable, under names that nobody reads yet where the name is part of the promise.
    fn sync(&mut self) -> Result<()>;
    /// The records that name everything staged are durable: gives files their final names.
    fn publish(&mut self) -> Result<()>;
}

/// Refuses (exit 65) if the sink's place holds output already. For pipelines that never wrote there: what is there belongs to somebody else.
pub fn check_unclaimed(settings: &SinkSettings) -> Result<()> {
    let taken = match &settings.target {
        Target::Lines { path } => LinesFile::holds_rows(path)?,
        Target::Parquet { path, .. } => ParquetParts::holds_parts(path)?,
        Target::Topic { .. } => None,
    };
    match taken {
        None => Ok(()),
        Some(path) => Err(Error::new(
            Exit::Data,
            format!("{} already exists, and this pipeline has no record of writing it", shown(&path)),
            format!("move it away, give `{}` another path, or replace it with --fresh", settings.id),
        )),
    }
}

/// Opens the file behind a sink as the progress records left it: `recorded` has the outputs of all committed epochs, in order. `None` for topics.
/// What no record names is cut off or deleted; `warnings` gets a line for published files that somebody removed since.
pub fn open_writer(settings: &SinkSettings, recorded: &[&SinkOutput], warnings: &mut Vec<String>) -> Result<Option<Box<dyn Writer>>> {
    Ok(match &settings.target {
        Target::Lines { path } => Some(Box::new(LinesFile::open(path, recorded)?)),
        Target::Parquet { .. } => Some(Box::new(ParquetParts::open(settings, recorded, warnings)?)),
        Target::Topic { .. } => None,
    })
}

/// The absolute form of `path` for messages.
pub(crate) fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// The folder of a file, `.` where the path names none.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the entries of `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::io("sync", folder, &error))
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<()> {
    sync_folder(parent_of(path))
}

/// Renames within one folder.
pub(crate) fn rename_file(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::io("rename", from, &error))
}

/// Deletes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path, &error)),
        _ => Ok(()),
    }
}

/// Replaces `path` by a file with this content, so that after a crash either the old or the whole new content is there.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let mut file = File::create(&temporary).map_err(|error| Error::io("create", &temporary, &error))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(|error| Error::io("write", &temporary, &error))?;
    rename_file(&temporary, path)?;
    sync_folder_of(path)
}
