//! The only commit point. Without Kafka an epoch is real once its record is fsynced in `progress.log`; with a Kafka source or sink, once the transaction
//! that carries its messages and its record is committed. Files are written and synced before that point and get their names after it.
//!
//! Several epochs handed over together share the fsyncs of files and log; Kafka still has one transaction per epoch. After any error the committer
//! refuses to go on: whether a write took place is for the next start to find out, which trusts nothing that no record names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    Expected, FileLog, Inputs, KafkaLog, KafkaSettings, LogEntry, ProgressRecord, SEMANTICS_VERSION, StartRecord, StateLock, check_chain,
    check_start, expectations, load_cluster, remove_summary, store_cluster,
};
use crate::checkpoint::Named;
use crate::error::{Error, Exit, Result};
use crate::ids::ComponentId;
use crate::sinks::{After, Digest, Encoded, SinkOutput, SinkSettings, Target, Writer, check_unclaimed, open_writer, shown};
use crate::time::Epoch;

/// What a committer is opened with.
#[derive(Clone, Debug)]
pub struct CommitSettings {
    /// `[pipeline] name`
    pub pipeline: String,
    /// State directory; created if missing.
    pub state_dir: PathBuf,
    /// Every sink.
    pub sinks: Vec<SinkSettings>,
    /// `[kafka]`, where a Kafka source or sink exists: then progress is kept in Kafka, else in the state directory.
    pub kafka: Option<KafkaSettings>,
    /// Topics of Kafka sources; like those of sinks they must exist.
    pub topics_read: Vec<String>,
    /// Start over and replace the outputs (`--fresh`). Messages already in topics stay there.
    pub fresh: bool,
    /// Of the whole plan (S1.3).
    pub fingerprint: String,
    /// Of its components.
    pub components: BTreeMap<String, String>,
    /// The files of file sources, looked at before any of them is read.
    pub inputs: Inputs,
    /// Device kind and instruction set of this process, where the plan has networks (S11.3).
    pub device: Option<String>,
}

/// What is found at start.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// All committed records, from epoch 1; every one of them must be replayed through [`Committer::verify`], or lie before
    /// [`Committer::begin_after`].
    pub records: Vec<ProgressRecord>,
    /// The last record is final: nothing is left to do.
    pub finished: bool,
    /// This process's generation; of a finished run the one that finished it.
    pub generation: u64,
    /// Source and path of each input file that does not look as it did when the run began.
    pub touched: Vec<(String, String)>,
    /// What the user should know, one line each.
    pub warnings: Vec<String>,
}

/// One complete epoch on its way to being committed or verified.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochOutputs {
    /// P(e) without outputs.
    pub record: ProgressRecord,
    /// What each sink has; sinks without rows may be left out.
    pub outputs: BTreeMap<ComponentId, Encoded>,
}

/// What a commit made visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The newest committed epoch.
    pub last: Epoch,
    /// Rows of all sinks in the epochs of this commit.
    pub rows: u64,
}

/// What a sink has written over the whole life of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkTotals {
    /// `sinks.NAME`
    pub id: ComponentId,
    /// Where.
    pub target: Target,
    /// Rows committed.
    pub rows: u64,
    /// Bytes of the files that are there under their final names; 0 for topics.
    pub bytes: u64,
    /// Closed Parquet parts.
    pub parts: u64,
}

struct Sink {
    settings: SinkSettings,
    writer: Option<Box<dyn Writer>>,
    /// Partitions of the topic that keys are spread over.
    partitions: u32,
    rows: u64,
    bytes: u64,
    parts: u64,
}

impl Sink {
    fn count(&mut self, output: &SinkOutput) {
        self.rows += output.rows;
        self.bytes = output.length.unwrap_or(self.bytes) + output.parts.iter().map(|part| part.bytes).sum::<u64>();
        self.parts += output.parts.len() as u64;
    }
}

enum Log {
    File(FileLog),
    Kafka(Box<KafkaLog>),
}

/// What a log holds, and whether it is this pipeline's own.
struct Found {
    log: Log,
    start: Option<StartRecord>,
    records: Vec<ProgressRecord>,
    warnings: Vec<String>,
}

