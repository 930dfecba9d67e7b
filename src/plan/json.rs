//! `tidemill plan --json`: a plan as JSON for programs. Keys are stable; lists have the order of the plan.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json as object};

use super::explain::{cell_text, order, readable, watched, window_text};
use super::lineage::{Components, Lineage, Origins};
use super::resolve::detector_name;
use super::{LabelPlan, ModelKindPlan, ModelPlan, Plan, SinkKindPlan, SinkPlan, SourceKindPlan, SourcePlan, StreamPlan, ViewPlan};
use crate::config::declaration::MonitorWindow;
use crate::data::DeclaredSchema;
use crate::expressions::{Expression, type_name};
use crate::features;
use crate::time::duration;

/// The whole plan. Durations are text as the file spells them, sizes are bytes.
pub fn json(plan: &Plan) -> Value {
    let lineage = Lineage::of(Components {
        sources: &plan.sources,
        tables: &plan.tables,
        streams: &plan.streams,
        views: &plan.views,
        models: &plan.models,
    });
    let components: Map<String, Value> =
        plan.fingerprint.components.iter().map(|(id, digest)| (id.to_string(), Value::from(digest.as_str()))).collect();
    object!({
        "name": plan.name,
        "bounded": plan.is_bounded(),
        "epoch": {
            "every": duration::format(plan.epoch.every),
            "max_rows": plan.epoch.max_rows,
            "max_bytes": plan.epoch.max_bytes,
            "in_flight": plan.epoch.in_flight,
        },
        "shards": plan.shards,
        "max_quarantine": plan.max_quarantine,
        "sources": plan.sources.iter().map(source).collect::<Vec<_>>(),
        "tables": plan.tables.iter().map(|table| object!({
            "id": table.id,
            "path": table.path,
            "key": table.schema.columns[table.key].name,
            "columns": schema(&table.schema),
            "sha256": table.digest,
        })).collect::<Vec<_>>(),
        "streams": plan.streams.iter().filter(|stream| stream.upstream.is_some()).map(|declared| stream(plan, declared)).collect::<Vec<_>>(),
        "features": plan.views.iter().map(|declared| view(plan, declared)).collect::<Vec<_>>(),
        "models": plan.models.iter().zip(&lineage.models).map(|(declared, inputs)| model(plan, declared, inputs)).collect::<Vec<_>>(),
        "monitors": plan.monitors.iter().map(|monitor| object!({
            "id": monitor.id,
            "watch": monitor.watch.iter().map(|watch| watched(plan, watch)).collect::<Vec<_>>(),
            "detectors": monitor.detectors.iter().map(detector_name).collect::<Vec<_>>(),
            "metrics": monitor.metrics,
            "every": duration::format(monitor.every),
            "window": match monitor.window {
                MonitorWindow::Time(span) => Value::from(duration::format(span)),
                MonitorWindow::Rows(rows) => object!({ "rows": rows }),
            },
            "reference_rows": monitor.reference_rows,
            "min_rows": monitor.min_rows,
        })).collect::<Vec<_>>(),
        "sinks": plan.sinks.iter().map(|declared| sink(plan, declared)).collect::<Vec<_>>(),
        "tests": plan.tests.iter().map(|test| test.name.value.as_str()).collect::<Vec<_>>(),
        "order": order(plan),
        "fingerprint": { "whole": plan.fingerprint.whole, "components": components },
    })
}

fn source(source: &SourcePlan) -> Value {
    let kind = match &source.kind {
        SourceKindPlan::File { paths, .. } => object!({ "kind": "file", "paths": paths }),
        SourceKindPlan::Generator { generator, seed, rows, rate } => {
            object!({ "kind": "generator", "generator": generator, "seed": seed, "rows": rows, "rate": rate })
        }
        SourceKindPlan::Kafka { topic, .. } => object!({ "kind": "kafka", "topic": topic }),
    };
    object!({
        "id": source.id,
        "from": kind,
        "bounded": source.is_bounded(),
        "event_time": source.event_time.map(|time| source.schema.columns[time].name.as_str()),
        "lateness": duration::format(source.lateness),
        "key": source.key.map(|key| source.schema.columns[key].name.as_str()),
        "columns": schema(&source.schema),
    })
}

fn stream(plan: &Plan, stream: &StreamPlan) -> Value {
    object!({
        "id": stream.id,
        "from": stream.upstream.map(|upstream| plan.streams[upstream].id.as_str()),
        "join": stream.joins.iter().map(|join| object!({ "table": plan.tables[join.table].id, "key": join.key.sql() })).collect::<Vec<_>>(),
        "where": stream.filter.as_ref().map(Expression::sql),
        "derive": named(&stream.derive),
        "columns": fields(&stream.schema),
    })
}

