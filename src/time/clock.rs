//! The wall clock: the only file that may ask for it. Nothing it says reaches an output except through a recorded binding (S1.1, S2.2).

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::EventTime;

/// The present instant, for the ages of live epochs, for pacing and for measuring.
pub fn now() -> Instant {
    Instant::now()
}

/// The present wall-clock time as event time, for the `now` of a live binding (S4.2).
pub fn wall() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
