//! The first error of a worker ends the run: where operators leave it and the worker loop finds it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;

/// A slot for the first error, shared by the operators and threads of a process.
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    /// Leaves `error` unless one is there already.
    pub fn raise(&self, error: Error) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The error, if one was raised.
    pub fn get(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether one was raised.
    pub fn is_raised(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
