//! The real binary, as tests start it: a deadline for every process, nothing of the environment that would change a run, and free ports for clusters.

#![allow(dead_code, reason = "every suite uses a part")]

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// No run of a test takes longer; one that does is killed and fails.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The root of the checkout, where every process works: paths of inputs are names of partitions and appear in outputs.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A process and the files that take what it says.
pub struct Tidemill {
    child: Child,
    said: PathBuf,
    started: Instant,
    command: String,
}

/// How a process ended.
pub struct Ended {
    /// Exit code; `None` if a signal ended it, or if it ran past the deadline and was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// What was run.
    pub command: String,
}

impl Tidemill {
    /// Starts `tidemill` with `arguments` and `variables`; what it says goes to `said.out` and `said.err`.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)], said: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEMILL_") {
                command.env_remove(name);
            }
        }
        let file = |extension: &str| File::create(said.with_extension(extension)).unwrap();
        command.args(arguments).envs(variables.iter().copied()).current_dir(root());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().unwrap();
        Self { child, said: said.to_path_buf(), started: Instant::now(), command: format!("tidemill {}", arguments.join(" ")) }
    }

    /// Sends a signal by name, as `kill -NAME` does.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// `kill -9`; false if the process had ended by itself.
    pub fn kill(&mut self) -> bool {
        if self.child.try_wait().unwrap().is_some() {
            return false;
        }
        self.child.kill().unwrap();
        true
    }

    /// What it has said on standard error so far.
    pub fn says(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.said.with_extension("err")).unwrap()).into_owned()
    }

    /// Whether it goes on.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end, at most until the deadline.
    pub fn wait(mut self) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break Some(status);
            }
            if self.started.elapsed() > DEADLINE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let read = |extension: &str| {
            let mut bytes = Vec::new();
            File::open(self.said.with_extension(extension)).unwrap().read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ended {
            code: status.and_then(|status: ExitStatus| status.code()),
            out: read("out"),
            err: read("err"),
            command: self.command.clone(),
        }
    }
}

impl Drop for Tidemill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// An error unless the exit code is `code`.
    pub fn expect(self, code: i32) -> Result<Self, String> {
        if self.code == Some(code) {
            return Ok(self);
        }
        let ended = self.code.map_or("by a signal or at the deadline".to_string(), |code| format!("with {code}"));
        let last: Vec<&str> = self.err.lines().rev().take(6).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(format!("ended {ended}, not with {code}\n  {}\n  {}", self.command, last.join("\n  ")))
    }
}

/// Runs `tidemill` to its end.
pub fn tidemill(arguments: &[&str], variables: &[(&str, &str)], said: &Path) -> Ended {
    Tidemill::start(arguments, variables, said).wait()
}

/// Addresses for `--hosts`: ports below those that systems give to outgoing connections, no two of one test process the same, free a moment ago.
pub fn hosts(processes: usize) -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 10_000;
    let mut found = Vec::new();
    while found.len() < processes {
        let port = 20_000 + (first * 7 + u32::from(NEXT.fetch_add(1, Ordering::SeqCst))) % 12_000;
        if TcpListener::bind(("127.0.0.1", port as u16)).is_ok() {
            found.push(format!("127.0.0.1:{port}"));
        }
    }
    found.join(",")
}

/// Where the whole entries of a state directory's `progress.log` begin, and which of them commit an epoch; then where the last one ends.
/// The layout is that of `progress/file_log.rs`; nothing if there is no log yet.
pub fn log_entries(state: &Path) -> (Vec<(usize, bool)>, usize) {
    let bytes = std::fs::read(state.join("progress.log")).unwrap_or_default();
    let (mut entries, mut at) = (Vec::new(), 8);
    while at + 16 <= bytes.len() {
        let length = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        if at + 16 + length > bytes.len() {
            break;
        }
        entries.push((at, bytes[at + 16..].starts_with(b"{\"epoch\"")));
        at += 16 + length;
    }
    (entries, at)
}

/// How many epochs a state directory's log has committed.
pub fn epochs(state: &Path) -> usize {
    log_entries(state).0.iter().filter(|(_, is_epoch)| *is_epoch).count()
}
