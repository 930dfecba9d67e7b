//! Runs that do not go to their end in one piece: killed with `kill -9`, stopped with Ctrl-C, or finished long ago. Whatever happened, what is committed
//! stays, the next run goes on from there, and in the end every file has the bytes of a run that nothing disturbed (S1.2, S14).
//!
//! The pipeline is `pipelines/flights.toml` over the first flights of its data, with small epochs so that there are many commit points.

mod process;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use process::{DEADLINE, Ended, Tidemill, epochs, root, tidemill};

/// Flights in the test: both files have as many rows.
const FLIGHTS: usize = 20_000;

/// Rows of an epoch; `pipelines/flights.toml` has more.
const EPOCH: usize = 256;

/// A run of the flights pipeline with outputs and state of its own.
struct Flights {
    folder: PathBuf,
}

impl Flights {
    /// A pipeline below `root`, over the data there.
    fn new(root: &Path, name: &str) -> Self {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        let text = fs::read_to_string(process::root().join("pipelines/flights.toml")).unwrap();
        let text = text.replace("\"out/flights", &format!("\"{}/out", folder.display()));
        let text = text.replace("\"pipelines/data", &format!("\"{}", root.display()));
        let text = text.replace("epoch = { max_rows = 4096 }", &format!("epoch = {{ max_rows = {EPOCH} }}"));
        assert!(!text.contains("max_rows = 4096") && !text.contains("\"out/"), "pipelines/flights.toml has changed: change this test");
        fs::write(folder.join("flights.toml"), text).unwrap();
        Self { folder }
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn start(&self, more: &[&str]) -> Tidemill {
        let (pipeline, state) = (self.folder.join("flights.toml"), self.state());
        let (pipeline, state) = (pipeline.to_string_lossy(), state.to_string_lossy());
        let mut arguments = vec!["run", &*pipeline, "--state-dir", &*state, "--quiet"];
        arguments.extend(more);
        Tidemill::start(&arguments, &[], &self.folder.join("said"))
    }

    fn run(&self, more: &[&str]) -> Ended {
        self.start(more).wait().expect(0).unwrap_or_else(|found| panic!("{found}"))
    }

    /// Starts a run and waits until the log has `wanted` epochs.
    fn until(&self, wanted: usize, more: &[&str]) -> Tidemill {
        let (mut process, began) = (self.start(more), Instant::now());
        while epochs(&self.state()) < wanted && process.is_running() && began.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(1));
        }
        process
    }

    /// The progress records of the run, in a file.
    fn bindings(&self) -> PathBuf {
        let (pipeline, state) = (self.folder.join("flights.toml"), self.state());
        let arguments = ["bindings", &pipeline.to_string_lossy(), "--state-dir", &state.to_string_lossy()];
        let said = tidemill(&arguments, &[], &self.folder.join("said-bindings")).expect(0).unwrap_or_else(|found| panic!("{found}"));
        let path = self.folder.join("bindings.ndjson");
        fs::write(&path, said.out).unwrap();
        path
    }

    /// All outputs and learned models by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.join("out"), self.folder.join("state/models")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(&self.folder).unwrap().display().to_string(), fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

