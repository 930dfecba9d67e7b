//! Second phase: tables to a `Declaration`. One file per section; every reader reads all its keys before it gives up, so one run reports everything.

mod features;
mod json;
mod label;
mod linear;
mod model;
mod monitor;
mod pipeline;
mod sink;
mod source;
mod stream;
mod table;
mod test;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use super::codes;
use super::context::Context;
use super::declaration::{Declaration, EpochPolicy, Named, Pipeline, Spanned};
use super::names::{self, Declared};
use super::table::{Table, is_table};
use super::value::{Node, kind_of};
use crate::diagnostic::{Diagnostic, nearest};

/// Sections whose tables are components, with the header of an example.
const FAMILIES: [(&str, &str); 7] = [
    ("sources", "departures"),
    ("tables", "airports"),
    ("streams", "flights"),
    ("features", "airport"),
    ("models", "late"),
    ("monitors", "drift"),
    ("sinks", "predictions"),
];

/// What one file gives: everything that could be read, the names of what could not, and all names.
pub(super) struct Read {
    /// Components without errors of their own.
    pub declaration: Declaration,
    /// `family.name` of components with errors; `pipeline`, `kafka` and `tests` for those sections.
    pub poisoned: BTreeSet<String>,
    /// All names, of components with errors too.
    pub declared: Declared,
    /// Families of which it is not clear what they declare.
    pub unclear: BTreeSet<&'static str>,
}

/// Reads the root table.
pub(super) fn file(root: &Table<'_>) -> Read {
    let mut reading = Reading::default();
    let pipeline = reading.watched(root.cx, "pipeline", || pipeline::read(root));
    let kafka = reading.watched(root.cx, "kafka", || pipeline::read_kafka(root));
    let sources = reading.family(root, 0, source::read);
    let tables = reading.family(root, 1, table::read);
    let streams = reading.family(root, 2, stream::read);
    let features = reading.family(root, 3, features::read);
    let models = reading.family(root, 4, model::read);
    let monitors = reading.family(root, 5, monitor::read);
    let sinks = reading.family(root, 6, sink::read);
    let tests = reading.watched(root.cx, "tests", || test::read(root)).unwrap_or_default();
    reading.unknown_sections(root);
    let pipeline = pipeline.unwrap_or_else(unreadable_pipeline);
    let declaration = Declaration { pipeline, kafka, sources, tables, streams, features, models, monitors, sinks, tests };
    Read { declaration, poisoned: reading.poisoned, declared: reading.declared, unclear: reading.unclear }
}

#[derive(Default)]
struct Reading {
    poisoned: BTreeSet<String>,
    declared: Declared,
    unclear: BTreeSet<&'static str>,
}

impl Reading {
    /// Runs `read`; what it gives counts only if it reported no error.
    fn watched<T>(&mut self, cx: &Context<'_>, name: &str, read: impl FnOnce() -> Option<T>) -> Option<T> {
        let before = cx.errors();
        cx.enter(name);
        let value = read();
        if cx.errors() > before {
            self.poisoned.insert(name.to_string());
            return None;
        }
        value
    }

    fn family<T>(&mut self, root: &Table<'_>, family: usize, read: fn(&Table<'_>) -> Option<T>) -> Named<T> {
        let (family, example) = FAMILIES[family];
        let mut named = BTreeMap::new();
        let mut places = BTreeMap::new();
        if let Some(section) = root.get(family, "") {
            for (name, node) in self.entries(&section, family, example) {
                places.insert(name.value.clone(), name.span.clone());
                let value = self.watched(root.cx, &format!("{family}.{}", name.value), || {
                    names::check_component(root.cx, &name);
                    let mut table = node.table(format!("[{family}.{}]", name.value))?;
                    table.span = name.span.clone();
                    let value = read(&table);
                    table.finish();
                    value
                });
                if let Some(value) = value {
                    named.insert(name.value, Spanned { value, span: name.span });
                }
            }
        }
        self.declared.insert(family, places);
        named
    }

    /// The named tables of a section. Anything else in it is reported, once, and makes the family unclear.
    fn entries<'a>(&mut self, section: &Node<'a>, family: &'static str, example: &str) -> Vec<(Spanned<String>, Node<'a>)> {
        let Some(all) = is_table(section.value).then(|| section.table(family)).flatten().map(|table| table.all("")) else {
            self.unclear.insert(family);
            let message = format!("`{family}` is a section of named tables, not {}", kind_of(section.value));
            let _: Option<()> = section.fail(codes::WRONG_TYPE, message, "", format!("write a table with a name: [{family}.{example}]"));
            return Vec::new();
        };
        let (tables, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, node)| is_table(node.value));
        if let Some((name, node)) = others.first() {
            self.unclear.insert(family);
            let message = format!("[{family}] holds named tables only, and `{}` is {}", name.value, kind_of(node.value));
            let help = format!("give the component a name and put its keys under it: [{family}.{example}]");
            node.cx.report(Diagnostic::error(codes::WRONG_TYPE, name.span.clone(), message).help(help));
        }
        tables
    }

    fn unknown_sections(&mut self, root: &Table<'_>) {
        let families = FAMILIES.map(|(family, _)| family);
        let known: Vec<&str> = ["pipeline", "kafka", "tests"].into_iter().chain(families).collect();
        for (name, _) in root.all("") {
            let text = name.value.as_str();
            if known.contains(&text) {
                continue;
            }
            let meant = match text {
                "views" | "feature_views" => Some("features"),
                "outputs" => Some("sinks"),
                "inputs" | "topics" => Some("sources"),
                _ => nearest(text, known.iter().copied()),
            };
            let help = match meant {
                Some(section) => format!("did you mean `{section}`?"),
                None => format!("sections are: {}", known.join(", ")),
            };
            self.unclear.extend(families.iter().filter(|family| meant == Some(**family)));
            let message = format!("unknown section `{text}`");
            root.cx.report(Diagnostic::error(codes::UNKNOWN_SECTION, name.span, message).label("not a section").help(help));
        }
    }
}

fn unreadable_pipeline() -> Pipeline {
    let name = Spanned { value: "unreadable".to_string(), span: 0..0 };
    Pipeline { name, epoch: EpochPolicy::default(), shards: 256, max_quarantine: None }
}

/// `derive = { name = "expression" }`: names of computed columns and their SQL.
fn derive(table: &Table<'_>, example: &'static str) -> BTreeMap<String, Spanned<String>> {
    let Some(map) = table.get("derive", example).and_then(|node| node.table("`derive`")) else {
        return BTreeMap::new();
    };
    let mut derived = BTreeMap::new();
    for (name, node) in map.all("\"SQL expression\"") {
        names::check_column(table.cx, &name);
        if let Some(sql) = node.text() {
            derived.insert(name.value, sql);
        }
    }
    derived
}
