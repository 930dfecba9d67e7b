//! A pipeline rewritten to read given rows or to write other columns, run in a folder of its own: what `test` and `explain` are made of.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::run::{Circumstances, Cluster, RunOptions, run_under};
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SinkKindPlan, SinkPlan, capture};
use crate::progress::ProgressRecord;

/// A folder that is removed when it goes out of scope.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty folder for this process.
    pub fn new(purpose: &str) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidemill-{purpose}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, &error))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sink that writes `columns` of `from` as NDJSON to `path`.
pub fn captured(plan: &Plan, from: &str, columns: &[String], path: &Path) -> Result<SinkPlan> {
    let sink =
        capture(plan, from, columns).map_err(|cause| Error::new(Exit::Config, cause, "`tidemill plan FILE` lists what can be read"))?;
    Ok(SinkPlan { kind: SinkKindPlan::File { path: path.display().to_string() }, ..sink })
}

/// Runs `plan` on one worker in `folder` until it ends; `bindings` forces its epochs.
pub fn run_captured(plan: Plan, folder: &Path, bindings: Option<Vec<ProgressRecord>>) -> Result<()> {
    let options = RunOptions {
        cluster: Cluster::threads(1),
        state_dir: Some(folder.join("state")),
        fresh: true,
        bindings: None,
        quiet: true,
        signals: false,
        checkpoint_every: None,
    };
    run_under(plan, &options, Circumstances { bindings, apart: true, ..Circumstances::default() }).map(drop)
}

/// The rows of a captured sink.
pub fn read_rows(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = std::fs::read_to_string(path).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(String::new()),
        _ => Err(Error::io("read", path, &error)),
    })?;
    let rows = text
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| Error::internal(format!("{} is no NDJSON: {error}", path.display()))));
    rows.collect()
}
