//! The command line as a user meets it: what each command prints, the code it ends with, and that every error is one line of cause and one of help.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const PIPELINE: &str = r#"
[pipeline]
name = "visits"
epoch = { max_rows = 4 }

[sources.visits]
kind = "file"
path = "in.ndjson"
schema = { id = "int64", ts = "timestamp_ms", user = "string", spent = "float64" }
event_time = "ts"
key = "id"

[features.user]
from = "visits"
entity = "user"
windows = ["1h"]
aggregates = { visits = "count(*)" }

[models.spent]
kind = "linear_regression"
from = "visits"
features = ["user.visits_1h"]
label = "spent"
learn = "record"

[sinks.predictions]
kind = "file"
from = "models.spent"
path = "out/predictions.ndjson"

[[tests]]
name = "the second visit counts two"
input.visits = [
  { id = 1, ts = 2024-01-01T00:00:00Z, user = "a", spent = 1.0 },
  { id = 2, ts = 2024-01-01T00:10:00Z, user = "a", spent = 2.0 },
]
expect."features.user" = [{ visits_1h = 1 }, { visits_1h = 2 }]

[[tests]]
name = "users are told apart"
input.visits = [
  { id = 1, ts = 2024-01-01T00:00:00Z, user = "a", spent = 1.0 },
  { id = 2, ts = 2024-01-01T00:10:00Z, user = "b", spent = 2.0 },
]
expect."features.user" = [{ visits_1h = 1 }, { visits_1h = 1 }]
"#;

/// A folder with the pipeline and ten records.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let lines =
        (1..11).map(|id| format!("{{\"id\":{id},\"ts\":\"2024-01-01T00:{id:02}:00Z\",\"user\":\"u{}\",\"spent\":{}}}\n", id % 3, id % 4));
    fs::write(folder.path().join("in.ndjson"), lines.collect::<String>()).unwrap();
    fs::write(folder.path().join("p.toml"), PIPELINE).unwrap();
    folder
}

/// Replaces `from` in the pipeline file.
fn change(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("p.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn tidemill(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    for variable in ["WORKERS", "PROCESSES", "PROCESS", "HOSTS", "STATE_DIR", "LOG_FORMAT"] {
        command.env_remove(format!("TIDEMILL_{variable}"));
    }
    command.args(arguments.split_whitespace()).current_dir(folder).output().unwrap()
}

/// Runs and checks the exit code; standard output and standard error as text.
fn ends(folder: &TempDir, arguments: &str, code: i32) -> (String, String) {
    let output = tidemill(folder.path(), arguments);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "tidemill {arguments}\n{out}{err}");
    (out, err)
}

/// Runs a command that must fail: its cause and its help, which are the last two lines of standard error.
fn fails(folder: &TempDir, arguments: &str, code: i32) -> (String, String) {
    let (_, err) = ends(folder, arguments, code);
    let lines: Vec<&str> = err.lines().collect();
    let [.., cause, help] = lines[..] else { panic!("two lines were expected:\n{err}") };
    let cause = cause.strip_prefix("error: ").unwrap_or_else(|| panic!("the last line but one is the cause:\n{err}"));
    let help = help.strip_prefix("help: ").unwrap_or_else(|| panic!("the last line is the help:\n{err}"));
    assert!(!cause.is_empty() && !help.is_empty(), "{err}");
    (cause.to_string(), help.to_string())
}

#[test]
fn every_command_teaches_by_example() {
    let folder = folder();
    for command in ["check", "plan", "run", "bench", "test", "explain", "bindings", "topics init"] {
        let (out, _) = ends(&folder, &format!("{command} --help"), 0);
        assert!(out.contains("Example") && out.contains(&format!("tidemill {command} ")), "{out}");
        for line in out.lines().filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-')) {
            let described = line.trim().split("  ").count() > 1 || out.contains(&format!("{line}\n          "));
            assert!(described, "an option without a word of help: {line}\n{out}");
        }
    }
    let (out, _) = ends(&folder, "--help", 0);
    assert!(out.contains("Exit codes") && out.contains("78"), "{out}");
    assert!(ends(&folder, "--version", 0).0.starts_with("tidemill "));
}

