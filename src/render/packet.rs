//! What travels between the operators of a pipeline. In-process everything big is behind an `Arc`; between processes it is re-encoded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Piece;
use crate::data::{Columns, FeatureRows, KeyColumn, Rejected};
use crate::drift::Statistic;
use crate::ids::SourceIndex;
use crate::sinks::Encoded;

/// One message of the dataflow.
#[derive(Clone, Serialize, Deserialize)]
pub enum Packet {
    /// The records of an epoch, to the worker that evaluates its streams.
    Epoch(Arc<EpochInput>),
    /// An epoch exists, to the committer, which finds its progress record beside the dataflow.
    Minted {
        /// It is the last one, with the watermark at infinity (S4.3).
        closing: bool,
    },
    /// Updates and probes of one view, to one owner of shards.
    View(Arc<ViewInput>),
    /// Feature rows for one reader of a view.
    Features(FeatureBlock),
    /// The records that updated a view, for a sink that reads its rows: an event batch of the view's stream after its `where`.
    ViewRows {
        /// Position of the sink.
        sink: usize,
        /// The records.
        rows: Columns,
    },
    /// The rows one model predicts, to its owner.
    Rows(Arc<ModelInput>),
    /// Predictions, labels and inputs of one model, to a monitor.
    Watched(Arc<Watched>),
    /// Rows for one sink, not yet through its expressions.
    Relation(RelationRows),
    /// Rows of a monitor, for one sink.
    Statistics {
        /// Position of the sink.
        sink: usize,
        /// The rows.
        rows: Vec<Statistic>,
    },
    /// Records for the quarantine, to the worker that has their bytes.
    Rejected(Vec<Rejected>),
    /// Records of one source that an expression failed on (S5.3), to the committer.
    Failed {
        /// The source.
        source: SourceIndex,
        /// How many.
        count: u64,
    },
    /// What a sink makes visible in this epoch.
    Encoded(SinkOutput),
    /// Figures for the progress line, to the committer.
    Pulse(Pulse),
    /// A component's part of the closing summary, as JSON, to the committer.
    Report(Report),
    /// State that a component goes on with, before anything else of its first epoch.
    Restore(Vec<Piece>),
    /// State of a component after this epoch, to the committer.
    State(Vec<Piece>),
}

impl Packet {
    /// Takes the state to go on with out of the parcels of an epoch.
    pub fn take_restored(parcels: &mut Vec<Packet>) -> Vec<Piece> {
        let mut restored = Vec::new();
        if parcels.iter().any(|parcel| matches!(parcel, Self::Restore(_))) {
            for parcel in std::mem::take(parcels) {
                match parcel {
                    Self::Restore(pieces) => restored.extend(pieces),
                    other => parcels.push(other),
                }
            }
        }
        restored
    }
}

/// The records of one epoch.
#[derive(Clone, Serialize, Deserialize)]
pub struct EpochInput {
    /// One event batch per source of the plan, in canonical order.
    pub sources: Vec<Columns>,
    /// The pipeline's watermark at the end of this epoch (S4.1).
    pub watermark: i64,
    /// No records, no commit: components hand in their part of the summary.
    pub closing: bool,
    /// Records the source could not use.
    pub rejected: Vec<Rejected>,
    /// Components hand in their state after this epoch.
    pub checkpoint: bool,
    /// State to go on with, in the first epoch after a checkpoint.
    pub restore: Vec<Piece>,
}

/// Updates and probes of one view for the shards of one worker.
#[derive(Clone, Serialize, Deserialize)]
pub struct ViewInput {
    /// Position of the view in the plan.
    pub view: usize,
    /// The pipeline's watermark at the end of the epoch (S4.1).
    pub watermark: i64,
    /// No records, no commit: components hand in their part of the summary.
    pub closing: bool,
    /// The state after this epoch is wanted.
    pub checkpoint: bool,
    /// The records that update the view.
    pub updates: UpdateSet,
    /// The records that only read it.
    pub probes: Vec<ProbeSet>,
}

/// Records in canonical order with what a view needs of each; `rows` are those of this worker.
#[derive(Clone, Serialize, Deserialize)]
pub struct UpdateSet {
    /// Event times, all rows.
    pub positions: Arc<Positions>,
    /// Entity keys, all rows.
    pub keys: Arc<KeyColumn>,
    /// Argument columns, then filter columns, all rows.
    pub columns: Columns,
    /// Rows for this worker, ascending.
    pub rows: Vec<u32>,
    /// Readers that want the feature row of each update as of itself (S8.4).
    pub own: Vec<OwnReader>,
}

/// A reader whose records are the updates themselves.
#[derive(Clone, Serialize, Deserialize)]
pub struct OwnReader {
    /// Who reads.
    pub reader: Reader,
    /// Update row → the reader's row, `u32::MAX` where it does not ask; `None`: the same row.
    pub row_of: Option<Arc<Vec<u32>>>,
}

/// Canonical positions of rows.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Positions {
    /// Event times, UTC microseconds.
    pub times: Vec<i64>,
    /// Partition indices.
    pub partitions: Vec<u32>,
    /// Offsets.
    pub offsets: Vec<u64>,
}

impl Positions {
    /// Those of `batch`.
    pub fn of(batch: &crate::data::EventBatch) -> Self {
        Self { times: batch.times().to_vec(), partitions: batch.partitions().to_vec(), offsets: batch.offsets().to_vec() }
    }

    /// The position of `row` among rows of the same source.
    #[inline]
    pub fn get(&self, row: usize) -> (i64, u32, u64) {
        (self.times[row], self.partitions[row], self.offsets[row])
    }
}

