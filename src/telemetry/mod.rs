//! What a run tells while it runs: a live line on a terminal, log lines otherwise.

mod figures;
mod logging;
mod process;
mod progress_line;

pub use figures::{Figures, durations};
pub use logging::{LogFormat, init};
pub use process::{CpuTime, peak_memory};
pub use progress_line::ProgressLine;
