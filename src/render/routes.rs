//! Which worker does what, and which output of an operator leads where. The only place that places components; no result depends on it.

use crate::ids::{ShardMap, WorkerIndex};
use crate::plan::{MonitorPlan, Plan, Watch};
use crate::time::Epoch;

/// The placement of a plan on a number of workers.
#[derive(Clone, Copy, Debug)]
pub struct Routes {
    workers: u32,
    shards: ShardMap,
    views: usize,
    models: usize,
}

impl Routes {
    /// The placement of `plan` on `workers` workers.
    pub fn new(plan: &Plan, workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
        Self { workers, shards: ShardMap::new(plan.shards, workers), views: plan.views.len(), models: plan.models.len() }
    }

    /// Shard → worker.
    pub fn shards(&self) -> ShardMap {
        self.shards
    }

    /// Number of workers.
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// Mints and commits.
    pub fn leader(&self) -> WorkerIndex {
        WorkerIndex(0)
    }

    /// Evaluates the streams of an epoch: stateless work, so epochs take turns.
    pub fn home(&self, epoch: Epoch) -> WorkerIndex {
        WorkerIndex((epoch.0 % u64::from(self.workers)) as u32)
    }

    /// Owns a model's parameters.
    pub fn model(&self, model: usize) -> WorkerIndex {
        WorkerIndex(model as u32 % self.workers)
    }

    /// Owns a monitor: where the first model it watches is.
    pub fn monitor(&self, monitor: &MonitorPlan) -> WorkerIndex {
        match monitor.watch.first() {
            Some(Watch::Model(model) | Watch::Inputs(model)) => self.model(*model),
            None => self.leader(),
        }
    }

    /// Evaluates and encodes for a sink: away from the models, which are busiest.
    pub fn sink(&self, sink: usize) -> WorkerIndex {
        WorkerIndex((self.models + sink) as u32 % self.workers)
    }

    /// Writes the quarantine: where records are read, since only there are their original bytes.
    pub fn quarantine(&self) -> WorkerIndex {
        self.leader()
    }

    /// Output of the streams operator that leads to a view.
    pub fn to_view(&self, view: usize) -> usize {
        view
    }

    /// Output of the streams operator that leads to a model.
    pub fn to_model(&self, model: usize) -> usize {
        self.views + model
    }

    /// Output of the streams operator that leads to the sinks.
    pub fn to_sinks(&self) -> usize {
        self.views + self.models
    }

    /// Output of the streams operator that leads to the committer.
    pub fn to_committer(&self) -> usize {
        self.to_sinks() + 1
    }

    /// Output of the streams operator that leads to the monitors.
    pub fn to_monitors(&self) -> usize {
        self.to_committer() + 1
    }
}
