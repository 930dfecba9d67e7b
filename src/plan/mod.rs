//! The plan: a pipeline file resolved into data. Schemas, types, order, ids and fingerprints are settled here, so that nothing unknown reaches a
//! running dataflow; `render` turns a plan into the dataflow with one match.
//!
//! Everything is indexed: `StreamIndex`, `TableIndex`, `ViewIndex` and `ModelIndex` are positions in the plan's vectors, which are in topological
//! order with ties by name, so equal files give equal plans whatever the order of their tables.

mod check;
pub mod codes;
mod dot;
mod explain;
pub mod files;
mod fingerprint;
mod json;
mod leakage;
pub mod lineage;
#[cfg(test)]
mod memory;
mod resolve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::config::declaration::{self, EpochPolicy, Format, KafkaStart, MonitorWindow, Optimizer};
use crate::data::{CellType, DeclaredSchema};
use crate::expressions::Expression;
use crate::features::ViewSpec;
use crate::ids::{ComponentId, SourceIndex};
use crate::time::Micros;

pub use crate::models::InputNulls;
pub use check::{check_parsed, check_text};
pub use dot::dot;
pub use explain::{explain, headline};
pub use files::{Files, GeneratorShape};
pub use json::json;
pub use resolve::{STATE_FOLDER, capture, relation_of, resolve};

/// Position in `Plan::streams`.
pub type StreamIndex = usize;
/// Position in `Plan::tables`.
pub type TableIndex = usize;
/// Position in `Plan::views`.
pub type ViewIndex = usize;
/// Position in `Plan::models`.
pub type ModelIndex = usize;

/// A resolved pipeline.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `[pipeline] name`
    pub name: String,
    /// How epochs are cut.
    pub epoch: EpochPolicy,
    /// Number of key groups.
    pub shards: u32,
    /// `max_quarantine` (S5.4).
    pub max_quarantine: Option<f64>,
    /// Kafka connection, where a Kafka source or sink exists.
    pub kafka: Option<KafkaPlan>,
    /// Sources in byte order of their names; `SourceIndex` is the position.
    pub sources: Vec<SourcePlan>,
    /// Tables in byte order of their names.
    pub tables: Vec<TablePlan>,
    /// Streams in topological order: first one per source, at the source's index, then the declared ones.
    pub streams: Vec<StreamPlan>,
    /// Views in byte order of their names.
    pub views: Vec<ViewPlan>,
    /// Models in byte order of their names.
    pub models: Vec<ModelPlan>,
    /// Monitors in byte order of their names.
    pub monitors: Vec<MonitorPlan>,
    /// Sinks in byte order of their names; a declared quarantine sink is among them, else the default one of S5.4 is added, so one always reads `quarantine`.
    pub sinks: Vec<SinkPlan>,
    /// `[[tests]]` as declared.
    pub tests: Vec<declaration::Test>,
    /// Digests (S1.3).
    pub fingerprint: Fingerprint,
}

impl Plan {
    /// Whether every source is bounded (S2.2).
    pub fn is_bounded(&self) -> bool {
        self.sources.iter().all(SourcePlan::is_bounded)
    }
}

/// Digests over the resolved plan (S1.3), hexadecimal sha256.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the whole plan.
    pub whole: String,
    /// Of each component, in byte order of ids.
    pub components: Vec<(ComponentId, String)>,
}

/// `[kafka]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaPlan {
    /// Bootstrap brokers.
    pub brokers: String,
    /// Other librdkafka properties.
    pub options: Vec<(String, String)>,
}

/// A source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    /// `sources.NAME`
    pub id: ComponentId,
    /// Its position.
    pub index: SourceIndex,
    /// Kind and options.
    pub kind: SourceKindPlan,
    /// The declared (or read) schema; the batches of the source have these columns.
    pub schema: DeclaredSchema,
    /// Index of the event-time column; `None`: the Kafka record's timestamp.
    pub event_time: Option<usize>,
    /// S4.1
    pub lateness: Micros,
    /// S4.2
    pub ahead: Micros,
    /// Index of the identity column.
    pub key: Option<usize>,
    /// S2.5
    pub dedup: Option<Micros>,
    /// S5.2
    pub max_record: usize,
}