/// Equal files, with a message that names the first that differs.
fn assert_same(now: &BTreeMap<String, Vec<u8>>, want: &BTreeMap<String, Vec<u8>>, what: &str) {
    assert_eq!(now.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in now {
        let first = bytes.iter().zip(&want[name]).position(|(a, b)| a != b);
        assert!(*bytes == want[name], "{what}: {name} has {} bytes of {}, the first other one at {first:?}", bytes.len(), want[name].len());
    }
}

/// The first `FLIGHTS` rows of both files.
fn data(folder: &Path) {
    for name in ["departures.parquet", "arrivals.parquet"] {
        let file = fs::File::open(root().join("pipelines/data").join(name)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_limit(FLIGHTS).build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let mut writer = ArrowWriter::try_new(fs::File::create(folder.join(name)).unwrap(), batches[0].schema(), None).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.close().unwrap();
    }
    fs::copy(root().join("pipelines/data/airports.csv"), folder.join("airports.csv")).unwrap();
}

/// Seeded numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

#[test]
fn killed_and_stopped_flights_end_in_the_bytes_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let undisturbed = Flights::new(folder.path(), "undisturbed");
    let first = undisturbed.run(&["-w", "2"]);
    let want = undisturbed.files();
    let total = epochs(&undisturbed.state());
    assert!(total > 2 * FLIGHTS / EPOCH, "{total} epochs");
    assert!(want.keys().any(|name| name.ends_with(".parquet")) && want.contains_key("state/models/late/model.safetensors"));

    // Killed with -9, some moment after some epoch: while it starts, replays, computes or commits.
    let killed = Flights::new(folder.path(), "killed");
    let mut random = Random(20_010_101);
    let mut kills = Vec::new();
    for kill in 0..6 {
        let epoch = 1 + total * kill / 7 + random.below(total / 7);
        let mut process = killed.until(epoch, &["-w", ["1", "2", "3"][kill % 3]]);
        std::thread::sleep(Duration::from_millis(random.below(if kill % 2 == 0 { 5 } else { 200 }) as u64));
        let was_running = process.kill();
        let ended = process.wait();
        assert!(was_running || ended.code == Some(0), "{}", ended.err);
        kills.push((was_running, epochs(&killed.state())));
    }
    assert!(kills.iter().filter(|(was_running, _)| *was_running).count() >= 4, "{kills:?} of {total}");
    killed.run(&["-w", "2"]);
    println!("killed after the epochs {kills:?} of {total}");
    assert_same(&killed.files(), &want, &format!("killed after the epochs {kills:?} of {total}"));

    // The same with checkpoints as often as can be, over which parts close; an undisturbed run over the same bindings has the same files (S1.2).
    let killed = Flights::new(folder.path(), "checkpoints");
    let mut from_checkpoints = 0;
    for kill in 0..6 {
        let epoch = 1 + total * kill / 7 + random.below(total / 7);
        let mut process = killed.until(epoch, &["-w", ["2", "3", "1"][kill % 3], "--checkpoint-every", "0s"]);
        std::thread::sleep(Duration::from_millis(random.below(if kill % 2 == 0 { 5 } else { 200 }) as u64));
        from_checkpoints += usize::from(process.says().contains("going on from a checkpoint"));
        process.kill();
        process.wait();
    }
    assert!(from_checkpoints >= 3, "{from_checkpoints} of six went on from a checkpoint");
    killed.run(&["-w", "1", "--checkpoint-every", "never"]);
    let bindings = killed.bindings();
    let bound = Flights::new(folder.path(), "bound");
    bound.run(&["-w", "3", "--bindings", &bindings.to_string_lossy()]);
    assert_same(&killed.files(), &bound.files(), "killed beside checkpoints, against a run over the same bindings");
    for name in ["out/predictions.ndjson", "state/models/late/model.safetensors"] {
        assert!(bound.files()[name] == want[name], "{name}: checkpoints close parts and change nothing else");
    }

    // Stopped by Ctrl-C after a full epoch: exit code 0, a summary, and no row beyond the committed ones.
    let stopped = Flights::new(folder.path(), "stopped");
    for epoch in [total / 3, total * 2 / 3] {
        let process = stopped.until(epoch, &["-w", "2"]);
        process.signal("INT");
        let ended = process.wait().expect(0).unwrap_or_else(|found| panic!("{found}"));
        assert!(ended.err.contains("stopped; run the same command again to go on"), "{}", ended.err);
        assert!(ended.out.contains("rows/s"), "{}", ended.out);
        let committed = epochs(&stopped.state());
        assert!(committed >= epoch && committed < total, "{committed} of {total}");
        let so_far = fs::read(stopped.folder.join("out/predictions.ndjson")).unwrap();
        assert!(so_far.ends_with(b"}\n") && want["out/predictions.ndjson"].starts_with(&so_far), "after epoch {committed}");
    }
    let resumed = stopped.run(&["-w", "1"]);
    assert!(resumed.err.contains("resuming"), "{}", resumed.err);
    assert_same(&stopped.files(), &want, "stopped twice");

    // A finished run says so, prints the same summary, and touches nothing.
    let again = undisturbed.run(&["-w", "2"]);
    assert_eq!(again.out, first.out);
    assert!(again.err.contains("--fresh"), "{}", again.err);
    assert_same(&undisturbed.files(), &want, "run again after its end");
}

/// A copy of the golden case `ties` whose files may be changed.
struct Ties {
    folder: tempfile::TempDir,
}

impl Ties {
    /// The case, stopped after three epochs, with a checkpoint to go on from.
    fn stopped() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = root().join("tests/golden/ties");
        fs::copy(from.join("pipeline.toml"), folder.path().join("pipeline.toml")).unwrap();
        fs::create_dir_all(folder.path().join("input")).unwrap();
        fs::copy(from.join("input/x.ndjson"), folder.path().join("input/x.ndjson")).unwrap();
        let ties = Self { folder };
        ties.run("run", "whole", &["--checkpoint-every", "0s"]).expect(0).unwrap_or_else(|found| panic!("{found}"));
        let bindings = ties.run("bindings", "whole", &[]).expect(0).unwrap_or_else(|found| panic!("{found}")).out;
        let three: String = bindings.split_inclusive('\n').take(3).collect();
        let path = ties.folder.path().join("bindings.ndjson");
        fs::write(&path, three).unwrap();
        let bound = ties.run("run", "part", &["--checkpoint-every", "0s", "--bindings", &path.to_string_lossy()]);
        bound.expect(0).unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(epochs(&ties.folder.path().join("part/state")), 3);
        ties
    }

    /// Runs `command` with outputs and state below `name`.
    fn run(&self, command: &str, name: &str, more: &[&str]) -> Ended {
        let folder = self.folder.path();
        let [pipeline, input, out, state] = ["pipeline.toml", "input", &format!("{name}/out"), &format!("{name}/state")]
            .map(|part| folder.join(part).to_string_lossy().into_owned());
        fs::create_dir_all(&out).unwrap();
        let mut arguments = vec![command, &pipeline, "--state-dir", &state];
        arguments.extend(more);
        tidemill(&arguments, &[("IN", &input), ("OUT", &out)], &folder.join(format!("{name}/said")))
    }

    fn output(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(name).join("out/features.ndjson")).unwrap()
    }

    /// Changes a file of the case.
    fn edit(&self, file: &str, change: impl Fn(String) -> String) {
        let path = self.folder.path().join(file);
        let (before, after) = (fs::read_to_string(&path).unwrap(), change(fs::read_to_string(&path).unwrap()));
        assert_ne!(before, after);
        fs::write(path, after).unwrap();
    }

    /// The next run refuses to go on and changes nothing, and so does the one after it: a look at changed files that came to nothing is not remembered.
    fn assert_refused(&self, says: &str) {
        let before = self.output("part");
        for _ in 0..2 {
            let ended = self.run("run", "part", &[]);
            assert_eq!(ended.code, Some(65), "{}", ended.err);
            assert!(ended.err.contains(says) && ended.err.contains("--fresh"), "{}", ended.err);
            assert_eq!(self.output("part"), before, "what was committed stays");
        }
    }
}