/// Makes epochs real, one after another. Holds the lock on the state directory.
pub struct Committer {
    _lock: StateLock,
    sinks: Vec<Sink>,
    log: Log,
    start: StartRecord,
    device: Option<String>,
    /// A checkpoint that no record names yet.
    checkpoint: Option<Named>,
    /// How the input files look, where some look different than before: remembered once the replay has shown that what was read of them is still there.
    unverified: Option<(Inputs, PathBuf)>,
    /// Committed epochs that were not replayed yet.
    expected: BTreeMap<Epoch, Expected>,
    next: Epoch,
    finished: bool,
    failed: bool,
}

impl Committer {
    /// Recovers: reads the log, checks that it is this plan's, brings the files to what the records name, and begins a new generation.
    /// Exit 65 for state that cannot be used, 69/77 for Kafka out of reach, 74 for the file system, 75 if another process holds the state directory.
    pub fn open(settings: CommitSettings) -> Result<(Self, Recovered)> {
        check_distinct(&settings.sinks)?;
        let folder = &settings.state_dir;
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create the state directory", folder, &error))?;
        let lock = StateLock::take(folder)?;
        let sinks = settings.sinks.iter().map(|sink| (sink.id.to_string(), sink.target.describe())).collect();
        let mut start = StartRecord {
            pipeline: settings.pipeline.clone(),
            fingerprint: settings.fingerprint.clone(),
            semantics: SEMANTICS_VERSION,
            generation: 1,
            sinks,
            components: settings.components.clone(),
        };
        let Found { log, start: before, mut records, mut warnings } = match &settings.kafka {
            None => read_file_log(&settings, &start)?,
            Some(kafka) => read_kafka_log(&settings, kafka)?,
        };
        start.generation = before.as_ref().map_or(1, |before| before.generation + 1);
        let place = match &log {
            Log::File(_) => shown(folder),
            Log::Kafka(_) => super::progress_topic(&settings.pipeline),
        };
        let looked = if settings.fresh || records.is_empty() { None } else { Inputs::load(folder) };
        if let Some(looked) = &looked {
            settings.inputs.check_listed(looked, &place)?;
        }
        if let Some(before) = before.as_ref().filter(|_| !settings.fresh) {
            match check_start(before, &start, &place) {
                // Nothing came of the starts so far: a file that was corrected after its first error may begin.
                Err(_) if records.is_empty() => settings.sinks.iter().try_for_each(check_unclaimed)?,
                other => other?,
            }
        }
        let forget: Vec<Epoch> =
            if settings.fresh { std::mem::take(&mut records).iter().map(|record| record.epoch).collect() } else { Vec::new() };
        check_chain(&records).map_err(|reason| {
            Error::new(Exit::Data, format!("the progress records in {place} do not fit together: {reason}"), "start over with --fresh")
        })?;
        let finished = records.last().is_some_and(|record| record.last);
        if let (Log::Kafka(log), false) = (&log, finished) {
            let written = settings.sinks.iter().filter_map(|sink| match &sink.target {
                Target::Topic { topic } => Some(topic),
                Target::Lines { .. } | Target::Parquet { .. } => None,
            });
            log.check_present(settings.topics_read.iter().chain(written).map(String::as_str))?;
        }
        let mut committer = Self {
            _lock: lock,
            sinks: Vec::new(),
            log,
            device: settings.device.clone(),
            checkpoint: None,
            unverified: None,
            expected: expectations(&records),
            next: records.last().map_or(Epoch::FIRST, |record| record.epoch.next()),
            finished,
            failed: false,
            start,
        };
        let touched = settings.inputs.touched(looked.as_ref());
        if finished {
            committer.start.generation = before.map_or(1, |before| before.generation);
        } else {
            committer.begin(&settings, before.is_none(), &forget)?;
            if !records.is_empty() && !touched.is_empty() {
                committer.unverified = Some((settings.inputs.clone(), folder.clone()));
            } else if settings.inputs != Inputs::default() {
                settings.inputs.store(folder)?;
            }
        }
        committer.open_sinks(settings.sinks, &records, &mut warnings)?;
        let recovered = Recovered { records, finished, generation: committer.start.generation, touched, warnings };
        Ok((committer, recovered))
    }

    /// Writes the start of this generation: from here on the outputs are this pipeline's own.
    fn begin(&mut self, settings: &CommitSettings, first: bool, forget: &[Epoch]) -> Result<()> {
        if first || settings.fresh {
            remove_summary(&settings.state_dir)?;
        }
        match &mut self.log {
            // A new log was created with this record.
            Log::File(log) => {
                if !first && !settings.fresh {
                    log.append(&[LogEntry::Start(self.start.clone())])?;
                }
            }
            Log::Kafka(log) => {
                log.begin(&self.start, forget)?;
                store_cluster(&settings.state_dir, log.cluster_id(), self.start.generation)?;
            }
        }
        Ok(())
    }

