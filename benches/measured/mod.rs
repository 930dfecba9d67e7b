//! Whole processes, measured: wall time, CPU time and peak memory from start to end, from Linux' `/proc`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub type Fallible<T> = Result<T, String>;

/// A program to be run, and what it needs.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// May use one CPU only.
    pub pinned: bool,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Variables that name files; their folders are made.
    pub environment: Vec<(&'static str, PathBuf)>,
}

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub seconds: f64,
    /// User and system time.
    pub cpu_seconds: f64,
    /// Greatest resident size.
    pub peak_mib: f64,
    pub stdout: String,
}

impl Process {
    /// Runs it once.
    pub fn run(&self) -> Fallible<Run> {
        let mut command = Command::new(&self.program);
        if self.pinned {
            command = Command::new("taskset");
            command.args(["-c", "0"]).arg(&self.program);
        }
        for (_, path) in &self.environment {
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .map_err(|error| format!("cannot create the folder of {}: {error}", path.display()))?;
        }
        command.args(&self.arguments).envs(self.environment.iter().cloned()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(|error| {
            format!("{} cannot be started: {error}; pinning to one CPU needs `taskset` of util-linux", command.get_program().display())
        })?;
        let mut stdout = child.stdout.take().ok_or("no standard output")?;
        let reading = std::thread::spawn(move || std::io::read_to_string(&mut stdout));
        let (mut peak_mib, id) = (0.0f64, child.id());
        let cpu_seconds = loop {
            peak_mib = peak_mib.max(peak_of(id));
            match finished(id) {
                Some(cpu) => break cpu,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let status = child.wait().map_err(|error| error.to_string())?;
        let stdout = reading.join().map_err(|_| "a thread panicked")?.map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("{} {} ended with {status}:\n{stdout}", self.program.display(), self.arguments.join(" ")));
        }
        Ok(Run { seconds, cpu_seconds, peak_mib, stdout })
    }
}

/// A setting from the environment; an empty one is none.
pub fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A whole number from the environment.
pub fn number(name: &str, default: u64) -> Fallible<u64> {
    setting(name).map_or(Ok(default), |value| value.parse().map_err(|_| format!("{name} is no number")))
}

/// Greatest resident size so far of a process, in MiB; 0 once it has ended.
fn peak_of(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// User and system seconds of a process that has ended and was not waited for; `None` while it runs.
fn finished(process: u32) -> Option<f64> {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return Some(f64::NAN) };
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(f64::NAN);
    // Fields of proc(5) from the third on: 0 is the state, 11 and 12 are utime and stime in hundredths of a second.
    (fields.first() == Some(&"Z")).then(|| (ticks(11) + ticks(12)) / 100.0)
}

/// The rate in a line `… N in S s  R/s …`, as the programs of `bench-peers` print it.
pub fn own_rate(stdout: &str) -> Fallible<f64> {
    let rate = stdout.split_whitespace().find_map(|word| word.trim_end_matches(',').strip_suffix("/s")?.replace(',', "").parse().ok());
    rate.ok_or_else(|| format!("a rate was not printed:\n{stdout}"))
}
