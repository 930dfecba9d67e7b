//! Relations: everything a sink, or an expectation of a test, can read, as columns with names, types and origins (S13.1).
//!
//! The default columns come first, in the order of S13.1. Types: a predicted class is bool, a predicted value and every label (0/1 for
//! classes) float64; epochs, versions, offsets and counts int64; times timestamps. A column that would repeat a name is left out, so an
//! input of `models.M.rows` stands for the stream's column of its name.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::data::{CellType, timestamp_type};
use crate::expressions::{self, Expression, Scope, ScopeColumn};
use crate::ids::ComponentId;
use crate::plan::{ModelKindPlan, ModelPlan, Plan, RelationColumn, RelationOrigin, SinkFrom, SinkKindPlan, SinkPlan, StreamPlan, ViewPlan};

/// Columns of `monitors.N`.
const MONITOR_COLUMNS: [(&str, Kind, bool); 13] = [
    ("monitor", Kind::Text, false),
    ("event_time", Kind::Time, false),
    ("key", Kind::Text, true),
    ("column", Kind::Text, true),
    ("statistic", Kind::Text, false),
    ("value", Kind::Float, true),
    ("threshold", Kind::Float, true),
    ("alarm", Kind::Bool, false),
    ("direction", Kind::Text, true),
    ("rows", Kind::Count, false),
    ("reference_rows", Kind::Count, true),
    ("window_start", Kind::Time, true),
    ("window_end", Kind::Time, true),
];

/// Columns of `quarantine`.
const QUARANTINE_COLUMNS: [(&str, Kind, bool); 8] = [
    ("source", Kind::Text, false),
    ("partition", Kind::Text, false),
    ("offset", Kind::Count, false),
    ("reason", Kind::Text, false),
    ("detail", Kind::Text, false),
    ("event_time", Kind::Time, true),
    ("raw", Kind::Text, true),
    ("raw_base64", Kind::Bytes, true),
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bytes,
    Time,
    Float,
    Bool,
    Count,
}

impl Kind {
    fn arrow(self) -> DataType {
        match self {
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Time => timestamp_type(),
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Count => DataType::Int64,
        }
    }
}

/// The components that relations are made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) streams: &'a [StreamPlan],
    pub(super) views: &'a [ViewPlan],
    pub(super) models: &'a [ModelPlan],
}

/// A relation while it grows.
#[derive(Default)]
struct Builder {
    columns: Vec<RelationColumn>,
}

impl Builder {
    fn push(&mut self, name: impl Into<String>, data_type: DataType, nullable: bool, origin: RelationOrigin, default: bool) {
        let name = name.into();
        if !self.columns.iter().any(|column| column.name == name) {
            self.columns.push(RelationColumn { name, data_type, nullable, origin, default });
        }
    }

    fn stream_column(&mut self, stream: &StreamPlan, index: usize, default: bool) {
        let field = stream.schema.field(index);
        self.push(field.name().as_str(), field.data_type().clone(), field.is_nullable(), RelationOrigin::Stream(index), default);
    }

    /// Identity and event time, which begin the default columns of views and models.
    fn identity(&mut self, stream: &StreamPlan) {
        if let Some(key) = stream.key {
            self.stream_column(stream, key, true);
        }
        match stream.event_time {
            Some(index) => self.stream_column(stream, index, true),
            None => self.push("event_time", timestamp_type(), false, RelationOrigin::Time, true),
        }
    }

    fn all_of_stream(&mut self, stream: &StreamPlan, default: bool) {
        for index in 0..stream.schema.fields().len() {
            self.stream_column(stream, index, default);
        }
    }

    fn position(&mut self) {
        self.push("_epoch", DataType::Int64, false, RelationOrigin::Epoch, false);
        self.push("_source", DataType::Utf8, false, RelationOrigin::Source, false);
        self.push("_partition", DataType::Utf8, false, RelationOrigin::Partition, false);
        self.push("_offset", DataType::Int64, false, RelationOrigin::Offset, false);
    }

