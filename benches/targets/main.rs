//! The targets of speed and memory, as one command: `cargo bench --bench targets`, or `cargo bench --bench targets -- parquet keys` for some rows.
//!
//! Each row runs the release binary as a user would, files read and written included, with one worker pinned to one CPU or with two, and says what was
//! measured, what the target is and whether it is met. What is compared in a row is run in turns, `TARGETS_ROUNDS` times (3 unless given), and of each the
//! best is taken. Nothing fails here: machines differ, and a busy one shows. Records are counted: figures of a run that did not use them all are refused.
//!
//! Settings, all from the environment:
//! * `W_INPUT`: the 2,000,000 events of workload W; without it events like them are generated, as for all other rows.
//! * `W_REFERENCE`: the program `wbench` of `../shared/bench-peers/rust`; without it what is held against the hand-written loop has no verdict.
//! * `POLARS_PYTHON`: a Python with Polars, to run `POLARS_SCRIPT` (`../shared/bench-peers/w_polars.py`).
//! * `TARGETS_EVENTS`: events of each generated input, 1,000,000 unless given.
//! * `TIDEMILL_TEST_KAFKA=host:port`: a Kafka to use in place of one that is started here, for which Java and Maven are needed.
//! * `W_BINARY`: another `tidemill` to measure instead of the one just built.
//!
//! Rows that need more than this machine and these files are elsewhere: latency in `tidemill bench --rate`, networks in `cargo bench --bench network`.

#[allow(dead_code, reason = "the tests against Kafka use all of it")]
#[path = "../../tests/kafka/cluster.rs"]
mod cluster;
mod events;
mod growth;
mod kafka;
mod learner;
#[path = "../measured/mod.rs"]
mod measured;
mod whole;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measured::{Fallible, Process, Run, number, own_rate, setting};
use serde_json::Value;

use events::Events;

/// What W's plan says, from the file that the bench of W runs.
const W: &str = include_str!("../w.toml");

/// One row or more of the table, by name.
type Measure = fn(&Bench) -> Fallible<Vec<Line>>;

const ROWS: [(&str, Measure); 12] = [
    ("w", whole::w),
    ("wider", whole::wider),
    ("parquet", whole::parquet),
    ("features", whole::features),
    ("population", growth::population),
    ("keys", growth::keys),
    ("state", growth::state),
    ("memory", growth::memory),
    ("learner", learner::learner),
    ("inputs", whole::inputs),
    ("garbage", whole::garbage),
    ("kafka", kafka::kafka),
];

/// One line of the table. No verdict: there was nothing to hold it against.
struct Line {
    measure: String,
    target: String,
    measured: String,
    met: Option<bool>,
}

impl Line {
    fn new(measure: &str, target: &str, measured: String, met: Option<bool>) -> Self {
        Self { measure: measure.to_string(), target: target.to_string(), measured, met }
    }
}

fn main() -> ExitCode {
    // `cargo bench` passes `--bench`, `cargo test --benches` does not: nothing is measured then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("bench targets: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> Fallible<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| ROWS.iter().all(|(known, _)| known != name)) {
        let known: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no row `{unknown}`; rows are {}", known.join(", ")));
    }
    let bench = Bench::new()?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("Load average before: {}\n", load.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
    println!("| row | measure | target | measured | |\n|---|---|---|---|---|");
    for (name, measure) in ROWS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)) {
        for line in measure(&bench)? {
            let verdict = match line.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "–",
            };
            println!("| {name} | {} | {} | {} | {verdict} |", line.measure, line.target, line.measured);
        }
    }
    Ok(())
}

/// Where programs, inputs and outputs are.
struct Bench {
    binary: PathBuf,
    reference: Option<PathBuf>,
    rounds: u64,
    events: u64,
    folder: tempfile::TempDir,
    /// Records of inputs that were counted or made.
    counts: RefCell<BTreeMap<PathBuf, u64>>,
}

