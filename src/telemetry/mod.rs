//! What a run tells while it runs: a live line on a terminal, log lines otherwise.

mod figures;
mod logging;
mod progress_line;

pub use figures::Figures;
pub use logging::{LogFormat, init};
pub use progress_line::ProgressLine;
