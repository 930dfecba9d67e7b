//! Networks that were trained elsewhere and answer here: read from safetensors, run by candle on a device thread (S11).
//!
//! The promise: the same row gets the same bits, alone or in any company, on the same kind of device. Floating-point kernels keep it only at one
//! shape, so a network has one tile: every epoch is cut into tiles of exactly that many rows, the last one is padded, and none spans two epochs
//! (S11.1). A network that cannot keep the promise on this machine is refused when it is loaded, not found out later.
//!
//! A new layer is one file in `layers` and one row in its registry.

mod artefact;
#[cfg(test)]
mod damaged;
mod device;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod laws;
mod layers;
mod network;
mod place;
#[cfg(test)]
mod speed;
mod tile;

pub use device::DeviceThread;
pub use layers::layer_names;
pub use network::Network;
pub use tile::{Predicted, Rows, Tile};