    fn open_sinks(&mut self, sinks: Vec<SinkSettings>, records: &[ProgressRecord], warnings: &mut Vec<String>) -> Result<()> {
        for settings in sinks {
            let recorded: Vec<&SinkOutput> = records.iter().filter_map(|record| record.outputs.get(settings.id.as_str())).collect();
            let partitions = match (&settings.target, &self.log) {
                (Target::Topic { topic }, Log::Kafka(log)) if !self.finished => topic_partitions(log, topic, &recorded)?,
                (Target::Topic { .. }, Log::File(_)) => {
                    return Err(Error::internal(format!("{} is a topic, and there is no [kafka]", settings.id)));
                }
                _ => 0,
            };
            let writer = open_writer(&settings, &recorded, warnings)?;
            let mut sink = Sink { settings, writer, partitions, rows: 0, bytes: 0, parts: 0 };
            recorded.iter().for_each(|output| sink.count(output));
            self.sinks.push(sink);
        }
        Ok(())
    }

    /// Checks a replayed epoch against its record and writes nothing that is visible; epochs in order, all of them, before the first commit.
    /// Exit 65 if the input differs, 70 if a sink does.
    pub fn verify(&mut self, replayed: &EpochOutputs) -> Result<()> {
        self.usable()?;
        let result = self.verify_epoch(replayed);
        self.failed = result.is_err();
        result
    }

    fn verify_epoch(&mut self, replayed: &EpochOutputs) -> Result<()> {
        let epoch = replayed.record.epoch;
        let expected = match self.expected.pop_first() {
            Some((next, expected)) if next == epoch => expected,
            _ => return Err(Error::internal(format!("epoch {epoch} was replayed out of turn"))),
        };
        expected.check_bindings(&replayed.record)?;
        self.known(replayed)?;
        for sink in &mut self.sinks {
            let encoded = replayed.outputs.get(&sink.settings.id).filter(|encoded| !encoded.is_empty());
            let (rows, digest) = encoded.map_or(Ok((0, Digest::default())), |encoded| Ok((encoded.rows(), digest_of(sink, encoded)?)))?;
            // Bits of a network on another kind of device are not comparable (S11.3).
            if !(sink.settings.network && expected.device != self.device) {
                expected.check_output(epoch, sink.settings.id.as_str(), rows, digest)?;
            }
            if let (Some(encoded), Some(writer)) = (encoded, &mut sink.writer) {
                writer.replay(epoch, encoded)?;
            }
        }
        Ok(())
    }

    /// Makes the epochs of `group`, consecutive and next in turn, visible and durable. Order, for files: rows, fsync, records, fsync, names.
    /// Exit 74 for the file system; 65, 69, 71, 75, 76, 77 for Kafka. After an error only a new process may go on.
    pub fn commit(&mut self, group: Vec<EpochOutputs>) -> Result<Committed> {
        self.usable()?;
        if let Some(epoch) = self.expected.keys().next() {
            return Err(Error::internal(format!("epoch {epoch} is committed and was not replayed")));
        }
        if group.iter().rev().skip(1).any(|outputs| outputs.record.last) {
            return Err(Error::internal("epochs follow the final one"));
        }
        self.failed = true;
        let mut staged = Vec::with_capacity(group.len());
        let mut rows = 0;
        for outputs in group {
            let record = self.stage(&outputs)?;
            rows += record.outputs.values().map(|output| output.rows).sum::<u64>();
            staged.push((record, outputs.outputs));
        }
        self.sync()?;
        if let Some((inputs, folder)) = self.unverified.take() {
            inputs.store(&folder)?;
        }
        self.record(&staged)?;
        self.publish()?;
        for (record, _) in &staged {
            self.finished |= record.last;
            for sink in &mut self.sinks {
                if let Some(output) = record.outputs.get(sink.settings.id.as_str()) {
                    sink.count(output);
                }
            }
        }
        self.failed = false;
        Ok(Committed { last: Epoch(self.next.0 - 1), rows })
    }

    /// A checkpoint is in the store: the next record to be committed makes it real.
    pub fn name_checkpoint(&mut self, named: Named) {
        self.checkpoint = Some(named);
    }

