//! The columns an expression may name, and how names are found among them (S9.1).

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{Column, DFSchema};
use datafusion_expr::Expr;

use super::{AMBIGUOUS_COLUMN, ExpressionError, TYPE, UNKNOWN_COLUMN, quote};
use crate::diagnostic::nearest;

/// A column an expression may name.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeColumn {
    /// Bare (`delay`) or qualified (`airports.city`); matched exactly, case and all.
    pub name: String,
    /// Its Arrow type; timestamps are UTC microseconds.
    pub data_type: DataType,
    /// Whether values may be null.
    pub nullable: bool,
}

impl ScopeColumn {
    /// A column.
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Self {
        Self { name: name.into(), data_type, nullable }
    }
}

/// The columns an expression may name, by position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// The columns; a batch for [`super::Expression::evaluate_batch`] has the same ones in the same order.
    pub columns: Vec<ScopeColumn>,
}

impl Scope {
    /// A scope of these columns.
    pub fn new(columns: Vec<ScopeColumn>) -> Self {
        Self { columns }
    }

    /// The fields of a schema, with their names as they are.
    pub fn from_schema(schema: &Schema) -> Self {
        Self::new(schema.fields().iter().map(|f| ScopeColumn::new(f.name().as_str(), f.data_type().clone(), f.is_nullable())).collect())
    }

    /// Position of the column with exactly this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// What a name stands for.
pub struct Resolved {
    /// Position in the scope.
    pub position: usize,
    /// Fields of a struct column, outermost first.
    pub fields: Vec<String>,
}

/// A scope together with its DataFusion schema, in which every column has a name of its own.
pub struct Frame<'a> {
    /// The scope.
    pub scope: &'a Scope,
    /// Its schema: field `i` is column `i`.
    pub schema: Arc<DFSchema>,
}

impl<'a> Frame<'a> {
    /// The frame of `scope`; fails only if DataFusion refuses the schema.
    pub fn new(scope: &'a Scope) -> Result<Self, ExpressionError> {
        let fields: Vec<Field> = scope
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let first = scope.position(&column.name) == Some(i);
                let name = if first { column.name.clone() } else { format!("{}\u{0}{i}", column.name) };
                Field::new(name, column.data_type.clone(), column.nullable)
            })
            .collect();
        let schema = DFSchema::try_from(Schema::new(fields))
            .map_err(|error| ExpressionError::new(TYPE, 0..0, format!("these columns cannot be used: {}", super::tidy(&error))))?;
        Ok(Self { scope, schema: Arc::new(schema) })
    }

    /// The logical expression for the column at `position`.
    pub fn column(&self, position: usize) -> Expr {
        Expr::Column(Column::new_unqualified(self.schema.field(position).name().as_str()))
    }

    /// Finds the column called `parts`, written at `span`; `quoted` says that its last part was in double quotes.
    pub fn resolve(&self, parts: &[&str], quoted: bool, span: Range<usize>) -> Result<Resolved, ExpressionError> {
        for length in (1..=parts.len()).rev() {
            let name = parts[..length].join(".");
            let mut found = self.scope.columns.iter().enumerate().filter(|(_, column)| column.name == name);
            let Some((position, column)) = found.next() else { continue };
            if found.next().is_some() {
                return Err(ExpressionError::new(AMBIGUOUS_COLUMN, span, format!("column `{name}` exists more than once here"))
                    .help("rename one of them where it is made"));
            }
            if length == parts.len() || matches!(column.data_type, DataType::Struct(_)) {
                return Ok(Resolved { position, fields: parts[length..].iter().map(|part| (*part).to_string()).collect() });
            }
        }
        Err(self.unknown(parts, quoted, span))
    }

    fn unknown(&self, parts: &[&str], quoted: bool, span: Range<usize>) -> ExpressionError {
        let name = parts.join(".");
        let names = || self.scope.columns.iter().map(|column| column.name.as_str());
        let last = |full: &str| full.rsplit('.').next().unwrap_or_default().to_string();
        let qualified: Vec<String> = names().filter(|full| parts.len() == 1 && last(full) == name).map(quote).collect();
        if qualified.len() > 1 {
            return ExpressionError::new(AMBIGUOUS_COLUMN, span, format!("column `{name}` is ambiguous"))
                .help(format!("write {}", qualified.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")));
        }
        let error = ExpressionError::new(UNKNOWN_COLUMN, span, format!("unknown column `{name}`"));
        if let [only] = qualified.as_slice() {
            return error.help(format!("did you mean `{only}`?"));
        }
        if let Some(other) = names().find(|full| full.eq_ignore_ascii_case(&name)) {
            return error.help(format!("names are case-sensitive: did you mean `{}`?", quote(other)));
        }
        if let Some(other) = nearest(&name, names()) {
            return error.help(format!("did you mean `{}`?", quote(other)));
        }
        if quoted {
            return error.help(format!("double quotes name columns; text is written in single quotes: '{}'", name.replace('\'', "''")));
        }
        error.help(listing(names()))
    }
}

/// "the columns here are a, b, c".
fn listing<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 12;
    let all: Vec<String> = names.map(quote).collect();
    match all.len() {
        0 => "there are no columns here".into(),
        n if n <= SHOWN => format!("the columns here are {}", all.join(", ")),
        n => format!("the columns here are {}, and {} more", all[..SHOWN].join(", "), n - SHOWN),
    }
}
