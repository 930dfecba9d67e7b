//! `kafka.json` in the state directory: which cluster this machine has seen a pipeline run on, and up to which generation. Only a tripwire for a progress
//! topic that was deleted; nothing is recovered from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exit, Result};
use crate::sinks::{replace_file, shown};

const NAME: &str = "kafka.json";

#[derive(Serialize, Deserialize)]
struct Seen {
    cluster: String,
    generation: u64,
}

/// Notes the generation that begins; nothing if the brokers do not tell the cluster's identity.
pub(crate) fn store_cluster(state_dir: &Path, cluster: Option<String>, generation: u64) -> Result<()> {
    let Some(cluster) = cluster else { return Ok(()) };
    let json = serde_json::to_vec(&Seen { cluster, generation }).map_err(|error| Error::internal(error.to_string()))?;
    replace_file(&state_dir.join(NAME), &json)
}

/// Cluster and newest generation seen there.
pub(crate) fn load_cluster(state_dir: &Path) -> Result<Option<(String, u64)>> {
    let path = state_dir.join(NAME);
    let json = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io("read", &path, &error))?,
    };
    let seen: Seen = serde_json::from_slice(&json).map_err(|error| {
        Error::new(Exit::Data, format!("{} is damaged: {error}", shown(&path)), "delete the file, if the progress topic is whole")
    })?;
    Ok(Some((seen.cluster, seen.generation)))
}