    /// The run goes on from the checkpoint of `epoch`: what was committed up to there is not replayed.
    pub fn begin_after(&mut self, epoch: Epoch) {
        self.expected = self.expected.split_off(&epoch.next());
    }

    /// Commits the last epoch of a pipeline whose sources are exhausted (S4.3): its record is final, and open Parquet parts close with it.
    pub fn finish(&mut self, mut last: EpochOutputs) -> Result<Committed> {
        last.record.last = true;
        self.commit(vec![last])
    }

    /// What each sink has written so far, in the order of the settings.
    pub fn totals(&self) -> Vec<SinkTotals> {
        let totals = self.sinks.iter().map(|sink| SinkTotals {
            id: sink.settings.id.clone(),
            target: sink.settings.target.clone(),
            rows: sink.rows,
            bytes: sink.bytes,
            parts: sink.parts,
        });
        totals.collect()
    }

    /// The epoch that the next commit begins with.
    pub fn next(&self) -> Epoch {
        self.next
    }

    /// Whether the final epoch is committed.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("the committer was used after it had failed"));
        }
        if self.finished && self.expected.is_empty() {
            return Err(Error::internal("the run is finished, and another epoch came"));
        }
        Ok(())
    }

    /// Refuses outputs of sinks that are not in the settings.
    fn known(&self, outputs: &EpochOutputs) -> Result<()> {
        match outputs.outputs.keys().find(|id| self.sinks.iter().all(|sink| sink.settings.id != **id)) {
            Some(id) => Err(Error::internal(format!("epoch {} has rows for {id}, which is no sink", outputs.record.epoch))),
            None => Ok(()),
        }
    }

    /// Writes the rows of one epoch to its files and completes the record.
    pub(super) fn stage(&mut self, outputs: &EpochOutputs) -> Result<ProgressRecord> {
        let mut record = outputs.record.clone();
        if record.epoch != self.next {
            return Err(Error::internal(format!("epoch {} was to be committed where {} is next", record.epoch, self.next)));
        }
        self.known(outputs)?;
        record.pipeline.clone_from(&self.start.pipeline);
        record.fingerprint.clone_from(&self.start.fingerprint);
        record.semantics = self.start.semantics;
        record.generation = self.start.generation;
        record.device.clone_from(&self.device);
        record.newest_checkpoint = self.checkpoint.take();
        let after = match (record.last, record.checkpoint) {
            (true, _) => After::Nothing,
            (false, true) => After::Checkpoint,
            (false, false) => After::Epochs,
        };
        for sink in &mut self.sinks {
            let encoded = outputs.outputs.get(&sink.settings.id).filter(|encoded| !encoded.is_empty());
            let mut output = SinkOutput::default();
            if let Some(encoded) = encoded {
                output.rows = encoded.rows();
                output.xxh3 = digest_of(sink, encoded)?;
            }
            match (&mut sink.writer, encoded) {
                (Some(writer), Some(encoded)) => writer.stage(record.epoch, encoded, after, &mut output)?,
                (Some(writer), None) if after != After::Epochs => {
                    writer.stage(record.epoch, &nothing(&sink.settings.target), after, &mut output)?;
                }
                (None, Some(Encoded::Messages(_))) => output.partitions = Some(sink.partitions),
                (None, Some(_)) => return Err(Error::internal(format!("rows for {} are not encoded as messages", sink.settings.id))),
                (_, None) => {}
            }
            if output.rows > 0 || !output.parts.is_empty() {
                record.outputs.insert(sink.settings.id.to_string(), output);
            }
        }
        self.next = self.next.next();
        Ok(record)
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.sinks.iter_mut().filter_map(|sink| sink.writer.as_mut()).try_for_each(|writer| writer.sync())
    }

    /// The commit point.
    pub(super) fn record(&mut self, staged: &[(ProgressRecord, BTreeMap<ComponentId, Encoded>)]) -> Result<()> {
        match &mut self.log {
            Log::File(log) => {
                let entries: Vec<LogEntry> = staged.iter().map(|(record, _)| LogEntry::Epoch(Box::new(record.clone()))).collect();
                log.append(&entries)
            }
            Log::Kafka(log) => staged.iter().try_for_each(|(record, outputs)| {
                let messages = self.sinks.iter().filter_map(|sink| match (&sink.settings.target, outputs.get(&sink.settings.id)) {
                    (Target::Topic { topic }, Some(Encoded::Messages(messages))) => Some((topic.as_str(), sink.partitions, messages)),
                    _ => None,
                });
                log.commit(record, &messages.collect::<Vec<_>>())
            }),
        }
    }

    pub(super) fn publish(&mut self) -> Result<()> {
        self.sinks.iter_mut().filter_map(|sink| sink.writer.as_mut()).try_for_each(|writer| writer.publish())
    }
}

