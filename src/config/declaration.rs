//! What a pipeline file declares, exactly as written: checked for shape, not yet for meaning. Every name and expression keeps its place.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::data::DeclaredSchema;
use crate::time::Micros;

/// A value and the bytes of the file it was written in.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the file.
    pub span: Range<usize>,
}

/// Components of one kind by name; `BTreeMap` because order never matters and must never show.
pub type Named<T> = BTreeMap<String, Spanned<T>>;

/// A whole pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// `[pipeline]`
    pub pipeline: Pipeline,
    /// `[kafka]`
    pub kafka: Option<Spanned<Kafka>>,
    /// `[sources.*]`
    pub sources: Named<Source>,
    /// `[tables.*]`
    pub tables: Named<Table>,
    /// `[streams.*]`
    pub streams: Named<Stream>,
    /// `[features.*]`
    pub features: Named<Features>,
    /// `[models.*]`
    pub models: Named<Model>,
    /// `[monitors.*]`
    pub monitors: Named<Monitor>,
    /// `[sinks.*]`
    pub sinks: Named<Sink>,
    /// `[[tests]]`, in file order.
    pub tests: Vec<Spanned<Test>>,
}

/// `[pipeline]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// `name`: letters, digits, `-` and `_`.
    pub name: Spanned<String>,
    /// `epoch`
    pub epoch: EpochPolicy,
    /// `shards = 256`: 1..=65535 (S6.1).
    pub shards: u32,
    /// `max_quarantine`: share of the last 10,000 records (S5.4).
    pub max_quarantine: Option<f64>,
}

/// `epoch = { … }` (S2.1)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochPolicy {
    /// `every`: greatest age of the epoch's oldest record.
    pub every: Micros,
    /// `max_rows`
    pub max_rows: usize,
    /// `max_bytes`
    pub max_bytes: usize,
    /// `in_flight`: epochs minted and not yet committed.
    pub in_flight: usize,
}

impl Default for EpochPolicy {
    fn default() -> Self {
        Self { every: 50_000, max_rows: 16_384, max_bytes: 16 << 20, in_flight: 4 }
    }
}

/// `[kafka]`
#[derive(Clone, Debug, PartialEq)]
pub struct Kafka {
    /// `brokers`
    pub brokers: Spanned<String>,
    /// `options`: librdkafka properties that Tidemill does not own.
    pub options: BTreeMap<String, String>,
}

/// `format = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line (files) or a message (Kafka).
    Json,
    /// Comma-separated values with a header line.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// `[sources.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `kind` and its own keys.
    pub kind: SourceKind,
    /// `schema`: inline types or the file it names, read and compiled. `None`: the kind has its own (Parquet, generator) or, for CSV, all columns are `string?`.
    pub schema: Option<Spanned<DeclaredSchema>>,
    /// `event_time`: a column.
    pub event_time: Option<Spanned<String>>,
    /// `lateness`, default 0.
    pub lateness: Micros,
    /// `ahead`, default 1 h.
    pub ahead: Micros,
    /// `key`: the column that identifies a record.
    pub key: Option<Spanned<String>>,
    /// `dedup`
    pub dedup: Option<Spanned<Micros>>,
    /// `max_record`, bytes, default 1 MiB.
    pub max_record: usize,
}

/// The kinds of sources.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    /// `kind = "file"`
    File {
        /// `path`: one path or a glob.
        path: Spanned<String>,
        /// `format`, default by extension.
        format: Spanned<Format>,
    },
    /// `kind = "generator"`
    Generator {
        /// `generator`: a name of the generators' registry.
        generator: Spanned<String>,
        /// `seed`, default 0.
        seed: u64,
        /// `rows`: bounded if given, live otherwise (S2.2).
        rows: Option<u64>,
        /// `rate`: records per second; as fast as possible if absent.
        rate: Option<f64>,
    },
    /// `kind = "kafka"`
    Kafka {
        /// `topic`
        topic: Spanned<String>,
        /// `start`: where the first run begins.
        start: KafkaStart,
        /// `idle_timeout`, default 30 s: a partition at its end and silent for so long does not hold the watermark back.
        idle_timeout: Micros,
    },
}

/// Where the first run of a Kafka source begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaStart {
    /// The oldest record kept.
    Earliest,
    /// The next record to arrive.
    Latest,
}

/// `[tables.*]`: a file table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `path`: one file.
    pub path: Spanned<String>,
    /// `format`, default by extension.
    pub format: Spanned<Format>,
    /// `schema`, as for sources.
    pub schema: Option<Spanned<DeclaredSchema>>,
    /// `key`: the column looked up.
    pub key: Spanned<String>,
    /// `event_time`: versions of a key take effect at this time (S8.2).
    pub event_time: Option<Spanned<String>>,
}