#[test]
fn topics_without_kafka_or_without_brokers() {
    let folder = folder();
    assert!(ends(&folder, "topics init p.toml", 0).0.contains("nothing to do"));
    assert_eq!(ends(&folder, "topics init p.toml --dry-run --json", 0).0, "{\"topics\":[]}\n");
    ends(&folder, "topics init p.toml --partitions 0", 2);
    ends(&folder, "topics init p.toml --replication 0", 2);
    change(&folder, "[sinks.predictions]\nkind = \"file\"", "[kafka]\nbrokers = \"127.0.0.1:1\"\n\n[sinks.predictions]\nkind = \"kafka\"");
    change(&folder, "path = \"out/predictions.ndjson\"", "topic = \"predictions\"");
    let (cause, help) = fails(&folder, "topics init p.toml", 69);
    assert!(cause.contains("127.0.0.1:1") && help.contains("`brokers`"), "{cause}: {help}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_exit_2() {
    let folder = folder();
    for arguments in ["", "frob", "run", "plan p.toml --json --dot", "run p.toml --workers many", "run p.toml --frseh"] {
        let (_, err) = ends(&folder, arguments, 2);
        assert!(err.contains("Usage") || err.contains("--help"), "{err}");
    }
    assert!(ends(&folder, "run p.toml --frseh", 2).1.contains("--fresh"));
    assert!(fails(&folder, "run p.toml -w 0", 2).0.contains("worker"));
    assert!(fails(&folder, "run p.toml -n 2 -p 2", 2).1.contains("from 0"));
    assert!(fails(&folder, "run p.toml -n 3 --hosts a:1,b:2", 2).0.contains("2 addresses for 3 processes"));
    assert!(fails(&folder, "explain p.toml 1 --model other", 2).1.contains("spent"));
    assert!(fails(&folder, "test p.toml --only nothing", 2).1.contains("--only"));
}

#[test]
fn a_file_is_checked_and_planned() {
    let folder = folder();
    let (out, err) = ends(&folder, "check p.toml", 0);
    assert!(out.contains("p.toml is a valid pipeline") && err.is_empty(), "{out}{err}");
    let (out, _) = ends(&folder, "plan p.toml", 0);
    for part in ["sources.visits", "features.user", "models.spent", "sinks.predictions", "fingerprint: "] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    let plan: Value = serde_json::from_str(&ends(&folder, "plan --json p.toml", 0).0).unwrap();
    assert_eq!(plan["bounded"], true);
    let (dot, _) = ends(&folder, "plan --dot p.toml", 0);
    assert!(dot.starts_with("digraph ") && dot.trim_end().ends_with('}') && dot.contains("\"models.spent\""), "{dot}");
    assert_eq!(ends(&folder, "plan p.toml", 0), ends(&folder, "plan p.toml", 0));
    assert!(!folder.path().join(".tidemill").exists() && !folder.path().join("out").exists(), "nothing but `run` writes");
}

#[test]
fn a_wrong_file_is_exit_78_with_every_mistake_at_once() {
    let folder = folder();
    change(&folder, "max_rows = 4", "max_row = 4");
    change(&folder, "entity = \"user\"", "entity = \"usr\"");
    change(&folder, "\"1h\"", "\"1 hour\"");
    let (out, err) = ends(&folder, "check p.toml", 78);
    assert!(out.is_empty());
    for part in ["p.toml:4:11", "did you mean `max_rows`?", "error[T010]", "error[T018]", "^^^^"] {
        assert!(err.contains(part), "{part}\n{err}");
    }
    for command in ["run p.toml", "plan p.toml", "bench p.toml", "test p.toml", "explain p.toml 1", "bindings p.toml"] {
        assert!(fails(&folder, command, 78).0.contains("p.toml is refused"));
    }
    let (cause, help) = fails(&folder, "run other.toml", 78);
    assert!(cause.contains(&*folder.path().join("other.toml").to_string_lossy()), "{cause}");
    assert!(help.contains("working directory"), "{help}");
    fs::write(folder.path().join("p.toml"), [0xff, 0xfe, b'x']).unwrap();
    fails(&folder, "check p.toml", 78);
}

#[test]
fn a_run_ends_with_a_summary_is_found_finished_and_starts_over() {
    let folder = folder();
    let (out, err) = ends(&folder, "run p.toml", 0);
    for part in [
        "rows     10 in = 10 used + 0 late + 0 quarantined",
        "models.spent: 10 rows predicted",
        "written",
        "out/predictions.ndjson",
        "tidemill explain p.toml ",
    ] {
        assert!(out.contains(part), "{part}\n{out}");
    }
    assert!(!err.contains("error"), "{err}");
    let written = fs::read(folder.path().join("out/predictions.ndjson")).unwrap();
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 10);
    let (again, err) = ends(&folder, "run p.toml", 0);
    assert_eq!(again, out, "the summary again");
    assert!(err.contains("--fresh"), "{err}");
    let summary: Value = serde_json::from_str(&ends(&folder, "run p.toml --fresh --json --quiet", 0).0).unwrap();
    assert_eq!((&summary["rows"]["read"], &summary["rows"]["used"], &summary["epochs"]), (&10.into(), &10.into(), &4.into()));
    assert_eq!(fs::read(folder.path().join("out/predictions.ndjson")).unwrap(), written);
    let explain = out.lines().find_map(|line| line.strip_prefix("explain  tidemill ")).unwrap();
    let (text, _) = ends(&folder, explain, 0);
    assert!(text.contains("prediction") && text.contains("user.visits_1h"), "{text}");
    let explained: Value = serde_json::from_str(&ends(&folder, "explain p.toml 7 --json", 0).0).unwrap();
    assert_eq!(explained["model"], "models.spent");
    assert_eq!(explained["inputs"][0]["name"], "user.visits_1h");
    assert!(fails(&folder, "explain p.toml 77", 65).0.contains("77"));
    change(&folder, "learn = \"record\"", "learn = \"epoch\"");
    assert!(fails(&folder, "run p.toml", 65).1.contains("--fresh"), "another plan cannot go on where this one stopped");
}

