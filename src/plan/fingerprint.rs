//! Fingerprints (S1.3): sha256 over a canonical text of the resolved plan, per component and whole.
//!
//! Two files with equal fingerprints give equal outputs from equal bindings. In: schemas, SQL, order and types, digests of tables and artefacts, seeds, the cut of
//! epochs and the number of shards. Out: brokers, `options`, sink locations, tests and everything that TOML does not mean (comments, order,
//! spelling). The text of a component is lines of `key = value`; floats as their bits, so nothing is rounded away.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    Fingerprint, LabelPlan, ModelKindPlan, ModelPlan, MonitorPlan, Plan, SinkKindPlan, SinkPlan, SourceKindPlan, SourcePlan, StreamPlan,
    TablePlan, ViewPlan,
};
use crate::config::declaration::{Detector, Optimizer};
use crate::data::{DeclaredSchema, hex};
use crate::expressions::{Expression, type_name};
use crate::ids::ComponentId;

/// Lines of one component.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, key: &str, value: impl std::fmt::Debug) {
        let _ = writeln!(self.0, "{key} = {value:?}");
    }

    fn float(&mut self, key: &str, value: f64) {
        self.line(key, value.to_bits());
    }

    fn sql(&mut self, key: &str, expression: Option<&Expression>) {
        self.line(key, expression.map(|expression| (expression.sql(), type_name(expression.data_type()))));
    }

    fn schema(&mut self, schema: &DeclaredSchema) {
        self.line("closed", schema.closed);
        for column in &schema.columns {
            let bounds = (column.minimum.map(f64::to_bits), column.maximum.map(f64::to_bits));
            self.line("column", (&column.name, &column.kind, column.nullable, bounds, &column.allowed));
        }
    }

    fn digest(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }
}

/// The fingerprint of a plan, whatever its `fingerprint` holds already.
pub(super) fn of(plan: &Plan) -> Fingerprint {
    let mut components: Vec<(ComponentId, String)> = Vec::new();
    components.extend(plan.sources.iter().map(|source| (source.id.clone(), of_source(source))));
    components.extend(plan.tables.iter().map(|table| (table.id.clone(), of_table(table))));
    let declared = plan.streams.iter().filter(|stream| stream.upstream.is_some());
    components.extend(declared.map(|stream| (stream.id.clone(), of_stream(plan, stream))));
    components.extend(plan.views.iter().map(|view| (view.id.clone(), of_view(plan, view))));
    components.extend(plan.models.iter().map(|model| (model.id.clone(), of_model(plan, model))));
    components.extend(plan.monitors.iter().map(|monitor| (monitor.id.clone(), of_monitor(plan, monitor))));
    components.extend(plan.sinks.iter().map(|sink| (sink.id.clone(), of_sink(plan, sink))));
    components.sort();
    let mut whole = Text::default();
    whole.line("name", &plan.name);
    whole.line("epoch", (plan.epoch.every, plan.epoch.max_rows, plan.epoch.max_bytes));
    whole.line("shards", plan.shards);
    for (id, digest) in &components {
        whole.line(id.as_str(), digest);
    }
    Fingerprint { whole: whole.digest(), components }
}

fn of_source(source: &SourcePlan) -> String {
    let mut text = Text::default();
    match &source.kind {
        SourceKindPlan::File { paths, format } => text.line("file", (paths, format)),
        SourceKindPlan::Generator { generator, seed, rows, rate: _ } => text.line("generator", (generator, seed, rows)),
        SourceKindPlan::Kafka { topic, start, idle_timeout } => text.line("kafka", (topic, start, idle_timeout)),
    }
    text.schema(&source.schema);
    text.line("event_time", source.event_time);
    text.line("lateness", source.lateness);
    text.line("ahead", source.ahead);
    text.line("key", source.key);
    text.line("dedup", source.dedup);
    text.line("max_record", source.max_record);
    text.digest()
}

fn of_table(table: &TablePlan) -> String {
    let mut text = Text::default();
    text.line("format", table.format);
    text.schema(&table.schema);
    text.line("key", table.key);
    text.line("event_time", table.event_time);
    text.line("sha256", &table.digest);
    text.digest()
}

fn of_stream(plan: &Plan, stream: &StreamPlan) -> String {
    let mut text = Text::default();
    text.line("from", stream.upstream.map(|upstream| plan.streams[upstream].id.as_str()));
    for join in &stream.joins {
        text.line("join", plan.tables[join.table].id.as_str());
        text.sql("on", Some(&join.key));
    }
    text.sql("where", stream.filter.as_ref());
    for (name, expression) in &stream.derive {
        text.sql(name, Some(expression));
    }
    for field in stream.schema.fields() {
        text.line("column", (field.name(), type_name(field.data_type()), field.is_nullable()));
    }
    text.digest()
}