    fn fixed(&mut self, columns: &[(&str, Kind, bool)]) {
        for (index, (name, kind, nullable)) in columns.iter().enumerate() {
            self.push(*name, kind.arrow(), *nullable, RelationOrigin::Fixed(index), true);
        }
    }

    fn prediction(&mut self, model: &ModelPlan) {
        let kind = if model.classification { DataType::Boolean } else { DataType::Float64 };
        self.push("prediction", kind, true, RelationOrigin::Prediction, true);
    }

    /// What else a model's rows offer on request.
    fn of_model(&mut self, parts: Parts<'_>, model: &ModelPlan) {
        if model.classification {
            self.push("probability", DataType::Float64, true, RelationOrigin::Probability, false);
        }
        self.push("degraded", DataType::Utf8, true, RelationOrigin::Degraded, false);
        self.all_of_stream(&parts.streams[model.stream], false);
        for (lookup, plan) in model.lookups.iter().enumerate() {
            for (feature, described) in parts.views[plan.view].features.iter().enumerate() {
                let name = format!("{}.{}", plan.alias, described.name);
                self.push(name, cell_type(described.cell), true, RelationOrigin::Lookup { lookup, feature }, false);
            }
        }
        for (index, (name, _)) in model.derive.iter().enumerate() {
            self.push(name.as_str(), DataType::Float64, true, RelationOrigin::Derived(index), false);
        }
        if model.label.is_some() {
            self.push("label", DataType::Float64, true, RelationOrigin::Label, false);
        }
        self.push("model_version", DataType::Int64, true, RelationOrigin::ModelVersion, false);
        if matches!(model.kind, ModelKindPlan::Linear(_)) {
            for (index, input) in model.inputs.iter().enumerate() {
                self.push(format!("explain.{}", input.name), DataType::Float64, true, RelationOrigin::Explain(index), false);
            }
        }
        self.position();
    }
}

/// The Arrow type of a feature's cells in an output.
fn cell_type(cell: CellType) -> DataType {
    match cell {
        CellType::Float64 => DataType::Float64,
        CellType::Int64 => DataType::Int64,
        CellType::Bool => DataType::Boolean,
        CellType::Timestamp => timestamp_type(),
        CellType::Text => DataType::Utf8,
    }
}

/// The columns of `from`.
pub(super) fn relation(parts: Parts<'_>, from: &SinkFrom) -> Vec<RelationColumn> {
    let mut builder = Builder::default();
    match from {
        SinkFrom::Stream(stream) => {
            let stream = &parts.streams[*stream];
            builder.all_of_stream(stream, true);
            if stream.event_time.is_none() {
                builder.push("event_time", timestamp_type(), false, RelationOrigin::Time, true);
            }
            builder.position();
        }
        SinkFrom::View(view) => {
            let view = &parts.views[*view];
            let stream = &parts.streams[view.stream];
            builder.identity(stream);
            for column in &view.entity {
                builder.stream_column(stream, *column, true);
            }
            for (index, feature) in view.features.iter().enumerate() {
                builder.push(feature.name.as_str(), cell_type(feature.cell), true, RelationOrigin::Feature(index), true);
            }
            builder.all_of_stream(stream, false);
            builder.position();
        }
        SinkFrom::Model(model) => {
            let model = &parts.models[*model];
            builder.identity(&parts.streams[model.stream]);
            builder.prediction(model);
            if model.classification {
                builder.push("probability", DataType::Float64, true, RelationOrigin::Probability, true);
            }
            builder.push("degraded", DataType::Utf8, true, RelationOrigin::Degraded, true);
            builder.of_model(parts, model);
        }
        SinkFrom::ModelRows(model) => {
            let model = &parts.models[*model];
            builder.identity(&parts.streams[model.stream]);
            for (index, input) in model.inputs.iter().enumerate() {
                builder.push(input.name.as_str(), DataType::Float64, true, RelationOrigin::Input(index), true);
            }
            builder.push("label", DataType::Float64, true, RelationOrigin::Label, true);
            builder.push("label_time", timestamp_type(), true, RelationOrigin::LabelTime, true);
            builder.prediction(model);
            builder.of_model(parts, model);
        }
        SinkFrom::Monitor(_) => builder.fixed(&MONITOR_COLUMNS),
        SinkFrom::Quarantine => builder.fixed(&QUARANTINE_COLUMNS),
    }
    builder.columns
}

