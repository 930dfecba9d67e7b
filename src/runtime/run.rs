//! `tidemill run`: workers, sources and the commit thread of one process, from start to summary.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use timely::execute::execute_from;
use timely::{CommunicationConfig, WorkerConfig};

use super::checkpoints::{self, Beginning};
use super::cluster::{self, Workers};
use super::commit::{CommitLoop, Ended, EpochObserver};
use super::opening::{first_positions, opener};
use super::prepare::{commit_settings, prepare, state_dir};
use super::signals;
use super::summary::{Resumed, Summary};
use super::unchanged::check_unchanged;
use crate::dataflow::Waker;
use crate::error::{Error, Exit, Result};
use crate::plan::Plan;
use crate::progress::{Committer, ProgressRecord, load_summary, store_summary};
use crate::protocol::quarantine_guard::QuarantineGuard;
use crate::render::{self, CommitPort, Leader, Opened, Prepared, Restored, Schedule};
use crate::sources::Feed;
use crate::telemetry::ProgressLine;
use crate::time::BusyTimes;

/// How workers are spread over processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Worker threads of each process.
    pub workers: usize,
    /// This process among `hosts`.
    pub process: usize,
    /// Address of every process; empty = one process.
    pub hosts: Vec<String>,
    /// Serialise between the threads of a process as between processes; for tests.
    pub serialized: bool,
}

impl Cluster {
    /// `workers` threads in each of `processes` processes, of which this is number `process`.
    pub fn new(workers: usize, processes: usize, process: usize, hosts: Vec<String>, serialized: bool) -> Result<Self> {
        let refuse = |cause: String, help: &str| Err(Error::new(Exit::Usage, cause, help));
        if workers == 0 || processes == 0 {
            return refuse("a process needs at least one worker, and a cluster one process".to_string(), "give -w and -n numbers above 0");
        }
        if process >= processes {
            return refuse(format!("-p {process} is no process of {processes}"), "processes are numbered from 0");
        }
        if !hosts.is_empty() && hosts.len() != processes {
            return refuse(
                format!("--hosts names {} addresses for {processes} processes", hosts.len()),
                "give one host:port for each process",
            );
        }
        let local = |process: usize| format!("localhost:{}", 2101 + process);
        let hosts = match (hosts.is_empty(), processes) {
            (true, 1) => Vec::new(),
            (true, _) => (0..processes).map(local).collect(),
            (false, _) => hosts,
        };
        Ok(Self { workers, process, hosts, serialized })
    }

    /// One process with `workers` threads.
    pub fn threads(workers: usize) -> Self {
        Self { workers, process: 0, hosts: Vec::new(), serialized: false }
    }

    /// Workers of all processes.
    fn total(&self) -> usize {
        self.workers * self.hosts.len().max(1)
    }
}

/// How a process runs; what the pipeline means is in its file.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Workers and processes.
    pub cluster: Cluster,
    /// `.tidemill/<pipeline>` unless given.
    pub state_dir: Option<PathBuf>,
    /// Start over and replace the outputs.
    pub fresh: bool,
    /// Cut epochs as this export of progress records says (S1.2).
    pub bindings: Option<PathBuf>,
    /// No progress.
    pub quiet: bool,
    /// Handle SIGINT and SIGTERM.
    pub signals: bool,
    /// Least time between two checkpoints; `None`: none are written.
    pub checkpoint_every: Option<Duration>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The final epoch is committed.
    Finished(Box<Summary>),
    /// Stopped by a signal, or at the end of `--bindings`.
    Stopped(Box<Summary>),
    /// A former run had finished already: its summary.
    AlreadyFinished(Box<Summary>),
    /// This process does not lead; the leading one has the summary.
    Followed,
}

/// What the leading worker takes when it builds the dataflow.
struct LeaderParts {
    recorded: Vec<ProgressRecord>,
    port: CommitPort,
    only_recorded: bool,
    feed: Option<Arc<Feed>>,
    checkpoints: Schedule,
    restored: Option<Restored>,
}

/// What may differ in a run that is not, or not only, that of `tidemill run`.
#[derive(Default)]
pub struct Circumstances {
    /// Epochs are cut as these say, and the run ends after them (S1.2).
    pub bindings: Option<Vec<ProgressRecord>>,
    /// Progress is kept in the state directory, whatever the pipeline reads: nothing is written to Kafka, and no other process is fenced.
    pub apart: bool,
    /// Records come from memory, on its schedule.
    pub feed: Option<Arc<Feed>>,
    /// Sees every epoch.
    pub observer: Option<Box<dyn EpochObserver>>,
    /// As if stopped by a signal after so long.
    pub at_most: Option<Duration>,
    /// Where components count their time.
    pub busy: BusyTimes,
}

