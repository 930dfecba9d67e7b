//! Golden pipelines: every folder `tests/golden/CASE` with `pipeline.toml`, `input/` and `expected/` is run through the real binary, and its outputs are
//! compared byte for byte. What is expected comes from one worker; all other ways to run must give the same bytes (S1): three workers, serialized
//! exchange, two processes, a replay of the recorded bindings, a run that was stopped and one that was killed at a commit point and went on with another
//! number of workers, and, where a case says `# epochs: any`, other sizes of epochs.
//!
//! Compared are all outputs, the default quarantine, the learned parameters (S10.7), and, between runs of one plan, `model.json` and the closing summary
//! without its times. Between epoch sizes Parquet is compared row by row, since epochs are in the names of its parts (S14.3).
//!
//! `REWRITE=1 cargo test --test golden` writes what one worker gives now; read every changed file before it is committed. `CASE=name` runs one case.

mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use process::{Tidemill, hosts, log_entries, root, tidemill};

/// Fewest cases: the number may only grow.
const FEWEST: usize = 45;

/// Sizes of epochs for cases whose bytes do not depend on them.
const EPOCHS: [usize; 3] = [1, 7, 100_000];

/// Files by name, as paths.
type Files = BTreeMap<String, PathBuf>;

/// A folder of `tests/golden`.
struct Case {
    name: String,
    text: String,
}

/// One way to run a case: a folder of its own with the pipeline's outputs and its state.
struct Run<'a> {
    case: &'a Case,
    folder: PathBuf,
    pipeline: String,
}

#[test]
fn every_case_gives_the_expected_bytes_however_it_runs() {
    let wanted = std::env::var("CASE").ok();
    let cases: Vec<Case> = cases().into_iter().filter(|case| wanted.as_ref().is_none_or(|name| case.name == *name)).collect();
    assert!(wanted.is_some() || cases.len() >= FEWEST, "{} cases, at least {FEWEST} are wanted", cases.len());
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        // A run waits for disks and peers more than it computes.
        for _ in 0..3 * std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let found = case.check();
                    if !found.is_empty() {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).insert(case.name.clone(), found);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let text: Vec<String> = failures.values().flatten().cloned().collect();
    assert!(text.is_empty(), "\n{}\n{} of {} cases failed: {:?}", text.join("\n"), failures.len(), cases.len(), failures.keys());
}

#[test]
fn every_case_says_whether_epochs_matter() {
    for case in cases() {
        let said = ["# epochs: any\n", "# epochs: fixed\n"].iter().filter(|line| case.text.contains(**line)).count();
        assert_eq!(said, 1, "{}/pipeline.toml needs one of the lines `# epochs: any` and `# epochs: fixed`", case.name);
        assert_eq!(
            case.text.matches("\nepoch = { max_rows = ").count(),
            1,
            "{}/pipeline.toml needs `epoch = {{ max_rows = … }}`",
            case.name
        );
        let rewrites = std::env::var_os("REWRITE").is_some();
        for folder in ["input", "expected"].into_iter().filter(|folder| *folder == "input" || !rewrites) {
            let some = fs::read_dir(case.folder().join(folder)).is_ok_and(|mut entries| entries.next().is_some());
            assert!(some, "{}/{folder} is empty", case.name);
        }
    }
}

