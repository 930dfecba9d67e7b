//! The operator that brings epochs into the dataflow: one worker emits, the others only close their end.

use std::sync::Arc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

use super::{Fault, Outbox, Parcel, Parcels};
use crate::error::Result;
use crate::time::{Epoch, clock};

/// Wakes an operator, and its worker if that is parked, from any thread.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Wakes. A worker that is gone needs no waking: the error is of no use to anybody.
    pub fn wake(&self) {
        (self.0)();
    }

    pub(super) fn from_activator(activator: SyncActivator) -> Self {
        Self::new(move || {
            let _ = activator.activate();
        })
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// What a source of epochs can say when asked for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This epoch is in the outbox.
    Epoch(Epoch),
    /// Nothing yet: the waker will be called, or ask again after the delay.
    Wait(Option<std::time::Duration>),
    /// No epoch will follow.
    Done,
}

/// Mints epochs, one after another, dense from the first.
pub trait EpochSource<P> {
    /// Puts the next epoch's parcels into the outbox, or says why there is none yet.
    fn next(&mut self, outbox: &mut Outbox<P>) -> Result<Step>;
}

/// Builds the source. `make` is called on every worker with the waker of its operator and gives the source on the one worker that mints, `None` elsewhere.
pub fn epoch_source<'scope, P, S, M>(
    scope: Scope<'scope, u64>,
    name: &str,
    outputs: usize,
    fault: Fault,
    make: M,
) -> Vec<Parcels<'scope, P>>
where
    P: Parcel,
    S: EpochSource<P> + 'static,
    M: FnOnce(Waker) -> Option<S>,
{
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let mut source = make(Waker::from_activator(scope.worker().sync_activator_for(address.to_vec())));
    let mut writers = Vec::with_capacity(outputs);
    let mut streams = Vec::with_capacity(outputs);
    for _ in 0..outputs {
        let (output, stream) = builder.new_output();
        writers.push(OutputBuilder::<u64, CapacityContainerBuilder<Vec<_>>>::from(output));
        streams.push(stream);
    }
    builder.build(move |capabilities| {
        let mut held = Some(capabilities);
        let mut outbox = Outbox::new(outputs);
        // The one timer under way: a timer for every wait would bring each of them back for ever.
        let mut due: Option<Instant> = None;
        move |_frontiers| {
            let (Some(minting), Some(capabilities)) = (&mut source, &mut held) else {
                held = None;
                return;
            };
            match minting.next(&mut outbox) {
                Ok(Step::Epoch(epoch)) => {
                    for (index, (writer, capability)) in writers.iter_mut().zip(capabilities.iter_mut()).enumerate() {
                        capability.downgrade(&epoch.0);
                        let mut parcels = outbox.take(index);
                        if !parcels.is_empty() {
                            writer.activate().session(&*capability).give_container(&mut parcels);
                        }
                        capability.downgrade(&epoch.next().0);
                    }
                    activator.activate();
                }
                Ok(Step::Wait(None)) => {}
                Ok(Step::Wait(Some(delay))) => {
                    let now = clock::now();
                    if due.is_none_or(|due| due <= now || now + delay < due) {
                        activator.activate_after(delay);
                        due = Some(now + delay);
                    }
                }
                Ok(Step::Done) => {
                    held = None;
                    source = None;
                }
                Err(error) => {
                    fault.raise(error);
                    source = None;
                    // The capabilities stay: no later epoch may look closed after a fault.
                    std::mem::forget(held.take());
                }
            }
        }
    });
    streams
}
