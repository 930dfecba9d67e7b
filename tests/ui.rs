//! Diagnostics are golden: each `tests/ui/NAME.toml` is a pipeline file with mistakes, and `NAME.stderr` is exactly what a user sees.
//!
//! `REWRITE=1 cargo test --test ui` writes what is seen now; read every changed file before it is committed. Variables are fixed (`STAGE` is `dev`,
//! nothing else is set), relative paths start at `tests/ui`, and the checkout is shown as `$ROOT`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidemill::config::{self, codes};
use tidemill::diagnostic;

/// Fewest cases: the number may only grow.
const FEWEST: usize = 60;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui")
}

/// All cases, by name.
fn cases() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What a user sees for the case `name`.
fn shown(name: &str) -> String {
    let text = fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
    let parsed = config::parse(&text, &folder(), &|variable| (variable == "STAGE").then(|| "dev".to_string()));
    let out = diagnostic::render(&format!("{name}.toml"), &text, &parsed.diagnostics, false);
    out.replace(&*Path::new(env!("CARGO_MANIFEST_DIR")).to_string_lossy(), "$ROOT")
}

#[test]
fn every_case_reads_as_it_did() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let names = cases();
    assert!(names.len() >= FEWEST, "{} cases, at least {FEWEST} are wanted", names.len());
    let mut changed = Vec::new();
    for name in &names {
        let path = folder().join(format!("{name}.stderr"));
        let now = shown(name);
        assert!(!now.is_empty(), "{name}.toml has no mistakes");
        let golden = fs::read_to_string(&path).unwrap_or_default();
        if golden != now {
            if rewrite {
                fs::write(&path, &now).unwrap();
            } else {
                changed.push(format!("---- {name}.toml, expected:\n{golden}---- now:\n{now}"));
            }
        }
    }
    assert!(changed.is_empty(), "{}\n{} of {} cases changed; REWRITE=1 writes them", changed.join("\n"), changed.len(), names.len());
}

#[test]
fn every_code_has_a_case_and_every_outcome_a_file() {
    let mut seen = BTreeSet::new();
    let names = cases();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "stderr") {
            continue;
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "{name}.stderr has no {name}.toml");
        let text = shown(&name);
        seen.extend(codes::ALL.iter().map(|(code, _)| *code).filter(|code| text.contains(&format!("[{code}]"))));
    }
    let missing: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "codes without a case: {missing:?}");
}
