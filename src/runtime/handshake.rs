//! Before the pipeline's dataflow is built, all workers agree that they run the same plan with the same engine: equal fingerprints give equal
//! dataflows, unequal ones would fail in ways that name nothing.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Probe, ToStream};
use timely::worker::Worker;

use crate::error::{Error, Exit, Result};

/// Exchanges `fingerprint` with every worker of every process; an error if one differs.
pub fn agree(worker: &mut Worker, fingerprint: &str) -> Result<()> {
    let peers = worker.peers() as u64;
    let mine = fingerprint.to_string();
    let others: Rc<RefCell<Vec<String>>> = Rc::default();
    let found = others.clone();
    let sent: Vec<(u64, String)> = (0..peers).map(|peer| (peer, mine.clone())).collect();
    let probe = worker.dataflow::<u64, _, _>(|scope| {
        let (probe, _) = sent
            .to_stream(scope)
            .container::<Vec<(u64, String)>>()
            .unary::<timely::container::CapacityContainerBuilder<Vec<()>>, _, _, _>(
                Exchange::new(|(to, _): &(u64, String)| *to),
                "handshake",
                move |_, _| {
                    move |input, _| {
                        input.for_each(|_, data| found.borrow_mut().extend(data.drain(..).map(|(_, fingerprint)| fingerprint)));
                    }
                },
            )
            .probe();
        probe
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    let others = others.borrow();
    match others.iter().find(|other| **other != mine) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            Exit::Config,
            format!("this process runs plan {}, another one plan {}", short(&mine), short(other)),
            "start every process of the cluster with the same file, the same variables and the same version of Tidemill",
        )),
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}
