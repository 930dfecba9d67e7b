//! The rules of the house (lib.rs, "The house"), checked on the sources themselves: layers, registries, headers, lengths, words that have no place
//! in an engine that must be deterministic, codes with their golden cases, the top level of the repository, and what the dependencies are licensed
//! under.
//!
//! Sources are read as text: comments, strings and `#[cfg(test)]` code are blanked out first, so a rule speaks of code that runs.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use sources::{File, all, has_word, paths, statements_without_uses, words};

/// Modules of the crate, from the bottom up; each may import those above it in this list and itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("rules", &["semantics"]),
    ("vocabulary", &["ids", "error", "diagnostic", "time", "data"]),
    ("declaration", &["config"]),
    ("SQL", &["expressions"]),
    ("pure", &["features", "models", "metrics", "drift"]),
    ("plan", &["plan"]),
    ("decisions", &["protocol"]),
    ("toolkit", &["dataflow"]),
    ("state", &["state"]),
    ("rim", &["codecs", "sources", "sinks", "checkpoint", "progress", "inference"]),
    ("assembly", &["render", "telemetry", "runtime"]),
];

/// Families whose members are one file and one row of a registry each: folder, what a member's code says, file with the registry.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("features", "static FAMILY: Family", "features/registry.rs"),
    ("models/learners", "impl Learner for", "models/learners/mod.rs"),
    ("models/optimizers", "impl Optimizer for", "models/optimizers/mod.rs"),
    ("metrics", "impl Metric for", "metrics/mod.rs"),
    ("drift", "impl Sequential for", "drift/mod.rs"),
    ("drift", "impl Comparison for", "drift/mod.rs"),
    ("codecs", "impl Codec for", "codecs/mod.rs"),
    ("sources", "impl SourceReader for", "sources/mod.rs"),
    ("sources", "impl Generator for", "sources/generator.rs"),
    ("sinks", "impl Encoder for", "sinks/mod.rs"),
    ("inference/layers", "impl Layer for", "inference/layers/mod.rs"),
];

/// Crates that only some folders may know.
const CONFINED: &[(&str, &[&str])] = &[
    ("rdkafka", &["sources/", "progress/"]),
    ("sqlparser", &["expressions/"]),
    ("datafusion_common", &["expressions/"]),
    ("datafusion_expr", &["expressions/"]),
    ("datafusion_functions", &["expressions/"]),
    ("datafusion_optimizer", &["expressions/"]),
    ("datafusion_physical_expr", &["expressions/"]),
    ("timely", &["dataflow/", "render/", "runtime/"]),
    ("candle_core", &["inference/"]),
    ("candle_nn", &["inference/"]),
    ("signal_hook", &["runtime/"]),
    ("hmac", &["runtime/cluster/"]),
    ("getrandom", &["runtime/cluster/"]),
    ("rustix", &["runtime/cluster/"]),
    ("clap", &["main.rs"]),
];

/// Code that has no place outside tests, and where it may stand all the same.
const FORBIDDEN: &[(&str, &str, &[&str])] = &[
    (".unwrap()", "return an error", &[]),
    (".expect(", "return an error", &[]),
    ("panic!(", "return an error", &[]),
    ("todo!(", "finish it", &[]),
    ("unimplemented!(", "finish it", &[]),
    ("unreachable!(", "return an error", &[]),
    ("dbg!(", "remove it", &[]),
    ("Instant::now", "ask time::clock", &["time/clock.rs"]),
    ("SystemTime::now", "ask time::clock", &["time/clock.rs"]),
    ("Utc::now", "ask time::clock", &[]),
    ("RandomState", "no order and no number may depend on chance", &[]),
    ("thread_rng", "no order and no number may depend on chance", &[]),
    (".mul_add(", "results must not depend on fused instructions", &[]),
];

/// Folders without effects: no files, no network, no threads, no environment.
const PURE: &[&str] = &["expressions/", "features/", "models/", "metrics/", "drift/", "protocol/", "state/"];
const EFFECTS: &[&str] = &["std::fs", "std::net", "std::thread", "std::env", "std::process", "time::clock", "Busy"];
/// Reads and writes the files of a saved model; borrows the stack of a thread and waits for it.
const ALLOWED_EFFECTS: &[(&str, &str)] = &[("models/artefact.rs", "std::fs"), ("expressions/stack.rs", "std::thread")];

/// In folders whose numbers reach outputs these go through `libm`, the same on every machine (S9.2).
const LIBM: &[&str] =
    &[".exp()", ".ln()", ".powf(", ".powi(", ".log10()", ".log2()", ".ln_1p()", ".exp_m1()", ".sin()", ".cos()", ".tan()", ".tanh()"];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc"];

/// Longest file, tests of its own included; files that are nothing but tests are exempt.
const MOST_LINES: usize = 600;