impl Bench {
    fn new() -> Fallible<Self> {
        Ok(Self {
            binary: setting("W_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidemill")), PathBuf::from),
            reference: setting("W_REFERENCE").map(PathBuf::from),
            rounds: number("TARGETS_ROUNDS", 3)?.max(1),
            events: number("TARGETS_EVENTS", 1_000_000)?.max(1_000),
            folder: tempfile::tempdir().map_err(|error| format!("no folder for inputs and outputs: {error}"))?,
            counts: RefCell::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The input of workload W.
    fn w_input(&self) -> Fallible<PathBuf> {
        let Some(input) = setting("W_INPUT").map(PathBuf::from) else { return self.input("w", Events::w(2_000_000)) };
        if !self.counts.borrow().contains_key(&input) {
            let file = fs::File::open(&input).map_err(|error| format!("cannot read {}: {error}", input.display()))?;
            let count = BufReader::new(file).split(b'\n').count() as u64;
            self.counts.borrow_mut().insert(input.clone(), count);
        }
        Ok(input)
    }

    /// A generated input.
    fn input(&self, name: &str, events: Events) -> Fallible<PathBuf> {
        let path = self.path(&format!("{name}.ndjson"));
        if !path.exists() {
            eprintln!("generating {name}");
            events::write_ndjson(&path, &events)?;
            self.counts.borrow_mut().insert(path.clone(), events.count);
        }
        Ok(path)
    }

    /// The same as Parquet.
    fn parquet(&self, input: &Path) -> Fallible<PathBuf> {
        let path = self.path("input.parquet");
        events::write_parquet(input, &path)?;
        let count = self.count(input);
        self.counts.borrow_mut().insert(path.clone(), count);
        Ok(path)
    }

    fn count(&self, input: &Path) -> u64 {
        self.counts.borrow().get(input).copied().unwrap_or(0)
    }

    /// A pipeline over an input, with one worker and one CPU, or with more of both.
    fn pipeline(&self, name: &str, text: &str, input: &Path, workers: usize) -> Fallible<Entrant> {
        let (file, out) = (self.path(&format!("{name}.toml")), self.path(name));
        fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        let shown = |path: &Path| path.display().to_string();
        let arguments = ["run", &shown(&file), "--fresh", "--quiet", "--json", "-w", &workers.to_string(), "--state-dir"];
        let process = Process {
            pinned: workers == 1,
            program: self.binary.clone(),
            arguments: arguments.iter().map(ToString::to_string).chain([shown(&out.join("state"))]).collect(),
            environment: vec![
                ("W_INPUT", input.to_path_buf()),
                ("W_OUTPUT", out.join("predictions.ndjson")),
                ("W_STATS", out.join("statistics.ndjson")),
                ("W_ROWS", out.join("rows")),
                ("W_MORE", out.join("more")),
            ],
        };
        Ok(Entrant { name: name.to_string(), process, count: self.count(input), peer: false, rate: 0.0, last: Run::default() })
    }

    /// The hand-written loop over the same input, where it is built.
    fn by_hand(&self, mode: &str, input: &Path) -> Option<Entrant> {
        let process = Process {
            pinned: mode != "w2",
            program: self.reference.clone()?,
            arguments: vec![mode.to_string(), input.display().to_string(), "/dev/null".to_string()],
            environment: Vec::new(),
        };
        Some(Entrant { name: format!("by hand {mode}"), process, count: self.count(input), peer: true, rate: 0.0, last: Run::default() })
    }

    /// Runs all in turns.
    fn race(&self, entrants: &mut [&mut Entrant]) -> Fallible<()> {
        for round in 1..=self.rounds {
            for entrant in entrants.iter_mut() {
                eprintln!("round {round} of {}: {}", self.rounds, entrant.name);
                entrant.run()?;
            }
        }
        Ok(())
    }
}

/// A program in a race.
struct Entrant {
    name: String,
    process: Process,
    /// Records of its input.
    count: u64,
    /// Prints its own rate, without its start and without reading its input; else the process is timed.
    peer: bool,
    /// Best so far, records per second.
    rate: f64,
    last: Run,
}

impl Entrant {
    fn run(&mut self) -> Fallible<()> {
        self.last = self.process.run()?;
        let rate = if self.peer { own_rate(&self.last.stdout)? } else { self.count as f64 / self.last.seconds };
        self.rate = self.rate.max(rate);
        if !self.peer {
            let read = self.summary()?["rows"]["read"].as_u64().unwrap_or(0);
            if read != self.count {
                return Err(format!("{} read {read} of {} records:\n{}", self.name, self.count, self.last.stdout));
            }
        }
        Ok(())
    }

    fn summary(&self) -> Fallible<Value> {
        serde_json::from_str(&self.last.stdout).map_err(|error| format!("{}: the summary cannot be read: {error}", self.name))
    }

    /// Records used in the last run.
    fn used(&self) -> Fallible<u64> {
        Ok(self.summary()?["rows"]["used"].as_u64().unwrap_or(0))
    }
}

/// W's plan with a change; what is changed must be there.
fn changed(text: &str, from: &str, to: &str) -> Fallible<String> {
    if text.contains(from) { Ok(text.replace(from, to)) } else { Err(format!("benches/w.toml does not say `{from}`")) }
}

/// A number of records per second, in words.
fn rate(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.2} M/s", rate / 1e6) } else { format!("{:.0} k/s", rate / 1e3) }
}
