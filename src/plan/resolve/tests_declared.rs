//! `[[tests]]`: the sources they feed, the relations they expect and the columns of both exist (S16).

use std::collections::BTreeSet;

use super::relation::{Parts, column_called, relation};
use super::{Resolver, suggestion};
use crate::diagnostic::Diagnostic;
use crate::plan::codes;

impl Resolver<'_> {
    /// Checks every name in every test; what the rows hold is for the run to judge.
    pub(super) fn check_tests(&mut self) {
        let declaration = self.declaration;
        for test in &declaration.tests {
            let name = &test.value.name.value;
            for (source, rows) in &test.value.input {
                let Some(schema) = self.sources.iter().find(|plan| plan.id.name() == source).map(|plan| plan.schema.clone()) else {
                    if !self.has_failed("sources", source) {
                        self.unknown_component("source", source, &rows.span);
                    }
                    continue;
                };
                let known: Vec<&str> = schema.columns.iter().map(|column| column.name.as_str()).collect();
                self.check_columns(name, source, rows, |column| known.contains(&column), &known);
            }
            for (output, rows) in &test.value.expect {
                let Some(from) = self.readable(output, &rows.span) else { continue };
                let columns = relation(Parts { streams: &self.streams, views: &self.views, models: &self.models }, &from);
                let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                self.check_columns(name, output, rows, |column| column == "any" || column_called(&columns, column).is_some(), &known);
            }
        }
    }

    fn check_columns(
        &mut self,
        test: &str,
        relation: &str,
        rows: &crate::config::declaration::Spanned<Vec<serde_json::Value>>,
        exists: impl Fn(&str) -> bool,
        known: &[&str],
    ) {
        let unknown: BTreeSet<&str> = rows
            .value
            .iter()
            .filter_map(serde_json::Value::as_object)
            .flat_map(|row| row.keys().map(String::as_str))
            .filter(|column| !exists(column))
            .collect();
        for column in unknown {
            let help = suggestion(column, known, "its columns are");
            let message = format!("test `{test}` names `{column}`, which is no column of `{relation}`");
            self.report(Diagnostic::error(codes::TEST, rows.span.clone(), message).help(help));
        }
    }
}