/// Licences of dependencies.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "MIT-0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
    "Apache-2.0 WITH LLVM-exception",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn modules_stand_in_layer_order_and_import_only_from_above() {
    let order: Vec<&str> = LAYERS.iter().flat_map(|(_, modules)| modules.iter().copied()).collect();
    let files = all(root());
    let lib = files.iter().find(|file| file.path == "lib.rs").unwrap();
    let declared: Vec<String> =
        words(&lib.code).windows(3).filter(|three| three[0] == "pub" && three[1] == "mod").map(|three| three[2].clone()).collect();
    let known: Vec<&str> = order.iter().copied().filter(|module| declared.iter().any(|declared| declared == module)).collect();
    assert_eq!(declared, known, "lib.rs declares the modules in layer order");
    let rank = |module: &str| order.iter().position(|known| *known == module);
    let (mut found, mut edges) = (Vec::new(), 0);
    for file in files.iter().filter(|file| !file.is_test && file.path != "lib.rs" && file.path != "main.rs") {
        let own = &file.module[0];
        for path in paths(&file.code, &file.module) {
            let Some(to) = path.first().filter(|to| rank(to).is_some()) else { continue };
            edges += 1;
            if to != own && rank(to) > rank(own) {
                found.push(format!("src/{} imports {}, which stands below it", file.path, path.join("::")));
            }
        }
    }
    assert!(edges > 300, "only {edges} imports were seen: the check has gone blind");
    none(found, "a module imports only from the layers above it");
}

#[test]
fn every_member_of_a_family_is_in_its_registry_and_knows_no_other() {
    let files = all(root());
    let mut found = Vec::new();
    let mut members: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (folder, marker, registry) in FAMILIES {
        let of_registry = files.iter().find(|file| file.path == *registry).unwrap_or_else(|| panic!("there is no src/{registry}"));
        let rows = statements_without_uses(&of_registry.code);
        let mut seen = 0;
        for file in files.iter().filter(|file| !file.is_test && file.folder() == *folder && file.code.contains(marker)) {
            seen += 1;
            if file.path == *registry {
                continue;
            }
            members.entry(folder).or_default().insert(file.stem().to_string());
            let types = file.code.split(marker).skip(1).filter_map(|rest| words(rest).into_iter().next());
            let registered = rows.contains(&format!("{}::", file.stem())) || types.into_iter().any(|name| has_word(&rows, &name));
            if !registered {
                found.push(format!("src/{} has no row in src/{registry}", file.path));
            }
        }
        assert!(seen > 0, "no file of src/{folder} says `{marker}`: the check has gone blind");
    }
    for (folder, members) in &members {
        for file in files.iter().filter(|file| !file.is_test && file.folder() == *folder && members.contains(file.stem())) {
            let family: Vec<&str> = folder.split('/').collect();
            for path in paths(&file.code, &file.module) {
                let inside = path.len() > family.len() && family.iter().zip(&path).all(|(a, b)| a == b);
                if inside && path[family.len()] != file.stem() && members.contains(&path[family.len()]) {
                    found.push(format!("src/{} imports {}, its sibling", file.path, path.join("::")));
                }
            }
        }
    }
    none(found, "members of a family are registered and do not know each other");
}

#[test]
fn every_file_says_what_it_promises_and_is_short_enough_to_read() {
    let mut found = Vec::new();
    for File { path, text, is_test, .. } in &all(root()) {
        if !text.starts_with("//! ") {
            found.push(format!("src/{path} has no `//!` header"));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES && !is_test {
            found.push(format!("src/{path} has {lines} lines, more than {MOST_LINES}"));
        }
    }
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") && !fs::read_to_string(&path).unwrap().starts_with("//! ") {
            found.push(format!("{} has no `//!` header", path.display()));
        }
    }
    none(found, "headers and lengths");
}

#[test]
fn code_that_could_surprise_has_no_place_outside_tests() {
    let mut found = Vec::new();
    for file in all(root()).iter().filter(|file| !file.is_test) {
        let mut say = |at: usize, what: &str, instead: &str| {
            found.push(format!("src/{}:{}: `{what}`: {instead}", file.path, file.code[..at].matches('\n').count() + 1));
        };
        for (what, instead, places) in FORBIDDEN {
            for (at, _) in file.code.match_indices(what).filter(|_| !places.contains(&file.path.as_str())) {
                say(at, what, instead);
            }
        }
        let hashes = ["HashMap", "HashSet"].iter().find_map(|name| file.code.find(name));
        if let Some(at) = hashes.filter(|_| !has_word(&file.code, "hashbrown")) {
            say(at, "HashMap or HashSet of std", "its order is random: take a BTreeMap, or hashbrown with a fixed hasher");
        }
        for (name, places) in CONFINED {
            if has_word(&file.code, name) && !places.iter().any(|place| file.path.starts_with(place)) {
                say(file.code.find(name).unwrap_or(0), name, &format!("only {} may know it", places.join(", ")));
            }
        }
        if PURE.iter().any(|folder| file.path.starts_with(folder)) {
            for what in EFFECTS.iter().filter(|what| !ALLOWED_EFFECTS.contains(&(file.path.as_str(), what))) {
                if let Some(at) = file.code.find(what) {
                    say(at, what, "this layer is pure");
                }
            }
            for what in LIBM {
                if let Some(at) = file.code.find(what) {
                    say(at, what, "take the function of libm: it gives the same bits on every machine");
                }
            }
        }
    }
    none(found, "code that runs");
}