#[test]
fn committed_bindings_cut_another_run_the_same_way() {
    let folder = folder();
    assert_eq!(fails(&folder, "explain p.toml 1", 65).0, "this pipeline has committed nothing yet");
    ends(&folder, "run p.toml -q", 0);
    let (bindings, _) = ends(&folder, "bindings p.toml", 0);
    assert_eq!(bindings.lines().count(), 4);
    for line in bindings.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    fs::write(folder.path().join("b.ndjson"), &bindings).unwrap();
    let written = fs::read(folder.path().join("out/predictions.ndjson")).unwrap();
    change(&folder, "out/predictions", "other/predictions");
    ends(&folder, "run p.toml -q --state-dir elsewhere --bindings b.ndjson", 0);
    assert_eq!(fs::read(folder.path().join("other/predictions.ndjson")).unwrap(), written);
    fs::write(folder.path().join("b.ndjson"), "nonsense\n").unwrap();
    assert!(fails(&folder, "run p.toml --fresh --bindings b.ndjson", 65).0.contains("line 1"));
    let (cause, _) = fails(&folder, "run p.toml --fresh --bindings none.ndjson", 74);
    assert!(cause.contains(&*folder.path().join("none.ndjson").to_string_lossy()), "{cause}");
}

#[test]
fn tests_of_the_file_run_and_say_what_differs() {
    let folder = folder();
    assert!(ends(&folder, "test p.toml", 0).0.ends_with("2 passed, 0 failed\n"));
    assert!(ends(&folder, "test p.toml --only apart", 0).0.ends_with("1 passed, 0 failed\n"));
    change(&folder, "{ visits_1h = 2 }", "{ visits_1h = 3 }");
    let (out, _) = ends(&folder, "test p.toml", 65);
    assert!(out.contains("FAILED the second visit counts two") && out.contains("row 2: visits_1h is 2, 3 was expected"), "{out}");
    let (out, _) = ends(&folder, "test p.toml --json", 65);
    let passed: Vec<Value> = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["passed"].clone()).collect();
    assert_eq!(passed, [false, true]);
}

