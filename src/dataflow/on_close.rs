//! The workhorse: stash parcels by epoch, run once per closed epoch, in order. It replaces timely's removed `Notificator`.

use std::collections::BTreeMap;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Fault, Parcel, Parcels};
use crate::data::Addressed;
use crate::error::Result;
use crate::ids::WorkerIndex;
use crate::time::Epoch;

/// Where the logic of an operator leaves what it sends: one list per output.
#[derive(Debug)]
pub struct Outbox<P> {
    outputs: Vec<Vec<Addressed<P>>>,
}

impl<P> Outbox<P> {
    /// An empty one with `outputs` outputs.
    pub fn new(outputs: usize) -> Self {
        Self { outputs: (0..outputs).map(|_| Vec::new()).collect() }
    }

    /// Sends `body` to worker `to` on output `output`, in the epoch being closed.
    pub fn send(&mut self, output: usize, to: WorkerIndex, body: P) {
        self.outputs[output].push(Addressed { to, body });
    }

    pub(super) fn take(&mut self, output: usize) -> Vec<Addressed<P>> {
        std::mem::take(&mut self.outputs[output])
    }
}

/// Runs `logic` once per epoch that has parcels for this worker, when no more can come, in epoch order.
///
/// `logic` gets the epoch, its parcels in no particular order, and an outbox with `outputs` outputs. An error is raised in `fault` and the operator
/// stops for good, holding back the epoch so that nothing after it can be committed.
pub fn on_close<'scope, P, L>(input: Parcels<'scope, P>, name: &str, outputs: usize, fault: Fault, mut logic: L) -> Vec<Parcels<'scope, P>>
where
    P: Parcel,
    L: FnMut(Epoch, Vec<P>, &mut Outbox<P>) -> Result<()> + 'static,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
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
            while !failed && stash.first_key_value().is_some_and(|(epoch, _)| !frontiers[0].less_equal(epoch)) {
                let Some((epoch, (held, parcels))) = stash.pop_first() else { break };
                if let Err(error) = logic(Epoch(epoch), parcels, &mut outbox) {
                    fault.raise(error);
                    failed = true;
                    stash.insert(epoch, (held, Vec::new()));
                    break;
                }
                for (index, (writer, capability)) in writers.iter_mut().zip(&held).enumerate() {
                    let mut parcels = outbox.take(index);
                    if !parcels.is_empty() {
                        writer.activate().session(capability).give_container(&mut parcels);
                    }
                }
            }
        }
    });
    streams
}
