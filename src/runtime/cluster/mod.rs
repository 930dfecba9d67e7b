//! Several processes as one cluster: they find each other, prove that they share a secret and run the same plan, and only then is there a dataflow.

mod connect;
mod conversation;
mod handshake;
#[cfg(test)]
mod handshake_tests;
mod hello;
mod listener;
mod network;
mod refusal;
mod roster;
mod secret;
mod sockets;
#[cfg(test)]
mod start_tests;

use connect::{Member, Patience, gather};
pub use network::Workers;
use secret::Secret;

use super::run::Cluster;
use crate::error::{Error, Exit, Result};
use crate::plan::Plan;

/// Connects this process of `cluster` with all others, which run the same plan; its workers.
pub fn connect(cluster: &Cluster, plan: &Plan) -> Result<Workers> {
    let member = Member {
        cluster: plan.name.clone(),
        fingerprint: plan.fingerprint.whole.clone(),
        process: cluster.process,
        workers: cluster.workers,
        hosts: cluster.hosts.clone(),
        secret: Secret::from_environment(&cluster.hosts)?,
    };
    let streams = gather(&member, Patience::default())?;
    network::workers(streams, cluster.process, cluster.workers, cluster.serialized).map_err(|error| {
        let help = "raise the limits on threads and open files";
        Error::new(Exit::Limit, format!("the threads that speak with the other processes cannot be started: {error}"), help)
    })
}
