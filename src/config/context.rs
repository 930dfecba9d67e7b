//! What all readers share: the text, the environment, and the list of everything that is wrong.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::path::Path;

use super::codes;
use super::declaration::Spanned;
use super::reference::{Reference, Role};
use crate::diagnostic::{Diagnostic, Severity};

/// Shared by all readers of one file; readers report here and go on, so that one run finds everything.
pub(super) struct Context<'a> {
    /// The file's text.
    pub text: &'a str,
    /// Where relative paths of schema files start.
    pub base: &'a Path,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    damaged: Vec<Range<usize>>,
    found: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
    reading: RefCell<String>,
    references: RefCell<Vec<Reference>>,
}

impl<'a> Context<'a> {
    /// `damaged`: parts of the text whose syntax is broken. What is read from there is not judged, and nothing is called missing if there are any.
    pub fn new(
        text: &'a str,
        base: &'a Path,
        env: &'a dyn Fn(&str) -> Option<String>,
        damaged: Vec<Range<usize>>,
        found: Vec<Diagnostic>,
    ) -> Self {
        let errors = Cell::new(found.len());
        Self { text, base, env, damaged, found: RefCell::new(found), errors, reading: RefCell::default(), references: RefCell::default() }
    }

    /// Adds a finding.
    pub fn report(&self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        let at = &diagnostic.span;
        let follows = !self.damaged.is_empty()
            && (diagnostic.code == codes::MISSING_KEY
                || *at == (0..0)
                || self.damaged.iter().any(|part| part.start <= at.start && at.start < part.end));
        if !follows {
            self.found.borrow_mut().push(diagnostic);
        }
    }

    /// Errors so far, those kept back as mere consequences included.
    pub fn errors(&self) -> usize {
        self.errors.get()
    }

    /// Whether the text is TOML throughout.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty()
    }

    /// From now on, what is read belongs to the component `id`.
    pub fn enter(&self, id: &str) {
        id.clone_into(&mut self.reading.borrow_mut());
    }

    /// Notes that the component being read mentions `name`.
    pub fn refer(&self, role: Role, name: Option<&Spanned<String>>) {
        if let Some(name) = name {
            self.references.borrow_mut().push(Reference { by: self.reading.borrow().clone(), role, name: name.clone() });
        }
    }

    /// All mentions so far.
    pub fn references(&self) -> Vec<Reference> {
        self.references.borrow().clone()
    }

    /// Everything found.
    pub fn into_found(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}
