//! Tidemill turns event streams into fresh features, live predictions and continuously trained models, in one deterministic dataflow that a TOML
//! file describes.
//!
//! # The promise
//!
//! Outputs of epoch *e* are a function of (source bytes, progress records ≤ *e*, the plan, model seed), and of nothing else: no wall clock, thread
//! timing, worker count, hash-map order or batch size reaches an output. The rules that decide every byte are in [`semantics`]; code and tests cite
//! them by number.
//!
//! # The road of a record
//!
//! ```text
//! sources ─► codecs ─► ingest: cut into epochs, judge by event time ──bad──► quarantine
//!                        │ good
//!                      streams: join / where / derive (SQL expressions)
//!                        │ entity hash → shard → worker
//!                      views: windows and aggregates as of each record ─► feature rows
//!       labels ─ join ───┤
//!                      models: predict, then learn                     candle networks on their device thread
//!                        │
//!                      monitors: metrics, drift ─► statistics, alarms
//!                        │
//!                      sinks ─► committer: outputs and progress record of an epoch become visible together
//! ```
//!
//! # The house
//!
//! Modules stand in layer order and import only from those above them; `tests/house.rs` checks it. Adding an aggregate, optimizer, detector, metric,
//! codec, generator, source or sink is one new file and one row in its family's registry.

#![warn(missing_docs)]

#[doc = include_str!("semantics.md")]
pub mod semantics {}

pub mod ids;

pub mod error;

pub mod diagnostic;

pub mod time;

pub mod data;

pub mod config;

pub mod expressions;

pub mod features;

pub mod models;

pub mod metrics;

pub mod drift;

pub mod plan;

pub mod protocol;

pub mod dataflow;

pub mod state;

pub mod codecs;

pub mod sources;

pub mod sinks;

pub mod checkpoint;

pub mod progress;

pub mod inference;

pub mod render;

pub mod telemetry;

pub mod runtime;
