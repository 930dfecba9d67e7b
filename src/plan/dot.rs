//! `tidemill plan --dot`: the graph of a plan in the language of Graphviz (<https://graphviz.org/doc/info/lang.html>).

use std::fmt::Write as _;

use super::explain::{readable, watched};
use super::{LabelPlan, ModelKindPlan, Plan, SinkFrom};
use crate::ids::ComponentId;

/// The graph, left to right. Solid edges carry records, dashed ones are read as of a record, dotted ones bring labels.
pub fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph plan {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n");
    for source in &plan.sources {
        node(&mut out, &source.id, "cylinder", "");
    }
    for table in &plan.tables {
        node(&mut out, &table.id, "folder", "");
    }
    for stream in plan.streams.iter().filter(|stream| stream.upstream.is_some()) {
        node(&mut out, &stream.id, "box", "");
        if let Some(upstream) = stream.upstream {
            edge(&mut out, plan.streams[upstream].id.as_str(), stream.id.as_str(), "", "solid");
        }
        for join in &stream.joins {
            edge(&mut out, plan.tables[join.table].id.as_str(), stream.id.as_str(), join.key.sql(), "dashed");
        }
    }
    for view in &plan.views {
        let stream = &plan.streams[view.stream];
        let entity: Vec<&str> = view.entity.iter().map(|column| stream.schema.field(*column).name().as_str()).collect();
        node(&mut out, &view.id, "component", &format!("{} features", view.features.len()));
        edge(&mut out, stream.id.as_str(), view.id.as_str(), &entity.join(", "), "solid");
    }
    for model in &plan.models {
        let kind = match (&model.kind, model.classification) {
            (ModelKindPlan::Candle { .. }, _) => "network",
            (ModelKindPlan::Linear(_), true) => "logistic regression",
            (ModelKindPlan::Linear(_), false) => "linear regression",
        };
        node(&mut out, &model.id, "hexagon", kind);
        edge(&mut out, plan.streams[model.stream].id.as_str(), model.id.as_str(), "", "solid");
        for lookup in &model.lookups {
            edge(&mut out, plan.views[lookup.view].id.as_str(), model.id.as_str(), &lookup.alias, "dashed");
        }
        if let Some(LabelPlan::Stream { stream, value, .. }) = &model.label {
            edge(&mut out, plan.streams[*stream].id.as_str(), model.id.as_str(), value.sql(), "dotted");
        }
    }
    for monitor in &plan.monitors {
        node(&mut out, &monitor.id, "diamond", "");
        for watch in &monitor.watch {
            let whole = watched(plan, watch);
            let inputs = whole.strip_suffix(".inputs");
            edge(&mut out, inputs.unwrap_or(&whole), monitor.id.as_str(), if inputs.is_some() { "inputs" } else { "" }, "solid");
        }
    }
    for sink in &plan.sinks {
        node(&mut out, &sink.id, "note", "");
        let from = readable(plan, &sink.from);
        match &sink.from {
            SinkFrom::Quarantine => {
                for source in &plan.sources {
                    edge(&mut out, source.id.as_str(), sink.id.as_str(), "quarantine", "dotted");
                }
            }
            SinkFrom::ModelRows(_) => edge(&mut out, from.trim_end_matches(".rows"), sink.id.as_str(), "rows", "solid"),
            _ => edge(&mut out, &from, sink.id.as_str(), "", "solid"),
        }
    }
    out.push_str("}\n");
    out
}

fn node(out: &mut String, id: &ComponentId, shape: &str, more: &str) {
    let label = if more.is_empty() { escaped(id.as_str()) } else { format!("{}\\n{}", escaped(id.as_str()), escaped(more)) };
    let _ = writeln!(out, "  \"{}\" [shape = {shape}, label = \"{label}\"];", escaped(id.as_str()));
}

fn edge(out: &mut String, from: &str, to: &str, label: &str, style: &str) {
    let _ = writeln!(out, "  \"{}\" -> \"{}\" [style = {style}, label = \"{}\"];", escaped(from), escaped(to), escaped(label));
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