/// Runs `plan` to its end, or until a signal.
pub fn run(plan: Plan, options: &RunOptions) -> Result<Outcome> {
    let bindings = options.bindings.as_deref().map(read_bindings).transpose()?;
    run_under(plan, options, Circumstances { bindings, ..Circumstances::default() })
}

/// Runs `plan` under special circumstances.
pub fn run_under(plan: Plan, options: &RunOptions, circumstances: Circumstances) -> Result<Outcome> {
    let Circumstances { bindings, apart, feed, observer, at_most, busy } = circumstances;
    let prepared = Prepared { busy, ..prepare(plan)? };
    if options.cluster.process > 0 {
        work(&prepared, options, None)?;
        return Ok(Outcome::Followed);
    }
    let folder = state_dir(&prepared.plan, options);
    let mut settings = commit_settings(&prepared, options)?;
    if apart {
        settings.kafka = None;
    }
    let inputs = settings.inputs.clone();
    let (mut committer, mut recovered) = Committer::open(settings)?;
    recovered.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if recovered.finished {
        if !recovered.touched.is_empty() {
            tracing::info!(files = recovered.touched.len(), "input files do not look as they did when the run began: reading them again");
            check_unchanged(&prepared.plan, &recovered.touched, &recovered.records)?;
            inputs.store(&folder)?;
        }
        if options.cluster.hosts.len() > 1 {
            // The other processes wait for this one; without a source they end at once.
            work(&prepared, options, None)?;
        }
        let summary = load_summary::<Summary>(&folder)?.unwrap_or_else(|| Summary::unknown(&prepared.plan.name));
        return Ok(Outcome::AlreadyFinished(Box::new(summary)));
    }
    let after = recovered.records.last().map(|record| record.epoch);
    if options.signals {
        signals::listen(prepared.stop.clone(), prepared.committed.clone(), !apart)?;
    }
    let (_running, ended) = crossbeam_channel::bounded::<()>(0);
    if let Some(at_most) = at_most {
        stop_after(at_most, ended, &prepared)?;
    }
    let Beginning { restored, schedule, checkpoints } =
        checkpoints::begin(&prepared.plan, &folder, options, &recovered, bindings.is_some())?;
    let mut before = Vec::new();
    if let Some(Restored { record, .. }) = &restored {
        let replayed = recovered.records.partition_point(|before| before.epoch <= record.epoch);
        before = recovered.records.drain(..replayed).collect();
        committer.begin_after(record.epoch);
        prepared.committed.advance(record.epoch);
    }
    let resumed = Resumed { from: before.last().map(|record| record.epoch), after };
    match resumed {
        Resumed { after: None, .. } => {}
        Resumed { after: Some(after), from: None } => {
            tracing::info!(epoch = after.0, "resuming: replaying the committed epochs with outputs suppressed");
        }
        Resumed { after: Some(after), from: Some(from) } => {
            let text = "resuming: going on from a checkpoint, replaying the epochs committed since with outputs suppressed";
            tracing::info!(epoch = after.0, checkpoint = from.0, "{text}");
        }
    }
    let (port, events) = crossbeam_channel::unbounded();
    let commit_loop = CommitLoop {
        committer,
        recorded: recovered.records.iter().map(|record| (record.epoch, record.clone())).collect(),
        committed: prepared.committed.clone(),
        fault: prepared.fault.clone(),
        line: ProgressLine::new(options.quiet, prepared.busy.clone()),
        guard: prepared.plan.max_quarantine.map(QuarantineGuard::new),
        observer,
        busy: prepared.busy.of("epochs", "commit"),
        checkpoints,
        before,
    };
    let committing = std::thread::Builder::new().name("commit".to_string()).spawn(move || commit_loop.run(&events)).map_err(no_thread)?;
    let only_recorded = bindings.is_some();
    let recorded = bindings.unwrap_or(recovered.records);
    let worked = work(&prepared, options, Some(LeaderParts { recorded, port, only_recorded, feed, checkpoints: schedule, restored }));
    let ended = committing.join().map_err(|_| Error::internal("the commit thread panicked"))?;
    worked?;
    let Some(Ended { figures, reports, sinks, finished }) = ended else {
        return Err(prepared.fault.get().unwrap_or_else(|| Error::internal("the run ended without an error and without a summary")));
    };
    for (name, bytes) in reports.iter().flat_map(|report| &report.files) {
        save(&folder.join(name), bytes)?;
    }
    let summary = Summary::new(&prepared, &folder, &figures, &reports, &sinks, resumed);
    if finished {
        store_summary(&folder, &summary)?;
        return Ok(Outcome::Finished(Box::new(summary)));
    }
    Ok(Outcome::Stopped(Box::new(summary)))
}

