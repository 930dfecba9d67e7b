//! Epochs, event time, the clock, and what is measured with it.
//!
//! Outputs depend on epochs and event time only (S1.1); the wall clock may cut live epochs and measure latency, nothing else.

mod busy;
pub mod clock;
pub mod duration;
mod epoch;
mod event_time;

pub use busy::{Busy, BusyTimes, WorkTime, work_between};
pub use epoch::Epoch;
pub use event_time::{EventTime, Micros};
