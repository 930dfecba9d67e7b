//! Workload W (DESIGN.md §13) as one command: `cargo bench --bench w`.
//!
//! It runs `benches/w.toml` in the release binary with one worker (the whole process pinned to one CPU) and with two, beside the hand-written reference
//! where that is built, in interleaved rounds, and prints events/s, CPU per event, peak memory and the ratios. Then it checks the outcome: equal output
//! bytes, error, first drift alarms and, with the reference, every feature row. It ends with 1 if the outcome is wrong; speed is only reported,
//! because machines differ.
//!
//! Settings, all from the environment:
//! * `W_INPUT`: the input file. Without it, 2,000,000 events are generated once into `target/w/` by the script `W_GENERATOR`
//!   (`../shared/bench-peers/gen.py`), which needs `python3` (or `W_PYTHON`) with numpy; nothing else here needs Python.
//! * `W_REFERENCE`: the program `wbench` of `../shared/bench-peers/rust`, where ratios and features are wanted.
//! * `W_ROUNDS`: interleaved rounds, 3 unless given; the best and the median of each are printed.
//! * `W_BINARY`: another `tidemill` to measure instead of the one just built.
//!
//! CPU time and peak memory are those of the process, from Linux' `/proc`. Events/s are over the whole process, start and end included; the reference
//! counts itself, without its start and without reading its input, which it holds in memory.

mod measured;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use measured::{Fallible, Process, number, own_rate, setting};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of the 2,000,000 events that the generator writes with its defaults.
const INPUT: &str = "07f54186e8e8cb632f2d6777e84986db8f9e1e948d808d60753134919af06758";
const EVENTS: f64 = 2e6;
/// What learning on those events has to come to.
const ERROR: &str = "0.20193";
const FIRST_ALARMS: [&str; 2] = ["2188", "1200055"];
/// How far a feature may be from the reference, relative to max(1, |reference|).
const TOLERANCE: f64 = 1e-9;

/// One run of a program.
#[derive(Clone, Debug, Default)]
struct Measured {
    events_per_second: f64,
    cpu_micros_per_event: f64,
    peak_mib: f64,
}

/// What is measured: a name, and how it is run.
struct Entrant {
    name: &'static str,
    process: Process,
    /// The program prints its own rate; else the process is timed.
    counts_itself: bool,
    runs: Vec<Measured>,
    stdout: String,
}

fn main() -> ExitCode {
    // `cargo bench` passes `--bench`, `cargo test --benches` does not: nothing is measured then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("bench w: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Fallible<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = root.join("target/w");
    fs::create_dir_all(&scratch).map_err(|error| format!("cannot create {}: {error}", scratch.display()))?;
    let input = input(root, &scratch)?;
    let known = digest(&input)? == INPUT;
    let rounds = number("W_ROUNDS", 3)?.max(1);
    let binary = setting("W_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tidemill")), PathBuf::from);
    let mut entrants = vec![tidemill(root, &scratch, &binary, &input, 1), tidemill(root, &scratch, &binary, &input, 2)];
    let reference = setting("W_REFERENCE").map(PathBuf::from);
    if let Some(program) = &reference {
        entrants.insert(0, by_hand("by hand, one thread", program, &["fast"], &input, true));
        entrants.insert(2, by_hand("by hand, two threads", program, &["w2"], &input, false));
    }
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        entrants.iter_mut().try_for_each(Entrant::run)?;
    }
    report(&entrants);
    if !known {
        println!("\n{} is not the file that the generator writes by default: the outcome is not checked.", input.display());
        return Ok(true);
    }
    let workers: Vec<(&str, &str)> =
        entrants.iter().filter(|entrant| !entrant.counts_itself).map(|entrant| (entrant.name, entrant.stdout.as_str())).collect();
    let mut checks = outcome(&scratch, &workers)?;
    if let Some(program) = &reference {
        checks.push(features(&scratch, program, &input)?);
    }
    println!();
    for (passed, line) in &checks {
        println!("{} {line}", if *passed { "ok  " } else { "FAIL" });
    }
    Ok(checks.iter().all(|(passed, _)| *passed))
}

