//! `progress.log`: the log of pipelines without Kafka (S14.1).
//!
//! Layout: the 8 bytes `TIDELOG1`, then entries, each `length: u32 | crc32c: u32 | group: u64 | JSON`, little-endian. `group` is the file's length
//! when the entry was appended, the checksum covers everything but itself. Entries of one `append` share `group` and become durable together, by one fsync.
//!
//! Reading stops at the first entry that is not whole. If no whole entry of a *later* group follows, that is the torn end of an append that never
//! returned: it is cut off, with a warning. If one does, an entry that was durable has been damaged since: exit 65, never a guess.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ProgressRecord, StartRecord};
use crate::error::{Error, Exit, Result};
use crate::sinks::{replace_file, shown};

const MAGIC: &[u8; 8] = b"TIDELOG1";
const HEADER: usize = 16;

/// One entry of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogEntry {
    /// A generation begins.
    Start(StartRecord),
    /// An epoch is committed.
    Epoch(Box<ProgressRecord>),
}

/// The file in the state directory.
pub(super) const FILE: &str = "progress.log";

/// An opened log: itself, its entries, and a warning if a torn end was cut off.
pub type OpenedLog = (FileLog, Vec<LogEntry>, Option<String>);

/// The open log file, ready to append.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    file: File,
    length: u64,
}

impl FileLog {
    /// Replaces whatever is at `path` by a log that holds `start` alone; atomic and durable.
    pub fn create(path: &Path, start: &StartRecord) -> Result<Self> {
        let mut bytes = MAGIC.to_vec();
        push_entry(&mut bytes, MAGIC.len() as u64, &LogEntry::Start(start.clone()))?;
        replace_file(path, &bytes)?;
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| Error::io("open", path, &error))?;
        let length = file.seek(SeekFrom::End(0)).map_err(|error| Error::io("open", path, &error))?;
        Ok(Self { path: path.to_path_buf(), file, length })
    }

    /// Opens the log at `path`, if there is one. Exit 65 if it is damaged.
    pub fn open(path: &Path) -> Result<Option<OpenedLog>> {
        let failed = |error: io::Error| Error::io("read", path, &error);
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let Parsed { entries, length } = parse(&bytes).map_err(|reason| {
            Error::new(
                Exit::Data,
                format!("{} is damaged: {reason}", shown(path)),
                "restore the file from a backup, or start over and replace all outputs with --fresh",
            )
        })?;
        let torn = bytes.len() - length;
        let warning = (torn > 0).then(|| {
            format!(
                "cut {torn} bytes off the end of {}: the process was killed while it wrote them, nothing they name was visible",
                shown(path)
            )
        });
        if torn > 0 {
            file.set_len(length as u64).and_then(|()| file.sync_all()).map_err(|error| Error::io("truncate", path, &error))?;
        }
        file.seek(SeekFrom::Start(length as u64)).map_err(failed)?;
        Ok(Some((Self { path: path.to_path_buf(), file, length: length as u64 }, entries, warning)))
    }

    /// Appends `entries` and makes them durable together. After an error the log must be opened again.
    pub fn append(&mut self, entries: &[LogEntry]) -> Result<()> {
        let mut bytes = Vec::new();
        for entry in entries {
            push_entry(&mut bytes, self.length, entry)?;
        }
        self.file.write_all(&bytes).map_err(|error| Error::io("write", &self.path, &error))?;
        self.file.sync_data().map_err(|error| Error::io("sync", &self.path, &error))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn push_entry(bytes: &mut Vec<u8>, group: u64, entry: &LogEntry) -> Result<()> {
    let json = serde_json::to_vec(entry).map_err(|error| Error::internal(format!("a progress record has no JSON form: {error}")))?;
    let length = u32::try_from(json.len()).map_err(|_| Error::internal("a progress record is over 4 GiB"))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(length, group, &json).to_le_bytes());
    bytes.extend_from_slice(&group.to_le_bytes());
    bytes.extend_from_slice(&json);
    Ok(())
}

fn checksum(length: u32, group: u64, json: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), &group.to_le_bytes());
    crc32c::crc32c_append(head, json)
}

struct Parsed {
    entries: Vec<LogEntry>,
    /// Length of the whole entries, header included.
    length: usize,
}

/// Reads the whole entries of a log; the error says where a durable part is damaged.
fn parse(bytes: &[u8]) -> std::result::Result<Parsed, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as a progress log does".into());
    }
    let mut entries = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let Some((_, json)) = whole_entry(bytes, at) else {
            // The first entry was durable before the file got its name.
            if let Some(later) = later_group(bytes, at).or_else(|| (at == MAGIC.len()).then_some(bytes.len())) {
                return Err(format!("the entry at byte {at} is not what was written, though the file goes on at byte {later}"));
            }
            break;
        };
        let entry =
            serde_json::from_slice(json).map_err(|error| format!("the entry at byte {at} is no record of this version: {error}"))?;
        entries.push(entry);
        at += HEADER + json.len();
    }
    if entries.is_empty() {
        return Err("it has no entries".into());
    }
    Ok(Parsed { entries, length: at })
}

/// Group and JSON of the entry at byte `at`, if it is whole.
fn whole_entry(bytes: &[u8], at: usize) -> Option<(u64, &[u8])> {
    let (length, rest) = bytes.get(at..)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (group, rest) = rest.split_first_chunk::<8>()?;
    let (length, group) = (u32::from_le_bytes(*length), u64::from_le_bytes(*group));
    if group > at as u64 {
        return None;
    }
    let json = rest.get(..length as usize)?;
    (checksum(length, group, json) == u32::from_le_bytes(*crc)).then_some((group, json))
}

/// The first whole entry behind byte `damaged` that was appended after the bytes at `damaged` had become durable.
fn later_group(bytes: &[u8], damaged: usize) -> Option<usize> {
    (damaged + 1..bytes.len()).find(|at| whole_entry(bytes, *at).is_some_and(|(group, _)| group > damaged as u64))
}

/// The progress records in the state directory `folder`, in order; none if there is no log. Changes nothing, so a run may go on meanwhile.
pub fn peek_folder(folder: &Path) -> Result<Vec<ProgressRecord>> {
    let path = folder.join(FILE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| Error::io("read", &path, &error))?,
    };
    let Parsed { entries, .. } = parse(&bytes).map_err(|reason| {
        let help = "restore the file from a backup, or start over and replace all outputs with --fresh";
        Error::new(Exit::Data, format!("{} is damaged: {reason}", shown(&path)), help)
    })?;
    let record = |entry| match entry {
        LogEntry::Epoch(record) => Some(*record),
        LogEntry::Start(_) => None,
    };
    Ok(entries.into_iter().filter_map(record).collect())
}
