//! A local folder as a store.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::store::Store;
use crate::error::{Error, Result};
use crate::sinks::{replace_file, shown, sync_folder};

/// Objects as files of one folder. A file appears under its name once its bytes are on the disk.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at `path`, which is made at the first write.
    pub fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl Store for Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.0).map_err(|error| Error::io("create", &self.0, &error))?;
        replace_file(&self.0.join(name), bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, &error)),
        }
    }

    fn list(&self) -> Result<Vec<(String, u64)>> {
        let failed = |error: std::io::Error| Error::io("list", &self.0, &error);
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut objects = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let about = entry.metadata().map_err(failed)?;
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                objects.push((name, about.len()));
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(&self.0),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("remove", &path, &error)),
        }
    }

    fn place(&self) -> String {
        shown(&self.0)
    }
}