/// All cases, by name.
fn cases() -> Vec<Case> {
    let folders = fs::read_dir(root().join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let case = |folder: PathBuf| Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(folder.join("pipeline.toml")).unwrap(),
    };
    let mut cases: Vec<Case> = folders.map(case).collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    fn folder(&self) -> PathBuf {
        root().join("tests/golden").join(&self.name)
    }

    /// Runs the case in every way; what went wrong, one text for each.
    fn check(&self) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str| Run::new(self, folder.path().join(name));
        let first = run("first");
        let mut failures = Vec::new();
        let mut note = |how: &str, result: Result<(), String>| {
            if let Err(found) = result {
                failures.push(format!("---- {}, {how}: {found}", self.name));
            }
        };
        let blessed = first.go(&["-w", "1"]).and_then(|()| self.rewrite(&first)).and_then(|()| first.compare(&self.expected(), false));
        let stop = first.files().is_empty();
        note("1 worker", blessed);
        if stop {
            return failures;
        }
        let same = |run: &Run<'_>| run.compare(&first.files(), true);

        let other = run("three");
        note("3 workers", other.go(&["-w", "3"]).and_then(|()| same(&other)));
        let other = run("serialized");
        note("3 workers, serialized exchange", other.go(&["-w", "3", "--serialized"]).and_then(|()| same(&other)));
        let other = run("processes");
        note("2 processes", other.processes(&[]).and_then(|()| same(&other)));

        match first.bindings() {
            Err(found) => note("export of the bindings", Err(found)),
            Ok(bindings) => {
                let other = run("replay");
                note("replay of the bindings", other.bound(&bindings).and_then(|()| same(&other)));
                for stop in stops(bindings.len()) {
                    let other = run(&format!("stopped-{stop}"));
                    let went = other.bound(&bindings[..stop]).and_then(|()| other.go(&["-w", "3"])).and_then(|()| same(&other));
                    note(&format!("stopped after epoch {stop} of {}, then resumed with 3 workers", bindings.len()), went);
                }
                for kill in stops(bindings.len() + 1).into_iter().rev().take(1).chain([bindings.len() - 1]) {
                    let other = run(&format!("killed-{kill}"));
                    let went = other.go(&["-w", "2"]).and_then(|()| other.forget_after(kill)).and_then(|()| other.go(&["-w", "1"]));
                    note(&format!("killed after epoch {kill} of {}, then resumed", bindings.len()), went.and_then(|()| same(&other)));
                }
            }
        }
        self.checkpoints(&first, &run, &mut note);
        if self.text.contains("# epochs: any\n") {
            for rows in EPOCHS {
                let mut other = run(&format!("epochs-{rows}"));
                other.cut(rows);
                note(&format!("epochs of {rows} rows"), other.go(&["-w", "2"]).and_then(|()| other.compare_rows(&first.files())));
            }
        }
        failures
    }

    /// Runs the case with checkpoints after all epochs that can have one, and goes on from them: in the middle, by another number of workers and by two
    /// processes, and behind a kill. Parquet is compared by rows with the run that had none, since parts close at checkpoints (S14.3), and by bytes with a
    /// run over the same bindings.
    fn checkpoints<'a>(&'a self, first: &Run<'a>, run: &dyn Fn(&str) -> Run<'a>, note: &mut dyn FnMut(&str, Result<(), String>)) {
        let often = ["--checkpoint-every", "0s"];
        let whole = run("checkpoints");
        let went = whole.go(&["-w", "2", often[0], often[1]]).and_then(|()| whole.compare_rows(&first.files()));
        let bindings = match went.and_then(|()| whole.bindings()) {
            Ok(bindings) => bindings,
            Err(found) => return note("checkpoints", Err(found)),
        };
        let named = |line: &&String| line.contains("\"newest_checkpoint\"");
        if !bindings.iter().any(|line| named(&line)) {
            let single = self.text.contains(".parquet\"");
            let wanted = bindings.len() > 1 && !single;
            return note("checkpoints", if wanted { Err("no record names one".to_string()) } else { Ok(()) });
        }
        let same = |other: &Run<'_>| other.compare(&whole.files(), true);
        let parquet = self.text.contains("kind = \"parquet\"");
        let alike = |other: &Run<'_>| if parquet { other.compare_rows(&first.files()) } else { other.compare(&first.files(), true) };
        let resumed = |other: &Run<'_>| match fs::read_to_string(other.folder.join("said.err")) {
            Ok(said) if said.contains("going on from a checkpoint") => Ok(()),
            said => Err(format!("it did not go on from a checkpoint: {said:?}")),
        };
        let last = bindings.len() - 1;
        for stop in [(bindings.len() / 2).max(2), last]
            .into_iter()
            .filter(|stop| *stop < bindings.len() && bindings[..*stop].iter().any(|line| named(&line)))
        {
            let other = run(&format!("checkpoints-stopped-{stop}"));
            let went = other.bound_with(&bindings[..stop], &often).and_then(|()| other.go(&["-w", "3", "--checkpoint-every", "never"]));
            let went = went.and_then(|()| resumed(&other)).and_then(|()| alike(&other));
            note(&format!("stopped after epoch {stop} of {}, then gone on from a checkpoint with 3 workers", bindings.len()), went);
        }
        let other = run("checkpoints-bound");
        note(
            "the bindings of a run with checkpoints, in two processes",
            other.processes(&["--bindings", &other.write_bindings(&bindings)]).and_then(|()| same(&other)),
        );
    }

    fn expected(&self) -> Files {
        files(&self.folder().join("expected"), "")
    }

    /// With `REWRITE` set, the outputs of `run` become what is expected.
    fn rewrite(&self, run: &Run<'_>) -> Result<(), String> {
        if std::env::var_os("REWRITE").is_none() {
            return Ok(());
        }
        let folder = self.folder().join("expected");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        for (name, path) in run.files().into_iter().filter(|(name, _)| !is_of_the_plan(name)) {
            let to = folder.join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
        Ok(())
    }
}