/// Two sinks in one file would truncate and delete each other's rows.
fn check_distinct(sinks: &[SinkSettings]) -> Result<()> {
    let mut places = BTreeMap::new();
    for sink in sinks {
        let (Target::Lines { path } | Target::Parquet { path, .. }) = &sink.target else { continue };
        let place = shown(path);
        if let Some(other) = places.insert(place.clone(), &sink.id).filter(|_| !place.starts_with("/dev/")) {
            return Err(Error::new(
                Exit::Config,
                format!("{other} and {} both write to {place}", sink.id),
                "give each sink a path of its own",
            ));
        }
    }
    Ok(())
}

fn digest_of(sink: &Sink, encoded: &Encoded) -> Result<Digest> {
    encoded.digest().map_err(|reason| Error::internal(format!("rows of {} have no digest: {reason}", sink.settings.id)))
}

/// No rows, in the form that a target takes.
fn nothing(target: &Target) -> Encoded {
    match target {
        Target::Lines { .. } => Encoded::Lines { bytes: Vec::new(), ends: Vec::new() },
        Target::Parquet { .. } => Encoded::Rows(Vec::new()),
        Target::Topic { .. } => Encoded::Messages(Default::default()),
    }
}

/// The partitions to spread keys over: as many as recorded, so that a key stays where it is; exit 65 if the topic has fewer now.
fn topic_partitions(log: &KafkaLog, topic: &str, recorded: &[&SinkOutput]) -> Result<u32> {
    let now = log.partitions(topic)?;
    match recorded.iter().find_map(|output| output.partitions) {
        Some(then) if now < then => Err(Error::new(
            Exit::Data,
            format!("the topic {topic} has {now} partitions, and {then} when this pipeline began to write to it"),
            "it was deleted and created again: give the sink another topic, or start over with --fresh",
        )),
        Some(then) => Ok(then),
        None => Ok(now),
    }
}

fn read_file_log(settings: &CommitSettings, start: &StartRecord) -> Result<Found> {
    let path = settings.state_dir.join(super::file_log::FILE);
    let found = if settings.fresh { None } else { FileLog::open(&path)? };
    let Some((log, entries, warning)) = found else {
        if !settings.fresh {
            settings.sinks.iter().try_for_each(check_unclaimed)?;
        }
        remove_summary(&settings.state_dir)?;
        let log = Log::File(FileLog::create(&path, start)?);
        return Ok(Found { log, start: None, records: Vec::new(), warnings: Vec::new() });
    };
    let (mut before, mut records) = (None, Vec::new());
    for entry in entries {
        match entry {
            LogEntry::Start(start) => before = Some(start),
            LogEntry::Epoch(record) => records.push(*record),
        }
    }
    if before.is_none() {
        return Err(Error::new(Exit::Data, format!("{} does not begin with a start", shown(&path)), "start over with --fresh"));
    }
    Ok(Found { log: Log::File(log), start: before, records, warnings: warning.into_iter().collect() })
}

fn read_kafka_log(settings: &CommitSettings, kafka: &KafkaSettings) -> Result<Found> {
    let (log, read) = KafkaLog::open(kafka, &settings.pipeline)?;
    let generation = read.start.as_ref().map_or(0, |start| start.generation);
    // What this machine has seen of the same cluster must still be there: else the topic was deleted, and outputs would be written twice.
    let seen = load_cluster(&settings.state_dir)?.filter(|(cluster, _)| log.cluster_id().as_ref() == Some(cluster));
    if let Some((_, seen)) = seen.filter(|(_, seen)| *seen > generation && !settings.fresh) {
        return Err(Error::new(
            Exit::Data,
            format!(
                "the progress topic {} has lost records: generation {seen} ran here, and the topic knows {generation}",
                super::progress_topic(&settings.pipeline)
            ),
            "restore the topic; or start over with --fresh, which writes all outputs a second time",
        ));
    }
    if read.start.is_none() && !settings.fresh {
        settings.sinks.iter().try_for_each(check_unclaimed)?;
    }
    Ok(Found { log: Log::Kafka(Box::new(log)), start: read.start, records: read.records, warnings: Vec::new() })
}