/// `[streams.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// `from`: a source or stream.
    pub from: Spanned<String>,
    /// `join`
    pub join: Vec<Join>,
    /// `where`
    pub filter: Option<Spanned<String>>,
    /// `derive`: new columns; each sees the columns of `from`, the joined ones, and no other derived one.
    pub derive: BTreeMap<String, Spanned<String>>,
}

/// One entry of `join`.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// `table`
    pub table: Spanned<String>,
    /// `on`: `expression over the stream = key column of the table`, either way round.
    pub on: Spanned<String>,
}

/// `[features.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// `from`: a source or stream.
    pub from: Spanned<String>,
    /// `where`: which records update the view.
    pub filter: Option<Spanned<String>>,
    /// `entity`: a column, a list, or `[]`.
    pub entity: Vec<Spanned<String>>,
    /// `windows`
    pub windows: Vec<Spanned<DeclaredWindow>>,
    /// `[features.*.aggregates]`
    pub aggregates: BTreeMap<String, Aggregate>,
    /// `include_current`, default true (S7.3).
    pub include_current: bool,
    /// `ttl`
    pub ttl: Option<Spanned<Micros>>,
    /// `max_keys`
    pub max_keys: Option<Spanned<u64>>,
    /// `max_records_per_key` (S8.6)
    pub max_records_per_key: Option<Spanned<u64>>,
}

/// One window (S7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// `"1h"`: exact, per event, `(t - w, t]`.
    Sliding(Micros),
    /// `{ tumbling = "1h", offset = "0s" }`
    Tumbling {
        /// Length.
        size: Micros,
        /// Shift of the alignment from 1970-01-01T00:00Z.
        offset: Micros,
    },
    /// `"lifetime"`
    Lifetime,
}

/// A window as a view declares it: what it is, and how its columns are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredWindow {
    /// What it covers.
    pub window: Window,
    /// The suffix of a feature's name over it, without the underscore: the length as written (`24h` stays `24h`, never `1d`), then the kind; empty for lifetime (S7.1).
    pub suffix: String,
}

/// One aggregate of a view, short (`landed = "count(*)"`) or long form.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// `value`: an aggregate call in SQL.
    pub value: Spanned<String>,
    /// `windows`, if other than the view's.
    pub windows: Option<Vec<Spanned<DeclaredWindow>>>,
    /// `include_current`, if other than the view's.
    pub include_current: Option<bool>,
}

/// `[models.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// `kind` and its own keys.
    pub kind: ModelKind,
    /// `from`: the rows that are predicted.
    pub from: Option<Spanned<String>>,
    /// `where`: of those rows, which.
    pub filter: Option<Spanned<String>>,
    /// `lookup`
    pub lookup: BTreeMap<String, Lookup>,
    /// `features`: `alias.*`, `alias.feature`, `view.*`, columns of the stream, names of `derive`.
    pub features: Vec<Spanned<String>>,
    /// `derive`: SQL over the feature row and the stream's columns, numeric columns as float64 (S9.1).
    pub derive: BTreeMap<String, Spanned<String>>,
    /// `label`
    pub label: Option<Spanned<Label>>,
    /// `nulls` (S10.1)
    pub nulls: NullPolicy,
    /// `threshold`, default 0.5.
    pub threshold: f64,
}

/// The kinds of models.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelKind {
    /// `logistic_regression` or `linear_regression`.
    Linear(Linear),
    /// `candle`
    Candle {
        /// `artifact`: folder or `.safetensors` file beside its `.json`.
        artifact: Spanned<String>,
        /// `device`: `auto`, `cpu`, `cuda:N`.
        device: Spanned<String>,
        /// `batch_rows`, if other than the artefact's tile.
        batch_rows: Option<Spanned<usize>>,
    },
}

/// Keys of the linear models.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// True for `logistic_regression`.
    pub logistic: bool,
    /// `optimizer`, default `{ kind = "sgd", lr = 0.01 }`.
    pub optimizer: Optimizer,
    /// `scaler`: `none` or `standard` (default).
    pub standard_scaler: bool,
    /// `scaler = { kind = "standard", update = "on_learn" | "before" }`: true for `before` (S10.3).
    pub scaler_before: bool,
    /// `learn`: true for `record`, false for `epoch` (default, S10.2).
    pub learn_record: bool,
    /// `l1`, added to the gradient, default 0.
    pub l1: f64,
    /// `l2`, added to the gradient, default 0.
    pub l2: f64,
    /// `clip_gradient`, default 1e12.
    pub clip_gradient: f64,
    /// `intercept_lr`, default 0.01; 0 for no intercept.
    pub intercept_lr: f64,
    /// `intercept_init`, default 0.
    pub intercept_init: f64,
    /// `weight`: SQL over the stream's columns.
    pub weight: Option<Spanned<String>>,
    /// `seed`, default 0.
    pub seed: u64,
    /// `initial`: a saved model to start from.
    pub initial: Option<Spanned<String>>,
}

