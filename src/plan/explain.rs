//! `tidemill plan`: a plan as text for people. Sources and streams with their columns, views with features and what their state costs, models with inputs
//! and label, monitors, sinks, the order in which it all runs, and the fingerprint.

use std::fmt::Write as _;

use super::resolve::detector_name;
use super::{
    FeaturePlan, InputNulls, LabelPlan, ModelKindPlan, ModelPlan, MonitorPlan, Plan, SinkFrom, SinkKindPlan, SinkPlan, SourceKindPlan,
    StreamPlan, ViewPlan, Watch,
};
use crate::config::declaration::{MonitorWindow, Optimizer, Window};
use crate::expressions::type_name;
use crate::features;
use crate::time::duration;

/// The whole plan as text, ending in a newline.
pub fn explain(plan: &Plan) -> String {
    let mut out = String::new();
    let kind = if plan.is_bounded() { "bounded: it ends with its input" } else { "live: it runs until it is stopped" };
    line(&mut out, 0, format!("pipeline {} ({kind})", plan.name));
    let epoch = &plan.epoch;
    let age = if plan.is_bounded() { String::new() } else { format!("{}, ", duration::format(epoch.every)) };
    line(
        &mut out,
        1,
        format!("epoch: {age}{} rows or {} bytes, {} in flight; {} shards", epoch.max_rows, epoch.max_bytes, epoch.in_flight, plan.shards),
    );
    for index in 0..plan.sources.len() {
        source(&mut out, plan, index);
    }
    for table in &plan.tables {
        heading(&mut out, table.id.as_str(), &table.path);
        line(&mut out, 1, format!("key {}", table.schema.columns[table.key].name));
        let columns: Vec<String> =
            table.schema.columns.iter().map(|column| column_text(&column.name, &column.kind.arrow(), column.nullable)).collect();
        wrapped(&mut out, "columns", &columns);
    }
    for stream in plan.streams.iter().filter(|stream| stream.upstream.is_some()) {
        declared_stream(&mut out, plan, stream);
    }
    for plan_view in &plan.views {
        view(&mut out, plan, plan_view);
    }
    for plan_model in &plan.models {
        model(&mut out, plan, plan_model);
    }
    for plan_monitor in &plan.monitors {
        monitor(&mut out, plan, plan_monitor);
    }
    for plan_sink in &plan.sinks {
        sink(&mut out, plan, plan_sink);
    }
    heading(&mut out, "order", "");
    wrapped(&mut out, "runs", &order(plan));
    heading(&mut out, "fingerprint", &plan.fingerprint.whole);
    out
}

/// Every component in the order in which a record passes it.
pub(super) fn order(plan: &Plan) -> Vec<String> {
    let tables = plan.tables.iter().map(|table| &table.id);
    let streams = plan.streams.iter().map(|stream| &stream.id);
    let views = plan.views.iter().map(|view| &view.id);
    let models = plan.models.iter().map(|model| &model.id);
    let monitors = plan.monitors.iter().map(|monitor| &monitor.id);
    let sinks = plan.sinks.iter().map(|sink| &sink.id);
    tables.chain(streams).chain(views).chain(models).chain(monitors).chain(sinks).map(ToString::to_string).collect()
}

fn source(out: &mut String, plan: &Plan, index: usize) {
    let source = &plan.sources[index];
    let what = match &source.kind {
        SourceKindPlan::File { paths, .. } => match paths.as_slice() {
            [path] => path.clone(),
            paths => format!(
                "{} files, {} to {}",
                paths.len(),
                paths.first().map_or("", String::as_str),
                paths.last().map_or("", String::as_str)
            ),
        },
        SourceKindPlan::Generator { generator, seed, rows, rate } => {
            let rows = rows.map_or("without end".to_string(), |rows| format!("{rows} rows"));
            let rate = rate.map_or(String::new(), |rate| format!(", {rate} a second"));
            format!("generator {generator}, seed {seed}, {rows}{rate}")
        }
        SourceKindPlan::Kafka { topic, .. } => format!("topic {topic}"),
    };
    heading(out, source.id.as_str(), &what);
    let time = source.event_time.map_or("the Kafka timestamp", |time| source.schema.columns[time].name.as_str());
    let key = source.key.map_or(String::new(), |key| format!(", key {}", source.schema.columns[key].name));
    line(out, 1, format!("event time {time}, lateness {}{key}", duration::format(source.lateness)));
    let columns: Vec<String> =
        source.schema.columns.iter().map(|column| column_text(&column.name, &column.kind.arrow(), column.nullable)).collect();
    wrapped(out, "columns", &columns);
}

