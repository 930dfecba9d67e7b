//! `inputs.json`: the files of a run's sources, as they were when it began to read them (S14.2).
//!
//! A file that has its length and modification time from then has not changed since, and nobody has to read it to know. One that has not may still hold
//! the same records: that is for whoever can read it to find out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::sinks::{replace_file, shown};

const NAME: &str = "inputs.json";

/// What a file shows without being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    /// Length in bytes.
    bytes: u64,
    /// Modification time in nanoseconds since 1970; `None` where the file system keeps none.
    modified: Option<u64>,
}

/// The files of every file source, by the source's name and by path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, BTreeMap<String, Look>>);

impl Inputs {
    /// Looks at the files of each source. Before any of them is read: what changes later differs from this look.
    pub fn look<'a>(sources: impl Iterator<Item = (&'a str, &'a [String])>) -> Result<Self> {
        let mut inputs = Self::default();
        for (source, paths) in sources {
            let files = inputs.0.entry(source.to_owned()).or_default();
            for path in paths {
                let found = fs::metadata(path).map_err(|error| Error::io("look at", Path::new(path), &error))?;
                let since = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let modified = since.and_then(|since| u64::try_from(since.as_nanos()).ok());
                files.insert(path.clone(), Look { bytes: found.len(), modified });
            }
        }
        Ok(inputs)
    }

    /// What was stored in the state directory. What cannot be read says as little as what is not there.
    pub(super) fn load(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(state_dir.join(NAME)).ok()?).ok()
    }

    /// Stores them in the state directory; atomic and durable.
    pub fn store(&self, state_dir: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|error| Error::internal(format!("the inputs have no JSON form: {error}")))?;
        replace_file(&state_dir.join(NAME), &json)
    }

    /// Refuses (exit 65) files that came to a source or left it since `then`. A source that is new or gone as a whole is a matter of the plan. `place`
    /// names the log for the message.
    pub(super) fn check_listed(&self, then: &Self, place: &str) -> Result<()> {
        let refuse = |path: &str, what: String, help: &str| {
            let cause = format!("the input has changed: {} {what}", shown(Path::new(path)));
            Err(Error::new(Exit::Data, cause, format!("{help}, or start over and replace all outputs with --fresh")))
        };
        for (source, before) in &then.0 {
            let Some(now) = self.0.get(source) else { continue };
            if let Some(path) = before.keys().find(|path| !now.contains_key(*path)) {
                let what = format!("was a file of `sources.{source}` in the run in {place}, and is none any more");
                return refuse(path, what, "put it back");
            }
            if let Some(path) = now.keys().find(|path| !before.contains_key(*path)) {
                let what = format!("is a file of `sources.{source}` now, and was none in the run in {place}");
                return refuse(path, what, "take it away again");
            }
        }
        Ok(())
    }

    /// Source and path of the files that do not look as they did `then`; all of them if nothing is known of then.
    pub(super) fn touched(&self, then: Option<&Self>) -> Vec<(String, String)> {
        let looked = |source: &str, path: &str| then.and_then(|then| then.0.get(source)?.get(path));
        let files = self.0.iter().flat_map(|(source, files)| files.iter().map(move |(path, look)| (source, path, look)));
        let touched = files.filter(|(source, path, look)| look.modified.is_none() || looked(source, path) != Some(look));
        touched.map(|(source, path, _)| (source.clone(), path.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn look(paths: &[&PathBuf]) -> Inputs {
        let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        Inputs::look([("s", &paths[..])].into_iter()).unwrap()
    }

    #[test]
    fn a_file_of_another_length_or_time_is_touched_and_one_that_was_left_alone_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "one\n").unwrap();
        fs::write(&b, "two\n").unwrap();
        let then = look(&[&a, &b]);
        then.store(folder.path()).unwrap();
        let then = Inputs::load(folder.path()).unwrap();
        let touched = || look(&[&a, &b]).touched(Some(&then)).into_iter().map(|(_, path)| path).collect::<Vec<_>>();
        assert!(touched().is_empty());
        assert_eq!(look(&[&a, &b]).touched(None).len(), 2);
        let time = fs::metadata(&b).unwrap().modified().unwrap();
        let set = |time| File::options().write(true).open(&b).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
        set(time + Duration::from_secs(1));
        assert_eq!(touched(), [b.display().to_string()]);
        set(time);
        assert!(touched().is_empty());
        fs::write(&b, "twos\n").unwrap();
        set(time);
        assert_eq!(touched(), [b.display().to_string()], "the same time and another length");
        fs::write(folder.path().join(NAME), "{").unwrap();
        assert_eq!(Inputs::load(folder.path()), None);
    }

    #[test]
    fn files_that_come_and_go_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        let (both, one) = (look(&[&a, &b]), look(&[&a]));
        both.check_listed(&both, "x").unwrap();
        for (now, then, says) in [(&one, &both, "none any more"), (&both, &one, "was none")] {
            let refused = now.check_listed(then, "x").unwrap_err();
            assert_eq!(refused.exit, Exit::Data);
            assert!(refused.cause.contains(&b.display().to_string()) && refused.cause.contains(says), "{refused}");
        }
        one.check_listed(&Inputs::default(), "x").unwrap();
        Inputs::default().check_listed(&one, "x").unwrap();
    }
}
