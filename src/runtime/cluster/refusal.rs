//! Why a connection did not become part of the cluster, and whether that ends the process that hears it.

use std::fmt;

use super::hello::{Hello, PROTOCOL};
use crate::error::{Error, Exit};

/// Why a process refuses the other end of a connection, or was refused by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are those of no process of a cluster: a port scan, a browser, another service.
    Stranger,
    /// It speaks another version of the handshake.
    Protocol(u16),
    /// It began as a process of a cluster does, and went on as none does.
    Malformed(&'static str),
    /// It does not know the secret of this cluster.
    Secret,
    /// It runs another pipeline, whose name this is.
    Cluster(String),
    /// It runs another plan under the same name: fingerprints of this process and of the other.
    Plan(String, String),
    /// It counts other processes or workers: its own words.
    Shape(String),
    /// It is not the process that it should be at this end of the connection: its index.
    Index(u32),
    /// The cluster has that process already.
    Taken,
    /// It belongs to another start of the cluster.
    Generation,
    /// It does not know yet which generation of the cluster starts.
    Early,
}

impl Refusal {
    /// Compares what two ends of a connection say, once both proved that they know the secret; `is_index` says which processes may be at the other end.
    pub fn between(mine: &Hello, theirs: &Hello, is_index: impl Fn(u32) -> bool) -> Option<Self> {
        if mine.cluster != theirs.cluster {
            return Some(Self::Cluster(theirs.cluster.clone()));
        }
        if mine.fingerprint != theirs.fingerprint {
            return Some(Self::Plan(mine.fingerprint.clone(), theirs.fingerprint.clone()));
        }
        if (mine.processes, mine.workers) != (theirs.processes, theirs.workers) {
            return Some(Self::Shape(format!("-n {} -w {}", theirs.processes, theirs.workers)));
        }
        (!is_index(theirs.process)).then_some(Self::Index(theirs.process))
    }

    /// The error with which the process that dialled `host` ends; nothing if it should try again.
    pub fn ends_caller(&self, host: &str) -> Option<Error> {
        let config = |cause: String, help: &str| Some(Error::new(Exit::Config, cause, help));
        match self {
            Self::Secret => Some(Error::new(
                Exit::Auth,
                format!("the process at {host} and this one do not share a secret"),
                "start every process of the cluster with the same TIDEMILL_CLUSTER_SECRET",
            )),
            Self::Protocol(other) => config(
                format!("the process at {host} speaks version {other} of the cluster's handshake, this one version {PROTOCOL}"),
                "start every process of the cluster with the same version of Tidemill",
            ),
            Self::Cluster(name) => config(
                format!("the process at {host} runs another pipeline, {name:?}"),
                "give each pipeline its own ports in --hosts, and every process of a cluster the same file",
            ),
            Self::Index(index) => config(
                format!("the process at {host} is number {index}, which is not the place of that address in --hosts"),
                "start every process with the same --hosts in the same order, and with its own -p",
            ),
            other => other.ends_both(),
        }
    }

    /// The error with which either process ends, as they can never work together; nothing if only the connection is refused.
    pub fn ends_both(&self) -> Option<Error> {
        match self {
            Self::Plan(mine, theirs) => Some(Error::new(
                Exit::Config,
                format!("this process runs plan {}, another one plan {}", short(mine), short(theirs)),
                "start every process of the cluster with the same file, the same variables and the same version of Tidemill",
            )),
            Self::Shape(theirs) => Some(Error::new(
                Exit::Config,
                format!("another process of this cluster was started with {theirs}"),
                "start every process of the cluster with the same number of workers and of processes",
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger => write!(f, "it is no process of a cluster"),
            Self::Protocol(other) => write!(f, "it speaks version {other} of the handshake, not {PROTOCOL}"),
            Self::Malformed(how) => write!(f, "{how}"),
            Self::Secret => write!(f, "it does not know the secret of this cluster"),
            Self::Cluster(name) => write!(f, "it runs another pipeline, {name:?}"),
            Self::Plan(_, theirs) => write!(f, "it runs another plan, {}", short(theirs)),
            Self::Shape(theirs) => write!(f, "it was started with {theirs}"),
            Self::Index(index) => write!(f, "process {index} has no place at this end of a connection"),
            Self::Taken => write!(f, "the cluster has that process already"),
            Self::Generation => write!(f, "it belongs to another start of the cluster"),
            Self::Early => write!(f, "it has not heard from process 0 yet"),
        }
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