/// After which of `epochs` epochs a run is stopped: one of them, the middle one.
fn stops(epochs: usize) -> Vec<usize> {
    if epochs < 2 { Vec::new() } else { vec![epochs / 2] }
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("out")).unwrap();
        Self { case, folder, pipeline: format!("tests/golden/{}/pipeline.toml", case.name) }
    }

    fn arguments<'s>(&'s self, more: &[&'s str], state: &'s str) -> Vec<&'s str> {
        let mut arguments = vec!["run", self.pipeline.as_str(), "--state-dir", state, "--quiet"];
        arguments.extend(more);
        arguments
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        [("IN", format!("tests/golden/{}/input", self.case.name)), ("OUT", self.folder.join("out").to_string_lossy().into_owned())]
    }

    fn state(&self) -> String {
        self.folder.join("state").to_string_lossy().into_owned()
    }

    /// Runs the pipeline to its end, or on to it.
    fn go(&self, more: &[&str]) -> Result<(), String> {
        let [(a, input), (b, out)] = self.variables();
        tidemill(&self.arguments(more, &self.state()), &[(a, &input), (b, &out)], &self.folder.join("said")).expect(0).map(|_| ())
    }

    /// Runs the pipeline as two processes with two workers each.
    fn processes(&self, also: &[&str]) -> Result<(), String> {
        let ([(a, input), (b, out)], state, hosts) = (self.variables(), self.state(), hosts(2));
        let start = |process: &str| {
            let more: Vec<&str> =
                ["-w", "2", "-n", "2", "-p", process, "--hosts", &hosts].into_iter().chain(also.iter().copied()).collect();
            let said = self.folder.join(format!("said-{process}"));
            Tidemill::start(&self.arguments(&more, &state), &[(a, &input), (b, &out)], &said)
        };
        let (leads, follows) = (start("0"), start("1"));
        let (leads, follows) = (leads.wait(), follows.wait());
        leads.expect(0).and(follows.expect(0)).map(|_| ())
    }

    /// The progress records that the run committed, one line each.
    fn bindings(&self) -> Result<Vec<String>, String> {
        let ([(a, input), (b, out)], state) = (self.variables(), self.state());
        let arguments = ["bindings", &self.pipeline, "--state-dir", &state];
        let ended = tidemill(&arguments, &[(a, &input), (b, &out)], &self.folder.join("bindings")).expect(0)?;
        Ok(ended.out.lines().map(str::to_string).collect())
    }

    /// Runs the pipeline with epochs cut as `bindings` say, until they end.
    fn bound(&self, bindings: &[String]) -> Result<(), String> {
        self.bound_with(bindings, &[])
    }

    fn bound_with(&self, bindings: &[String], also: &[&str]) -> Result<(), String> {
        let path = self.write_bindings(bindings);
        let more: Vec<&str> = ["-w", "2", "--bindings", &path].into_iter().chain(also.iter().copied()).collect();
        self.go(&more)
    }

    fn write_bindings(&self, bindings: &[String]) -> String {
        let path = self.folder.join("bindings.ndjson");
        fs::write(&path, bindings.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Leaves the state directory as a process leaves it that is killed right after epoch `last` was committed: the log ends there, in the first bytes
    /// of an append that never returned, while files already hold what came next.
    fn forget_after(&self, last: usize) -> Result<(), String> {
        let state = self.folder.join("state");
        let (entries, _) = log_entries(&state);
        let epochs: Vec<usize> = entries.iter().filter(|(_, is_epoch)| *is_epoch).map(|(at, _)| *at).collect();
        let Some(at) = epochs.get(last) else {
            return Err(format!("the log has {} epochs, so none follows epoch {last}", epochs.len()));
        };
        let path = state.join("progress.log");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..at + 11]).unwrap();
        for left in ["models", "summary.json"].map(|name| state.join(name)) {
            let _ = fs::remove_dir_all(&left).or_else(|_| fs::remove_file(&left));
        }
        Ok(())
    }

    /// Makes epochs of `rows` rows.
    fn cut(&mut self, rows: usize) {
        let line = |line: &str| match line.starts_with("epoch = {") {
            true => format!("epoch = {{ max_rows = {rows} }}\n"),
            false => format!("{line}\n"),
        };
        let path = self.folder.join("pipeline.toml");
        fs::write(&path, self.case.text.lines().map(line).collect::<String>()).unwrap();
        self.pipeline = path.to_string_lossy().into_owned();
    }

    /// What the run left: outputs, the default quarantine, what was learned, and the summary.
    fn files(&self) -> Files {
        let mut found = files(&self.folder.join("out"), "");
        let kept = |name: &str| name.starts_with("state/models/") || ["state/quarantine.ndjson", SUMMARY].contains(&name);
        found.extend(files(&self.folder.join("state"), "state/").into_iter().filter(|(name, _)| kept(name)));
        // Cases that quarantine nothing keep no empty file.
        found.retain(|name, path| name != "state/quarantine.ndjson" || fs::metadata(path).unwrap().len() > 0);
        found
    }

    /// Compares with the files of another run, those that belong to the plan only if `same_plan`.
    fn compare(&self, expected: &Files, same_plan: bool) -> Result<(), String> {
        let chosen = |files: Files| files.into_iter().filter(|(name, _)| same_plan || !is_of_the_plan(name)).collect::<Files>();
        let (now, expected) = (chosen(self.files()), chosen(expected.clone()));
        names_differ(&expected, &now)?;
        for (name, path) in &now {
            let expected = &expected[name];
            if name == SUMMARY {
                lines_differ(name, &summary(expected)?, &summary(path)?)?;
            } else if fs::read(path).unwrap() != fs::read(expected).unwrap() {
                lines_differ(name, &lines(expected), &lines(path))?;
                return Err(format!("{name}: rows are equal and bytes are not"));
            }
        }
        Ok(())
    }

    /// Compares with the files of a run with other epochs: Parquet by rows.
    fn compare_rows(&self, expected: &Files) -> Result<(), String> {
        let (expected, now) = (by_rows(expected), by_rows(&self.files()));
        names_differ(&expected, &now)?;
        for (name, rows) in &now {
            lines_differ(name, &expected[name], rows)?;
        }
        Ok(())
    }
}

