//! Sinks: what each reads, which columns it writes, and the quarantine that is always kept (S5.4, S13).

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;

use super::relation::{Parts, column_called, find, output_name, output_schema, relation, scope};
use super::{Resolver, suggestion};
use crate::config::declaration::{Sink, SinkKind, SourceKind, Spanned};
use crate::diagnostic::Diagnostic;
use crate::expressions::{self, Expression, Scope};
use crate::ids::ComponentId;
use crate::plan::{RelationColumn, RelationOrigin, SinkFrom, SinkKindPlan, SinkPlan, codes};

/// Stands for the state directory in the path of the default quarantine sink; whoever runs the plan knows it.
pub const STATE_FOLDER: &str = "{state}";

impl Resolver<'_> {
    /// All sinks in byte order of their names; one of them reads the quarantine.
    pub(super) fn resolve_sinks(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.sinks {
            let before = self.errors();
            match self.sink(name, declared).filter(|_| self.errors() == before) {
                Some(sink) => self.sinks.push(sink),
                None => self.fail("sinks", name),
            }
        }
        let declared = declaration.sinks.values().any(|sink| sink.value.from.value == "quarantine");
        if !declared {
            self.default_quarantine();
        }
        self.sinks.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn parts(&self) -> Parts<'_> {
        Parts { streams: &self.streams, views: &self.views, models: &self.models }
    }

    /// What `name` stands for; reported unless it failed elsewhere.
    pub(super) fn readable(&mut self, name: &str, span: &Range<usize>) -> Option<SinkFrom> {
        let monitors: Vec<String> = self.monitors.iter().map(|monitor| monitor.id.name().to_string()).collect();
        let found = find(self.parts(), &monitors, name);
        if found.is_some() || self.quiet(name) {
            return found;
        }
        self.unknown_component("output", name, span);
        None
    }

    /// Whether `name` is a component that was already reported.
    fn quiet(&self, name: &str) -> bool {
        let component = name.strip_suffix(".rows").unwrap_or(name);
        self.failed.contains(component) || self.has_failed("sources", name) || self.has_failed("streams", name)
    }

    fn sink(&mut self, name: &str, declared: &Spanned<Sink>) -> Option<SinkPlan> {
        let sink = &declared.value;
        let from = self.readable(&sink.from.value, &sink.from.span)?;
        if let SinkFrom::ModelRows(model) = &from
            && self.models[*model].label.is_none()
        {
            let message = format!("`{}` has a row per label, but the model has no label", sink.from.value);
            let help = format!("read `models.{}`: one row per prediction", self.models[*model].id.name());
            self.report(Diagnostic::error(codes::SINK, sink.from.span.clone(), message).help(help));
            return None;
        }
        let relation = relation(self.parts(), &from);
        let scope = scope(&relation);
        let filter = self.condition(sink.filter.as_ref(), &scope).unwrap_or_default();
        let columns = match &sink.columns {
            None => self.default_columns(&relation, &scope, &declared.span),
            Some(columns) => self.chosen_columns(columns, &relation, &scope, &sink.from.value),
        };
        let kind = self.sink_kind(sink, &from, &relation, &scope, &declared.span)?;
        Some(SinkPlan {
            id: ComponentId::new("sinks", name),
            from,
            relation: Arc::new(relation),
            filter,
            schema: output_schema(&columns),
            columns,
            kind,
        })
    }

    fn default_columns(&mut self, relation: &[RelationColumn], scope: &Scope, place: &Range<usize>) -> Vec<(String, Expression)> {
        let mut columns = Vec::new();
        for column in relation.iter().filter(|column| column.default) {
            self.take(column, scope, place, &mut columns);
        }
        columns
    }

    /// Adds a column of the relation under its output name, once.
    fn take(&mut self, column: &RelationColumn, scope: &Scope, place: &Range<usize>, columns: &mut Vec<(String, Expression)>) {
        let name = output_name(&column.name);
        if columns.iter().any(|(taken, _)| *taken == name) {
            return;
        }
        let sql = Spanned { value: expressions::quote(&column.name), span: place.clone() };
        if let Some(expression) = self.compiled(&sql, expressions::compile(&sql.value, scope)) {
            columns.push((name, expression));
        }
    }

    /// A list of names gives each name itself (`alias.*`, `explain.*` and `*` for the defaults), a table computes (S13.2).
    fn chosen_columns(
        &mut self,
        chosen: &[(Spanned<String>, Spanned<String>)],
        relation: &[RelationColumn],
        scope: &Scope,
        from: &str,
    ) -> Vec<(String, Expression)> {
        let mut columns: Vec<(String, Expression)> = Vec::new();
        for (name, sql) in chosen {
            let listed = name.span == sql.span;
            if !listed {
                if columns.iter().any(|(taken, _)| *taken == name.value) {
                    self.report(
                        Diagnostic::error(codes::NAME_TWICE, name.span.clone(), format!("two columns are called `{}`", name.value))
                            .help("rename one"),
                    );
                } else if let Some(expression) = self.compiled(sql, expressions::compile(&sql.value, scope)) {
                    columns.push((name.value.clone(), expression));
                }
                continue;
            }
            let matching: Vec<&RelationColumn> = match sql.value.strip_suffix('*') {
                Some("") => relation.iter().filter(|column| column.default).collect(),
                Some(prefix) if prefix.ends_with('.') => relation.iter().filter(|column| column.name.starts_with(prefix)).collect(),
                _ => column_called(relation, &sql.value).into_iter().collect(),
            };
            if matching.is_empty() {
                let known: Vec<&str> = relation.iter().map(|column| column.name.as_str()).collect();
                let help = suggestion(&sql.value, &known, "its columns are");
                self.report(
                    Diagnostic::error(codes::UNKNOWN_COLUMN, sql.span.clone(), format!("`{from}` has no column `{}`", sql.value))
                        .help(help),
                );
            }
            for column in matching {
                self.take(column, scope, &name.span, &mut columns);
            }
        }
        columns
    }

    fn sink_kind(
        &mut self,
        sink: &Sink,
        from: &SinkFrom,
        relation: &[RelationColumn],
        scope: &Scope,
        place: &Range<usize>,
    ) -> Option<SinkKindPlan> {
        Some(match &sink.kind {
            SinkKind::File { path } => SinkKindPlan::File { path: path.value.clone() },
            SinkKind::Parquet { path, partition_by, max_rows, max_bytes } => {
                let partition = match partition_by {
                    Some(sql) => Some(self.compiled(sql, expressions::compile(&sql.value, scope))?),
                    None => None,
                };
                if let (Some(sql), Some(expression)) = (partition_by, &partition)
                    && !is_folder_name(expression.data_type())
                {
                    let message = format!("`partition_by` is {}, which names no folder", expressions::type_name(expression.data_type()));
                    self.report(
                        Diagnostic::error(codes::SINK, sql.span.clone(), message)
                            .help("partition by a string, an integer, a bool or a date, such as date(departed_at)"),
                    );
                }
                let partition_name = partition_by.as_ref().map_or_else(String::new, |sql| partition_name(&sql.value));
                SinkKindPlan::Parquet {
                    path: path.value.clone(),
                    partition_by: partition,
                    partition_name,
                    max_rows: *max_rows,
                    max_bytes: *max_bytes,
                }
            }
            SinkKind::Kafka { topic, message_key } => {
                let message_key = match message_key {
                    Some(sql) => Some(self.compiled(sql, expressions::compile(&sql.value, scope))?),
                    None => self.record_key(from, relation, scope, place),
                };
                SinkKindPlan::Kafka { topic: topic.value.clone(), message_key }
            }
        })
    }

    /// Messages are keyed by the record's identity (S13.1), statistics by their monitor; what has neither is not keyed.
    fn record_key(&mut self, from: &SinkFrom, relation: &[RelationColumn], scope: &Scope, place: &Range<usize>) -> Option<Expression> {
        let stream = match from {
            SinkFrom::Stream(stream) => Some(*stream),
            SinkFrom::View(view) => Some(self.views[*view].stream),
            SinkFrom::Model(model) | SinkFrom::ModelRows(model) => Some(self.models[*model].stream),
            SinkFrom::Monitor(_) | SinkFrom::Quarantine => None,
        };
        let origin = match (stream, from) {
            (Some(stream), _) => RelationOrigin::Stream(self.streams[stream].key?),
            (None, SinkFrom::Monitor(_)) => RelationOrigin::Fixed(0),
            (None, _) => return None,
        };
        let column = relation.iter().find(|column| column.origin == origin)?;
        let sql = Spanned { value: expressions::quote(&column.name), span: place.clone() };
        self.compiled(&sql, expressions::compile(&sql.value, scope))
    }

    /// S5.4: what cannot be used is kept, whether the file says where or not.
    fn default_quarantine(&mut self) {
        let relation = relation(self.parts(), &SinkFrom::Quarantine);
        let columns = self.default_columns(&relation, &scope(&relation), &(0..0));
        let declaration = self.declaration;
        let kafka = declaration.sources.values().any(|source| matches!(source.value.kind, SourceKind::Kafka { .. }))
            || declaration.sinks.values().any(|sink| matches!(sink.value.kind, SinkKind::Kafka { .. }));
        let kind = if kafka {
            SinkKindPlan::Kafka { topic: format!("{}.quarantine", declaration.pipeline.name.value), message_key: None }
        } else {
            SinkKindPlan::File { path: format!("{STATE_FOLDER}/quarantine.ndjson") }
        };
        let taken = declaration.sinks.contains_key("quarantine");
        self.sinks.push(SinkPlan {
            id: ComponentId::new("sinks", if taken { "quarantine.default" } else { "quarantine" }),
            from: SinkFrom::Quarantine,
            relation: Arc::new(relation),
            filter: None,
            schema: output_schema(&columns),
            columns,
            kind,
        });
    }
}

fn is_folder_name(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Int32 | DataType::Int64 | DataType::Boolean | DataType::Date32)
}

/// The name before `=` in folder names: a column's own, that of the function called (`date(departed_at)` gives `date`), else `part`.
fn partition_name(sql: &str) -> String {
    let sql = sql.trim();
    let word: String = sql.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    let rest = sql[word.len()..].trim_start();
    let call = rest.starts_with('(') && rest.ends_with(')');
    let syntax = ["cast", "try_cast", "extract", "substring", "trim"].contains(&word.to_ascii_lowercase().as_str());
    if word.is_empty() || (call && syntax) || word.starts_with(|c: char| c.is_ascii_digit()) || !(rest.is_empty() || call) {
        return "part".to_string();
    }
    if call { word.to_ascii_lowercase() } else { word }
}

#[cfg(test)]
mod tests {
    use super::partition_name;

    #[test]
    fn partitions_are_named_after_the_column_or_the_function() {
        for (sql, name) in [
            ("origin", "origin"),
            ("date(departed_at)", "date"),
            ("Date (x)", "date"),
            ("a || b", "part"),
            ("cast(x as date)", "part"),
            ("'x'", "part"),
        ] {
            assert_eq!(partition_name(sql), name, "{sql}");
        }
    }
}
