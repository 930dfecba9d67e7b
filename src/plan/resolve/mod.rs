//! Resolution of a declaration into a plan: every name is found, every expression typed, and all that is wrong is reported together.
//!
//! A component that cannot be built is remembered as failed; what reads it stays quiet, so one mistake gives one report. References are
//! resolved in one pass over the layers sources, tables, streams, views, models, monitors, sinks, tests.

mod artefact;
mod inputs;
mod label;
mod models;
mod monitors;
mod relation;
mod sinks;
mod sources;
mod streams;
mod tests_declared;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::datatypes::{DataType, Schema};

use super::codes;
use super::files::Files;
use super::fingerprint;
use super::leakage;
use super::{Fingerprint, KafkaPlan, ModelPlan, MonitorPlan, Plan, SinkPlan, SourcePlan, StreamPlan, TablePlan, ViewPlan};
use crate::config;
use crate::config::declaration::{Declaration, Spanned};
use crate::data::KeyColumn;
use crate::diagnostic::{Diagnostic, Severity, nearest};
use crate::expressions::{self, Expression, ExpressionError, Scope, type_name};

pub(super) use monitors::detector_name;
pub use relation::{capture, relation_of};
pub use sinks::STATE_FOLDER;

/// Resolves `declaration`, which was read from `text`. `poisoned` names components (`features.airport`) that the configuration already refused: they are absent
/// from `declaration` and what reads them is not reported again. The plan is there when nothing is poisoned and no diagnostic is an error.
pub fn resolve(declaration: &Declaration, text: &str, files: &dyn Files, poisoned: &BTreeSet<String>) -> (Option<Plan>, Vec<Diagnostic>) {
    let mut resolver = Resolver {
        declaration,
        text,
        files,
        failed: poisoned.clone(),
        diagnostics: Vec::new(),
        sources: Vec::new(),
        tables: Vec::new(),
        streams: Vec::new(),
        views: Vec::new(),
        models: Vec::new(),
        places: BTreeMap::new(),
        monitors: Vec::new(),
        sinks: Vec::new(),
    };
    resolver.resolve_sources();
    resolver.resolve_tables();
    resolver.resolve_streams();
    resolver.resolve_views();
    resolver.resolve_models();
    resolver.check_leakage();
    resolver.resolve_monitors();
    resolver.resolve_sinks();
    resolver.check_tests();
    resolver.finish()
}

/// Where the parts of a model stand in the file, for reports that need the whole plan.
pub(super) struct ModelPlaces {
    /// Each input and the entry of `features` that brought it.
    pub(super) inputs: BTreeMap<String, Range<usize>>,
    /// The label.
    pub(super) label: Range<usize>,
}

/// The state of a resolution.
struct Resolver<'a> {
    declaration: &'a Declaration,
    text: &'a str,
    files: &'a dyn Files,
    failed: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
    sources: Vec<SourcePlan>,
    tables: Vec<TablePlan>,
    streams: Vec<StreamPlan>,
    views: Vec<ViewPlan>,
    models: Vec<ModelPlan>,
    places: BTreeMap<String, ModelPlaces>,
    monitors: Vec<MonitorPlan>,
    sinks: Vec<SinkPlan>,
}

