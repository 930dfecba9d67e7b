//! An NDJSON file that grows: appended per epoch, cut back at start to the length that the last record names, and checked (S14.3).
//!
//! A path that is no regular file (`/dev/null`, a pipe) is written to and never cut, checked or synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::{After, Digest, Encoded, SinkOutput, Writer, sync_folder_of};
use crate::error::{Error, Exit, Result};
use crate::time::Epoch;

/// The writer of an NDJSON sink.
pub(crate) struct LinesFile {
    path: PathBuf,
    file: File,
    regular: bool,
    length: u64,
    running: Box<Xxh3>,
    unsynced: bool,
}

impl LinesFile {
    /// The path, if a regular file with content is there.
    pub(crate) fn holds_rows(path: &Path) -> Result<Option<PathBuf>> {
        match fs::metadata(path) {
            Ok(found) => Ok((found.is_dir() || found.is_file() && found.len() > 0).then(|| path.to_path_buf())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", path, &error)),
        }
    }

    /// Opens or creates the file, checks that what the records name is there unchanged, and cuts off the rest.
    pub(crate) fn open(path: &Path, recorded: &[&SinkOutput]) -> Result<Self> {
        let failed = |action: &'static str| move |error: io::Error| Error::io(action, path, &error);
        let last = recorded.iter().rev().find_map(|output| output.length.zip(output.running));
        let (length, digest) = last.unwrap_or((0, Digest(Xxh3::new().digest())));
        let folder = super::parent_of(path);
        if length > 0 && !path.exists() {
            return Err(damaged(path, "was written by this run and is gone"));
        }
        fs::create_dir_all(folder).map_err(|error| Error::io("create the folder", folder, &error))?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed("open"))?;
        let found = file.metadata().map_err(failed("look at"))?;
        let mut writer =
            Self { path: path.to_path_buf(), file, regular: found.is_file(), length, running: Box::new(Xxh3::new()), unsynced: false };
        if !writer.regular {
            return Ok(writer);
        }
        if found.len() < length {
            return Err(damaged(path, &format!("has {} bytes where {length} were written", found.len())));
        }
        writer.hash_prefix(length).map_err(failed("read"))?;
        if Digest(writer.running.digest()) != digest {
            return Err(damaged(path, "was changed since it was written"));
        }
        file = writer.file;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length))).and_then(|_| file.sync_all()).map_err(failed("truncate"))?;
        sync_folder_of(path)?;
        writer.file = file;
        Ok(writer)
    }

    fn hash_prefix(&mut self, length: u64) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut left = length;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.file.read_exact(&mut buffer[..want])?;
            self.running.update(&buffer[..want]);
            left -= want as u64;
        }
        Ok(())
    }
}

/// A file that is not what the records name.
fn damaged(path: &Path, what: &str) -> Error {
    Error::new(
        Exit::Data,
        format!("{} {what}, so the run cannot be continued", super::shown(path)),
        "put the file back as it was, or start over and replace all outputs with --fresh",
    )
}

impl Writer for LinesFile {
    fn stage(&mut self, _epoch: Epoch, rows: &Encoded, _after: After, output: &mut SinkOutput) -> Result<()> {
        let Encoded::Lines { bytes, .. } = rows else {
            return Err(Error::internal(format!("rows for {} are not encoded as lines", self.path.display())));
        };
        if !bytes.is_empty() {
            self.file.write_all(bytes).map_err(|error| Error::io("write", &self.path, &error))?;
            self.running.update(bytes);
            self.length += bytes.len() as u64;
            self.unsynced = true;
        }
        if self.regular {
            output.length = Some(self.length);
            output.running = Some(Digest(self.running.digest()));
        }
        Ok(())
    }

    fn replay(&mut self, _epoch: Epoch, _rows: &Encoded) -> Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unsynced) && self.regular {
            self.file.sync_data().map_err(|error| Error::io("sync", &self.path, &error))?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Encoded {
        Encoded::Lines { bytes: text.as_bytes().to_vec(), ends: vec![text.len() as u32] }
    }

    #[test]
    fn what_no_record_names_is_cut_off_and_what_one_names_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/out.ndjson");
        let mut writer = LinesFile::open(&path, &[]).unwrap();
        let mut outputs = [SinkOutput::default(), SinkOutput::default(), SinkOutput::default()];
        for (at, text) in ["{\"a\":1}\n", "", "{\"a\":2}\n"].iter().enumerate() {
            writer.stage(Epoch(at as u64 + 1), &lines(text), After::Epochs, &mut outputs[at]).unwrap();
        }
        writer.sync().unwrap();
        drop(writer);
        assert_eq!(outputs[2].length, Some(16));

        let mut writer = LinesFile::open(&path, &[&outputs[0], &outputs[1]]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{\"a\":1}\n");
        let mut again = SinkOutput::default();
        writer.stage(Epoch(3), &lines("{\"a\":2}\n"), After::Epochs, &mut again).unwrap();
        assert_eq!(again, outputs[2]);
        drop(writer);

        fs::write(&path, b"{\"b\":1}\n").unwrap();
        let changed = LinesFile::open(&path, &[&outputs[1]]).err().unwrap();
        assert_eq!(changed.exit, Exit::Data);
        assert!(changed.cause.contains("was changed") && changed.help.contains("--fresh"), "{changed}");
        fs::write(&path, b"{").unwrap();
        assert!(LinesFile::open(&path, &[&outputs[1]]).err().unwrap().cause.contains("has 1 bytes where 8"));
        let moved = folder.path().join("moved.ndjson");
        assert!(LinesFile::open(&moved, &[&outputs[1]]).err().unwrap().cause.contains("is gone"));
        assert!(!moved.exists(), "nothing is made where something is missed");
        assert!(LinesFile::holds_rows(&path).unwrap().is_some());
        assert!(LinesFile::holds_rows(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_full_device_is_exit_74_with_help() {
        let mut writer = LinesFile::open(Path::new("/dev/full"), &[]).unwrap();
        let error = writer.stage(Epoch(1), &lines("{}\n"), After::Epochs, &mut SinkOutput::default()).unwrap_err();
        assert_eq!(error.exit, Exit::Io);
        assert!(error.help.contains("free some space"), "{error}");
        let mut writer = LinesFile::open(Path::new("/dev/null"), &[]).unwrap();
        let mut output = SinkOutput::default();
        writer.stage(Epoch(1), &lines("{}\n"), After::Epochs, &mut output).unwrap();
        writer.sync().unwrap();
        assert_eq!(output.length, None);
    }
}
