//! Timely's communication over connections that the cluster's own start made.

use std::any::Any;
use std::net::TcpStream;

use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

/// What a worker is built from, for each worker of this process, and what must live as long as they do.
pub type Workers = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

/// Workers of process `process` that reach those of the others by `streams`; `serialized`: also each other as if they were apart.
pub fn workers(streams: Vec<Option<TcpStream>>, process: usize, workers: usize, serialized: bool) -> std::io::Result<Workers> {
    let hooks = Hooks::default();
    let build = if serialized { ProcessBuilder::new_bytes_vector } else { ProcessBuilder::new_typed_vector };
    let local = build(workers, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) = initialize_networking_from_sockets(local, streams, process, workers, hooks)?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}
