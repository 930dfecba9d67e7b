//! `tidemill bench`: a pipeline as it is, measured. It reads the user's sources and writes nowhere that the user looks: progress, models and outputs go
//! to a folder that is removed at the end, and a Kafka sink becomes an NDJSON file there.
//!
//! With a rate every source becomes live: its records are read into memory first, then given out on a schedule. Without one the pipeline runs as
//! `tidemill run` does.

mod meter;
mod report;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meter::{Expected, Measured, Meter};
pub use report::BenchReport;
use report::{Latency, Quantiles, WarmUp};

use super::capture::Scratch;
use super::run::{Circumstances, Cluster, Outcome, RunOptions, run_under};
use super::summary::Summary;
use crate::config::declaration::KafkaStart;
use crate::error::{Error, Exit, Result};
use crate::plan::{Plan, SinkKindPlan, SourceKindPlan};
use crate::sources::Feed;
use crate::telemetry::{CpuTime, peak_memory};
use crate::time::{BusyTimes, work_between};

/// How long records are measured where nothing else ends it.
const SECONDS: f64 = 10.0;
/// The warm-up before: this part of the time measured, but not longer than so many seconds.
const WARM_UP: (f64, f64) = (0.2, 2.0);
/// Most records of a schedule.
const MOST_RECORDS: f64 = u32::MAX as f64;

/// What is asked of a bench.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Records a second, all sources together; `None`: as fast as they are taken.
    pub rate: Option<f64>,
    /// For how long.
    pub seconds: Option<f64>,
    /// Worker threads.
    pub workers: usize,
    /// No progress.
    pub quiet: bool,
}

/// Measures `plan`.
pub fn bench(plan: Plan, options: &BenchOptions) -> Result<BenchReport> {
    for (name, value) in [("--rate", options.rate), ("--seconds", options.seconds)] {
        if value.is_some_and(|value| !(value.is_finite() && value > 0.0)) {
            return Err(Error::new(Exit::Usage, format!("{name} must be a number above 0"), "for instance --rate 10000 --seconds 10"));
        }
    }
    // Whatever is wrong with the number of workers is said before anything is read.
    let cluster = Cluster::new(options.workers, 1, 0, Vec::new(), false)?;
    let scratch = Scratch::new("bench")?;
    let plan = elsewhere(plan, &scratch);
    let run = RunOptions {
        cluster,
        state_dir: Some(scratch.path().join("state")),
        fresh: true,
        bindings: None,
        quiet: options.quiet,
        checkpoint_every: Some(super::CHECKPOINT_EVERY),
        signals: true,
    };
    match options.rate {
        Some(rate) => paced(plan, &run, rate, options.seconds.unwrap_or(SECONDS)),
        None => flat_out(plan, &run, options.seconds),
    }
}

/// The plan with every output in the scratch folder, and without a pace of its own.
fn elsewhere(mut plan: Plan, scratch: &Scratch) -> Plan {
    for sink in &mut plan.sinks {
        let place = |extension: &str| scratch.path().join(format!("{}{extension}", sink.id.name())).display().to_string();
        match &mut sink.kind {
            SinkKindPlan::File { path } => *path = place(".ndjson"),
            SinkKindPlan::Parquet { path, .. } => *path = place(if path.ends_with(".parquet") { ".parquet" } else { "" }),
            SinkKindPlan::Kafka { .. } => sink.kind = SinkKindPlan::File { path: place(".ndjson") },
        }
    }
    for source in &mut plan.sources {
        match &mut source.kind {
            SourceKindPlan::Generator { rate, .. } => *rate = None,
            SourceKindPlan::Kafka { start, .. } => *start = KafkaStart::Earliest,
            SourceKindPlan::File { .. } => {}
        }
    }
    plan
}

