//! What this process has used, as the operating system counts it; nothing where that does not say (outside of Linux).

use serde::Serialize;

/// Ticks a second of `/proc`: Linux' `USER_HZ`, the same on every architecture that Rust's standard library supports.
const TICKS: f64 = 100.0;

/// Processor time, all threads together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CpuTime {
    /// In the program, seconds.
    pub user_seconds: f64,
    /// In the kernel on its behalf, seconds.
    pub system_seconds: f64,
}

impl CpuTime {
    /// So far, to a hundredth of a second.
    pub fn so_far() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold anything; the fields behind it are numbered from 3 in proc(5), times are 14 and 15.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
        Some(Self { user_seconds: seconds(14)?, system_seconds: seconds(15)? })
    }

    /// Since `before`.
    pub fn since(self, before: Self) -> Self {
        Self { user_seconds: self.user_seconds - before.user_seconds, system_seconds: self.system_seconds - before.system_seconds }
    }

    /// Both.
    pub fn seconds(self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// The greatest resident memory so far, bytes.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_used_something() {
        let before = CpuTime::so_far().unwrap();
        assert!(peak_memory().unwrap() > 1 << 20);
        let since = CpuTime::so_far().unwrap().since(before);
        assert!(before.seconds() >= 0.0 && since.user_seconds >= 0.0 && since.system_seconds >= 0.0);
    }
}