impl Resolver<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports a fault in the SQL of `text`, underlining the bytes concerned.
    fn report_sql(&mut self, text: &Spanned<String>, error: ExpressionError) {
        let span = self.place(text, error.span);
        self.report(Diagnostic::error(error.code, span, error.message).help(error.help));
    }

    /// The bytes of the file for `inner`, a part of the SQL of `text`; the whole value where that is not clear.
    fn place(&self, text: &Spanned<String>, inner: Range<usize>) -> Range<usize> {
        if inner.is_empty() { text.span.clone() } else { config::inside(self.text, &text.span, &text.value, inner) }
    }

    /// The outcome of compiling `text`, reported if it failed.
    fn compiled<T>(&mut self, text: &Spanned<String>, outcome: Result<T, ExpressionError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.report_sql(text, error);
                None
            }
        }
    }

    /// What the world outside answered; its error becomes a report.
    fn outside<T>(&mut self, code: &'static str, span: &Range<usize>, outcome: crate::error::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.report(Diagnostic::error(code, span.clone(), error.cause).help(error.help))).ok()
    }

    /// A condition over `scope`; `Ok(None)` when there is none, `Err` when it is wrong (and reported).
    fn condition(&mut self, text: Option<&Spanned<String>>, scope: &Scope) -> Result<Option<Expression>, ()> {
        match text {
            None => Ok(None),
            Some(text) => self.compiled(text, expressions::compile_as(&text.value, scope, &DataType::Boolean)).map(Some).ok_or(()),
        }
    }

    /// The position of the stream (or source) called `name`; reports it unless it failed before.
    fn stream(&mut self, name: &Spanned<String>) -> Option<usize> {
        let found = self.streams.iter().position(|stream| stream.id.name() == name.value);
        if found.is_none() && !self.has_failed("sources", &name.value) && !self.has_failed("streams", &name.value) {
            self.unknown_component("source or stream", &name.value, &name.span);
        }
        found
    }

    /// References are checked by the configuration; a declaration that did not pass it is not worth a suggestion.
    fn unknown_component(&mut self, family: &str, name: &str, span: &Range<usize>) {
        let message = format!("there is no {family} `{name}`");
        self.report(Diagnostic::error(config::codes::UNKNOWN_COMPONENT, span.clone(), message));
    }

    /// The position of a column of `schema`, which belongs to `owner`; reported if there is none.
    fn column(&mut self, schema: &Schema, name: &Spanned<String>, owner: &str) -> Option<usize> {
        let found = schema.fields().iter().position(|field| *field.name() == name.value);
        if found.is_none() {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let help = suggestion(&name.value, &known, "its columns are");
            self.report(
                Diagnostic::error(codes::UNKNOWN_COLUMN, name.span.clone(), format!("{owner} has no column `{}`", name.value)).help(help),
            );
        }
        found
    }

    /// Whether a column can be (part of) a key; reported if not (S6.1).
    fn key_type(&mut self, kind: &DataType, name: &Spanned<String>, what: &str) -> bool {
        let fits = KeyColumn::supports(kind);
        if !fits {
            let help = match kind {
                DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                    "floats do not identify anything: derive an integer or a string from it in a stream, e.g. `cast(round(x) as bigint)`"
                }
                _ => "keys are bool, int32, int64, string, bytes, date or timestamp columns: derive one of these in a stream",
            };
            let message = format!("{what} `{}` is {}, and such a column cannot be a key", name.value, type_name(kind));
            self.report(Diagnostic::error(codes::KEY_TYPE, name.span.clone(), message).help(help));
        }
        fits
    }

    /// Errors reported so far.
    fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    fn has_failed(&self, family: &str, name: &str) -> bool {
        self.failed.contains(&format!("{family}.{name}"))
    }

    fn fail(&mut self, family: &str, name: &str) {
        self.failed.insert(format!("{family}.{name}"));
    }

    fn check_leakage(&mut self) {
        let found = leakage::check(&self.sources, &self.streams, &self.tables, &self.views, &self.models, &self.places);
        self.diagnostics.extend(found);
    }

    fn finish(self) -> (Option<Plan>, Vec<Diagnostic>) {
        if !self.failed.is_empty() || self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return (None, self.diagnostics);
        }
        let pipeline = &self.declaration.pipeline;
        let mut plan = Plan {
            name: pipeline.name.value.clone(),
            epoch: pipeline.epoch,
            shards: pipeline.shards,
            max_quarantine: pipeline.max_quarantine,
            kafka: self.declaration.kafka.as_ref().map(|kafka| KafkaPlan {
                brokers: kafka.value.brokers.value.clone(),
                options: kafka.value.options.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            }),
            sources: self.sources,
            tables: self.tables,
            streams: self.streams,
            views: self.views,
            models: self.models,
            monitors: self.monitors,
            sinks: self.sinks,
            tests: self.declaration.tests.iter().map(|test| test.value.clone()).collect(),
            fingerprint: Fingerprint::default(),
        };
        plan.fingerprint = fingerprint::of(&plan);
        (Some(plan), self.diagnostics)
    }
}

/// Help for an unknown name: the nearest one, else all of them.
fn suggestion(typed: &str, known: &[&str], all: &str) -> String {
    const SHOWN: usize = 12;
    match nearest(typed, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there is none".to_string(),
        None if known.len() > SHOWN => format!("{all} {}, and {} more", known[..SHOWN].join(", "), known.len() - SHOWN),
        None => format!("{all} {}", known.join(", ")),
    }
}

/// Integers of both widths have the same key bytes (S6.1); any other two types must be equal.
fn same_key_type(a: &DataType, b: &DataType) -> bool {
    let integer = |kind: &DataType| matches!(kind, DataType::Int32 | DataType::Int64);
    a == b || (integer(a) && integer(b))
}
