//! How the plan's diagnostics look: each `tests/ui/plan/NAME.toml` is a pipeline file with mistakes over the world below, and `NAME.stderr` is exactly
//! what a user sees. `REWRITE=1` writes what is seen now; read every changed file before it is committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{check, shown, world};
use crate::plan::codes;
use crate::plan::memory::Memory;

const FEWEST: usize = 30;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/plan")
}

fn files() -> Memory {
    let flight = ["flight_id int64", "departed_at timestamp", "origin string", "destination string", "distance float64", "delay float64?"];
    let texts = ["flight_id string", "arrived_at timestamp", "origin string", "destination string", "delay float64?"];
    let carriers = ["flight_id int64", "arrived_at timestamp", "carrier string", "delay float64?"];
    world()
        .with("flights.parquet", "", &flight)
        .with("texts.parquet", "", &texts)
        .with("carriers.parquet", "", &carriers)
        .with("odd.parquet", "", &["at timestamp", "_hidden int64", "x int64"])
        .with("days/1.parquet", "", &["day timestamp", "flights int64"])
        .with("days/2.parquet", "", &["day timestamp", "departures int64"])
        .with("net/model.json", r#"{ "inputs": [{ "name": "distance" }, { "name": "hour" }, { "name": "origin" }], "tile": 64 }"#, &[])
        .with("net/model.safetensors", "tensors", &[])
        .with("net/plain.json", r#"{ "inputs": ["distance"], "tile": 64 }"#, &[])
        .with("net/plain.safetensors", "tensors", &[])
        .with("net/other.json", r#"{ "inputs": ["distance"], "tile": 64, "sha256": "00ff" }"#, &[])
        .with("net/other.safetensors", "tensors", &[])
}

fn cases() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_case_reads_as_it_did_and_every_code_has_one() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let names = cases();
    assert!(names.len() >= FEWEST, "{} cases, at least {FEWEST} are wanted", names.len());
    let mut changed = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &names {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        let (_, diagnostics) = check(&text, &files());
        seen.extend(diagnostics.iter().map(|found| found.code));
        let now = shown(&text, &diagnostics).replace("p.toml", &format!("{name}.toml"));
        assert!(!now.is_empty(), "{name}.toml has no mistakes");
        let path = folder().join(format!("{name}.stderr"));
        let golden = fs::read_to_string(&path).unwrap_or_default();
        if golden != now && rewrite {
            fs::write(&path, &now).unwrap();
        } else if golden != now {
            changed.push(format!("---- {name}.toml, expected:\n{golden}---- now:\n{now}"));
        }
    }
    assert!(changed.is_empty(), "{}\n{} of {} cases changed; REWRITE=1 writes them", changed.join("\n"), changed.len(), names.len());
    let missing: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "codes without a case: {missing:?}");
}
