//! The checkpoint thread: writes what the commit thread hands it, off the road of the epochs, and what a start goes on from.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::checkpoint::{Folder, Manifest, Named, Origin, Piece, Store, Writer, Written, read_manifest, read_pieces};
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SinkKindPlan};
use crate::progress::{ProgressRecord, SEMANTICS_VERSION};
use crate::render::Restored;

/// Least time between two checkpoints, unless the user says otherwise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Reads the time between two checkpoints.
pub fn interval(text: &str) -> Result<Duration> {
    let micros = crate::time::duration::parse(text)
        .map_err(|reason| Error::new(Exit::Usage, format!("--checkpoint-every: {reason}"), "write --checkpoint-every 10s, or never"))?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// Checkpoints that are kept.
const KEPT: usize = 3;

/// Where the checkpoints of a pipeline are.
pub fn store(state_dir: &Path) -> Arc<dyn Store> {
    Arc::new(Folder::new(&state_dir.join("checkpoints")))
}

/// Whether the pipeline can go on from one: a sink that is one Parquet file is written from the first epoch on, or not at all.
pub fn are_possible(plan: &Plan) -> bool {
    let single = |kind: &SinkKindPlan| matches!(kind, SinkKindPlan::Parquet { path, .. } if path.ends_with(".parquet"));
    !plan.sinks.iter().any(|sink| single(&sink.kind))
}

/// What a run goes on from, and how its writer does.
pub struct Found {
    /// The state.
    pub restored: Restored,
    named: Named,
    manifest: Manifest,
}

/// The newest checkpoint that `records` name and that can be used; those that cannot are named in the log. `None`: everything is replayed.
pub fn newest_usable(store: &dyn Store, plan: &Plan, records: &[ProgressRecord]) -> Option<Found> {
    let candidates = records.iter().rev().filter_map(|record| record.newest_checkpoint.as_ref());
    // Older ones are not kept.
    for named in candidates.take(KEPT) {
        match usable(store, plan, records, named) {
            Ok(found) => return Some(found),
            Err(error) => tracing::warn!("{}; {}", error.cause, error.help),
        }
    }
    None
}

fn usable(store: &dyn Store, plan: &Plan, records: &[ProgressRecord], named: &Named) -> Result<Found> {
    let manifest = read_manifest(store, named)?;
    let Origin { pipeline, fingerprint, semantics, shards, .. } = &manifest.origin;
    if (pipeline, fingerprint, *semantics, *shards) != (&plan.name, &plan.fingerprint.whole, SEMANTICS_VERSION, plan.shards) {
        let cause = format!("the checkpoint of epoch {} is not of this pipeline as it is now", named.epoch);
        return Err(Error::new(Exit::Data, cause, "the epochs since the checkpoint before it are replayed"));
    }
    let record = records.iter().find(|record| record.epoch == named.epoch).cloned();
    let record =
        record.ok_or_else(|| Error::internal(format!("the record of epoch {}, which has a checkpoint, is missing", named.epoch)))?;
    let pieces = read_pieces(store, named, &manifest, |_| true)?;
    Ok(Found { restored: Restored { record, pieces }, named: named.clone(), manifest })
}

/// The manifests of what is kept. Those that are damaged are of no use to anybody; while one cannot be read, nothing may be removed.
fn needed(store: &dyn Store, kept: Vec<Named>) -> Result<Vec<(Named, Manifest)>> {
    let mut needed = Vec::with_capacity(kept.len());
    for named in kept {
        match read_manifest(store, &named) {
            Ok(manifest) => needed.push((named, manifest)),
            Err(error) if error.exit == Exit::Data => {}
            Err(error) => return Err(error),
        }
    }
    Ok(needed)
}

/// What the checkpoint thread is asked.
enum Request {
    Write(Origin, Vec<Piece>),
    /// The newest of these is real now; nothing but these is needed.
    Keep(Vec<Named>),
}

/// The commit thread's side.
pub struct Checkpoints {
    requests: Sender<Request>,
    written: Receiver<Option<Written>>,
    newest: Option<Written>,
    /// The next epoch is committed once the checkpoint before it is written.
    waits: bool,
    kept: Vec<Named>,
    /// What a checkpoint says of its run; epoch missing.
    origin: Origin,
}

impl Checkpoints {
    /// Starts the thread. `found`: what the run goes on from; `records`: what names checkpoints; `fresh`: none of what is there is needed; `waits`: nothing
    /// is committed while a checkpoint is being written. `writing` is cleared whenever one is written, or could not be.
    pub fn start(
        store: Arc<dyn Store>,
        origin: Origin,
        found: Option<(Named, Manifest)>,
        records: &[ProgressRecord],
        fresh: bool,
        waits: bool,
        writing: Arc<AtomicBool>,
    ) -> Result<Self> {
        let mut writer = match found {
            Some((named, manifest)) => Writer::resume(store.clone(), named, manifest)?,
            None => Writer::new(store.clone()),
        };
        if fresh {
            writer.sweep(&[])?;
        }
        let (requests, asked) = unbounded();
        let (said, written) = unbounded();
        let work = move || {
            for request in asked {
                match request {
                    Request::Write(origin, pieces) => {
                        let epoch = origin.epoch;
                        let written = writer.write(origin, pieces).map_err(|error| {
                            tracing::warn!(epoch = epoch.0, "no checkpoint was written, the run goes on: {}; {}", error.cause, error.help);
                        });
                        writing.store(false, Ordering::Release);
                        // Nobody waits for it once the run is over.
                        let _ = said.send(written.ok());
                    }
                    Request::Keep(kept) => {
                        if let Err(error) = needed(&*store, kept).and_then(|needed| writer.sweep(&needed)) {
                            tracing::warn!("old checkpoints are not removed: {}; {}", error.cause, error.help);
                        }
                    }
                }
            }
        };
        std::thread::Builder::new().name("checkpoint".to_string()).spawn(work).map_err(super::run::no_thread)?;
        let named = records.iter().filter_map(|record| record.newest_checkpoint.clone());
        let kept: Vec<Named> = named.collect();
        let kept = kept[kept.len().saturating_sub(KEPT)..].to_vec();
        Ok(Self { requests, written, newest: None, waits, kept, origin })
    }

    /// Hands over the state after a committed epoch. With `waits` it is written, or could not be, when this returns.
    pub fn write(&mut self, record: &ProgressRecord, pieces: Vec<Piece>) {
        let origin = Origin { epoch: record.epoch, generation: record.generation, ..self.origin.clone() };
        // The thread ends only with this side of it.
        let _ = self.requests.send(Request::Write(origin, pieces));
        if self.waits {
            self.newest = self.written.recv().ok().flatten().or(self.newest.take());
        }
    }

    /// The checkpoint that has been written and that no record names yet.
    pub fn written(&mut self) -> Option<Written> {
        self.newest.take().or_else(|| self.written.try_iter().flatten().last())
    }

    /// Whether nothing is committed while a checkpoint is being written.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// A committed record names it.
    pub fn is_named(&mut self, named: Named) {
        self.kept.push(named);
        if self.kept.len() > KEPT {
            self.kept.remove(0);
        }
        let _ = self.requests.send(Request::Keep(self.kept.clone()));
    }
}

impl Found {
    /// The state, and what a writer goes on from.
    pub fn split(self) -> (Restored, (Named, Manifest)) {
        (self.restored, (self.named, self.manifest))
    }
}