/// Runs `bench` with temporary files in a folder of its own, which it must leave empty, and changes nothing else: its JSON.
fn benched(folder: &TempDir, arguments: &str) -> Value {
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (before, temporary) = (names(), tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(["bench", "p.toml", "--json"]).args(arguments.split_whitespace());
    let output = command.current_dir(folder.path()).env("TMPDIR", temporary.path()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert_eq!(names(), before, "nothing is written beside the input");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "temporary files are gone");
    serde_json::from_str(&out).unwrap()
}

/// The components of a bench, sorted, and whether some time was counted for each.
fn components(bench: &Value) -> Vec<String> {
    let work = bench["work"].as_array().unwrap();
    assert!(work.iter().all(|time| time["seconds"].as_f64().unwrap() >= 0.0 && time["share"].as_f64().unwrap() <= 1.0), "{bench:#}");
    let mut names: Vec<String> =
        work.iter().map(|time| format!("{} {}", time["component"].as_str().unwrap(), time["work"].as_str().unwrap())).collect();
    names.sort();
    names
}

const WORK: [&str; 11] = [
    "epochs commit",
    "epochs cut",
    "epochs gather",
    "features.user select",
    "features.user update",
    "models.spent predict",
    "models.spent select",
    "sinks.predictions encode",
    "sinks.quarantine encode",
    "sources.visits decode",
    "sources.visits read",
];

#[test]
fn a_bench_measures_a_pipeline_and_leaves_nothing_behind() {
    let folder = folder();
    ends(&folder, "run p.toml -q", 0);
    let written = fs::read(folder.path().join("out/predictions.ndjson")).unwrap();
    let bench = benched(&folder, "-w 1");
    assert_eq!((&bench["records"], &bench["rows"]["used"], &bench["epochs"]["count"]), (&10.into(), &10.into(), &4.into()));
    assert_eq!((&bench["rate"], &bench["latency"], &bench["warm_up"]), (&Value::Null, &Value::Null, &Value::Null));
    assert!(bench["records_per_second"].as_f64().unwrap() > 0.0 && bench["seconds"].as_f64().unwrap() > 0.0, "{bench:#}");
    assert_eq!(components(&bench), WORK);
    assert_eq!(bench["outputs"][0]["rows"], 10);
    if cfg!(target_os = "linux") {
        assert!(bench["peak_memory_bytes"].as_u64().unwrap() > 1 << 20 && bench["cpu"]["user_seconds"].as_f64().unwrap() >= 0.0);
    }
    assert_eq!(fs::read(folder.path().join("out/predictions.ndjson")).unwrap(), written);
    let (out, _) = ends(&folder, "bench p.toml", 0);
    for part in ["visits: ", "10 in = 10 used + 0 late + 0 quarantined", "records/s", "CPU", "memory", "models.spent"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
}

#[test]
fn a_bench_with_a_rate_measures_latency_from_scheduled_arrivals() {
    let folder = folder();
    // All records go to a topic, and no broker is there: none is needed.
    change(
        &folder,
        "kind = \"file\"\nfrom = \"models.spent\"\npath = \"out/predictions.ndjson\"",
        "kind = \"kafka\"\nfrom = \"models.spent\"\ntopic = \"t\"",
    );
    change(&folder, "[sources.visits]", "[kafka]\nbrokers = \"localhost:1\"\n\n[sources.visits]");
    let bench = benched(&folder, "--rate 100 --seconds 0.05");
    // A fifth of 0.05 s at 100 a second is one record; five more are measured.
    assert_eq!((&bench["warm_up"]["records"], &bench["records"], &bench["rows"]["read"]), (&1.into(), &5.into(), &6.into()));
    for latency in [&bench["latency"]["to_outputs"], &bench["latency"]["to_commit"], &bench["warm_up"]["to_outputs"]] {
        let quantiles: Vec<u64> =
            ["p50_us", "p90_us", "p99_us", "p99_9_us", "max_us"].iter().map(|name| latency[name].as_u64().unwrap()).collect();
        assert!(quantiles.is_sorted() && quantiles[0] > 0, "{bench:#}");
    }
    let at = |of: &str| bench["latency"][of]["max_us"].as_u64().unwrap();
    assert!(at("to_outputs") <= at("to_commit"), "{bench:#}");
    assert_eq!(bench["rate"], 100.0);
    assert_eq!(components(&bench), WORK);
    // The input is shorter than the time: it is used up, late records and all, and that is the end.
    let bench = benched(&folder, "--rate 1000 --seconds 5");
    assert_eq!((&bench["rows"]["read"], bench["fed_bytes"].as_u64().unwrap() > 300), (&10.into(), true));
    assert_eq!(bench["warm_up"]["records"], 10, "all of it is warm-up");
    let (out, _) = ends(&folder, "bench p.toml --rate 200 --seconds 0.02", 0);
    assert!(out.contains("200 records/s offered") && out.contains("p99.9") && out.contains("warm-up"), "{out}");
}

#[test]
fn a_bench_that_makes_no_sense_is_refused() {
    let folder = folder();
    for arguments in ["--rate 0", "--rate -1", "--rate nan", "--seconds 0", "--seconds inf", "-w 0", "--rate 1e9 --seconds 1e9", "--rate x"]
    {
        let (out, err) = ends(&folder, &format!("bench p.toml {arguments}"), 2);
        assert!(out.is_empty() && !err.is_empty(), "{arguments}: {out}{err}");
    }
    assert!(fails(&folder, "bench p.toml --rate 0", 2).0.contains("--rate"));
    fs::write(folder.path().join("in.ndjson"), "").unwrap();
    assert!(fails(&folder, "bench p.toml --rate 10", 65).0.contains("no record"));
    assert_eq!(benched(&folder, "")["records"], 0);
}

#[test]
fn inputs_and_outputs_that_cannot_be_used_are_named_in_full() {
    let folder = folder();
    // A file stands where a folder is needed: nobody can write there, not even a superuser.
    fs::write(folder.path().join("out"), "").unwrap();
    let (cause, _) = fails(&folder, "run p.toml", 74);
    assert!(cause.contains(&*folder.path().join("out").to_string_lossy()), "{cause}");
    fs::remove_file(folder.path().join("out")).unwrap();
    fs::remove_file(folder.path().join("in.ndjson")).unwrap();
    let (_, err) = ends(&folder, "run p.toml", 78);
    assert!(err.contains(&*folder.path().join("in.ndjson").to_string_lossy()) && err.contains("p.toml:8:8"), "{err}");
}

#[test]
fn output_that_somebody_else_wrote_is_not_replaced_without_being_asked() {
    let folder = folder();
    fs::create_dir(folder.path().join("out")).unwrap();
    fs::write(folder.path().join("out/predictions.ndjson"), "precious\n").unwrap();
    assert!(fails(&folder, "run p.toml", 65).1.contains("--fresh"));
    assert_eq!(fs::read_to_string(folder.path().join("out/predictions.ndjson")).unwrap(), "precious\n");
    ends(&folder, "run p.toml --fresh", 0);
}
