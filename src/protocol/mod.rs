//! Pure decisions about epochs: where one is cut, which records are late, how far event time has come. No IO, no clock, no threads: what is
//! observed comes in, what to do comes out, so every rule can be tested without a broker.

pub mod cut;
pub mod dedup;
pub mod quarantine_guard;
pub mod watermark;
