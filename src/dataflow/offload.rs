//! Work that must not block a worker (a GPU, a slow disk): handed to a thread over a bounded channel, its results emitted under the capability that
//! the operator kept meanwhile. The answers of an epoch leave in epoch order, whatever order the thread finished in.

use std::collections::{BTreeMap, VecDeque};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Fault, Outbox, Parcel, Parcels, Waker};
use crate::data::Addressed;
use crate::error::Result;
use crate::time::Epoch;

/// The two ends of a piece of offloaded work, as the operator sees them. Neither call may block.
pub trait Offload<P> {
    /// Hands over a closed epoch. Called in epoch order, and only while `ready` says so.
    fn submit(&mut self, epoch: Epoch, parcels: Vec<P>) -> Result<()>;
    /// Whether `submit` has room.
    fn ready(&self) -> bool;
    /// Takes the answer of the oldest epoch submitted, if it is there, and leaves its parcels in the outbox.
    fn poll(&mut self, outbox: &mut Outbox<P>) -> Result<Option<Epoch>>;
}

/// An operator around an [`Offload`]; `make` is called once per worker with the waker that the thread calls when an answer is ready.
pub fn offload<'scope, P, W, M>(input: Parcels<'scope, P>, name: &str, outputs: usize, fault: Fault, make: M) -> Vec<Parcels<'scope, P>>
where
    P: Parcel,
    W: Offload<P> + 'static,
    M: FnOnce(Waker) -> W,
{
    let scope = input.scope();
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let address = builder.operator_info().address;
    let mut work = make(Waker::from_activator(scope.worker().sync_activator_for(address.to_vec())));
    let mut input = builder.new_input(input, Exchange::new(|parcel: &Addressed<P>| u64::from(parcel.to.0)));
    let mut writers = Vec::with_capacity(outputs);
    let mut streams = Vec::with_capacity(outputs);
    for _ in 0..outputs {
        let (output, stream) = builder.new_output();
        writers.push(OutputBuilder::<u64, CapacityContainerBuilder<Vec<Addressed<P>>>>::from(output));
        streams.push(stream);
    }
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut stash: BTreeMap<u64, (Vec<Capability<u64>>, Vec<P>)> = BTreeMap::new();
        let mut submitted: VecDeque<(u64, Vec<Capability<u64>>)> = VecDeque::new();
        let mut outbox = Outbox::new(outputs);
        let mut failed = false;
        move |frontiers| {
            input.for_each_stamp(|capability, batches| {
                let Some(epoch) = capability.stamp().iter().min().copied() else { return };
                let slot = stash.entry(epoch).or_insert_with(|| {
                    let held = (0..outputs).filter_map(|output| capability.retain_least(output)).collect();
                    (held, Vec::new())
                });
                slot.1.extend(batches.flat_map(|batch| batch.drain(..)).map(|parcel| parcel.body));
            });
            if failed {
                return;
            }
            let mut turn = || -> Result<()> {
                loop {
                    let mut moved = false;
                    while let Some(epoch) = work.poll(&mut outbox)? {
                        moved = true;
                        let Some((_, held)) = submitted.pop_front().filter(|(oldest, _)| *oldest == epoch.0) else {
                            return Err(crate::error::Error::internal(format!("offloaded work answered epoch {epoch} out of order")));
                        };
                        for (index, (writer, capability)) in writers.iter_mut().zip(&held).enumerate() {
                            let mut parcels = outbox.take(index);
                            if !parcels.is_empty() {
                                writer.activate().session(capability).give_container(&mut parcels);
                            }
                        }
                    }
                    while work.ready() && stash.first_key_value().is_some_and(|(epoch, _)| !frontiers[0].less_equal(epoch)) {
                        let Some((epoch, (held, parcels))) = stash.pop_first() else { break };
                        moved = true;
                        work.submit(Epoch(epoch), parcels)?;
                        submitted.push_back((epoch, held));
                    }
                    if !moved {
                        return Ok(());
                    }
                }
            };
            if let Err(error) = turn() {
                fault.raise(error);
                failed = true;
            }
        }
    });
    streams
}
