//! What a run has to say at its end, as data: printed, stored for a second `run` of a finished pipeline, and given as JSON.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metrics;
use crate::plan::SinkKindPlan;
use crate::progress::SinkTotals;
use crate::render::{Prepared, Report};
use crate::sinks::Target;
use crate::telemetry::Figures;
use crate::time::{Epoch, EventTime, Micros, WorkTime};

/// The closing summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// `[pipeline] name`
    pub pipeline: String,
    /// Epochs committed, former runs included.
    pub epochs: u64,
    /// The epoch this run went on after, if it resumed.
    pub resumed_after: Option<u64>,
    /// The epoch whose checkpoint it went on from, if it did; else it replayed all.
    #[serde(default)]
    pub resumed_from: Option<u64>,
    /// Greatest event time.
    pub event_time: Option<EventTime>,
    /// Records: in = used + late + quarantined.
    pub rows: Rows,
    /// By model.
    pub models: Vec<ModelPart>,
    /// By monitor.
    pub monitors: Vec<MonitorPart>,
    /// By view.
    pub views: Vec<ViewPart>,
    /// Speed of this run.
    pub speed: Speed,
    /// What was written.
    pub outputs: Vec<Output>,
}

/// Records of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// Read.
    pub read: u64,
    /// Used.
    pub used: u64,
    /// Late.
    pub late: u64,
    /// Quarantined for another reason.
    pub quarantined: u64,
    /// The same by reason, late included.
    pub reasons: BTreeMap<String, u64>,
    /// NaN and infinities written as null.
    pub non_finite: u64,
}

/// Labels of one model (S10.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Met their row.
    pub matched: u64,
    /// Rows whose label did not come in time.
    pub expired: u64,
    /// Rows still waiting.
    pub waiting: u64,
    /// Labels after the first.
    pub duplicate: u64,
    /// Labels without a row.
    pub orphan: u64,
    /// Labels outside the window of their row.
    pub out_of_window: u64,
    /// Rows whose identity was taken.
    pub repeated: u64,
    /// Median of label time less row time.
    pub median_delay: Option<Micros>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelPart {
    /// `models.NAME`
    pub component: String,
    /// Rows asked.
    pub rows_predicted: u64,
    /// Of those, rows without an answer.
    pub rows_unanswered: u64,
    /// Labels, where they come from another stream.
    pub labels: Option<Labels>,
    /// The comparison with the baselines.
    pub metrics: metrics::Summary,
    /// What was learned; `Null` for networks.
    pub learner: Learner,
    /// Identity of a row that `explain` can be asked about.
    pub example: Option<String>,
}

/// What a learner has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learner {
    /// Kind of the model.
    #[serde(default)]
    pub kind: String,
    /// Rows learned.
    #[serde(default)]
    pub learned_rows: u64,
    /// Labelled rows not learned.
    #[serde(default)]
    pub learn_skipped: u64,
    /// Inputs and weights, in byte order of inputs.
    #[serde(default)]
    pub weights: Vec<(String, f64)>,
    /// Whether weights are per standard deviation.
    #[serde(default)]
    pub scaled: bool,
    /// Folder of the saved model in the state directory.
    #[serde(default)]
    pub saved: String,
}

/// One monitor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MonitorPart {
    /// `monitors.NAME`
    pub component: String,
    /// Alarms raised.
    pub alarms: u64,
    /// Rises of the error.
    pub rises: u64,
    /// The first of them.
    pub first: Vec<crate::drift::Rise>,
}

/// One view, all workers together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ViewPart {
    /// `features.NAME`
    pub component: String,
    /// Keys held.
    pub keys: u64,
    /// Records retained.
    pub records: u64,
    /// Keys that expired or were evicted.
    pub evicted_keys: u64,
    /// State in bytes.
    pub bytes: u64,
}

/// Speed of this run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Records per second.
    pub rows_per_second: f64,
    /// Seconds from start to end.
    pub seconds: f64,
    /// Median time between commits, per epoch, microseconds.
    pub epoch_p50: u64,
    /// 99th percentile of the same.
    pub epoch_p99: u64,
    /// What the components of the leading process took, the longest first.
    #[serde(default)]
    pub work: Vec<WorkTime>,
}