/// The input file, generated if need be.
fn input(root: &Path, scratch: &Path) -> Fallible<PathBuf> {
    if let Some(input) = setting("W_INPUT") {
        return Ok(PathBuf::from(input));
    }
    let input = scratch.join("w_2m.ndjson");
    if input.exists() {
        return Ok(input);
    }
    let generator = setting("W_GENERATOR").map_or_else(|| root.join("../shared/bench-peers/gen.py"), PathBuf::from);
    let python = setting("W_PYTHON").unwrap_or_else(|| "python3".to_string());
    let help = "give a file in W_INPUT, the generator in W_GENERATOR, or a Python that has numpy in W_PYTHON (`pip install numpy`)";
    eprintln!("generating {}", input.display());
    let unfinished = scratch.join("w_2m.part");
    let status = Command::new(&python).arg(&generator).arg("--out").arg(&unfinished).status();
    match status {
        Ok(status) if status.success() => fs::rename(&unfinished, &input).map_err(|error| error.to_string())?,
        Ok(_) => return Err(format!("{python} {} failed; {help}", generator.display())),
        Err(error) => return Err(format!("{python} cannot be started: {error}; {help}")),
    }
    Ok(input)
}

fn digest(path: &Path) -> Fallible<String> {
    let mut file = fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn tidemill(root: &Path, scratch: &Path, binary: &Path, input: &Path, workers: usize) -> Entrant {
    let out = scratch.join(workers.to_string());
    let text = |path: &Path| path.display().to_string();
    let arguments = ["run", &text(&root.join("benches/w.toml")), "--fresh", "--quiet", "--json", "-w", &workers.to_string(), "--state-dir"];
    let process = Process {
        pinned: workers == 1,
        program: binary.to_path_buf(),
        arguments: arguments.iter().map(ToString::to_string).chain([text(&out.join("state"))]).collect(),
        environment: vec![
            ("W_INPUT", input.to_path_buf()),
            ("W_OUTPUT", out.join("predictions.ndjson")),
            ("W_STATS", out.join("statistics.ndjson")),
            ("W_ROWS", out.join("rows")),
        ],
    };
    let name = if workers == 1 { "tidemill, one worker" } else { "tidemill, two workers" };
    Entrant { name, process, counts_itself: false, runs: Vec::new(), stdout: String::new() }
}

fn by_hand(name: &'static str, program: &Path, mode: &[&str], input: &Path, pinned: bool) -> Entrant {
    let arguments = mode.iter().map(ToString::to_string).chain([input.display().to_string(), "/dev/null".to_string()]).collect();
    let process = Process { pinned, program: program.to_path_buf(), arguments, environment: Vec::new() };
    Entrant { name, process, counts_itself: true, runs: Vec::new(), stdout: String::new() }
}

impl Entrant {
    /// Runs the program once, and adds what was measured.
    fn run(&mut self) -> Fallible<()> {
        let run = self.process.run().map_err(|cause| format!("{}: {cause}", self.name))?;
        let rate = if self.counts_itself { own_rate(&run.stdout)? } else { EVENTS / run.seconds };
        self.runs.push(Measured { events_per_second: rate, cpu_micros_per_event: run.cpu_seconds * 1e6 / EVENTS, peak_mib: run.peak_mib });
        self.stdout = run.stdout;
        Ok(())
    }

    fn best(&self) -> f64 {
        self.runs.iter().map(|run| run.events_per_second).fold(0.0, f64::max)
    }
}

fn report(entrants: &[Entrant]) {
    println!("\n{:<24}{:>14}{:>14}{:>14}{:>12}", "", "events/s best", "median", "CPU µs/event", "peak MiB");
    for entrant in entrants {
        let mut rates: Vec<f64> = entrant.runs.iter().map(|run| run.events_per_second).collect();
        rates.sort_by(f64::total_cmp);
        let least_cpu = entrant.runs.iter().map(|run| run.cpu_micros_per_event).fold(f64::INFINITY, f64::min);
        let peak = entrant.runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max);
        println!("{:<24}{:>14.0}{:>14.0}{:>14.2}{:>12.0}", entrant.name, entrant.best(), rates[rates.len() / 2], least_cpu, peak);
    }
    let best: BTreeMap<&str, f64> = entrants.iter().map(|entrant| (entrant.name, entrant.best())).collect();
    let ratio = |above: &str, below: &str| {
        if let (Some(a), Some(b)) = (best.get(above), best.get(below)) {
            println!("{:<48}{:>6.2}", format!("{above} ÷ {below}"), a / b);
        }
    };
    println!();
    ratio("tidemill, two workers", "tidemill, one worker");
    ratio("tidemill, one worker", "by hand, one thread");
    ratio("tidemill, two workers", "by hand, two threads");
}

