//! One table of the file, read key by key. It remembers which keys were asked for, so that whatever is left over is reported as unknown, with the
//! nearest key that exists.

use std::cell::RefCell;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::codes;
use super::context::Context;
use super::declaration::Spanned;
use super::value::{Bound, Node};
use crate::diagnostic::{Diagnostic, nearest};
use crate::time::Micros;

/// A table being read.
pub(super) struct Table<'a> {
    /// Where errors go.
    pub cx: &'a Context<'a>,
    /// What is underlined when something is missing: the component's name, or the inline table.
    pub span: Range<usize>,
    /// How messages call it, e.g. `[sources.departures]`.
    pub place: String,
    map: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
    excused: RefCell<Vec<&'static str>>,
    lacking: RefCell<Vec<(String, Diagnostic)>>,
}

impl<'a> Table<'a> {
    /// A reader over `map`.
    pub fn new(cx: &'a Context<'a>, map: &'a DeTable<'a>, span: Range<usize>, place: impl Into<String>) -> Self {
        Self { cx, span, place: place.into(), map, asked: RefCell::default(), excused: RefCell::default(), lacking: RefCell::default() }
    }

    /// The value of `key`, if it is there; `example` is what a right value looks like.
    pub fn get(&self, key: &'static str, example: &'static str) -> Option<Node<'a>> {
        self.asked.borrow_mut().push(key);
        self.peek(key, example)
    }

    /// The value of `key`; reports it as missing if it is not there.
    pub fn need(&self, key: &'static str, example: &'static str) -> Option<Node<'a>> {
        let found = self.get(key, example);
        if found.is_none() {
            self.missing(key, format!("add `{key} = {example}`"));
        }
        found
    }

    /// Notes that `key` is missing; `finish` reports it, unless an unknown key is a misspelling of it.
    pub fn missing(&self, key: &str, help: impl Into<String>) {
        let message = format!("{} has no `{key}`", self.place);
        let diagnostic = Diagnostic::error(codes::MISSING_KEY, self.span.clone(), message).label(format!("`{key}` is required")).help(help);
        self.lacking.borrow_mut().push((key.to_string(), diagnostic));
    }

    /// The value of `key` without counting as asked for.
    pub fn peek(&self, key: &'static str, example: &'static str) -> Option<Node<'a>> {
        let (_, value) = self.map.get_key_value(key)?;
        Some(Node { cx: self.cx, key: key.to_string(), example, span: value.span(), value: value.get_ref() })
    }

    /// All entries in the order of the file, for tables whose keys users choose; none of them is then unknown.
    pub fn all(&self, example: &'static str) -> Vec<(Spanned<String>, Node<'a>)> {
        let mut entries: Vec<_> = self
            .map
            .iter()
            .map(|(key, value)| {
                let name = Spanned { value: key.get_ref().to_string(), span: key.span() };
                let node = Node { cx: self.cx, key: name.value.clone(), example, span: value.span(), value: value.get_ref() };
                (name, node)
            })
            .collect();
        entries.sort_by_key(|(name, _)| name.span.start);
        entries
    }

    /// Whether `key` is there.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Where the key itself is written.
    pub fn key_span(&self, key: &str) -> Range<usize> {
        self.map.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// A text that is not empty.
    pub fn text(&self, key: &'static str, example: &'static str) -> Option<Spanned<String>> {
        self.get(key, example)?.text()
    }

    /// A required text that is not empty.
    pub fn need_text(&self, key: &'static str, example: &'static str) -> Option<Spanned<String>> {
        self.need(key, example)?.text()
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.get(key, "true")?.flag()
    }

    /// A whole number in `least..=most`.
    pub fn whole(&self, key: &'static str, example: &'static str, least: u64, most: u64) -> Option<Spanned<u64>> {
        self.get(key, example)?.whole(least, most)
    }

    /// A number within `bound`.
    pub fn number(&self, key: &'static str, example: &'static str, bound: Bound) -> Option<f64> {
        self.get(key, example)?.number(bound)
    }

    /// A duration of 0 or more.
    pub fn duration(&self, key: &'static str, example: &'static str) -> Option<Spanned<Micros>> {
        self.get(key, example)?.duration(0)
    }

    /// A duration of more than 0.
    pub fn positive_duration(&self, key: &'static str, example: &'static str) -> Option<Spanned<Micros>> {
        self.get(key, example)?.duration(1)
    }

    /// A size in bytes.
    pub fn size(&self, key: &'static str, example: &'static str) -> Option<usize> {
        self.get(key, example)?.size()
    }

    /// A key that is documented and not built yet.
    pub fn later(&self, key: &'static str, instead: &str) {
        self.excused.borrow_mut().push(key);
        if let Some(node) = self.peek(key, "") {
            let message = format!("`{key}` is not built yet");
            self.cx.report(Diagnostic::error(codes::NOT_BUILT, self.key_span(&node.key), message).label("not built yet").help(instead));
        }
    }

    /// Keys that exist, but not here; `why` says where they belong.
    pub fn foreign(&self, keys: &[&'static str], why: &str) {
        for key in keys {
            self.excused.borrow_mut().push(key);
            if self.has(key) {
                let message = format!("`{key}` does not belong in {}", self.place);
                self.cx.report(Diagnostic::error(codes::MISPLACED_KEY, self.key_span(key), message).label("not here").help(why));
            }
        }
    }

    /// Keys that are neither read nor reported, because what decides about them could not be read.
    pub fn ignore(&self, keys: &[&'static str]) {
        self.excused.borrow_mut().extend(keys);
    }

    /// Reports every key that nobody asked for, and the missing ones. To be called once everything is read.
    pub fn finish(&self) {
        let (asked, excused) = (self.asked.borrow(), self.excused.borrow());
        for (key, _) in self.map.iter() {
            let name: &str = key.get_ref();
            if asked.iter().chain(excused.iter()).any(|known| *known == name) {
                continue;
            }
            let mut unused: Vec<&str> = asked.iter().copied().filter(|known| !self.has(known)).collect();
            let help = match nearest(name, unused.iter().copied()).or_else(|| nearest(name, asked.iter().copied())) {
                Some(known) => {
                    self.lacking.borrow_mut().retain(|(lacking, _)| lacking != known);
                    format!("did you mean `{known}`?")
                }
                None if unused.is_empty() => "remove it: every key that can stand here is there".to_string(),
                None => {
                    unused.sort_unstable();
                    format!("keys that can be added here: {}", unused.join(", "))
                }
            };
            let message = format!("unknown key `{name}` in {}", self.place);
            self.cx.report(Diagnostic::error(codes::UNKNOWN_KEY, key.span(), message).label("not a key").help(help));
        }
        for (_, diagnostic) in self.lacking.take() {
            self.cx.report(diagnostic);
        }
    }
}

/// Whether a value is a table.
pub(super) fn is_table(value: &DeValue<'_>) -> bool {
    matches!(value, DeValue::Table(_))
}
