//! Declared streams: topological order, lookups in tables, filters and derived columns (S8.2, S9.1).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{Resolver, type_name};
use crate::config;
use crate::config::declaration::{Join, Spanned, Stream};
use crate::diagnostic::Diagnostic;
use crate::expressions::{self, Scope};
use crate::ids::ComponentId;
use crate::plan::{JoinPlan, StreamPlan, codes};

impl Resolver<'_> {
    /// All declared streams in topological order, ties by name. Circles were reported by the configuration.
    pub(super) fn resolve_streams(&mut self) {
        let declaration = self.declaration;
        let mut open: BTreeSet<&str> = declaration.streams.keys().map(String::as_str).collect();
        loop {
            let ready = open
                .iter()
                .copied()
                .find(|name| declaration.streams.get(*name).is_some_and(|stream| !open.contains(stream.value.from.value.as_str())));
            let Some(name) = ready else { break };
            open.remove(name);
            if let Some(declared) = declaration.streams.get(name) {
                match self.declared_stream(name, declared) {
                    Some(stream) => self.streams.push(stream),
                    None => self.fail("streams", name),
                }
            }
        }
        for name in open {
            let span = declaration.streams.get(name).map_or(0..0, |stream| stream.value.from.span.clone());
            self.report(Diagnostic::error(config::codes::CYCLE, span, format!("stream `{name}` reads itself through others")));
            self.fail("streams", name);
        }
    }

    fn declared_stream(&mut self, name: &str, declared: &Spanned<Stream>) -> Option<StreamPlan> {
        let stream = &declared.value;
        let upstream = self.stream(&stream.from)?;
        let before = self.errors();
        let mut fields: Vec<Arc<Field>> = self.streams[upstream].schema.fields().iter().cloned().collect();
        let mut joins = Vec::new();
        for join in &stream.join {
            if let Some((plan, columns)) = self.join(join, &fields) {
                joins.push(plan);
                fields.extend(columns);
            }
        }
        if self.errors() > before || joins.len() < stream.join.len() {
            return None;
        }
        let scope = Scope::from_schema(&Schema::new(fields.clone()));
        let filter = self.condition(stream.filter.as_ref(), &scope).unwrap_or_default();
        let mut derive = Vec::new();
        let mut derived_fields = Vec::new();
        for (column, sql) in &stream.derive {
            self.check_new_column(column, sql, &fields, &format!("stream `{name}`"));
            let Some(expression) = self.compiled(sql, expressions::compile(&sql.value, &scope)) else { continue };
            derived_fields.push(Arc::new(Field::new(column, expression.data_type().clone(), expression.nullable())));
            derive.push((column.clone(), expression));
        }
        if derive.len() < stream.derive.len() {
            return None;
        }
        fields.extend(derived_fields);
        let from = &self.streams[upstream];
        Some(StreamPlan {
            id: ComponentId::new("streams", name),
            source: from.source,
            upstream: Some(upstream),
            joins,
            filter,
            derive,
            schema: Arc::new(Schema::new(fields)),
            key: from.key,
            event_time: from.event_time,
        })
    }

    /// A derived column may not hide another.
    pub(super) fn check_new_column(&mut self, column: &str, place: &Spanned<String>, fields: &[Arc<Field>], owner: &str) {
        if fields.iter().any(|field| field.name() == column) {
            let message = format!("derived column `{column}` of {owner} has the name of a column that is already there");
            self.report(Diagnostic::error(codes::NAME_TWICE, place.span.clone(), message).help("give it another name"));
        }
    }

    fn join(&mut self, join: &Join, fields: &[Arc<Field>]) -> Option<(JoinPlan, Vec<Arc<Field>>)> {
        let name = &join.table;
        let Some(table) = self.tables.iter().position(|table| table.id.name() == name.value) else {
            if !self.has_failed("tables", &name.value) {
                self.unknown_component("table", &name.value, &name.span);
            }
            return None;
        };
        let plan = &self.tables[table];
        let key_column = &plan.schema.columns[plan.key];
        let (key_name, key_type) = (key_column.name.clone(), key_column.kind.arrow());
        let columns: Vec<Arc<Field>> = plan
            .schema
            .columns
            .iter()
            .map(|column| Arc::new(Field::new(format!("{}.{}", name.value, column.name), column.kind.arrow(), true)))
            .collect();
        if columns.iter().any(|column| fields.iter().any(|field| field.name() == column.name())) {
            self.report(
                Diagnostic::error(codes::NAME_TWICE, name.span.clone(), format!("table `{}` is already joined", name.value))
                    .help("to look it up twice, declare the file as a second table with another name"),
            );
            return None;
        }
        let scope = Scope::from_schema(&Schema::new(fields.to_vec()));
        let outcome = expressions::parse_join(&join.on.value, &scope, &name.value, &key_name, &key_type).map_err(|mut error| {
            if error.help.is_empty() {
                error.help = format!("write an equality with the table's key, such as `column = {key_name}` ({})", type_name(&key_type));
            }
            error
        });
        let key = self.compiled(&join.on, outcome)?;
        Some((JoinPlan { table, key }, columns))
    }
}
