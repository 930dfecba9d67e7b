//! Everything a run needs that can fail, done before any worker starts: tables read, networks loaded, state directory chosen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::RunOptions;
use crate::dataflow::{Committed, Fault};
use crate::error::Result;
use crate::inference::Network;
use crate::plan::{ModelKindPlan, Plan, SinkKindPlan, SourceKindPlan};
use crate::progress::{CommitSettings, Inputs, KafkaSettings};
use crate::render::{Prepared, SourceNames, TableIndex};
use crate::sinks::{SinkSettings, Target};
use crate::sources;
use crate::time::BusyTimes;

/// The state directory of a pipeline (S14.1).
pub fn state_dir(plan: &Plan, options: &RunOptions) -> PathBuf {
    options.state_dir.clone().unwrap_or_else(|| Path::new(".tidemill").join(&plan.name))
}

/// Reads tables and networks.
pub fn prepare(plan: Plan) -> Result<Prepared> {
    let mut tables = Vec::with_capacity(plan.tables.len());
    for table in &plan.tables {
        tables.push(TableIndex::new(sources::read_table(table)?, table.key, table.event_time)?);
    }
    let mut networks = Vec::with_capacity(plan.models.len());
    for model in &plan.models {
        networks.push(match &model.kind {
            ModelKindPlan::Candle { artifact, device, tile, sha256 } => Some(Network::load(Path::new(artifact), device, *tile, sha256)?),
            ModelKindPlan::Linear(_) => None,
        });
    }
    Ok(Prepared {
        names: Arc::new(names(&plan)),
        tables: Arc::new(tables),
        networks: Arc::new(networks),
        stop: Arc::default(),
        fault: Fault::default(),
        committed: Committed::default(),
        busy: BusyTimes::default(),
        plan: Arc::new(plan),
    })
}

/// Names of sources and of the partitions that the plan knows; a Kafka partition's name is its number.
fn names(plan: &Plan) -> SourceNames {
    let of = |source: &crate::plan::SourcePlan| match &source.kind {
        SourceKindPlan::File { paths, .. } => paths.clone(),
        SourceKindPlan::Generator { .. } | SourceKindPlan::Kafka { .. } => Vec::new(),
    };
    SourceNames { sources: plan.sources.iter().map(|source| (source.id.name().to_string(), of(source))).collect() }
}

/// How to reach Kafka, where a plan needs it.
pub fn kafka_settings(plan: &Plan) -> Option<KafkaSettings> {
    plan.kafka.as_ref().map(|kafka| KafkaSettings { brokers: kafka.brokers.clone(), options: kafka.options.clone() })
}

/// What the committer has to know of the plan, and of the files that are about to be read.
pub fn commit_settings(prepared: &Prepared, options: &RunOptions) -> Result<CommitSettings> {
    let plan = &prepared.plan;
    let folder = state_dir(plan, options);
    let place = |path: &str| PathBuf::from(path.replace("{state}", &folder.to_string_lossy()));
    let networks = plan.models.iter().any(|model| matches!(model.kind, ModelKindPlan::Candle { .. }));
    let sinks = plan.sinks.iter().map(|sink| {
        let target = match &sink.kind {
            SinkKindPlan::File { path } => Target::Lines { path: place(path) },
            SinkKindPlan::Parquet { path, partition_by, partition_name, max_rows, max_bytes } => Target::Parquet {
                path: place(path),
                partition_name: partition_by.is_some().then(|| partition_name.clone()),
                max_rows: *max_rows,
                max_bytes: *max_bytes,
            },
            SinkKindPlan::Kafka { topic, .. } => Target::Topic { topic: topic.clone() },
        };
        SinkSettings { id: sink.id.clone(), schema: sink.schema.clone(), target, network: networks && depends_on_network(plan, sink) }
    });
    let device = devices(prepared.networks.iter().flatten().map(Network::device_kind));
    let topics_read = plan.sources.iter().filter_map(|source| match &source.kind {
        SourceKindPlan::Kafka { topic, .. } => Some(topic.clone()),
        SourceKindPlan::File { .. } | SourceKindPlan::Generator { .. } => None,
    });
    let files = plan.sources.iter().filter_map(|source| match &source.kind {
        SourceKindPlan::File { paths, .. } => Some((source.id.name(), paths.as_slice())),
        SourceKindPlan::Generator { .. } | SourceKindPlan::Kafka { .. } => None,
    });
    Ok(CommitSettings {
        pipeline: plan.name.clone(),
        sinks: sinks.collect(),
        kafka: kafka_settings(plan),
        topics_read: topics_read.collect(),
        fresh: options.fresh,
        fingerprint: plan.fingerprint.whole.clone(),
        components: plan.fingerprint.components.iter().map(|(id, digest)| (id.to_string(), digest.clone())).collect(),
        inputs: Inputs::look(files)?,
        device,
        state_dir: folder,
    })
}

/// What the progress record says of the devices of a plan's networks, in plan order (S11.3); once if they all have one kind.
fn devices<'a>(kinds: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut kinds: Vec<&str> = kinds.collect();
    if kinds.windows(2).all(|pair| pair[0] == pair[1]) {
        kinds.truncate(1);
    }
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

/// Whether a sink shows what a network computed (S11.3).
fn depends_on_network(plan: &Plan, sink: &crate::plan::SinkPlan) -> bool {
    use crate::plan::{SinkFrom, Watch};
    let is_network = |model: usize| matches!(plan.models[model].kind, ModelKindPlan::Candle { .. });
    match &sink.from {
        SinkFrom::Model(model) | SinkFrom::ModelRows(model) => is_network(*model),
        SinkFrom::Monitor(monitor) => {
            plan.monitors[*monitor].watch.iter().any(|(Watch::Model(model) | Watch::Inputs(model))| is_network(*model))
        }
        SinkFrom::Stream(_) | SinkFrom::View(_) | SinkFrom::Quarantine => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_on_different_devices_are_all_named_and_in_plan_order() {
        let named = |kinds: &[&str]| devices(kinds.iter().copied());
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["cpu a", "cpu a"]).as_deref(), Some("cpu a"));
        assert_eq!(named(&["cpu a", "cuda b"]).as_deref(), Some("cpu a, cuda b"));
        assert_ne!(named(&["cpu a", "cuda b"]), named(&["cuda b", "cpu a"]));
    }
}
