//! How far the run is durable: the only bound on epochs in flight. Timely has no backpressure of its own, so the source of epochs waits on this.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Waker;
use crate::time::Epoch;

/// The newest committed epoch, written by the committer, read by the source of epochs, which is woken at every step.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    epoch: Arc<AtomicU64>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Committed {
    /// The newest committed epoch; `Epoch(0)` before the first.
    pub fn get(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// Records that every epoch up to `epoch` is durable, and wakes the source.
    pub fn advance(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.0, Ordering::AcqRel);
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake();
        }
    }

    /// Names who is to be woken.
    pub fn wakes(&self, waker: Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker);
    }
}
