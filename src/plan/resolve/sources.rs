//! Sources and tables: files are expanded, schemas found, and the columns that carry time and identity checked.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::datatypes::DataType;

use super::{Resolver, type_name};
use crate::config::declaration::{Format, Source, SourceKind, Spanned, Table};
use crate::data::{DeclaredSchema, KeyColumn};
use crate::diagnostic::{Diagnostic, nearest};
use crate::ids::{ComponentId, SourceIndex};
use crate::plan::codes;
use crate::plan::files::GeneratorShape;
use crate::plan::{SourceKindPlan, SourcePlan, StreamPlan, TablePlan};

impl Resolver<'_> {
    /// All sources in byte order of their names, and the stream that each is by itself.
    pub(super) fn resolve_sources(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.sources {
            let before = self.errors();
            let Some(source) = self.source(name, declared).filter(|_| self.errors() == before) else {
                self.fail("sources", name);
                continue;
            };
            self.streams.push(StreamPlan {
                id: source.id.clone(),
                source: source.index,
                upstream: None,
                joins: Vec::new(),
                filter: None,
                derive: Vec::new(),
                schema: source.schema.arrow(),
                key: source.key,
                event_time: source.event_time,
            });
            self.sources.push(source);
        }
    }

    fn source(&mut self, name: &str, declared: &Spanned<Source>) -> Option<SourcePlan> {
        let source = &declared.value;
        let owner = format!("source `{name}`");
        let mut shape = None;
        let (kind, file) = match &source.kind {
            SourceKind::File { path, format } => {
                let paths = self.expand(path)?;
                let file = paths.first().map(|first| (first.clone(), format.value, path.span.clone()));
                if source.schema.is_none() {
                    self.same_schemas(&paths, format.value, path)?;
                }
                (SourceKindPlan::File { paths, format: format.value }, file)
            }
            SourceKind::Generator { generator, seed, rows, rate } => {
                shape = Some(self.generator(generator)?);
                let kind = SourceKindPlan::Generator { generator: generator.value.clone(), seed: *seed, rows: *rows, rate: *rate };
                (kind, None)
            }
            SourceKind::Kafka { topic, start, idle_timeout } => {
                (SourceKindPlan::Kafka { topic: topic.value.clone(), start: *start, idle_timeout: *idle_timeout }, None)
            }
        };
        let schema = self.schema(&owner, source.schema.as_ref(), shape.as_ref(), file, &declared.span)?;
        let event_time = match (&source.event_time, &shape, &source.kind) {
            (Some(column), _, _) => Some(self.time_column(&schema, column, &owner)?),
            (None, Some(shape), _) => schema.index_of(&shape.event_time),
            (None, None, SourceKind::Kafka { .. }) => None,
            (None, None, _) => {
                let times: Vec<&str> =
                    schema.columns.iter().filter(|column| is_time(&column.kind.arrow())).map(|column| column.name.as_str()).collect();
                let help = match times.first() {
                    Some(column) => format!("add event_time = \"{column}\""),
                    None => "declare a timestamp column in `schema` and name it: event_time = \"…\"".to_string(),
                };
                self.report(
                    Diagnostic::error(codes::EVENT_TIME, declared.span.clone(), format!("{owner} does not say when its records happened"))
                        .label("no `event_time`")
                        .help(help),
                );
                return None;
            }
        };
        let key = match &source.key {
            Some(column) => Some(self.key_column(&schema, column, &owner)?),
            None => None,
        };
        Some(SourcePlan {
            id: ComponentId::new("sources", name),
            index: SourceIndex(u16::try_from(self.sources.len()).unwrap_or(u16::MAX)),
            kind,
            schema,
            event_time,
            lateness: source.lateness,
            ahead: source.ahead,
            key,
            dedup: source.dedup.as_ref().map(|dedup| dedup.value),
            max_record: source.max_record,
        })
    }

    /// All tables in byte order of their names.
    pub(super) fn resolve_tables(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.tables {
            let before = self.errors();
            match self.table(name, declared).filter(|_| self.errors() == before) {
                Some(table) => self.tables.push(table),
                None => self.fail("tables", name),
            }
        }
    }

    fn table(&mut self, name: &str, declared: &Spanned<Table>) -> Option<TablePlan> {
        let table = &declared.value;
        let owner = format!("table `{name}`");
        let paths = self.expand(&table.path)?;
        let [path] = paths.as_slice() else {
            let message = format!("{owner} is one file, but `{}` matches {}", table.path.value, paths.len());
            self.report(Diagnostic::error(codes::FILE, table.path.span.clone(), message).help("name one file"));
            return None;
        };
        let file = Some((path.clone(), table.format.value, table.path.span.clone()));
        let schema = self.schema(&owner, table.schema.as_ref(), None, file, &declared.span)?;
        let key = self.key_column(&schema, &table.key, &owner);
        let event_time = match &table.event_time {
            Some(column) => Some(self.time_column(&schema, column, &owner)?),
            None => None,
        };
        let outcome = self.files.sha256(path);
        let digest = self.outside(codes::FILE, &table.path.span, outcome)?;
        Some(TablePlan {
            id: ComponentId::new("tables", name),
            path: path.clone(),
            format: table.format.value,
            schema,
            key: key?,
            event_time,
            digest,
        })
    }

    fn expand(&mut self, path: &Spanned<String>) -> Option<Vec<String>> {
        let outcome = self.files.expand(&path.value);
        self.outside(codes::FILE, &path.span, outcome)
    }

    /// Files of one source without a declared schema must agree about theirs.
    fn same_schemas(&mut self, paths: &[String], format: Format, path: &Spanned<String>) -> Option<()> {
        let mut first: Option<(&String, DeclaredSchema)> = None;
        for file in paths.iter().filter(|_| paths.len() > 1) {
            let schema = self.read_schema(file, format, &path.span)?;
            match &first {
                None => first = Some((file, schema)),
                Some((other, expected)) if *expected != schema => {
                    let message = format!("`{file}` has other columns than `{other}`");
                    let help = "declare `schema` with the columns that you need, or read the files as two sources";
                    self.report(Diagnostic::error(codes::SCHEMA, path.span.clone(), message).help(help));
                    return None;
                }
                Some(_) => {}
            }
        }
        Some(())
    }

    fn read_schema(&mut self, path: &str, format: Format, span: &Range<usize>) -> Option<DeclaredSchema> {
        let outcome = self.files.read_schema(path, format);
        self.outside(codes::SCHEMA, span, outcome)
    }

    fn generator(&mut self, name: &Spanned<String>) -> Option<GeneratorShape> {
        let shape = self.files.generator(&name.value);
        if shape.is_none() {
            let known = self.files.generator_names();
            let help = match nearest(&name.value, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            self.report(
                Diagnostic::error(codes::GENERATOR, name.span.clone(), format!("no generator is called `{}`", name.value)).help(help),
            );
        }
        shape
    }

    /// The declared schema, else the generator's, else the file's own.
    fn schema(
        &mut self,
        owner: &str,
        declared: Option<&Spanned<DeclaredSchema>>,
        shape: Option<&GeneratorShape>,
        file: Option<(String, Format, Range<usize>)>,
        place: &Range<usize>,
    ) -> Option<DeclaredSchema> {
        let (schema, span) = match (declared, shape, file) {
            (Some(declared), _, _) => (declared.value.clone(), declared.span.clone()),
            (None, Some(shape), _) => (shape.schema.clone(), place.clone()),
            (None, None, Some((path, format, span))) => (self.read_schema(&path, format, &span)?, span),
            (None, None, None) => {
                let help = "add schema = { column = \"type\", … }, or the path of a JSON Schema file";
                self.report(Diagnostic::error(codes::SCHEMA, place.clone(), format!("{owner} has no schema")).help(help));
                return None;
            }
        };
        let mut seen = BTreeSet::new();
        for column in &schema.columns {
            let (code, message) = if column.name.starts_with('_') {
                (codes::RESERVED_NAME, format!("{owner} has a column `{}`; names that begin with `_` belong to Tidemill", column.name))
            } else if !seen.insert(column.name.as_str()) {
                (codes::NAME_TWICE, format!("{owner} has two columns `{}`", column.name))
            } else {
                continue;
            };
            self.report(
                Diagnostic::error(code, span.clone(), message).help("declare `schema` with the columns that you need, under other names"),
            );
        }
        Some(schema)
    }

    fn time_column(&mut self, schema: &DeclaredSchema, name: &Spanned<String>, owner: &str) -> Option<usize> {
        let index = self.column(&schema.arrow(), name, owner)?;
        let kind = schema.columns[index].kind.arrow();
        if !is_time(&kind) {
            let message = format!("event time `{}` of {owner} is {}, not a time", name.value, type_name(&kind));
            self.report(
                Diagnostic::error(codes::EVENT_TIME, name.span.clone(), message)
                    .help("event times are date, timestamp_s, timestamp_ms or timestamp_us columns: say which in `schema`"),
            );
            return None;
        }
        Some(index)
    }

    fn key_column(&mut self, schema: &DeclaredSchema, name: &Spanned<String>, owner: &str) -> Option<usize> {
        let index = self.column(&schema.arrow(), name, owner)?;
        let kind = schema.columns[index].kind.arrow();
        if KeyColumn::supports(&kind) || self.key_type(&kind, name, "key") { Some(index) } else { None }
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Date32)
}