/// The pipeline as it runs by itself, to the end of its input or for so many seconds.
fn flat_out(plan: Plan, run: &RunOptions, seconds: Option<f64>) -> Result<BenchReport> {
    let at_most = seconds.or_else(|| (!plan.is_bounded()).then_some(SECONDS)).map(Duration::from_secs_f64);
    let before = CpuTime::so_far();
    let summary = summary_of(run_under(plan, run, Circumstances { apart: true, at_most, ..Circumstances::default() })?)?;
    let records = summary.rows.read;
    Ok(BenchReport {
        pipeline: summary.pipeline.clone(),
        workers: run.cluster.workers,
        rate: None,
        records,
        seconds: summary.speed.seconds,
        records_per_second: summary.speed.rows_per_second,
        latency: None,
        warm_up: None,
        epochs: BenchReport::epochs(summary.epochs, &summary),
        rows: summary.rows.clone(),
        cpu: CpuTime::so_far().zip(before).map(|(after, before)| BenchReport::cpu(after.since(before), records)),
        peak_memory_bytes: peak_memory(),
        fed_bytes: 0,
        work: BenchReport::work(summary.speed.work.clone(), records),
        outputs: summary.outputs,
    })
}

/// The pipeline with its records given out at `rate`, measured for `seconds`.
fn paced(plan: Plan, run: &RunOptions, rate: f64, seconds: f64) -> Result<BenchReport> {
    let warm_up = (rate * (seconds * WARM_UP.0).min(WARM_UP.1)).round();
    let records = warm_up + (rate * seconds).round().max(1.0);
    if records > MOST_RECORDS {
        let cause = format!("{records:.0} records are more than fit into memory");
        return Err(Error::new(Exit::Usage, cause, "give a lower --rate or fewer --seconds"));
    }
    let (warm_up, records) = (warm_up as u32, records as u32);
    let feed = Arc::new(Feed::load(&plan.sources, plan.kafka.as_ref(), rate, records)?);
    let mut expected = Expected::new();
    for (source, partitions) in feed.numbers() {
        let name = plan.sources[usize::from(source.0)].id.name().to_string();
        expected.insert(name, partitions.into_iter().map(|(partition, numbers)| (partition, numbers.into())).collect::<BTreeMap<_, _>>());
    }
    let busy = BusyTimes::default();
    let (meter, measured) = Meter::new(feed.schedule().clone(), busy.clone(), expected, warm_up)?;
    let circumstances = Circumstances {
        apart: true,
        feed: Some(feed.clone()),
        observer: Some(Box::new(meter)),
        busy: busy.clone(),
        ..Circumstances::default()
    };
    let summary = summary_of(run_under(plan, run, circumstances)?)?;
    let after = (CpuTime::so_far(), busy.so_far());
    Ok(measured_report(run, rate, &feed, &measured, &summary, after))
}

fn measured_report(
    run: &RunOptions,
    rate: f64,
    feed: &Feed,
    measured: &Mutex<Measured>,
    summary: &Summary,
    (cpu, work): (Option<CpuTime>, Vec<crate::time::WorkTime>),
) -> BenchReport {
    let measured = measured.lock().unwrap_or_else(PoisonError::into_inner);
    let (records, seconds) = (measured.to_outputs.len(), measured.seconds());
    let (cpu_before, work_before) = measured.begin.clone().map_or((None, Vec::new()), |begin| (begin.cpu, begin.work));
    let quantiles = Quantiles::of(&measured.to_outputs).zip(Quantiles::of(&measured.to_commit));
    let warm_up = |to_outputs| WarmUp { records: measured.warm_up.len(), to_outputs };
    BenchReport {
        pipeline: summary.pipeline.clone(),
        workers: run.cluster.workers,
        rate: Some(rate),
        records,
        seconds,
        records_per_second: if seconds > 0.0 { records as f64 / seconds } else { 0.0 },
        latency: quantiles.map(|(to_outputs, to_commit)| Latency { to_outputs, to_commit }),
        warm_up: Quantiles::of(&measured.warm_up).map(warm_up),
        epochs: BenchReport::epochs(measured.epochs, summary),
        rows: summary.rows.clone(),
        cpu: cpu.zip(cpu_before).map(|(after, before)| BenchReport::cpu(after.since(before), records)),
        peak_memory_bytes: peak_memory(),
        fed_bytes: feed.bytes(),
        work: BenchReport::work(work_between(&work_before, &work), records),
        outputs: summary.outputs.clone(),
    }
}

fn summary_of(outcome: Outcome) -> Result<Box<Summary>> {
    match outcome {
        Outcome::Finished(summary) | Outcome::Stopped(summary) | Outcome::AlreadyFinished(summary) => Ok(summary),
        Outcome::Followed => Err(Error::internal("a bench is one process, and it followed another")),
    }
}