impl SourcePlan {
    /// S2.2
    pub fn is_bounded(&self) -> bool {
        match &self.kind {
            SourceKindPlan::File { .. } => true,
            SourceKindPlan::Generator { rows, .. } => rows.is_some(),
            SourceKindPlan::Kafka { .. } => false,
        }
    }
}

/// Kinds of sources, resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKindPlan {
    /// Files; partition = path, read one after another in byte order (S2.3).
    File {
        /// The expanded paths, sorted.
        paths: Vec<String>,
        /// Their format.
        format: Format,
    },
    /// A seeded generator; one partition.
    Generator {
        /// Name in the registry.
        generator: String,
        /// Seed.
        seed: u64,
        /// Bounded at.
        rows: Option<u64>,
        /// Records per second.
        rate: Option<f64>,
    },
    /// A Kafka topic; partitions by number.
    Kafka {
        /// Topic.
        topic: String,
        /// First start.
        start: KafkaStart,
        /// See the declaration.
        idle_timeout: Micros,
    },
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct TablePlan {
    /// `tables.NAME`
    pub id: ComponentId,
    /// File.
    pub path: String,
    /// Format.
    pub format: Format,
    /// Columns.
    pub schema: DeclaredSchema,
    /// Index of the key column.
    pub key: usize,
    /// Index of the event-time column.
    pub event_time: Option<usize>,
    /// sha256 of the file (S1.1).
    pub digest: String,
}

/// A stream: a source as it is, or a declared stream.
#[derive(Clone, Debug)]
pub struct StreamPlan {
    /// `sources.NAME` or `streams.NAME`
    pub id: ComponentId,
    /// The source its records come from.
    pub source: SourceIndex,
    /// The stream it reads; `None` for a source's own.
    pub upstream: Option<StreamIndex>,
    /// Lookups, evaluated first, in order; each appends the table's columns as `table.column`.
    pub joins: Vec<JoinPlan>,
    /// Then the filter, over upstream and joined columns.
    pub filter: Option<Expression>,
    /// Then the derived columns, over upstream and joined columns, appended in byte order of their names.
    pub derive: Vec<(String, Expression)>,
    /// User columns: upstream's, joined, derived. Batches carry the hidden columns behind them.
    pub schema: SchemaRef,
    /// Index of the identity column in `schema`.
    pub key: Option<usize>,
    /// Index of the event-time column in `schema`; `None` where it is the Kafka timestamp.
    pub event_time: Option<usize>,
}

/// One lookup of a stream in a table.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// The table.
    pub table: TableIndex,
    /// The key looked up, over the columns so far; of the table's key type.
    pub key: Expression,
}

/// A view.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// `features.NAME`
    pub id: ComponentId,
    /// The stream that updates it.
    pub stream: StreamIndex,
    /// Which of its records do; over the stream's columns.
    pub filter: Option<Expression>,
    /// Entity columns of the stream; empty = one global key.
    pub entity: Vec<usize>,
    /// Argument columns of the aggregates, over the stream's columns; `spec.arguments` has their types.
    pub arguments: Vec<Expression>,
    /// Conditions of `filter (where …)`, over the stream's columns; boolean.
    pub filters: Vec<Expression>,
    /// What the pure core computes.
    pub spec: Arc<ViewSpec>,
    /// Names and types of the features, as `spec.features`.
    pub features: Vec<FeaturePlan>,
}

/// One feature of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct FeaturePlan {
    /// Bare name, suffix included.
    pub name: String,
    /// Name of its aggregate: the same without suffix.
    pub aggregate: String,
    /// Type of its cells.
    pub cell: CellType,
    /// SQL it comes from, for people.
    pub sql: String,
}

/// A model.
#[derive(Clone, Debug)]
pub struct ModelPlan {
    /// `models.NAME`
    pub id: ComponentId,
    /// The rows that are predicted.
    pub stream: StreamIndex,
    /// Which of them; over the stream's columns.
    pub filter: Option<Expression>,
    /// Views read, in byte order of aliases.
    pub lookups: Vec<LookupPlan>,
    /// Columns computed from the feature row, in byte order of names; their scope is `row_scope`.
    pub derive: Vec<(String, Expression)>,
    /// The columns `derive` may name: the stream's, then each lookup's `alias.feature`; numeric ones as float64.
    pub row_scope: Vec<RowColumn>,
    /// Inputs in byte order of their names (S10.1); a network takes those that its artefact names, in the artefact's own order.
    pub inputs: Vec<InputPlan>,
    /// Where the label comes from.
    pub label: Option<LabelPlan>,
    /// Class true at p ≥ this (S12.4).
    pub threshold: f64,
    /// True for classification (probability), false for regression.
    pub classification: bool,
    /// Kind and options.
    pub kind: ModelKindPlan,
}