/// What learning came to, and whether the number of workers changed a byte; `summaries` are names and JSON summaries of the runs.
fn outcome(scratch: &Path, summaries: &[(&str, &str)]) -> Fallible<Vec<(bool, String)>> {
    let mut checks = Vec::new();
    for file in ["predictions.ndjson", "statistics.ndjson"] {
        let equal = digest(&scratch.join("1").join(file))? == digest(&scratch.join("2").join(file))?;
        checks.push((equal, format!("{file} has equal bytes with one and two workers")));
    }
    let equal = rows(&scratch.join("1/rows"))? == rows(&scratch.join("2/rows"))?;
    checks.push((equal, "feature rows have equal bits with one and two workers".to_string()));
    for (name, summary) in summaries {
        let summary: Value = serde_json::from_str(summary).map_err(|error| format!("{name}: the summary cannot be read: {error}"))?;
        let error = summary["models"][0]["metrics"]["predictors"][0]["numbers"]["accuracy"].as_f64().map(|accuracy| 1.0 - accuracy);
        let error = error.map_or("unknown".to_string(), |error| format!("{error:.5}"));
        checks.push((error == ERROR, format!("{name}: error {error}, expected {ERROR}")));
    }
    let statistics = fs::read_to_string(scratch.join("2/statistics.ndjson")).map_err(|error| error.to_string())?;
    let alarms: Vec<String> = statistics
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|row| row["statistic"] == "adwin" && row["alarm"] == true)
        .filter_map(|row| row["key"].as_str().map(String::from))
        .collect();
    let first = alarms.iter().take(2).eq(FIRST_ALARMS.iter());
    checks.push((first, format!("drift alarms at event_id {}, expected first {}", alarms.join(", "), FIRST_ALARMS.join(", "))));
    Ok(checks)
}

/// Feature rows by `event_id`, as bits, from all Parquet files of a folder.
fn rows(folder: &Path) -> Fallible<BTreeMap<i64, Vec<u64>>> {
    let mut rows = BTreeMap::new();
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let broken = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
        let file = fs::File::open(&path).map_err(|error| broken(&error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| broken(&error))?;
        for batch in reader {
            let batch = batch.map_err(|error| broken(&error))?;
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let floats: Result<Vec<_>, _> =
                batch.columns()[1..].iter().map(|column| arrow::compute::cast(column, &DataType::Float64)).collect();
            let floats = floats.map_err(|error| broken(&error))?;
            for (row, id) in ids.values().iter().enumerate() {
                rows.insert(*id, floats.iter().map(|column| column.as_primitive::<Float64Type>().value(row).to_bits()).collect());
            }
        }
    }
    Ok(rows)
}

/// Holds the feature rows against those of the reference.
fn features(scratch: &Path, program: &Path, input: &Path) -> Fallible<(bool, String)> {
    let csv = scratch.join("reference.csv");
    let status = Command::new(program).arg("w").arg(input).args(["/dev/null", "sonic"]).arg(&csv).stdout(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(format!("{} w failed", program.display()));
    }
    let own = rows(&scratch.join("2/rows"))?;
    let reference = fs::read_to_string(&csv).map_err(|error| error.to_string())?;
    let (mut compared, mut off, mut worst) = (0, 0, 0.0f64);
    for line in reference.lines() {
        let mut fields = line.split(',');
        let found = fields.next().and_then(|id| id.parse().ok()).and_then(|id| own.get(&id));
        let expected: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
        let errors = found.filter(|found| found.len() == expected.len()).map(|found| {
            let error = |(found, expected): (&u64, &f64)| (f64::from_bits(*found) - expected).abs() / expected.abs().max(1.0);
            found.iter().zip(&expected).map(error).fold(0.0, |worst, error| if error.is_nan() { f64::INFINITY } else { error.max(worst) })
        });
        let row = errors.unwrap_or(f64::INFINITY);
        compared += 1;
        off += u64::from(row > TOLERANCE);
        worst = worst.max(row);
    }
    let passed = off == 0 && compared > 0 && compared == own.len();
    Ok((
        passed,
        format!(
            "{compared} feature rows against the reference: {off} off by more than {TOLERANCE:e}, worst {worst:.1e}, {} here",
            own.len()
        ),
    ))
}