const SUMMARY: &str = "state/summary.json";

/// Whether a file names the plan's fingerprint or figures of a run, so that it is compared between runs of one plan and not kept.
fn is_of_the_plan(name: &str) -> bool {
    name == SUMMARY || name.ends_with("/model.json")
}

/// All files below `folder`, their names below `prefix`.
fn files(folder: &Path, prefix: &str) -> Files {
    let mut found = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = fs::read_dir(&next) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(format!("{prefix}{}", path.strip_prefix(folder).unwrap().display()), path);
            }
        }
    }
    found
}

/// Contents by name; the parts of a Parquet folder are one, rows in order of their names.
fn by_rows(files: &Files) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, path) in files.iter().filter(|(name, _)| !is_of_the_plan(name)) {
        let name = match name.rsplit_once('/') {
            Some((folder, file)) if file.starts_with("part-") => folder,
            _ => name,
        };
        found.entry(name.to_string()).or_default().extend(lines(path));
    }
    found
}

/// A file as lines: text as it is, Parquet one row a line, anything else in hexadecimal.
fn lines(path: &Path) -> Vec<String> {
    if path.extension().is_some_and(|extension| extension == "parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
        let rows = reader.flat_map(|batch| {
            let batch = batch.unwrap();
            let cell = |row: usize, column: usize| array_value_to_string(batch.column(column), row).unwrap();
            let row = |row: usize| (0..batch.num_columns()).map(|column| cell(row, column)).collect::<Vec<_>>().join(" | ");
            (0..batch.num_rows()).map(row).collect::<Vec<_>>()
        });
        return rows.collect();
    }
    let bytes = fs::read(path).unwrap();
    match String::from_utf8(bytes) {
        Ok(text) => text.split('\n').map(str::to_string).collect(),
        Err(binary) => binary.into_bytes().chunks(8).map(|chunk| chunk.iter().map(|byte| format!("{byte:02x}")).collect()).collect(),
    }
}