fn declared_stream(out: &mut String, plan: &Plan, stream: &StreamPlan) {
    let from = stream.upstream.map_or("", |upstream| plan.streams[upstream].id.as_str());
    heading(out, stream.id.as_str(), &format!("from {from}"));
    for join in &stream.joins {
        let table = &plan.tables[join.table];
        line(out, 1, format!("join {} on {} = {}", table.id, join.key.sql(), table.schema.columns[table.key].name));
    }
    if let Some(filter) = &stream.filter {
        line(out, 1, format!("where {}", filter.sql()));
    }
    for (name, expression) in &stream.derive {
        line(out, 1, format!("{name} = {} ({})", expression.sql(), type_name(expression.data_type())));
    }
    let columns: Vec<String> =
        stream.schema.fields().iter().map(|field| column_text(field.name(), field.data_type(), field.is_nullable())).collect();
    wrapped(out, "columns", &columns);
}

fn view(out: &mut String, plan: &Plan, view: &ViewPlan) {
    let stream = &plan.streams[view.stream];
    let entity: Vec<&str> = view.entity.iter().map(|column| stream.schema.field(*column).name().as_str()).collect();
    let entity = if entity.is_empty() { "one global key".to_string() } else { entity.join(", ") };
    heading(out, view.id.as_str(), &format!("from {}, by {entity}", stream.id));
    if let Some(filter) = &view.filter {
        line(out, 1, format!("where {}", filter.sql()));
    }
    let windows: Vec<String> = view.spec.windows.iter().map(window_text).collect();
    if !windows.is_empty() {
        line(out, 1, format!("windows {}", windows.join(", ")));
    }
    let bounds = features::state_bounds(&view.spec);
    line(
        out,
        1,
        format!("state: {} bytes a key and {} bytes a retained record{}", bounds.bytes_per_key, bounds.bytes_per_record, lifetime(view)),
    );
    for (feature, spec) in view.features.iter().zip(&view.spec.features) {
        let current = if spec.include_current { "" } else { ", before the record" };
        line(out, 1, format!("{} = {} ({}{current})", feature.name, feature.sql, cell_text(feature)));
    }
}

/// What ends the life of a key or a record.
fn lifetime(view: &ViewPlan) -> String {
    let spec = &view.spec;
    let mut bounds = Vec::new();
    let longest = spec.windows.iter().filter_map(|window| match window {
        Window::Sliding(size) | Window::Tumbling { size, .. } => Some(*size),
        Window::Lifetime => None,
    });
    if let Some(longest) = longest.max() {
        bounds.push(format!("records stay {}", duration::format(longest + spec.lateness)));
    }
    if let Some(records) = spec.max_records_per_key {
        bounds.push(format!("at most {records} records a key"));
    }
    if let Some(ttl) = spec.ttl {
        bounds.push(format!("keys stay {} after their last record", duration::format(ttl)));
    }
    if let Some(keys) = spec.max_keys_per_shard {
        bounds.push(format!("at most {keys} keys a shard"));
    }
    if bounds.is_empty() { String::new() } else { format!("; {}", bounds.join(", ")) }
}