/// One column of a model's feature row before `derive`.
#[derive(Clone, Debug, PartialEq)]
pub enum RowColumn {
    /// Column of the stream.
    Stream(usize),
    /// Feature of a lookup.
    Feature {
        /// Position in `lookups`.
        lookup: usize,
        /// Position in the view's features.
        feature: usize,
    },
}

/// A view read by a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LookupPlan {
    /// Alias (the view's name where not listed).
    pub alias: String,
    /// The view.
    pub view: ViewIndex,
    /// Columns of the model's stream that form the key.
    pub key: Vec<usize>,
    /// Whether the model's stream is the view's own and the key its entity: then each record is update and probe at once (S8.4).
    pub own: bool,
}

/// One input of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPlan {
    /// `alias.feature`, a column, or a derived name.
    pub name: String,
    /// Where its value is.
    pub origin: InputOrigin,
    /// What a null becomes.
    pub nulls: InputNulls,
}

/// Where the value of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputOrigin {
    /// Column of the stream (numeric or boolean).
    Stream(usize),
    /// Feature of a lookup.
    Feature {
        /// Position in `lookups`.
        lookup: usize,
        /// Position in the view's features.
        feature: usize,
    },
    /// Position in `derive`.
    Derived(usize),
}

/// Where labels come from. Values are float64: 0/1 for classification; null = no label.
#[derive(Clone, Debug)]
pub enum LabelPlan {
    /// Over the stream's columns.
    Column(Expression),
    /// From another stream, later.
    Stream {
        /// The stream that brings labels.
        stream: StreamIndex,
        /// Identity column of the predicted stream.
        row_key: usize,
        /// Identity column of the label stream.
        label_key: usize,
        /// Over the label stream's columns.
        value: Expression,
        /// Greatest distance from row to label.
        within: Micros,
        /// Learn expired rows as 0.
        expired_negative: bool,
    },
}

/// Kinds of models, resolved.
#[derive(Clone, Debug)]
pub enum ModelKindPlan {
    /// Online linear model.
    Linear(LinearPlan),
    /// Feed-forward network on CPU or GPU.
    Candle {
        /// Path of the `.json`.
        artifact: String,
        /// `auto`, `cpu`, `cuda:N`.
        device: String,
        /// Rows of the one tile.
        tile: usize,
        /// sha256 of the tensors.
        sha256: String,
    },
}

/// An online linear model.
#[derive(Clone, Debug)]
pub struct LinearPlan {
    /// Keys as declared.
    pub optimizer: Optimizer,
    /// `scaler = "standard"`.
    pub standard_scaler: bool,
    /// S10.3
    pub scaler_before: bool,
    /// S10.2
    pub learn_record: bool,
    /// See the declaration.
    pub l1: f64,
    /// See the declaration.
    pub l2: f64,
    /// See the declaration.
    pub clip_gradient: f64,
    /// See the declaration.
    pub intercept_lr: f64,
    /// See the declaration.
    pub intercept_init: f64,
    /// Over the stream's columns, as float64.
    pub weight: Option<Expression>,
    /// See the declaration.
    pub seed: u64,
    /// Folder of a saved model to start from, and the sha256 of its tensors.
    pub initial: Option<(String, String)>,
}

/// A monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorPlan {
    /// `monitors.NAME`
    pub id: ComponentId,
    /// What it watches, in declared order.
    pub watch: Vec<Watch>,
    /// Detectors as declared, in byte order of their names.
    pub detectors: Vec<declaration::Detector>,
    /// Metrics by name, in byte order.
    pub metrics: Vec<String>,
    /// Rows of the reference.
    pub reference_rows: u64,
    /// Window compared.
    pub window: MonitorWindow,
    /// Interval of event time.
    pub every: Micros,
    /// Fewest rows for an alarm.
    pub min_rows: u64,
}

