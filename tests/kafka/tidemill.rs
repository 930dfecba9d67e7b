//! The real binary in a folder of its own, and what it says.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::cluster::{Kafka, signal, until};

/// What `tidemill` is run with: a pipeline file and a folder for state.
pub struct Pipeline {
    folder: tempfile::TempDir,
    brokers: String,
}

/// A run under way.
pub struct Run {
    child: Child,
    said: std::path::PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or 128 and the signal.
    pub code: i32,
    /// Standard output and standard error.
    pub said: String,
}

impl Pipeline {
    /// A pipeline of this text.
    pub fn new(kafka: &Kafka, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.toml"), text).unwrap();
        Self { folder, brokers: kafka.brokers.clone() }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `tidemill COMMAND FILE` with more arguments; a command may be of two words.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDEMILL_")) {
            command.env_remove(name);
        }
        command.args(arguments[0].split(' ')).arg(self.folder().join("pipeline.toml")).args(&arguments[1..]);
        command.env("TIDEMILL_STATE_DIR", self.folder().join("state")).env("KAFKA_BROKERS", &self.brokers);
        // Schemas are named from the root of the repository.
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command
    }

    /// Starts `tidemill run FILE` with more arguments.
    pub fn start(&self, arguments: &[&str]) -> Run {
        let said = tempfile::Builder::new().prefix("run-").tempfile_in(self.folder()).unwrap().into_temp_path().keep().unwrap();
        let file = File::create(&said).unwrap();
        let mut command = self.command(&[&["run"], arguments].concat());
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Run { child, said }
    }

    /// Runs `tidemill topics init FILE` to its end.
    pub fn topics_init(&self, arguments: &[&str]) -> Ended {
        let output = self.command(&[&["topics init"], arguments].concat()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        Ended { code: output.status.code().unwrap_or(128), said }
    }

    /// The committed progress records, as `tidemill bindings` prints them.
    pub fn bindings(&self) -> String {
        let output = self.command(&["bindings"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, parsed.
    pub fn records(&self) -> Vec<serde_json::Value> {
        self.bindings().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Run {
    /// Everything said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.said).unwrap()).into_owned()
    }

    /// Fails if the process has ended by itself.
    pub fn is_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("tidemill ended with {status}:\n{}", self.said());
        }
    }

    /// Waits until `done`, as long as the process lives.
    pub fn until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        until(what, || {
            self.is_alive();
            done().then_some(())
        });
    }

    /// Stops the process where it is, or lets it go on.
    pub fn freeze(&mut self, frozen: bool) {
        self.is_alive();
        signal(self.child.id(), if frozen { "STOP" } else { "CONT" });
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.is_alive();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; waits for the end, which must be exit 0.
    pub fn stop(self) -> String {
        signal(self.child.id(), "TERM");
        let ended = self.end();
        assert_eq!(ended.code, 0, "{}", ended.said);
        ended.said
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let status = until("the process ends", || self.child.try_wait().unwrap());
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ended { code, said: self.said() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