/// Records that read a view by a key of their own.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProbeSet {
    /// Who reads.
    pub reader: Reader,
    /// Positions, all rows.
    pub positions: Arc<Positions>,
    /// Keys, all rows.
    pub keys: Arc<KeyColumn>,
    /// Rows for this worker, ascending.
    pub rows: Vec<u32>,
    /// Whether the records are of the view's own stream, so that ties are broken by position; else updates at the same time come first (S8.4).
    pub own_stream: bool,
}

/// Who reads a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reader {
    /// A lookup of a model, by positions in the plan.
    Model {
        /// The model.
        model: usize,
        /// Its lookup.
        lookup: usize,
    },
    /// A sink that reads the rows of the view itself, by position in the plan.
    Sink(usize),
}

/// Feature rows of one view for one reader: `rows[i]` is the reader's row that `features` row `i` belongs to.
#[derive(Clone, Serialize, Deserialize)]
pub struct FeatureBlock {
    /// Position of the view.
    pub view: usize,
    /// Who asked.
    pub reader: Reader,
    /// The reader's rows.
    pub rows: Vec<u32>,
    /// Their features.
    pub features: FeatureRows,
}

/// What a model gets of one epoch beside features.
#[derive(Clone, Serialize, Deserialize)]
pub struct ModelInput {
    /// Position of the model.
    pub model: usize,
    /// The pipeline's watermark at the end of the epoch (S4.1).
    pub watermark: i64,
    /// No records, no commit: components hand in their part of the summary.
    pub closing: bool,
    /// The state after this epoch is wanted.
    pub checkpoint: bool,
    /// The rows to predict: an event batch of the model's stream after its `where`.
    pub rows: Columns,
    /// Identities of those rows; empty where no label stream needs them.
    pub keys: KeyColumn,
    /// Label of each row where it is a column; NaN = none.
    pub labels: Vec<f64>,
    /// Weight of each row; empty = all 1.
    pub weights: Vec<f64>,
    /// Records of the label stream.
    pub arrivals: Option<Arrivals>,
}

/// Labels that arrived in an epoch.
#[derive(Clone, Serialize, Deserialize)]
pub struct Arrivals {
    /// The label stream's event batch.
    pub rows: Columns,
    /// Identities of the records they label.
    pub keys: KeyColumn,
    /// Values; NaN = none.
    pub values: Vec<f64>,
}

/// What monitors see of one model in one epoch, in canonical order.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Position of the model.
    pub model: usize,
    /// The pipeline's watermark at the end of the epoch (S4.1).
    pub watermark: i64,
    /// No records, no commit: components hand in their part of the summary.
    pub closing: bool,
    /// The state after this epoch is wanted.
    pub checkpoint: bool,
    /// Event times of the predicted rows.
    pub times: Vec<i64>,
    /// Predictions (probability or value); NaN = none.
    pub predictions: Vec<f64>,
    /// Inputs, row-major.
    pub inputs: Vec<f64>,
    /// Validity of the inputs, `width.div_ceil(64)` words a row.
    pub valid: Vec<u64>,
    /// Inputs per row; 0 where no monitor watches them.
    pub width: usize,
    /// Identities of the predicted rows, one column, where the stream has a key.
    pub keys: Option<Columns>,
    /// Labels that resolved.
    pub resolved: Resolved,
}

/// Labels that met their predictions in an epoch, column by column, in the order they did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Resolved {
    /// Event time at the canonical position of the pair.
    pub times: Vec<i64>,
    /// The truth.
    pub labels: Vec<f64>,
    /// The prediction as emitted; NaN = none.
    pub predictions: Vec<f64>,
    /// The identities of the rows.
    pub keys: ResolvedKeys,
}

/// The identities of labelled rows; looked up only where an alarm names one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ResolvedKeys {
    /// Rows of [`Watched::keys`].
    Rows(Vec<u32>),
    /// As text.
    Texts(Vec<Box<str>>),
}

impl Resolved {
    /// Appends one, but for its key.
    #[inline]
    pub fn push(&mut self, time: i64, label: f64, prediction: f64) {
        self.times.push(time);
        self.labels.push(label);
        self.predictions.push(prediction);
    }
}

impl ResolvedKeys {
    /// Appends the identity of a row as text; all of an epoch are then text.
    pub fn push_text(&mut self, text: Box<str>) {
        match self {
            Self::Texts(texts) => texts.push(text),
            Self::Rows(_) => *self = Self::Texts(vec![text]),
        }
    }
}

impl Default for ResolvedKeys {
    fn default() -> Self {
        Self::Rows(Vec::new())
    }
}

/// Rows for one sink: exactly the columns its expressions use.
#[derive(Clone, Serialize, Deserialize)]
pub struct RelationRows {
    /// Position of the sink.
    pub sink: usize,
    /// Whether its `where` has been applied.
    pub filtered: bool,
    /// The used columns, in the order of `SinkPlan::used_columns`.
    pub columns: Columns,
    /// Event times of the rows, for Kafka timestamps.
    pub times: Vec<i64>,
}

/// A sink's share of an epoch.
#[derive(Clone, Serialize, Deserialize)]
pub struct SinkOutput {
    /// Position of the sink.
    pub sink: usize,
    /// What becomes visible.
    pub encoded: Encoded,
    /// NaN and infinities written as null (S13.3).
    pub non_finite: u64,
}

/// Figures of one model for the progress line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pulse {
    /// Component id.
    pub component: String,
    /// Running log loss or, for regression, running MAE; NaN before any label.
    pub loss: f64,
    /// Alarms so far.
    pub alarms: u64,
}

/// A component's part of the closing summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Component id.
    pub component: String,
    /// What kind of report `json` holds.
    pub json: String,
    /// Files to leave in the state directory, e.g. a saved model: relative path and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}
