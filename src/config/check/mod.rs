//! What can be judged about a pipeline file without resolving a single expression: one file per group of rules.
//!
//! `columns`, `learning` and `monitors` judge one component and are called while it is read; the others need the whole file. A component with an
//! error is *poisoned*: it is left out of what later phases see, and they report nothing about references to it, so that each mistake is told once.

mod columns;
mod cycles;
mod kafka;
mod learning;
mod monitors;
mod namespace;
mod outputs;
mod references;
mod unused;

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::context::Context;
use super::declaration::{Declaration, Named};
use super::read::Read;
use crate::diagnostic::Diagnostic;

pub(super) use columns::{dedup, event_time, key};
pub(super) use learning::learning;
pub(super) use monitors::monitor;

/// What all checks of the whole file see.
struct Checks<'c, 'a> {
    cx: &'c Context<'a>,
    read: &'c Read,
    declaration: &'c Declaration,
    faulty: RefCell<BTreeSet<String>>,
}

impl Checks<'_, '_> {
    /// Reports an error of `component`, e.g. `streams.flights`.
    fn fault(&self, component: &str, diagnostic: Diagnostic) {
        self.faulty.borrow_mut().insert(component.to_string());
        self.cx.report(diagnostic);
    }

    /// Whether `family` declares `name`, readable or not, or might.
    fn declares(&self, family: &str, name: &str) -> bool {
        self.read.unclear.contains(family) || self.read.declared.get(family).is_some_and(|names| names.contains_key(name))
    }

    /// The names that `family` declares.
    fn names(&self, family: &str) -> Vec<&str> {
        self.read.declared.get(family).map(|names| names.keys().map(String::as_str).collect()).unwrap_or_default()
    }
}

/// Checks what was read; components with errors are taken out of it.
pub(super) fn all(cx: &Context<'_>, read: &mut Read) {
    let checks = Checks { cx, read, declaration: &read.declaration, faulty: RefCell::default() };
    namespace::check(&checks);
    references::check(&checks);
    cycles::check(&checks);
    kafka::check(&checks);
    outputs::check(&checks);
    if cx.errors() == 0 {
        unused::check(&checks);
    }
    let faulty = checks.faulty.into_inner();
    let kept = &mut read.declaration;
    retain(&mut kept.sources, "sources", &faulty);
    retain(&mut kept.tables, "tables", &faulty);
    retain(&mut kept.streams, "streams", &faulty);
    retain(&mut kept.features, "features", &faulty);
    retain(&mut kept.models, "models", &faulty);
    retain(&mut kept.monitors, "monitors", &faulty);
    retain(&mut kept.sinks, "sinks", &faulty);
    if faulty.contains("tests") {
        kept.tests.clear();
    }
    read.poisoned.extend(faulty);
}

fn retain<T>(named: &mut Named<T>, family: &str, faulty: &BTreeSet<String>) {
    named.retain(|name, _| !faulty.contains(&format!("{family}.{name}")));
}