/// The closing summary without times, places and memory; an error if its rows do not add up (S5.3).
fn summary(path: &Path) -> Result<Vec<String>, String> {
    let mut summary: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let count = |name: &str| summary["rows"][name].as_u64().unwrap();
    if count("read") != count("used") + count("late") + count("quarantined") {
        return Err(format!("rows do not add up: {}", summary["rows"]));
    }
    for of_the_run in ["speed", "resumed_after", "resumed_from", "outputs"] {
        summary.as_object_mut().unwrap().remove(of_the_run);
    }
    for (part, of_the_run) in [("views", "/bytes"), ("models", "/learner/saved")] {
        let parts = summary[part].as_array_mut().unwrap().iter_mut();
        parts.for_each(|one| *one.pointer_mut(of_the_run).unwrap() = serde_json::Value::Null);
    }
    Ok(format!("{summary:#}").lines().map(str::to_string).collect())
}

fn names_differ<T>(expected: &BTreeMap<String, T>, now: &BTreeMap<String, T>) -> Result<(), String> {
    let missing: Vec<&String> = expected.keys().filter(|name| !now.contains_key(*name)).collect();
    let unexpected: Vec<&String> = now.keys().filter(|name| !expected.contains_key(*name)).collect();
    if missing.is_empty() && unexpected.is_empty() { Ok(()) } else { Err(format!("missing {missing:?}, unexpected {unexpected:?}")) }
}

/// The first line that differs, with how many do.
fn lines_differ(name: &str, expected: &[String], now: &[String]) -> Result<(), String> {
    let differ = |at: &usize| expected.get(*at) != now.get(*at);
    let all: Vec<usize> = (0..expected.len().max(now.len())).filter(differ).collect();
    let Some(first) = all.first() else { return Ok(()) };
    let shown = |lines: &[String]| lines.get(*first).map_or("(the file ends)".to_string(), |line| line.chars().take(400).collect());
    let (one, other) = (shown(expected), shown(now));
    Err(format!("{name} line {} ({} lines differ)\n  expected {one}\n  now      {other}", first + 1, all.len()))
}
