//! One process per state directory: an advisory lock on a file that also says who holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Exit, Result};
use crate::sinks::shown;

/// The lock on a state directory; released when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateLock {
    /// Takes the lock on `folder`, which must exist. Exit 75 naming the other process if it is taken.
    pub fn take(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let failed = |error: std::io::Error| Error::io("lock", &path, &error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is only helps the message; the file may be empty for an instant.
                let _ = file.read_to_string(&mut holder);
                let who = holder.trim().parse::<u32>().map_or_else(|_| "another process".to_owned(), |pid| format!("process {pid}"));
                return Err(Error::new(
                    Exit::Restart,
                    format!("{who} is already running this pipeline with the state directory {}", shown(folder)),
                    "wait until it ends or stop it, or run a second copy with another name and state directory",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(pid.as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = StateLock::take(folder.path()).unwrap();
        let refused = StateLock::take(folder.path()).unwrap_err();
        assert!(refused.cause.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(lock);
        StateLock::take(folder.path()).unwrap();
    }
}
