//! Pure decisions at start: may this process go on from that log, and does a replayed epoch equal the recorded one?

use std::collections::{BTreeMap, BTreeSet};

use super::{ProgressRecord, SEMANTICS_VERSION, StartRecord};
use crate::error::{Error, Exit, Result};
use crate::sinks::Digest;
use crate::time::Epoch;

/// Refuses (exit 65) to go on from a log that another plan, engine or set of sinks wrote. `place` names the log for the message.
pub(crate) fn check_start(found: &StartRecord, now: &StartRecord, place: &str) -> Result<()> {
    let refuse = |cause: String| {
        let help = "start over and replace its outputs with --fresh, or give the changed pipeline another name or state directory";
        Err(Error::new(Exit::Data, cause, help))
    };
    if found.pipeline != now.pipeline {
        return refuse(format!("{place} belongs to the pipeline `{}`, not `{}`", found.pipeline, now.pipeline));
    }
    if found.semantics != SEMANTICS_VERSION {
        let versions = format!("{} where this one has {SEMANTICS_VERSION}", found.semantics);
        return refuse(format!("{place} was written by a Tidemill with other semantics: version {versions}"));
    }
    if found.fingerprint != now.fingerprint {
        let short = |text: &str| text.chars().take(12).collect::<String>();
        let cause = format!(
            "the pipeline file, or a file that it names, has changed since the run in {place}{} (fingerprint {} then, {} now)",
            changed_components(&found.components, &now.components),
            short(&found.fingerprint),
            short(&now.fingerprint)
        );
        let help =
            "put it back, start over and replace the outputs with --fresh, or give the changed pipeline another name or state directory";
        return Err(Error::new(Exit::Data, cause, help));
    }
    for (sink, place_then) in &found.sinks {
        match now.sinks.get(sink) {
            Some(place_now) if place_now == place_then => {}
            Some(place_now) => return refuse(format!("`{sink}` wrote to {place_then} so far, and would go on in {place_now}")),
            None => return refuse(format!("`{sink}` is gone since the run in {place}")),
        }
    }
    match now.sinks.keys().find(|sink| !found.sinks.contains_key(*sink)) {
        Some(sink) => refuse(format!("`{sink}` is new since the run in {place}")),
        None => Ok(()),
    }
}

/// The components that differ, in words; what is in no component is in `[pipeline]`. Nothing where the log does not tell them apart.
fn changed_components(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    if then.is_empty() {
        return String::new();
    }
    let ids: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let word = |id: &String| match (then.get(id), now.get(id)) {
        (Some(then), Some(now)) if then == now => None,
        (Some(_), Some(_)) => Some(format!("`{id}`")),
        (None, _) => Some(format!("`{id}` is new")),
        (_, None) => Some(format!("`{id}` is gone")),
    };
    let words: Vec<String> = ids.into_iter().filter_map(word).collect();
    if words.is_empty() { ": `[pipeline]`".to_owned() } else { format!(": {}", words.join(", ")) }
}

/// What a replayed epoch must reproduce (recovery-protocol I8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Source, partition, start, end, rows and digest of each binding.
    pub bindings: BTreeMap<(String, String), (u64, u64, u64, Digest)>,
    /// Rows and digest of each sink that had rows.
    pub outputs: BTreeMap<String, (u64, Digest)>,
    /// Device that networks ran on.
    pub device: Option<String>,
}

impl Expected {
    /// What `record` says.
    pub(crate) fn of(record: &ProgressRecord) -> Self {
        let bindings = record.sources.iter().flat_map(|(source, progress)| {
            progress
                .partitions
                .iter()
                .map(|(partition, binding)| ((source.clone(), partition.clone()), (binding.start, binding.end, binding.rows, binding.xxh3)))
        });
        let outputs = record.outputs.iter().map(|(sink, output)| (sink.clone(), (output.rows, output.xxh3)));
        Self { bindings: bindings.collect(), outputs: outputs.collect(), device: record.device.clone() }
    }

    /// Exit 65 if the bindings of the replayed `record` differ: the input is not what it was. Sources the record leaves out are not compared.
    pub(crate) fn check_bindings(&self, record: &ProgressRecord) -> Result<()> {
        let again = Self::of(record);
        for ((source, partition), binding) in &again.bindings {
            if self.bindings.get(&(source.clone(), partition.clone())) != Some(binding) {
                return Err(Error::new(
                    Exit::Data,
                    format!("the input has changed: epoch {} of source `{source}`, {partition}, is not what was processed", record.epoch),
                    "put the input back as it was, or start over and replace all outputs with --fresh",
                ));
            }
        }
        Ok(())
    }

