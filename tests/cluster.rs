//! A cluster shares one fate: whichever process is killed, the others end with exit code 75 and say so, and all started again go on. Processes that run
//! different plans refuse each other with 78. A signal to the leading process ends all cleanly.
//!
//! Whoever calls the ports of `--hosts` and is no process of the cluster, before it runs or while it does, is refused and changes nothing; neither does
//! one that does not know the secret. A leader that starts again before all are there brings a new generation, which the others take up.

mod process;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use process::{DEADLINE, Ended, Tidemill, epochs, hosts, root};

/// How long the other process may take: a lost connection is noticed at once, the rest is a loaded machine.
const SOON: Duration = Duration::from_secs(5);

/// A pipeline that runs until it is stopped.
const ENDLESS: &str = r#"
[pipeline]
name = "endless"
epoch = { every = "20ms", max_rows = 500 }

[sources.payments]
kind = "generator"
generator = "card_transactions"
seed = 7
rate = 2000.0
event_time = "ts"
key = "transaction_id"

[features.card]
from = "payments"
entity = "user"
windows = ["10m", "1h"]
[features.card.aggregates]
payments = "count(*)"
mean = "avg(amount)"

[sinks.features]
kind = "file"
from = "features.card"
path = "${OUT}/features.ndjson"
"#;

/// A pipeline over files.
const TIES: &str = "tests/golden/ties/pipeline.toml";

/// Starts process `index` of as many as there are `hosts`.
fn start(folder: &Path, pipeline: &str, index: &str, hosts: &str) -> Tidemill {
    start_with(folder, pipeline, index, hosts, &[])
}

/// The same, with more variables.
fn start_with(folder: &Path, pipeline: &str, index: &str, hosts: &str, more: &[(&str, &str)]) -> Tidemill {
    let (state, processes) = (folder.join("state"), hosts.split(',').count().to_string());
    let state = state.to_string_lossy();
    let arguments = ["run", pipeline, "--state-dir", &state, "-q", "-w", "2", "-n", &processes, "-p", index, "--hosts", hosts];
    let out = folder.join("out");
    fs::create_dir_all(&out).unwrap();
    let out = out.to_string_lossy();
    let variables: Vec<_> = [("OUT", &*out), ("IN", "tests/golden/ties/input")].into_iter().chain(more.iter().copied()).collect();
    Tidemill::start(&arguments, &variables, &folder.join(format!("said-{index}")))
}

/// What one process alone writes for [`TIES`], file by file.
fn alone() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(&out).unwrap();
    let (state, to) = (folder.path().join("state"), out.to_string_lossy());
    let arguments = ["run", TIES, "--state-dir", &state.to_string_lossy(), "-q", "-w", "1"];
    let variables = [("OUT", &*to), ("IN", "tests/golden/ties/input")];
    let ended = process::tidemill(&arguments, &variables, &folder.path().join("said"));
    assert_eq!(ended.code, Some(0), "{}", shown(&ended));
    written(folder.path())
}

