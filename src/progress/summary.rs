//! `summary.json`: what a finished run printed, so that running it again can print it again (S14.2).

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Exit, Result};
use crate::sinks::{remove_file, replace_file, shown};

const NAME: &str = "summary.json";

/// Stores `summary` in the state directory; atomic and durable.
pub fn store_summary<T: Serialize>(state_dir: &Path, summary: &T) -> Result<()> {
    let json = serde_json::to_vec_pretty(summary).map_err(|error| Error::internal(format!("the summary has no JSON form: {error}")))?;
    replace_file(&state_dir.join(NAME), &json)
}

/// The stored summary, if there is one. Exit 65 if it cannot be read as a `T`.
pub fn load_summary<T: DeserializeOwned>(state_dir: &Path) -> Result<Option<T>> {
    let path = state_dir.join(NAME);
    let json = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("read", &path, &error))?,
    };
    serde_json::from_slice(&json).map(Some).map_err(|error| {
        Error::new(Exit::Data, format!("{} is not a summary of this version: {error}", shown(&path)), "start over with --fresh")
    })
}

/// Forgets the summary of a run that starts over.
pub(crate) fn remove_summary(state_dir: &Path) -> Result<()> {
    remove_file(&state_dir.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_stored_loaded_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_summary::<Vec<u32>>(folder.path()).unwrap(), None);
        store_summary(folder.path(), &vec![1, 2]).unwrap();
        assert_eq!(load_summary::<Vec<u32>>(folder.path()).unwrap(), Some(vec![1, 2]));
        assert_eq!(load_summary::<String>(folder.path()).unwrap_err().exit, Exit::Data);
        remove_summary(folder.path()).unwrap();
        assert_eq!(load_summary::<Vec<u32>>(folder.path()).unwrap(), None);
    }
}
