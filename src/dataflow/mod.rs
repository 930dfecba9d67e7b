//! The timely toolkit: the few operator shapes that the whole engine is built from. It knows epochs, addresses and capabilities, and no business type.
//!
//! Everything that crosses an edge is an [`Addressed`] parcel: its sender names the worker that is to have it, so that
//! shard → worker stays an explicit map and progress counts parcels, not rows. Operators see an epoch only when it is closed, whole, and in order:
//! what an operator computes cannot depend on how parcels were interleaved on the way.

mod committed;
mod fault;
mod offload;
mod on_close;
mod source;

pub use committed::Committed;
pub use fault::Fault;
pub use offload::{Offload, offload};
pub use on_close::{Outbox, on_close};
pub use source::{EpochSource, Step, Waker, epoch_source};

use serde::{Deserialize, Serialize};
use timely::dataflow::StreamVec;

use crate::data::Addressed;

/// What may travel between operators.
pub trait Parcel: Clone + Send + Serialize + for<'a> Deserialize<'a> + 'static {}

impl<P: Clone + Send + Serialize + for<'a> Deserialize<'a> + 'static> Parcel for P {}

/// A stream of addressed parcels; the timestamp is the epoch's number.
pub type Parcels<'scope, P> = StreamVec<'scope, u64, Addressed<P>>;