fn written(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder.join("out")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Connects to `address` once a process listens there, and says something.
fn call(process: &mut Tidemill, address: &str, said: &[u8]) -> TcpStream {
    let began = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(mut stream) => {
                stream.write_all(said).unwrap();
                return stream;
            }
            Err(error) if !process.is_running() || began.elapsed() > DEADLINE => panic!("{address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// What no process of a cluster says: HTTP, TLS, noise, the first bytes of timely's own greeting, nothing.
const STRANGE: [&[u8]; 5] = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", &[0xA5; 4000], &[0, 0, 0, 0, 0, 0, 0, 1], b""];

/// Starts both processes of [`ENDLESS`] and waits until they have committed five epochs more than before.
fn running(folder: &Path) -> (Tidemill, Tidemill, String) {
    let pipeline = folder.join("endless.toml");
    fs::write(&pipeline, ENDLESS).unwrap();
    let (hosts, state) = (hosts(2), folder.join("state"));
    let wanted = epochs(&state) + 5;
    let (mut leads, mut follows) =
        (start(folder, &pipeline.to_string_lossy(), "0", &hosts), start(folder, &pipeline.to_string_lossy(), "1", &hosts));
    let began = Instant::now();
    while epochs(&state) < wanted {
        if !leads.is_running() || !follows.is_running() || began.elapsed() > DEADLINE {
            panic!("{}\n{}", shown(&leads.wait()), shown(&follows.wait()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (leads, follows, hosts)
}

fn shown(ended: &Ended) -> String {
    format!("{}: {:?}\n{}{}", ended.command, ended.code, ended.out, ended.err)
}

/// Waits for a process whose peer was killed.
fn ends_soon_with_75(process: Tidemill, who: &str) {
    let began = Instant::now();
    let ended = process.wait();
    assert_eq!(ended.code, Some(75), "{who}: {}", shown(&ended));
    assert!(began.elapsed() < SOON, "{who} took {:?}", began.elapsed());
    assert!(
        ended.err.contains("another process of this cluster is gone") && ended.err.contains("start all processes again"),
        "{who}: {}",
        ended.err
    );
}

#[test]
fn whichever_process_is_killed_the_other_asks_to_be_started_again_and_both_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (leads, mut follows, _) = running(folder.path());
    assert!(follows.kill());
    ends_soon_with_75(leads, "the leader");
    let (mut leads, follows, _) = running(folder.path());
    assert!(leads.kill());
    ends_soon_with_75(follows, "the follower");
    let (leads, follows, _) = running(folder.path());
    leads.signal("INT");
    let (leads, follows) = (leads.wait(), follows.wait());
    assert_eq!((leads.code, follows.code), (Some(0), Some(0)), "{}\n{}", shown(&leads), shown(&follows));
    assert!(leads.err.contains("run the same command again to go on"), "{}", leads.err);

    every_row_once(folder.path());
}

/// Rows of [`ENDLESS`]: every record once, in order.
fn every_row_once(folder: &Path) {
    let rows = fs::read_to_string(folder.join("out/features.ndjson")).unwrap();
    for (row, line) in rows.lines().enumerate() {
        let id = format!("{{\"transaction_id\":{row},");
        assert!(line.starts_with(&id), "row {row} is {line}: every record once, in order");
    }
    assert!(rows.lines().count() > 0);
}

#[test]
fn processes_with_different_plans_refuse_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.toml");
    let text = fs::read_to_string(root().join("tests/golden/ties/pipeline.toml")).unwrap();
    fs::write(&other, text.replace("windows = [\"10s\", \"1m\"]", "windows = [\"10s\", \"2m\"]")).unwrap();
    let hosts = hosts(2);
    let leads = start(folder.path(), "tests/golden/ties/pipeline.toml", "0", &hosts);
    let follows = start(folder.path(), &other.to_string_lossy(), "1", &hosts);
    for ended in [leads.wait(), follows.wait()] {
        assert_eq!(ended.code, Some(78), "{}", shown(&ended));
        assert!(ended.err.contains("this process runs plan") && ended.err.contains("with the same file"), "{}", shown(&ended));
    }
    assert_eq!(epochs(&folder.path().join("state")), 0);
    assert!(!folder.path().join("out/features.ndjson").exists() || fs::read(folder.path().join("out/features.ndjson")).unwrap().is_empty());
}

#[test]
fn strangers_before_and_during_a_run_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = hosts(2);
    let addresses: Vec<&str> = hosts.split(',').collect();
    let mut leads = start(folder.path(), TIES, "0", &hosts);
    let held: Vec<TcpStream> = STRANGE.iter().map(|said| call(&mut leads, addresses[0], said)).collect();
    let follows = start(folder.path(), TIES, "1", &hosts);
    let (leads, follows) = (leads.wait(), follows.wait());
    assert_eq!((leads.code, follows.code), (Some(0), Some(0)), "{}\n{}", shown(&leads), shown(&follows));
    assert!(leads.err.contains("refused a connection to the cluster: it is no process of a cluster"), "{}", leads.err);
    assert!(!leads.out.contains("awaiting") && !follows.out.contains("connect"), "{}{}", leads.out, follows.out);
    assert_eq!(written(folder.path()), alone());
    drop(held);

    let folder = tempfile::tempdir().unwrap();
    let (mut leads, mut follows, hosts) = running(folder.path());
    let addresses: Vec<&str> = hosts.split(',').collect();
    let wanted = epochs(&folder.path().join("state")) + 20;
    let mut held = Vec::new();
    for _ in 0..40 {
        held.extend(STRANGE.iter().map(|said| call(&mut leads, addresses[0], said)));
        held.extend(STRANGE.iter().map(|said| call(&mut follows, addresses[1], said)));
    }
    let began = Instant::now();
    while epochs(&folder.path().join("state")) < wanted {
        assert!(leads.is_running() && follows.is_running() && began.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(5));
    }
    leads.signal("INT");
    let (leads, follows) = (leads.wait(), follows.wait());
    assert_eq!((leads.code, follows.code), (Some(0), Some(0)), "{}\n{}", shown(&leads), shown(&follows));
    for ended in [leads, follows] {
        let said = ended.err.matches("refused a connection to the cluster").count();
        assert!((1..30).contains(&said), "a line a second at most, not one for each of 200 callers: {said}\n{}", ended.err);
    }
    every_row_once(folder.path());
}

#[test]
fn a_process_that_does_not_know_the_secret_is_refused_and_one_that_does_still_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = hosts(2);
    let file = folder.path().join("secret");
    fs::write(&file, "correct horse battery staple\n").unwrap();
    let leads = start_with(folder.path(), TIES, "0", &hosts, &[("TIDEMILL_CLUSTER_SECRET_FILE", &file.to_string_lossy())]);
    for wrong in [&[][..], &[("TIDEMILL_CLUSTER_SECRET", "another secret of a cluster")]] {
        let refused = start_with(folder.path(), TIES, "1", &hosts, wrong).wait();
        assert_eq!(refused.code, Some(77), "{}", shown(&refused));
        assert!(refused.err.contains("do not share a secret") && refused.err.contains("help: start every process"), "{}", shown(&refused));
        assert!(!refused.err.contains("another secret"), "{}", shown(&refused));
    }
    let follows = start_with(folder.path(), TIES, "1", &hosts, &[("TIDEMILL_CLUSTER_SECRET", "correct horse battery staple")]);
    let (leads, follows) = (leads.wait(), follows.wait());
    assert_eq!((leads.code, follows.code), (Some(0), Some(0)), "{}\n{}", shown(&leads), shown(&follows));
    assert!(leads.err.contains("it does not know the secret of this cluster"), "{}", leads.err);
    assert!(![leads, follows].iter().any(|ended| format!("{}{}", ended.out, ended.err).contains("correct horse")), "it is never printed");
    assert_eq!(written(folder.path()), alone());
}

#[test]
fn other_machines_need_a_secret_that_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").to_string_lossy().into_owned();
    type Variables<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Variables<'_>, i32, &str); 4] = [
        (&[], 78, "10.0.0.2:2101, which is not this machine"),
        (&[("TIDEMILL_CLUSTER_SECRET", "short")], 78, "shorter than 16 characters"),
        (&[("TIDEMILL_CLUSTER_SECRET", "long enough to be a secret"), ("TIDEMILL_CLUSTER_SECRET_FILE", "/x")], 78, "both set"),
        (&[("TIDEMILL_CLUSTER_SECRET_FILE", &missing)], 74, "the secret of the cluster"),
    ];
    for (variables, code, cause) in cases {
        for index in ["0", "1"] {
            let ended = start_with(folder.path(), TIES, index, "localhost:2101,10.0.0.2:2101", variables).wait();
            assert_eq!(ended.code, Some(code), "{}", shown(&ended));
            assert!(ended.err.contains(cause) && ended.err.contains("\nhelp: ") && !ended.err.contains("long enough"), "{}", shown(&ended));
        }
    }
}

#[test]
fn a_leader_that_starts_again_before_all_are_there_brings_a_new_generation() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = hosts(3);
    let mut leads = start(folder.path(), TIES, "0", &hosts);
    let mut follows = start(folder.path(), TIES, "1", &hosts);
    let began = Instant::now();
    while !leads.says().contains("a process of the cluster is connected") {
        assert!(leads.is_running() && follows.is_running() && began.elapsed() < DEADLINE);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(leads.kill());
    let leads = start(folder.path(), TIES, "0", &hosts);
    let last = start(folder.path(), TIES, "2", &hosts);
    for ended in [leads.wait(), follows.wait(), last.wait()] {
        assert_eq!(ended.code, Some(0), "{}", shown(&ended));
    }
    assert_eq!(written(folder.path()), alone());
}