/// What a monitor watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Prediction, label and error of a model.
    Model(ModelIndex),
    /// The inputs of a model.
    Inputs(ModelIndex),
}

/// What a sink reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkFrom {
    /// A source or stream.
    Stream(StreamIndex),
    /// `features.V`
    View(ViewIndex),
    /// `models.M`
    Model(ModelIndex),
    /// `models.M.rows`
    ModelRows(ModelIndex),
    /// `monitors.N`
    Monitor(usize),
    /// `quarantine`
    Quarantine,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// `sinks.NAME`; `sinks.quarantine` for the default one.
    pub id: ComponentId,
    /// What it reads.
    pub from: SinkFrom,
    /// The columns its expressions may name, in scope order (see `relation`); the renderer provides those that are used.
    pub relation: Arc<Vec<RelationColumn>>,
    /// Over `relation`.
    pub filter: Option<Expression>,
    /// Output columns, over `relation`.
    pub columns: Vec<(String, Expression)>,
    /// Schema of the output columns.
    pub schema: SchemaRef,
    /// Kind and options.
    pub kind: SinkKindPlan,
}

impl SinkPlan {
    /// Positions in `relation` that the filter, the columns and the kind's own expressions read, sorted.
    pub fn used_columns(&self) -> Vec<usize> {
        let mut used: Vec<usize> = self.columns.iter().flat_map(|(_, expression)| expression.inputs().iter().copied()).collect();
        used.extend(self.filter.iter().flat_map(|filter| filter.inputs().iter().copied()));
        match &self.kind {
            SinkKindPlan::Parquet { partition_by: Some(expression), .. } => used.extend(expression.inputs().iter().copied()),
            SinkKindPlan::Kafka { message_key: Some(expression), .. } => used.extend(expression.inputs().iter().copied()),
            _ => {}
        }
        used.sort_unstable();
        used.dedup();
        used
    }
}

/// Kinds of sinks, resolved. Expressions are over the sink's relation.
#[derive(Clone, Debug)]
pub enum SinkKindPlan {
    /// NDJSON.
    File {
        /// Path.
        path: String,
    },
    /// Parquet parts.
    Parquet {
        /// Folder, or one file.
        path: String,
        /// Name of the partition folder and its value.
        partition_by: Option<Expression>,
        /// Name before `=` in the folder names.
        partition_name: String,
        /// Part closes at.
        max_rows: u64,
        /// Part closes at.
        max_bytes: u64,
    },
    /// Kafka topic.
    Kafka {
        /// Topic.
        topic: String,
        /// Key of the message.
        message_key: Option<Expression>,
    },
}

impl SinkKindPlan {
    /// The kind's name in the pipeline file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Parquet { .. } => "parquet",
            Self::Kafka { .. } => "kafka",
        }
    }
}

/// One column of what a sink can read.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationColumn {
    /// Name in SQL.
    pub name: String,
    /// Arrow type.
    pub data_type: arrow::datatypes::DataType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Where the renderer finds it.
    pub origin: RelationOrigin,
    /// Whether it is among the default columns (S13.1).
    pub default: bool,
}

/// Where a relation's column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationOrigin {
    /// Column of the stream behind the relation.
    Stream(usize),
    /// Feature of the view itself (`features.V`).
    Feature(usize),
    /// Feature of a model's lookup.
    Lookup {
        /// Position in `lookups`.
        lookup: usize,
        /// Position in the view's features.
        feature: usize,
    },
    /// Derived column of a model.
    Derived(usize),
    /// Input of a model as float64, by position in `inputs`.
    Input(usize),
    /// Contribution of an input (`explain.NAME`).
    Explain(usize),
    /// Value (regression) or class (classification), null where none was made.
    Prediction,
    /// Probability of the positive class.
    Probability,
    /// Why there is no, or no full, prediction.
    Degraded,
    /// Epoch of the parameters used.
    ModelVersion,
    /// The label, where known when the row is emitted.
    Label,
    /// Event time of the label (`models.M.rows`).
    LabelTime,
    /// Event time, as a timestamp.
    Time,
    /// Epoch.
    Epoch,
    /// Source name.
    Source,
    /// Partition name.
    Partition,
    /// Offset.
    Offset,
    /// Column of the fixed schemas of `monitors.N` and `quarantine`, by position.
    Fixed(usize),
}