fn model(out: &mut String, plan: &Plan, model: &ModelPlan) {
    let what = match (&model.kind, model.classification) {
        (ModelKindPlan::Linear(_), true) => "logistic regression",
        (ModelKindPlan::Linear(_), false) => "linear regression",
        (ModelKindPlan::Candle { .. }, _) => "network",
    };
    heading(out, model.id.as_str(), &format!("{what} over {}", plan.streams[model.stream].id));
    if let Some(filter) = &model.filter {
        line(out, 1, format!("where {}", filter.sql()));
    }
    for lookup in &model.lookups {
        let key: Vec<&str> = lookup.key.iter().map(|column| plan.streams[model.stream].schema.field(*column).name().as_str()).collect();
        let own = if lookup.own { ", each record updates it and reads it" } else { "" };
        line(out, 1, format!("{} = {} by {}{own}", lookup.alias, plan.views[lookup.view].id, key.join(", ")));
    }
    for (name, expression) in &model.derive {
        line(out, 1, format!("{name} = {}", expression.sql()));
    }
    let inputs: Vec<String> = model
        .inputs
        .iter()
        .map(|input| match input.nulls {
            InputNulls::Mean => input.name.clone(),
            InputNulls::Constant(value) => format!("{} (null: {value})", input.name),
            InputNulls::Skip => format!("{} (null: no prediction)", input.name),
        })
        .collect();
    wrapped(out, &format!("{} inputs", inputs.len()), &inputs);
    line(out, 1, label_text(plan, model));
    match &model.kind {
        ModelKindPlan::Candle { artifact, device, tile, sha256 } => {
            line(out, 1, format!("{artifact}, sha256 {sha256}, tiles of {tile} rows, device {device}"));
        }
        ModelKindPlan::Linear(linear) => {
            let scaler = match (linear.standard_scaler, linear.scaler_before) {
                (false, _) => "no scaler",
                (true, false) => "standard scaler",
                (true, true) => "standard scaler, updated before",
            };
            line(out, 1, format!("{}, {scaler}", optimizer_text(&linear.optimizer)));
            let lag = match linear.learn_record {
                true => "learns record by record: each prediction has seen every label before it".to_string(),
                false => format!("learns once an epoch: predictions lag by up to {} rows", plan.epoch.max_rows),
            };
            line(out, 1, lag);
        }
    }
}

fn label_text(plan: &Plan, model: &ModelPlan) -> String {
    match &model.label {
        None => "no label".to_string(),
        Some(LabelPlan::Column(value)) => format!("label {}", value.sql()),
        Some(LabelPlan::Stream { stream, row_key, value, within, expired_negative, .. }) => {
            let expired = if *expired_negative { "then counts as 0" } else { "then dropped" };
            let on = plan.streams[model.stream].schema.field(*row_key).name();
            format!("label {} of {} by {on}, within {}, {expired}", value.sql(), plan.streams[*stream].id, duration::format(*within))
        }
    }
}

fn optimizer_text(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Sgd { lr } => format!("sgd, rate {lr}"),
        Optimizer::AdaGrad { lr, eps } => format!("adagrad, rate {lr}, eps {eps}"),
        Optimizer::Ftrl { alpha, beta, l1, l2 } => format!("ftrl, alpha {alpha}, beta {beta}, l1 {l1}, l2 {l2}"),
    }
}

fn monitor(out: &mut String, plan: &Plan, monitor: &MonitorPlan) {
    let watch: Vec<String> = monitor.watch.iter().map(|watch| watched(plan, watch)).collect();
    heading(out, monitor.id.as_str(), &format!("watches {}", watch.join(", ")));
    let mut measures: Vec<&str> = monitor.detectors.iter().map(detector_name).collect();
    measures.extend(monitor.metrics.iter().map(String::as_str));
    let window = match monitor.window {
        MonitorWindow::Time(span) => duration::format(span),
        MonitorWindow::Rows(rows) => format!("{rows} rows"),
    };
    line(out, 1, format!("{}; every {}, over {window}", measures.join(", "), duration::format(monitor.every)));
}