#[test]
fn a_stopped_run_goes_on_and_a_finished_one_names_fresh() {
    let ties = Ties::stopped();
    assert!(ties.output("whole").starts_with(&ties.output("part")));
    let resumed = ties.run("run", "part", &[]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("going on from a checkpoint"), "{}", resumed.err);
    assert_eq!(ties.output("part"), ties.output("whole"));
    let again = ties.run("run", "part", &[]);
    assert_eq!((again.code, again.out), (Some(0), resumed.out));
    assert!(again.err.contains("--fresh"), "{}", again.err);
    let fresh = ties.run("run", "part", &["--fresh"]);
    assert_eq!(fresh.code, Some(0), "{}", fresh.err);
    assert_eq!(ties.output("part"), ties.output("whole"));
}

#[test]
fn a_damaged_checkpoint_is_named_and_never_believed() {
    let objects = |ties: &Ties| {
        let mut objects: Vec<PathBuf> =
            fs::read_dir(ties.folder.path().join("part/state/checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
        objects.sort();
        objects
    };
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage<'_>); 4] = [
        ("is not what was written", &|path| {
            let mut bytes = fs::read(path).unwrap();
            if path.extension().is_some_and(|kind| kind == "segment") {
                bytes.iter_mut().skip(8).for_each(|byte| *byte ^= 1);
            }
            fs::write(path, bytes).unwrap();
        }),
        ("does not have the sha256", &|path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("is missing", &|path| fs::remove_file(path).unwrap()),
        ("cannot be used", &|path| fs::write(path, "").unwrap()),
    ];
    for (says, damage) in damages {
        let ties = Ties::stopped();
        objects(&ties).iter().for_each(|path| damage(path));
        let ended = ties.run("run", "part", &[]);
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(ended.err.contains(says) && !ended.err.contains("going on from a checkpoint"), "{says}: {}", ended.err);
        assert_eq!(ties.output("part"), ties.output("whole"), "{says}");
    }
}

#[test]
fn changed_input_is_refused() {
    let ties = Ties::stopped();
    ties.edit("input/x.ndjson", |text| text.replacen("\"x\":", "\"x\": ", 1));
    ties.assert_refused("x.ndjson");
    let ties = Ties::stopped();
    ties.edit("input/x.ndjson", |text| text.lines().take(20).map(|line| format!("{line}\n")).collect());
    ties.assert_refused("x.ndjson");
}

#[test]
fn input_that_grew_behind_what_is_committed_is_read_on() {
    let ties = Ties::stopped();
    ties.edit("input/x.ndjson", |text| text + "{\"id\":900,\"ts\":\"2024-01-02T00:00:00Z\",\"k\":\"a\",\"x\":1}\n");
    assert_eq!(ties.run("run", "part", &[]).code, Some(0));
    let lines = String::from_utf8(ties.output("part")).unwrap();
    assert!(lines.starts_with(std::str::from_utf8(&ties.output("whole")).unwrap()) && lines.contains("\"id\":900"));
}

#[test]
fn a_changed_pipeline_is_refused_and_fresh_starts_over() {
    let ties = Ties::stopped();
    ties.edit("pipeline.toml", |text| text.replace("windows = [\"10s\", \"1m\"]", "windows = [\"10s\", \"2m\"]"));
    ties.assert_refused("has changed");
    assert_eq!(ties.run("run", "part", &["--fresh"]).code, Some(0));
    assert_eq!(ties.run("run", "other", &[]).code, Some(0));
    assert_eq!(ties.output("part"), ties.output("other"));
    assert_ne!(ties.output("part"), ties.output("whole"));
}

#[test]
fn a_comment_changes_nothing() {
    let ties = Ties::stopped();
    ties.edit("pipeline.toml", |text| format!("# A comment.\n{text}"));
    assert_eq!(ties.run("run", "part", &[]).code, Some(0));
    assert_eq!(ties.output("part"), ties.output("whole"));
}
