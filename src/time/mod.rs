//! Epochs, event time and the clock.
//!
//! Outputs depend on epochs and event time only (S1.1); the wall clock may cut live epochs and measure latency, nothing else.

pub mod clock;
pub mod duration;
mod epoch;
mod event_time;

pub use epoch::Epoch;
pub use event_time::{EventTime, Micros};