#[test]
fn names_say_something() {
    let mut found = Vec::new();
    for file in &all(root()) {
        for part in file.path.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
            found.push(format!("src/{} is called `{part}`", file.path));
        }
        for pair in words(&file.code).windows(2).filter(|pair| ["struct", "enum", "trait", "mod", "fn", "type"].contains(&pair[0].as_str()))
        {
            let name = pair[1].to_lowercase();
            let says_nothing = |word: &&&str| name == **word || (pair[1] != name && name.ends_with(**word));
            if let Some(word) = EMPTY_NAMES.iter().find(says_nothing) {
                found.push(format!("src/{}: `{}` is named after `{word}`", file.path, pair[1]));
            }
        }
    }
    none(found, "names");
}

#[test]
fn every_diagnostic_code_is_declared_once_and_has_a_golden_case() {
    let mut codes: BTreeMap<String, String> = BTreeMap::new();
    let mut found = Vec::new();
    for path in ["config/codes.rs", "plan/codes.rs", "expressions/error.rs"] {
        let text = fs::read_to_string(root().join("src").join(path)).unwrap();
        for line in text.lines().filter(|line| line.starts_with("pub const ") && line.contains(": &str = \"")) {
            let code = line.split('"').nth(1).unwrap().to_string();
            let name = line.split([' ', ':']).nth(2).unwrap_or_default();
            if let Some(other) = codes.insert(code.clone(), format!("{path} {name}")) {
                found.push(format!("{code} is both {other} and {path} {name}"));
            }
        }
    }
    assert!(codes.len() > 60, "only {} codes were seen: the check has gone blind", codes.len());
    let mut golden = String::new();
    for folder in ["tests/ui", "tests/ui/plan"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "stderr") {
                golden.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    found.extend(
        codes
            .iter()
            .filter(|(code, _)| !golden.contains(&format!("[{code}]")))
            .map(|(code, name)| format!("{code} ({name}) has no golden case")),
    );
    none(found, "codes of diagnostics");
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    let agreed = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "rustfmt.toml",
        "src",
        "pipelines",
        "schemas",
        "benches",
        "tests",
        "docker",
    ];
    let ignored: Vec<String> =
        fs::read_to_string(root().join(".gitignore")).unwrap().lines().map(|line| line.trim_matches('/').to_string()).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !agreed.contains(&name.as_str()) && !ignored.contains(&name) {
            found.push(name);
        }
    }
    none(found, "the top level of the repository");
}

#[test]
fn dependencies_come_from_the_registry_under_licences_that_allow_it() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let elsewhere = lock
        .lines()
        .filter(|line| line.starts_with("source = ") && !line.contains("registry+https://github.com/rust-lang/crates.io-index"));
    none(elsewhere.map(str::to_string).collect(), "every dependency comes from crates.io");
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host])
        .current_dir(root())
        .output();
    let out = out.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let used: BTreeSet<&str> = metadata["resolve"]["nodes"].as_array().unwrap().iter().filter_map(|node| node["id"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages.iter().filter(|package| package["id"].as_str().is_some_and(|id| used.contains(id))) {
        let licence = package["license"].as_str().unwrap_or("none stated");
        if !allowed(licence) {
            found.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(used.len() > 100, "only {} packages were seen: the check has gone blind", used.len());
    none(found, "licences of dependencies");
}

/// Whether an SPDX expression leaves a way that [`LICENCES`] allow. `/` is the old spelling of `OR`.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    for operator in [" OR ", " AND "] {
        for (at, letter) in expression.char_indices() {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            if depth == 0 && expression[at..].starts_with(operator) {
                let (left, right) = (allowed(&expression[..at]), allowed(&expression[at + operator.len()..]));
                return if operator == " OR " { left || right } else { left && right };
            }
        }
    }
    let inner = expression.trim();
    match inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => allowed(inner),
        None => LICENCES.contains(&inner),
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    assert!(allowed("MIT OR Apache-2.0") && allowed("MIT/GPL-3.0") && allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed("(GPL-3.0 OR LGPL-3.0) AND MIT"));
}