/// Runs this process's workers until the dataflow is done or a fault is raised.
fn work(prepared: &Prepared, options: &RunOptions, leader: Option<LeaderParts>) -> Result<()> {
    let cluster = &options.cluster;
    let (builders, others) = match (cluster.hosts.len(), cluster.workers, cluster.serialized) {
        (0 | 1, 1, false) => threads(CommunicationConfig::Thread),
        (0 | 1, workers, false) => threads(CommunicationConfig::Process(workers)),
        (0 | 1, workers, true) => threads(CommunicationConfig::ProcessBinary(workers)),
        _ => cluster::connect(cluster, &prepared.plan),
    }?;
    let leader = Arc::new(Mutex::new(leader));
    let (shared, total, threads) = (prepared.clone(), cluster.total(), cluster.workers);
    let guards = execute_from(builders, others, WorkerConfig::default(), move |worker| {
        let parts = if worker.index() == 0 { leader.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        let leader = parts.map(|parts| {
            let starts = match &parts.restored {
                None => Ok(first_positions(&shared.plan, &parts.recorded)),
                Some(restored) => restored.positions(&shared.plan),
            };
            let open: Box<dyn FnOnce(Waker) -> Result<Opened>> = match starts {
                Ok(starts) => opener(&shared, threads, starts, parts.feed),
                Err(error) => Box::new(move |_| Err(error)),
            };
            Leader {
                open,
                recorded: parts.recorded,
                port: parts.port,
                only_recorded: parts.only_recorded,
                checkpoints: parts.checkpoints,
                restored: parts.restored,
            }
        });
        worker.dataflow_named::<u64, _, _>(&shared.plan.name, |scope| render::build(scope, &shared, total, leader));
        while worker.has_dataflows() {
            if shared.fault.is_raised() {
                for dataflow in worker.installed_dataflows() {
                    worker.drop_dataflow(dataflow);
                }
                return;
            }
            worker.step_or_park(Some(Duration::from_millis(50)));
        }
    });
    let guards = guards.map_err(no_workers)?;
    let results = guards.join();
    if let Some(error) = prepared.fault.get() {
        return Err(error);
    }
    match results.into_iter().find_map(std::result::Result::err) {
        Some(cause) => Err(Error::internal(format!("a worker panicked: {cause}"))),
        None => Ok(()),
    }
}

/// Ends the run as a signal would, after `at_most`; sooner, and without effect, once the run has `ended`.
fn stop_after(at_most: Duration, ended: Receiver<()>, prepared: &Prepared) -> Result<()> {
    let (stop, committed) = (prepared.stop.clone(), prepared.committed.clone());
    let wait = move || {
        if ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout) {
            stop.store(true, Ordering::SeqCst);
            committed.advance(committed.get());
        }
    };
    std::thread::Builder::new().name("deadline".to_string()).spawn(wait).map(drop).map_err(no_thread)
}

pub(super) fn no_thread(error: std::io::Error) -> Error {
    Error::new(Exit::Limit, format!("a thread cannot be started: {error}"), "raise the limit on threads")
}

/// What the workers of the only process are built from.
fn threads(communication: CommunicationConfig) -> Result<Workers> {
    communication.try_build().map_err(no_workers)
}

fn no_workers(cause: String) -> Error {
    Error::new(Exit::Limit, format!("the workers cannot start: {cause}"), "raise the limit on threads")
}

/// Reads an export of progress records: one JSON object a line.
fn read_bindings(path: &Path) -> Result<Vec<ProgressRecord>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read the bindings", path, &error))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let records = lines.map(|(number, line)| {
        serde_json::from_str(line).map_err(|error| {
            let cause = format!("{} line {} is no progress record: {error}", path.display(), number + 1);
            Error::new(Exit::Data, cause, "give a file that `tidemill bindings FILE` wrote")
        })
    });
    records.collect()
}

/// Writes a file of the state directory, folder included.
fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    }
    std::fs::write(path, bytes).map_err(|error| Error::io("write", path, &error))
}
