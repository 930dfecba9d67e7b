//! The checkpoint thread: writes what the commit thread hands it, off the road of the epochs, and what a start goes on from.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::checkpoint::{Folder, Manifest, Named, Origin, Piece, Store, Writer, Written, read_manifest, read_pieces};
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SinkKindPlan};
use crate::progress::{ProgressRecord, Recovered, SEMANTICS_VERSION};
use crate::render::{Restored, Schedule};
use crate::sinks::is_single_file;
use crate::time::{Epoch, duration};

use super::run::RunOptions;

/// Least time between two checkpoints, unless the user says otherwise.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Reads the time between two checkpoints.
pub fn interval(text: &str) -> Result<Duration> {
    let micros = duration::parse(text)
        .map_err(|reason| Error::new(Exit::Usage, format!("--checkpoint-every: {reason}"), "write --checkpoint-every 10s, or never"))?;
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// Checkpoints that are kept.
const KEPT: usize = 3;

/// How a run begins, and what becomes of its state.
pub struct Beginning {
    /// What it goes on from; nothing: from the first epoch.
    pub restored: Option<Restored>,
    /// Where and when state is wanted.
    pub schedule: Schedule,
    /// Where it goes.
    pub checkpoints: Checkpoints,
}

/// Looks for the newest checkpoint that can be used, unless the run follows the `bindings` of another, and starts the thread that writes further ones.
pub fn begin(plan: &Plan, folder: &Path, options: &RunOptions, recovered: &Recovered, bindings: bool) -> Result<Beginning> {
    let store: Arc<dyn Store> = Arc::new(Folder::new(&folder.join("checkpoints")));
    let single = plan.sinks.iter().find(|sink| matches!(&sink.kind, SinkKindPlan::Parquet { path, .. } if is_single_file(Path::new(path))));
    if let (Some(sink), Some(_)) = (single, options.checkpoint_every) {
        tracing::info!("no checkpoints are taken: {} is one file, which is written from the first epoch on", sink.id);
    }
    // A file that looks different is read again from its beginning: only that shows whether what was committed is still there (S14.2).
    let found = match single.is_none() && !bindings && recovered.touched.is_empty() {
        true => newest_usable(&*store, plan, &recovered.records),
        false => None,
    };
    let (restored, found) = found.unzip();
    let writing = Arc::new(AtomicBool::new(false));
    let closes_parts = single.is_none() && plan.sinks.iter().any(|sink| matches!(sink.kind, SinkKindPlan::Parquet { .. }));
    let every = options.checkpoint_every.filter(|_| single.is_none());
    let schedule = Schedule::new(every, closes_parts, writing.clone());
    let mut writer = match found {
        Some((named, manifest)) => Writer::resume(store.clone(), named, manifest)?,
        None => Writer::new(store.clone()),
    };
    if options.fresh {
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
    let mut kept: Vec<Named> = recovered.records.iter().rev().filter_map(|record| record.newest_checkpoint.clone()).take(KEPT).collect();
    kept.reverse();
    let origin = Origin {
        pipeline: plan.name.clone(),
        fingerprint: plan.fingerprint.whole.clone(),
        semantics: SEMANTICS_VERSION,
        generation: recovered.generation,
        epoch: Epoch::default(),
        shards: plan.shards,
    };
    let waits = options.checkpoint_every == Some(Duration::ZERO);
    Ok(Beginning { restored, schedule, checkpoints: Checkpoints { requests, written, newest: None, waits, kept, origin } })
}

/// A checkpoint that was read, and what a writer goes on from.
type Found = (Restored, (Named, Manifest));

/// The newest checkpoint that `records` name and that can be used; those that cannot are named in the log. `None`: everything is replayed.
fn newest_usable(store: &dyn Store, plan: &Plan, records: &[ProgressRecord]) -> Option<Found> {
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
    Ok((Restored { record, pieces }, (named.clone(), manifest)))
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
    /// What a checkpoint says of its run; each has its own epoch.
    origin: Origin,
}

impl Checkpoints {
    /// Hands over the state after a committed epoch. With `waits` it is written, or could not be, when this returns.
    pub fn write(&mut self, record: &ProgressRecord, pieces: Vec<Piece>) {
        let origin = Origin { epoch: record.epoch, ..self.origin.clone() };
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