fn of_view(plan: &Plan, view: &ViewPlan) -> String {
    let mut text = Text::default();
    text.line("from", plan.streams[view.stream].id.as_str());
    text.sql("where", view.filter.as_ref());
    text.line("entity", &view.entity);
    for argument in &view.arguments {
        text.sql("argument", Some(argument));
    }
    for filter in &view.filters {
        text.sql("filter", Some(filter));
    }
    for (feature, spec) in view.features.iter().zip(&view.spec.features) {
        text.line(&feature.name, (&spec.function, spec.argument, spec.filter, spec.window, spec.include_current, spec.cell));
    }
    let spec = &view.spec;
    text.line("windows", &spec.windows);
    text.line("bounds", (spec.lateness, spec.ttl, spec.max_keys_per_shard, spec.max_records_per_key));
    text.digest()
}

fn of_model(plan: &Plan, model: &ModelPlan) -> String {
    let mut text = Text::default();
    text.line("from", plan.streams[model.stream].id.as_str());
    text.sql("where", model.filter.as_ref());
    for lookup in &model.lookups {
        text.line("lookup", (&lookup.alias, plan.views[lookup.view].id.as_str(), &lookup.key));
    }
    for (name, expression) in &model.derive {
        text.sql(name, Some(expression));
    }
    for input in &model.inputs {
        text.line("input", (&input.name, input.origin, &input.nulls));
    }
    match &model.label {
        None => text.line("label", ()),
        Some(LabelPlan::Column(value)) => text.sql("label", Some(value)),
        Some(LabelPlan::Stream { stream, row_key, label_key, value, within, expired_negative }) => {
            text.line("label from", (plan.streams[*stream].id.as_str(), row_key, label_key, within, expired_negative));
            text.sql("label", Some(value));
        }
    }
    text.float("threshold", model.threshold);
    text.line("classification", model.classification);
    match &model.kind {
        ModelKindPlan::Candle { sha256, tile, artifact: _, device: _ } => text.line("network", (sha256, tile)),
        ModelKindPlan::Linear(linear) => {
            let optimizer = match linear.optimizer {
                Optimizer::Sgd { lr } => ("sgd", vec![lr]),
                Optimizer::AdaGrad { lr, eps } => ("adagrad", vec![lr, eps]),
                Optimizer::Ftrl { alpha, beta, l1, l2 } => ("ftrl", vec![alpha, beta, l1, l2]),
            };
            text.line("optimizer", optimizer.0);
            for value in optimizer.1 {
                text.float("optimizer", value);
            }
            text.line("scaler", (linear.standard_scaler, linear.scaler_before));
            text.line("learn_record", linear.learn_record);
            for (name, value) in [
                ("l1", linear.l1),
                ("l2", linear.l2),
                ("clip_gradient", linear.clip_gradient),
                ("intercept_lr", linear.intercept_lr),
                ("intercept_init", linear.intercept_init),
            ] {
                text.float(name, value);
            }
            text.sql("weight", linear.weight.as_ref());
            text.line("seed", linear.seed);
            text.line("initial", linear.initial.as_ref().map(|(_, sha256)| sha256));
        }
    }
    text.digest()
}

fn of_monitor(plan: &Plan, monitor: &MonitorPlan) -> String {
    let mut text = Text::default();
    for watched in &monitor.watch {
        text.line("watch", super::explain::watched(plan, watched));
    }
    for detector in &monitor.detectors {
        match detector {
            Detector::Psi { threshold, bins } => text.line("psi", (threshold.to_bits(), bins)),
            Detector::Adwin { delta, keep } => text.line("adwin", (delta.to_bits(), keep)),
        }
    }
    text.line("metrics", &monitor.metrics);
    text.line("interval", (monitor.reference_rows, monitor.window, monitor.every, monitor.min_rows));
    text.digest()
}

fn of_sink(plan: &Plan, sink: &SinkPlan) -> String {
    let mut text = Text::default();
    text.line("from", super::explain::readable(plan, &sink.from));
    text.sql("where", sink.filter.as_ref());
    for (name, expression) in &sink.columns {
        text.sql(name, Some(expression));
    }
    match &sink.kind {
        SinkKindPlan::File { path: _ } => text.line("kind", "file"),
        SinkKindPlan::Parquet { path: _, partition_by, partition_name, max_rows, max_bytes } => {
            text.line("kind", ("parquet", partition_name, max_rows, max_bytes));
            text.sql("partition_by", partition_by.as_ref());
        }
        SinkKindPlan::Kafka { topic: _, message_key } => {
            text.line("kind", "kafka");
            text.sql("message_key", message_key.as_ref());
        }
    }
    text.digest()
}