/// Where a run went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The last epoch that former runs committed.
    pub after: Option<Epoch>,
    /// The epoch whose checkpoint it went on from.
    pub from: Option<Epoch>,
}

/// What one sink holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// `sinks.NAME`
    pub component: String,
    /// `file`, `parquet` or `kafka`.
    pub kind: String,
    /// Path or topic.
    pub place: String,
    /// Rows.
    pub rows: u64,
    /// Bytes (files).
    pub bytes: u64,
    /// Parts (Parquet).
    pub parts: u64,
}

impl Summary {
    /// The summary of a run that has just ended.
    pub fn new(prepared: &Prepared, folder: &Path, figures: &Figures, reports: &[Report], sinks: &[SinkTotals], resumed: Resumed) -> Self {
        let mut summary = Self::unknown(&prepared.plan.name);
        summary.epochs = figures.epoch.0;
        summary.resumed_after = resumed.after.map(|epoch| epoch.0);
        summary.resumed_from = resumed.from.map(|epoch| epoch.0);
        summary.event_time = Some(figures.event_time).filter(|time| *time != EventTime::MIN);
        summary.rows = Rows {
            read: figures.rows_in,
            used: figures.rows_used,
            late: figures.late(),
            quarantined: figures.quarantined_not_late(),
            reasons: figures.quarantined.iter().map(|(reason, count)| (reason.as_str().to_string(), *count)).collect(),
            non_finite: figures.non_finite,
        };
        summary.speed = Speed {
            rows_per_second: figures.rate(),
            seconds: figures.elapsed().as_secs_f64(),
            epoch_p50: figures.epochs.value_at_quantile(0.5),
            epoch_p99: figures.epochs.value_at_quantile(0.99),
            work: prepared.busy.so_far(),
        };
        for report in reports {
            summary.add(report, folder);
        }
        summary.outputs = sinks.iter().filter(|sink| !(sink.id.name() == "quarantine" && sink.rows == 0)).map(output).collect();
        debug_assert!(prepared.plan.sinks.iter().all(|sink| !matches!(&sink.kind, SinkKindPlan::File { path } if path.is_empty())));
        summary
    }

    /// For a program, one line.
    pub fn json(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// A summary without figures.
    pub fn unknown(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_string(),
            epochs: 0,
            resumed_after: None,
            resumed_from: None,
            event_time: None,
            rows: Rows::default(),
            models: Vec::new(),
            monitors: Vec::new(),
            views: Vec::new(),
            speed: Speed::default(),
            outputs: Vec::new(),
        }
    }

    /// Adds a component's part.
    fn add(&mut self, report: &Report, folder: &Path) {
        let Ok(mut json) = serde_json::from_str::<Value>(&report.json) else { return };
        let Some(fields) = json.as_object_mut() else { return };
        fields.insert("component".to_string(), Value::String(report.component.clone()));
        if report.component.starts_with("models.") {
            if let Ok(mut part) = serde_json::from_value::<ModelPart>(json) {
                if !part.learner.saved.is_empty() {
                    part.learner.saved = folder.join(&part.learner.saved).display().to_string();
                }
                self.models.push(part);
            }
        } else if report.component.starts_with("monitors.") {
            self.monitors.extend(serde_json::from_value::<MonitorPart>(json).ok());
        } else if let Ok(part) = serde_json::from_value::<ViewPart>(json) {
            match self.views.iter_mut().find(|view| view.component == part.component) {
                Some(view) => {
                    view.keys += part.keys;
                    view.records += part.records;
                    view.evicted_keys += part.evicted_keys;
                    view.bytes += part.bytes;
                }
                None => self.views.push(part),
            }
        }
    }
}

fn output(sink: &SinkTotals) -> Output {
    let (kind, place) = match &sink.target {
        Target::Lines { path } => ("file", path.display().to_string()),
        Target::Parquet { path, .. } => ("parquet", path.display().to_string()),
        Target::Topic { topic } => ("kafka", topic.clone()),
    };
    Output { component: sink.id.to_string(), kind: kind.to_string(), place, rows: sink.rows, bytes: sink.bytes, parts: sink.parts }
}