/// `optimizer = { … }`; names and defaults follow River.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `sgd`
    Sgd {
        /// `lr`, default 0.01.
        lr: f64,
    },
    /// `adagrad`
    AdaGrad {
        /// `lr`, default 0.1.
        lr: f64,
        /// `eps`, default 1e-8.
        eps: f64,
    },
    /// `ftrl`, in the paper's order of operations (S10.8).
    Ftrl {
        /// `alpha`, default 0.05.
        alpha: f64,
        /// `beta`, default 1.
        beta: f64,
        /// `l1`, default 0.
        l1: f64,
        /// `l2`, default 1.
        l2: f64,
    },
}

/// `nulls` (S10.1)
#[derive(Clone, Debug, PartialEq)]
pub enum NullPolicy {
    /// The input's mean so far; 0 before any.
    Mean,
    /// A constant.
    Constant(f64),
    /// The row is not predicted.
    Skip,
    /// By input name; inputs not named use the mean.
    PerInput(BTreeMap<String, Spanned<NullPolicy>>),
}

/// One entry of `lookup`: the features of a view, read by a key of the predicted row.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// `view`
    pub view: Spanned<String>,
    /// `key`: columns of the stream, as many as the view's entity has.
    pub key: Vec<Spanned<String>>,
}

/// `label`
#[derive(Clone, Debug, PartialEq)]
pub enum Label {
    /// A column or expression of the row itself.
    Column(Spanned<String>),
    /// Arrives later on another stream (S10.5).
    Stream {
        /// `stream`
        stream: Spanned<String>,
        /// `on`: the column both sides share.
        on: Spanned<String>,
        /// `value`: SQL over the label's record.
        value: Spanned<String>,
        /// `within`
        within: Micros,
        /// `expired = "negative"`: what never got a label is learned as 0; else it is dropped.
        expired_negative: bool,
    },
}

/// `[monitors.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    /// `watch`: `models.M`, `models.M.inputs`, or a stream.
    pub watch: Vec<Spanned<String>>,
    /// `detectors`
    pub detectors: Vec<Spanned<Detector>>,
    /// `metrics`: names of the metrics' registry; `models.M` only.
    pub metrics: Vec<Spanned<String>>,
    /// `reference.rows`
    pub reference_rows: Option<u64>,
    /// `window`
    pub window: Option<MonitorWindow>,
    /// `every`
    pub every: Option<Spanned<Micros>>,
    /// `min_rows`, default 1000.
    pub min_rows: u64,
}

/// Which rows a statistic compares (S12.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorWindow {
    /// `"7d"`: event time.
    Time(Micros),
    /// `{ rows = 20000 }`
    Rows(u64),
}

/// One detector and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum Detector {
    /// `psi = { threshold = 0.2, bins = 10 }`
    Psi {
        /// Alarm at or above.
        threshold: f64,
        /// Quantile bins.
        bins: usize,
    },
    /// `adwin = { on = "error", delta = 0.002, on_alarm = "reset" }`
    Adwin {
        /// Confidence.
        delta: f64,
        /// `on_alarm = "keep"`: keep the newest part, as in the paper (S10.8).
        keep: bool,
    },
}

/// `[sinks.*]`
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// `kind` and its own keys.
    pub kind: SinkKind,
    /// `from`: a source, stream, `features.V`, `models.M`, `models.M.rows`, `monitors.N` or `quarantine`.
    pub from: Spanned<String>,
    /// `columns`: output name and expression; `None`: the defaults of S13.1. A list of names gives each name itself.
    pub columns: Option<Vec<(Spanned<String>, Spanned<String>)>>,
    /// `where`
    pub filter: Option<Spanned<String>>,
}

/// The kinds of sinks.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    /// `kind = "file"`: NDJSON.
    File {
        /// `path`
        path: Spanned<String>,
    },
    /// `kind = "parquet"`
    Parquet {
        /// `path`: a folder, or one file if it ends in `.parquet`.
        path: Spanned<String>,
        /// `partition_by`: SQL over the output columns' inputs.
        partition_by: Option<Spanned<String>>,
        /// `max_rows` of a part, default 1,000,000.
        max_rows: u64,
        /// `max_bytes` of a part (uncompressed), default 128 MiB.
        max_bytes: u64,
    },
    /// `kind = "kafka"`
    Kafka {
        /// `topic`
        topic: Spanned<String>,
        /// `message_key`: SQL; default the record's `key` (S13.1).
        message_key: Option<Spanned<String>>,
    },
}

/// One of `[[tests]]` (S16).
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// `name`
    pub name: Spanned<String>,
    /// `epoch_rows`
    pub epoch_rows: Option<usize>,
    /// `input.SOURCE`: rows as JSON objects.
    pub input: BTreeMap<String, Spanned<Vec<serde_json::Value>>>,
    /// `expect."OUTPUT"`: rows as JSON objects; `{ any = true }` skips one.
    pub expect: BTreeMap<String, Spanned<Vec<serde_json::Value>>>,
}
