//! A cluster of two processes shares one fate: whichever is killed, the other ends with exit code 75 and says so, and both started again go on. Processes
//! that run different plans refuse each other with 78. A signal to the leading process ends both cleanly.
//!
//! A connection that is no process of the cluster, while the leader waits for its peers, ends the leader with 75 before anything is committed: the ports
//! of `--hosts` are not authenticated and belong behind a firewall (recovery-protocol, "security").

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

/// Starts process `index` of two.
fn start(folder: &Path, pipeline: &str, index: &str, hosts: &str) -> Tidemill {
    let state = folder.join("state");
    let arguments = ["run", pipeline, "--state-dir", &state.to_string_lossy(), "-q", "-w", "2", "-n", "2", "-p", index, "--hosts", hosts];
    let out = folder.join("out");
    fs::create_dir_all(&out).unwrap();
    let variables = [("OUT", &*out.to_string_lossy()), ("IN", "tests/golden/ties/input")];
    Tidemill::start(&arguments, &variables, &folder.join(format!("said-{index}")))
}

/// Starts both processes of [`ENDLESS`] and waits until they have committed five epochs more than before.
fn running(folder: &Path) -> (Tidemill, Tidemill) {
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
    (leads, follows)
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
    let (leads, mut follows) = running(folder.path());
    assert!(follows.kill());
    ends_soon_with_75(leads, "the leader");
    let (mut leads, follows) = running(folder.path());
    assert!(leads.kill());
    ends_soon_with_75(follows, "the follower");
    let (leads, follows) = running(folder.path());
    leads.signal("INT");
    let (leads, follows) = (leads.wait(), follows.wait());
    assert_eq!((leads.code, follows.code), (Some(0), Some(0)), "{}\n{}", shown(&leads), shown(&follows));
    assert!(leads.err.contains("run the same command again to go on"), "{}", leads.err);

    let rows = fs::read_to_string(folder.path().join("out/features.ndjson")).unwrap();
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
fn a_stray_connection_ends_a_waiting_leader_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = hosts(2);
    let mut leads = start(folder.path(), "tests/golden/ties/pipeline.toml", "0", &hosts);
    let address = hosts.split(',').next().unwrap();
    let mut stray = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if leads.is_running() => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}: {}", shown(&leads.wait())),
        }
    };
    stray.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let ended = leads.wait();
    assert_eq!(ended.code, Some(75), "{}", shown(&ended));
    assert!(ended.err.contains("no process of this cluster connected"), "{}", ended.err);
    assert_eq!(epochs(&folder.path().join("state")), 0);
}