fn view(plan: &Plan, view: &ViewPlan) -> Value {
    let stream = &plan.streams[view.stream];
    let bounds = features::state_bounds(&view.spec);
    let features: Vec<Value> = view
        .features
        .iter()
        .zip(&view.spec.features)
        .map(|(feature, spec)| {
            object!({
                "name": feature.name,
                "sql": feature.sql,
                "type": cell_text(feature),
                "window": spec.window.map(|window| window_text(&view.spec.windows[window])),
                "include_current": spec.include_current,
            })
        })
        .collect();
    object!({
        "id": view.id,
        "from": stream.id,
        "where": view.filter.as_ref().map(Expression::sql),
        "entity": view.entity.iter().map(|column| stream.schema.field(*column).name()).collect::<Vec<_>>(),
        "features": features,
        "state": {
            "bytes_per_key": bounds.bytes_per_key,
            "bytes_per_record": bounds.bytes_per_record,
            "ttl": view.spec.ttl.map(duration::format),
            "max_keys_per_shard": view.spec.max_keys_per_shard,
            "max_records_per_key": view.spec.max_records_per_key,
        },
    })
}

fn model(plan: &Plan, model: &ModelPlan, lineage: &[Origins]) -> Value {
    let from = |origins: &Origins| -> Vec<String> {
        let columns: BTreeSet<String> = origins.keys().map(|origin| format!("{}.{}", origin.component, origin.column)).collect();
        columns.into_iter().collect()
    };
    let stream = &plan.streams[model.stream];
    let label = match &model.label {
        None => Value::Null,
        Some(LabelPlan::Column(value)) => object!({ "value": value.sql() }),
        Some(LabelPlan::Stream { stream: labels, row_key, value, within, expired_negative, .. }) => object!({
            "stream": plan.streams[*labels].id,
            "on": stream.schema.field(*row_key).name(),
            "value": value.sql(),
            "within": duration::format(*within),
            "expired": if *expired_negative { "negative" } else { "drop" },
        }),
    };
    let kind = match &model.kind {
        ModelKindPlan::Candle { artifact, device, tile, sha256 } => {
            object!({ "kind": "candle", "artifact": artifact, "device": device, "tile": tile, "sha256": sha256 })
        }
        ModelKindPlan::Linear(linear) => object!({
            "kind": if model.classification { "logistic_regression" } else { "linear_regression" },
            "learn": if linear.learn_record { "record" } else { "epoch" },
            "lag_rows": if linear.learn_record { 0 } else { plan.epoch.max_rows },
        }),
    };
    object!({
        "id": model.id,
        "from": stream.id,
        "where": model.filter.as_ref().map(Expression::sql),
        "lookup": model.lookups.iter().map(|lookup| object!({
            "alias": lookup.alias,
            "view": plan.views[lookup.view].id,
            "key": lookup.key.iter().map(|column| stream.schema.field(*column).name()).collect::<Vec<_>>(),
            "own": lookup.own,
        })).collect::<Vec<_>>(),
        "derive": named(&model.derive),
        "inputs": model.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(),
        "lineage": model.inputs.iter().zip(lineage).map(|(input, origins)| (input.name.clone(), Value::from(from(origins)))).collect::<Map<_, _>>(),
        "label": label,
        "model": kind,
    })
}

fn sink(plan: &Plan, sink: &SinkPlan) -> Value {
    let to = match &sink.kind {
        SinkKindPlan::File { path } => object!({ "kind": "file", "path": path }),
        SinkKindPlan::Parquet { path, partition_by, .. } => {
            object!({ "kind": "parquet", "path": path, "partition_by": partition_by.as_ref().map(Expression::sql) })
        }
        SinkKindPlan::Kafka { topic, message_key } => {
            object!({ "kind": "kafka", "topic": topic, "message_key": message_key.as_ref().map(Expression::sql) })
        }
    };
    object!({
        "id": sink.id,
        "from": readable(plan, &sink.from),
        "to": to,
        "where": sink.filter.as_ref().map(Expression::sql),
        "columns": fields(&sink.schema),
    })
}

fn named(derive: &[(String, Expression)]) -> Map<String, Value> {
    derive.iter().map(|(name, expression)| (name.clone(), Value::from(expression.sql()))).collect()
}

fn schema(schema: &DeclaredSchema) -> Vec<Value> {
    fields(&schema.arrow())
}

fn fields(schema: &arrow::datatypes::Schema) -> Vec<Value> {
    schema
        .fields()
        .iter()
        .map(|field| object!({ "name": field.name(), "type": type_name(field.data_type()), "nullable": field.is_nullable() }))
        .collect()
}