fn sink(out: &mut String, plan: &Plan, sink: &SinkPlan) {
    let place = match &sink.kind {
        SinkKindPlan::File { path } => format!("file {path}"),
        SinkKindPlan::Parquet { path, .. } => format!("parquet {path}"),
        SinkKindPlan::Kafka { topic, .. } => format!("topic {topic}"),
    };
    heading(out, sink.id.as_str(), &format!("{} to {place}", readable(plan, &sink.from)));
    if let Some(filter) = &sink.filter {
        line(out, 1, format!("where {}", filter.sql()));
    }
    match &sink.kind {
        SinkKindPlan::Parquet { partition_by: Some(expression), partition_name, .. } => {
            line(out, 1, format!("partitioned by {partition_name} = {}", expression.sql()));
        }
        SinkKindPlan::Kafka { message_key: Some(expression), .. } => line(out, 1, format!("message key {}", expression.sql())),
        _ => {}
    }
    let columns: Vec<String> =
        sink.schema.fields().iter().map(|field| column_text(field.name(), field.data_type(), field.is_nullable())).collect();
    wrapped(out, "columns", &columns);
}

/// The name of what a monitor watches.
pub(super) fn watched(plan: &Plan, watch: &Watch) -> String {
    match watch {
        Watch::Model(model) => plan.models[*model].id.to_string(),
        Watch::Inputs(model) => format!("{}.inputs", plan.models[*model].id),
    }
}

/// The name of what a sink reads.
pub(super) fn readable(plan: &Plan, from: &SinkFrom) -> String {
    match from {
        SinkFrom::Stream(stream) => plan.streams[*stream].id.to_string(),
        SinkFrom::View(view) => plan.views[*view].id.to_string(),
        SinkFrom::Model(model) => plan.models[*model].id.to_string(),
        SinkFrom::ModelRows(model) => format!("{}.rows", plan.models[*model].id),
        SinkFrom::Monitor(monitor) => plan.monitors[*monitor].id.to_string(),
        SinkFrom::Quarantine => "quarantine".to_string(),
    }
}

/// One window for people.
pub(super) fn window_text(window: &Window) -> String {
    match window {
        Window::Sliding(size) => duration::format(*size),
        Window::Tumbling { size, offset: 0 } => format!("{} tumbling", duration::format(*size)),
        Window::Tumbling { size, offset } => format!("{} tumbling from {}", duration::format(*size), duration::format(*offset)),
        Window::Lifetime => "lifetime".to_string(),
    }
}

/// Type of a feature for people.
pub(super) fn cell_text(feature: &FeaturePlan) -> &'static str {
    use crate::data::CellType;
    match feature.cell {
        CellType::Float64 => "float64",
        CellType::Int64 => "int64",
        CellType::Bool => "bool",
        CellType::Timestamp => "timestamp",
        CellType::Text => "string",
    }
}

fn column_text(name: &str, kind: &arrow::datatypes::DataType, nullable: bool) -> String {
    format!("{name} {}{}", type_name(kind), if nullable { "?" } else { "" })
}

fn heading(out: &mut String, name: &str, what: &str) {
    out.push('\n');
    line(out, 0, if what.is_empty() { name.to_string() } else { format!("{name}: {what}") });
}

fn line(out: &mut String, depth: usize, text: impl AsRef<str>) {
    let _ = writeln!(out, "{:depth$}{}", "", text.as_ref(), depth = depth * 2);
}

/// A list on as many lines as it needs.
fn wrapped(out: &mut String, title: &str, items: &[String]) {
    const WIDTH: usize = 110;
    let mut row = format!("{title}:");
    for (index, item) in items.iter().enumerate() {
        let comma = if index + 1 < items.len() { "," } else { "" };
        if row.len() + item.len() + 2 > WIDTH {
            line(out, 1, &row);
            row = "  ".to_string();
        } else {
            row.push(' ');
        }
        row.push_str(item);
        row.push_str(comma);
    }
    line(out, 1, row);
}

/// The size of a plan in one line.
pub fn headline(plan: &Plan) -> String {
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let parts = [
        (plan.sources.len(), "source"),
        (plan.tables.len(), "table"),
        (plan.streams.len() - plan.sources.len(), "stream"),
        (plan.views.len(), "view"),
        (plan.models.len(), "model"),
        (plan.monitors.len(), "monitor"),
        (plan.sinks.len(), "sink"),
        (plan.tests.len(), "test"),
    ];
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| counted(*n, what)).collect::<Vec<_>>().join(", ")
}
