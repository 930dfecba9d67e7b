//! The process: loading a pipeline, starting workers, committing, ending. Everything that happens before the first record and after the last.

mod bench;
mod bindings;
mod capture;
mod checkpoints;
mod cluster;
mod commit;
mod disk;
mod explain;
mod load;
mod opening;
mod panic;
mod prepare;
mod run;
mod signals;
mod summary;
mod summary_text;
mod test_command;
mod topics;
mod unchanged;

pub use bench::{BenchOptions, BenchReport, bench};
pub use bindings::{bindings, bindings_text};
pub use checkpoints::{CHECKPOINT_EVERY, interval};
pub use disk::Disk;
pub use explain::{Explained, explain};
pub use load::{Checked, check, load};
pub use panic::install_panic_hook;
pub use run::{Cluster, Outcome, RunOptions, run};
pub use summary::Summary;
pub use test_command::{TestOutcome, run_tests, test_report};
pub use topics::{TopicsOptions, TopicsReport, init_topics};
