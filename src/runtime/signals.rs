//! Signals: the first asks the run to end after a full epoch, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::dataflow::Committed;
use crate::error::{Error, Exit, Result};

/// Listens for SIGINT and SIGTERM on a thread of its own; `stop` is set by the first, and whoever mints epochs is woken. `stays`: what is committed does.
pub fn listen(stop: Arc<AtomicBool>, committed: Committed, stays: bool) -> Result<()> {
    let refused = |error: std::io::Error| Error::new(Exit::Internal, format!("signals cannot be handled: {error}"), "");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(refused)?;
    let body = move || {
        for signal in signals.forever() {
            if stop.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
            let then = if stays { "; what is committed stays, and the next run goes on from there" } else { "" };
            eprintln!("ending after the epochs in flight{then} (again: end at once)");
            committed.advance(committed.get());
        }
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(body).map_err(refused)?;
    Ok(())
}