    /// Exit 70 if the rows of a sink differ from what was committed.
    pub(crate) fn check_output(&self, epoch: Epoch, sink: &str, rows: u64, digest: Digest) -> Result<()> {
        let wanted = self.outputs.get(sink).copied();
        if wanted == Some((rows, digest)) || (wanted.is_none() && rows == 0) {
            return Ok(());
        }
        let (wanted_rows, wanted_digest) = wanted.map_or((0, "none".to_owned()), |(rows, digest)| (rows, digest.to_string()));
        Err(Error::internal(format!(
            "replaying epoch {epoch} gave `{sink}` {rows} rows (digest {digest}), but {wanted_rows} rows (digest {wanted_digest}) were committed"
        )))
    }
}

/// What each committed epoch must reproduce.
pub(crate) fn expectations(records: &[ProgressRecord]) -> BTreeMap<Epoch, Expected> {
    records.iter().map(|record| (record.epoch, Expected::of(record))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> StartRecord {
        let sinks = BTreeMap::from([("sinks.a".to_owned(), "file a".to_owned())]);
        let components = ["models.m", "tables.a", "tables.b"].map(|id| (id.to_owned(), "f".to_owned())).into();
        StartRecord { pipeline: "p".into(), fingerprint: "f".into(), semantics: SEMANTICS_VERSION, generation: 1, sinks, components }
    }

    #[test]
    fn only_the_same_plan_into_the_same_places_may_go_on() {
        check_start(&start(), &StartRecord { generation: 9, ..start() }, "x").unwrap();
        let changed = [
            StartRecord { pipeline: "q".into(), ..start() },
            StartRecord { fingerprint: "g".into(), ..start() },
            StartRecord { sinks: BTreeMap::new(), ..start() },
            StartRecord { sinks: BTreeMap::from([("sinks.a".to_owned(), "file b".to_owned())]), ..start() },
            StartRecord { sinks: start().sinks.into_iter().chain([("sinks.b".to_owned(), "file b".to_owned())]).collect(), ..start() },
        ];
        for now in changed {
            let refused = check_start(&start(), &now, "x").unwrap_err();
            assert_eq!(refused.exit, Exit::Data);
            assert!(refused.help.contains("--fresh"));
        }
        assert!(check_start(&StartRecord { semantics: 0, ..start() }, &start(), "x").is_err());
    }

    #[test]
    fn a_changed_plan_is_refused_by_the_names_of_what_has_changed() {
        let says = |components: &[(&str, &str)]| {
            let components = components.iter().map(|(id, digest)| (id.to_string(), digest.to_string())).collect();
            check_start(&start(), &StartRecord { fingerprint: "g".into(), components, ..start() }, "x").unwrap_err().cause
        };
        let cause = says(&[("models.n", "f"), ("tables.a", "g"), ("tables.b", "f")]);
        assert!(cause.contains("x: `models.m` is gone, `models.n` is new, `tables.a` (fingerprint f then, g now)"), "{cause}");
        let cause = says(&[("models.m", "f"), ("tables.a", "f"), ("tables.b", "f")]);
        assert!(cause.contains("x: `[pipeline]` ("), "{cause}");
        let unnamed = StartRecord { components: BTreeMap::new(), ..start() };
        let cause = check_start(&unnamed, &StartRecord { fingerprint: "g".into(), ..start() }, "x").unwrap_err().cause;
        assert!(cause.contains("x (fingerprint f then"), "{cause}");
    }

    #[test]
    fn a_replay_that_differs_names_epoch_and_sink() {
        let expected = Expected { outputs: BTreeMap::from([("sinks.a".to_owned(), (2, Digest(1)))]), ..Expected::default() };
        expected.check_output(Epoch(3), "sinks.a", 2, Digest(1)).unwrap();
        expected.check_output(Epoch(3), "sinks.b", 0, Digest(7)).unwrap();
        for (sink, rows, digest) in [("sinks.a", 2, 2), ("sinks.a", 0, 1), ("sinks.b", 1, 1)] {
            let error = expected.check_output(Epoch(3), sink, rows, Digest(digest)).unwrap_err();
            assert_eq!(error.exit, Exit::Internal);
            assert!(error.cause.contains("epoch 3") && error.cause.contains(sink), "{error}");
        }
    }
}