/// The expressions' view of a relation.
pub(super) fn scope(relation: &[RelationColumn]) -> Scope {
    Scope::new(relation.iter().map(|column| ScopeColumn::new(column.name.as_str(), column.data_type.clone(), column.nullable)).collect())
}

/// The name of a relation's column in an output: `view.feature` is `view__feature` (S13.1).
pub(super) fn output_name(name: &str) -> String {
    name.replace('.', "__")
}

/// The schema of output columns. What is computed may fail on a row, whose cell is then null.
pub(super) fn output_schema(columns: &[(String, Expression)]) -> SchemaRef {
    let field = |(name, sql): &(String, Expression)| Field::new(name, sql.data_type().clone(), sql.nullable() || sql.as_column().is_none());
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// What a relation's name means in these components; `None`: nothing.
pub(super) fn find(parts: Parts<'_>, monitors: &[String], name: &str) -> Option<SinkFrom> {
    let stream = |name: &str| parts.streams.iter().position(|stream| stream.id.as_str() == name || stream.id.name() == name);
    let model = |name: &str| parts.models.iter().position(|model| model.id.name() == name);
    match name.split_once('.') {
        None if name == "quarantine" => Some(SinkFrom::Quarantine),
        Some(("features", view)) => parts.views.iter().position(|plan| plan.id.name() == view).map(SinkFrom::View),
        Some(("models", rest)) => match rest.strip_suffix(".rows") {
            Some(rest) => model(rest).map(SinkFrom::ModelRows),
            None => model(rest).map(SinkFrom::Model),
        },
        Some(("monitors", monitor)) => monitors.iter().position(|known| known == monitor).map(SinkFrom::Monitor),
        _ => stream(name).map(SinkFrom::Stream),
    }
}

/// The columns a sink over `from` can read.
pub fn relation_of(plan: &Plan, from: &SinkFrom) -> Vec<RelationColumn> {
    relation(Parts { streams: &plan.streams, views: &plan.views, models: &plan.models }, from)
}

/// A sink over the relation called `from` that is not in the plan, for what tests expect: these output names, or the default columns if
/// there are none. `Err` says which name does not exist.
pub fn capture(plan: &Plan, from: &str, columns: &[String]) -> Result<SinkPlan, String> {
    let parts = Parts { streams: &plan.streams, views: &plan.views, models: &plan.models };
    let monitors: Vec<String> = plan.monitors.iter().map(|monitor| monitor.id.name().to_string()).collect();
    let found = find(parts, &monitors, from).ok_or_else(|| format!("nothing that can be read is called `{from}`"))?;
    let relation = relation(parts, &found);
    let scope = scope(&relation);
    let wanted: Vec<&RelationColumn> = if columns.is_empty() {
        relation.iter().filter(|column| column.default).collect()
    } else {
        columns
            .iter()
            .map(|name| column_called(&relation, name).ok_or_else(|| format!("`{from}` has no column `{name}`")))
            .collect::<Result<_, _>>()?
    };
    let mut outputs = Vec::new();
    for column in wanted {
        let expression = expressions::compile(&expressions::quote(&column.name), &scope).map_err(|error| error.message)?;
        outputs.push((output_name(&column.name), expression));
    }
    Ok(SinkPlan {
        id: ComponentId::new("tests", from),
        from: found,
        relation: Arc::new(relation),
        filter: None,
        schema: output_schema(&outputs),
        columns: outputs,
        kind: SinkKindPlan::File { path: String::new() },
    })
}

/// A column by its own or by its output name.
pub(super) fn column_called<'a>(relation: &'a [RelationColumn], name: &str) -> Option<&'a RelationColumn> {
    relation.iter().find(|column| column.name == name).or_else(|| relation.iter().find(|column| output_name(&column.name) == name))
}
