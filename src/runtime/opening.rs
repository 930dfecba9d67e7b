//! Opening the sources of a run, at the positions where it begins or goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataflow::Waker;
use crate::error::Result;
use crate::ids::PartitionIndex;
use crate::plan::{Plan, SourceKindPlan, SourcePlan};
use crate::progress::ProgressRecord;
use crate::render::{Opened, Prepared};
use crate::sources::{self, DecodePool, Feed, Limits};

/// By source name, where its partitions begin.
pub type Starts = BTreeMap<String, Vec<(PartitionIndex, u64)>>;

/// Where the epochs of `recorded` begin in each Kafka partition; a partition's name is its number. Files are named by paths and read from their beginning.
pub fn first_positions(plan: &Plan, recorded: &[ProgressRecord]) -> Starts {
    let mut first: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    for (source, progress) in recorded.iter().flat_map(|record| &record.sources) {
        for (name, binding) in &progress.partitions {
            if let Ok(partition) = name.parse() {
                first.entry((source, partition)).or_insert(binding.start);
            }
        }
    }
    let kafka =
        |name: &str| plan.sources.iter().any(|source| source.id.name() == name && matches!(source.kind, SourceKindPlan::Kafka { .. }));
    let mut starts = Starts::new();
    for ((source, partition), start) in first.into_iter().filter(|((source, _), _)| kafka(source)) {
        starts.entry(source.to_string()).or_default().push((PartitionIndex(partition), start));
    }
    starts
}

/// Opens the sources once the operator that reads them exists; `feed` has their records in memory, if they are to come on a schedule.
pub fn opener(prepared: &Prepared, threads: usize, starts: Starts, feed: Option<Arc<Feed>>) -> Box<dyn FnOnce(Waker) -> Result<Opened>> {
    let (plan, busy) = (prepared.plan.clone(), prepared.busy.clone());
    Box::new(move |waker| {
        let wake: sources::Wake = Arc::new(move || waker.wake());
        let pool = DecodePool::new(threads, busy)?;
        let open = |source: &SourcePlan| {
            if let Some(feed) = &feed {
                return sources::open_paced(source, feed, &pool, wake.clone());
            }
            let kafka = matches!(source.kind, SourceKindPlan::Kafka { .. });
            let limits = if kafka { Limits::default() } else { Limits::of_epochs(plan.epoch.max_rows, plan.epoch.max_bytes) };
            let starts = starts.get(source.id.name()).map_or(&[][..], Vec::as_slice);
            sources::open(source, plan.kafka.as_ref(), starts, limits, &pool, wake.clone())
        };
        let handles = plan.sources.iter().map(open).collect::<Result<_>>()?;
        Ok(Opened { handles, pool })
    })
}
