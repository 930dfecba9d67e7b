//! sqlparser's tree to DataFusion's logical expressions: names resolved, every node's type checked as it is made, so that errors point at their place.
//!
//! Recursion is bounded by the depth that `parse` admits; chains of `and` and `or`, which may be long, become balanced trees.

use std::ops::Range;

use arrow::compute::can_cast_types;
use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;
use datafusion_expr::expr::{Between, Case, InList, Like};
use datafusion_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Operator, TryCast, lit};
use sqlparser::ast::{self, CastKind, Ident, TypedString, Value, ValueWithSpan};

use super::{
    CONSTANT, ExpressionError, Frame, Parsed, TYPE, UNSUPPORTED, arrow_type, chain, finite, interval_literal, is_text, literal_as, number,
    one_zero, tidy, type_name,
};
use crate::data::timestamp_type;

/// Which arithmetic an expression follows (S9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// SQL's: integers stay integers, and what cannot be computed is an error.
    Sql,
    /// A model's `derive`: arithmetic in float64, and what is not finite is null.
    Float,
}

/// Converts the nodes of one parsed expression over one scope.
pub struct Converter<'a> {
    /// The text and its tree.
    pub parsed: &'a Parsed<'a>,
    /// The columns.
    pub frame: &'a Frame<'a>,
    /// The arithmetic.
    pub mode: Mode,
}

/// What every conversion gives.
pub type Converted = Result<Expr, ExpressionError>;

impl Converter<'_> {
    /// The logical expression of `node`, uncoerced but of a known type.
    pub fn expr(&self, node: &ast::Expr) -> Converted {
        let expr = match chain(node) {
            Some(operands) => self.logical_chain(node, &operands)?,
            None => self.node(node)?,
        };
        match expr.get_type(self.frame.schema.as_ref()) {
            Ok(_) => Ok(expr),
            Err(error) => Err(self.error(TYPE, node, tidy(&error))),
        }
    }

    /// An error about `node`.
    pub fn error(&self, code: &'static str, node: &ast::Expr, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(code, self.parsed.span(node), message)
    }

    /// The type of a converted expression.
    pub fn type_of(&self, expr: &Expr) -> DataType {
        expr.get_type(self.frame.schema.as_ref()).unwrap_or(DataType::Null)
    }

    /// A condition: `node`, which must be boolean; `place` says where it stands.
    pub fn condition(&self, node: &ast::Expr, place: &str) -> Converted {
        let expr = self.expr(node)?;
        match self.type_of(&expr) {
            DataType::Boolean => Ok(expr),
            DataType::Null => Ok(lit(ScalarValue::Boolean(None))),
            other => Err(self
                .error(TYPE, node, format!("{place} needs a condition, but this is {}", type_name(&other)))
                .help("compare it with something: `x > 0`, `x = 'text'`, `x is not null`")),
        }
    }

    /// Null for what is not finite, where the mode asks for it; other types pass.
    pub fn guarded(&self, expr: Expr) -> Expr {
        if self.mode == Mode::Sql || !self.type_of(&expr).is_floating() || is_guarded(&expr) {
            return expr;
        }
        finite().call(vec![self.float(expr)])
    }

    /// `expr` as float64.
    pub fn float(&self, expr: Expr) -> Expr {
        if self.type_of(&expr) == DataType::Float64 { expr } else { cast(expr, DataType::Float64) }
    }

    fn node(&self, node: &ast::Expr) -> Converted {
        use ast::Expr as Sql;
        match node {
            Sql::Nested(inner) => self.expr(inner),
            Sql::Identifier(ident) => self.column(std::slice::from_ref(ident), node),
            Sql::CompoundIdentifier(parts) => self.column(parts, node),
            Sql::Value(value) => self.value(value, node),
            Sql::TypedString(typed) => self.typed_string(typed, node),
            Sql::Interval(interval) => interval_literal(interval).map(lit).map_err(|reason| self.error(CONSTANT, node, reason)),
            Sql::BinaryOp { left, op, right } => self.binary(node, left, op, right),
            Sql::UnaryOp { op, expr } => self.unary(node, *op, expr),
            Sql::IsNull(e) => Ok(Expr::IsNull(Box::new(self.expr(e)?))),
            Sql::IsNotNull(e) => Ok(Expr::IsNotNull(Box::new(self.expr(e)?))),
            Sql::IsTrue(e) => Ok(Expr::IsTrue(Box::new(self.condition(e, "`is true`")?))),
            Sql::IsNotTrue(e) => Ok(Expr::IsNotTrue(Box::new(self.condition(e, "`is not true`")?))),
            Sql::IsFalse(e) => Ok(Expr::IsFalse(Box::new(self.condition(e, "`is false`")?))),
            Sql::IsNotFalse(e) => Ok(Expr::IsNotFalse(Box::new(self.condition(e, "`is not false`")?))),
            Sql::IsUnknown(e) => Ok(Expr::IsUnknown(Box::new(self.condition(e, "`is unknown`")?))),
            Sql::IsNotUnknown(e) => Ok(Expr::IsNotUnknown(Box::new(self.condition(e, "`is not unknown`")?))),
            Sql::IsDistinctFrom(a, b) => self.compare(node, a, Operator::IsDistinctFrom, b),
            Sql::IsNotDistinctFrom(a, b) => self.compare(node, a, Operator::IsNotDistinctFrom, b),
            Sql::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            Sql::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            Sql::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(node, (*negated, false), expr, pattern, escape_char.as_ref())
            }
            Sql::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(node, (*negated, true), expr, pattern, escape_char.as_ref())
            }
            Sql::Case { operand, conditions, else_result, .. } => self.case(operand.as_deref(), conditions, else_result.as_deref()),
            Sql::Cast { kind, expr, data_type, array: false, format: None } => {
                self.cast(node, expr, data_type, matches!(kind, CastKind::TryCast | CastKind::SafeCast))
            }
            _ => self.call_node(node),
        }
    }

    fn column(&self, parts: &[Ident], node: &ast::Expr) -> Converted {
        let names: Vec<&str> = parts.iter().map(|part| part.value.as_str()).collect();
        let quoted = parts.last().is_some_and(|part| part.quote_style == Some('"'));
        let span = self.parsed.span(node);
        let found = self.frame.resolve(&names, quoted, span.clone())?;
        let mut expr = self.frame.column(found.position);
        for field in found.fields {
            let DataType::Struct(fields) = self.type_of(&expr) else {
                return Err(ExpressionError::new(TYPE, span, format!("`{}` has no fields", names[0])));
            };
            if fields.iter().all(|f| f.name() != &field) {
                let near = crate::diagnostic::nearest(&field, fields.iter().map(|f| f.name().as_str()));
                return Err(ExpressionError::new(super::UNKNOWN_COLUMN, span, format!("`{}` has no field `{field}`", names[0]))
                    .help(near.map(|name| format!("did you mean `{name}`?")).unwrap_or_default()));
            }
            expr = datafusion_functions::core::get_field().call(vec![expr, lit(field)]);
        }
        Ok(self.guarded(expr))
    }

    fn value(&self, value: &ValueWithSpan, node: &ast::Expr) -> Converted {
        match &value.value {
            Value::Number(text, false) => number(text, false)
                .map(lit)
                .map_err(|reason| self.error(CONSTANT, node, reason).help("write a large number with an exponent: 1e20")),
            Value::SingleQuotedString(text) => Ok(lit(text.as_str())),
            Value::Boolean(value) => Ok(lit(*value)),
            Value::Null => Ok(lit(ScalarValue::Null)),
            _ => Err(self.error(UNSUPPORTED, node, format!("`{value}` is not supported")).help(
                "constants are 1, 2.5, 'text', true, false, null, date '2001-01-31', timestamp '2001-01-31 12:00:00' and interval '1 hour'",
            )),
        }
    }

    fn typed_string(&self, typed: &TypedString, node: &ast::Expr) -> Converted {
        let wanted = arrow_type(&typed.data_type).map_err(|reason| self.error(UNSUPPORTED, node, reason))?;
        let Value::SingleQuotedString(text) = &typed.value.value else {
            return Err(self.error(CONSTANT, node, "a constant of a type is a text in single quotes"));
        };
        literal_as(&ScalarValue::from(text.as_str()), &wanted).map(lit).map_err(|reason| self.error(CONSTANT, node, reason))
    }

    fn between(&self, expr: &ast::Expr, negated: bool, low: &ast::Expr, high: &ast::Expr) -> Converted {
        let value = self.expr(expr)?;
        let (first, low) = self.aligned((expr, value.clone()), (low, self.expr(low)?))?;
        let (second, high) = self.aligned((expr, value), (high, self.expr(high)?))?;
        if first == second {
            return Ok(Expr::Between(Between::new(Box::new(first), negated, Box::new(low), Box::new(high))));
        }
        let both = first.gt_eq(low).and(second.lt_eq(high));
        Ok(if negated { Expr::Not(Box::new(both)) } else { both })
    }

    fn in_list(&self, expr: &ast::Expr, list: &[ast::Expr], negated: bool) -> Converted {
        let value = self.expr(expr)?;
        let mut items = Vec::with_capacity(list.len());
        let mut moved = None;
        for item in list {
            let (other, item) = self.aligned((expr, value.clone()), (item, self.expr(item)?))?;
            if other != value {
                moved = Some(other);
            }
            items.push(item);
        }
        if items.iter().chain([&value]).any(|operand| self.type_of(operand).is_floating()) {
            let value = self.one_zeroed(value);
            let items = items.into_iter().map(|item| self.one_zeroed(item)).collect();
            return Ok(Expr::InList(InList::new(Box::new(value), items, negated)));
        }
        Ok(Expr::InList(InList::new(Box::new(moved.unwrap_or(value)), items, negated)))
    }

    /// A number as float64 with one zero: DataFusion compares with sets of constants by bits, where −0 is not 0.
    pub fn one_zeroed(&self, expr: Expr) -> Expr {
        match &expr {
            Expr::Literal(value, _) => match value.cast_to(&DataType::Float64) {
                Ok(ScalarValue::Float64(Some(value))) => lit(value + 0.0),
                _ => expr,
            },
            _ => one_zero().call(vec![self.float(expr)]),
        }
    }

    fn like(
        &self,
        node: &ast::Expr,
        (negated, fold): (bool, bool),
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ValueWithSpan>,
    ) -> Converted {
        if escape.is_some_and(|e| !matches!(&e.value, Value::SingleQuotedString(text) if text == "\\")) {
            return Err(self.error(UNSUPPORTED, node, "the escape character of `like` is the backslash").help("write like '50\\%'"));
        }
        let (value, pattern) = (self.text(expr, "`like`")?, self.text(pattern, "`like`")?);
        Ok(Expr::Like(Like::new(negated, Box::new(value), Box::new(pattern), None, fold)))
    }

    /// `node`, which must be text.
    pub fn text(&self, node: &ast::Expr, place: &str) -> Converted {
        let expr = self.expr(node)?;
        match self.type_of(&expr) {
            DataType::Null => Ok(lit(ScalarValue::Utf8(None))),
            found if is_text(&found) => Ok(expr),
            other => Err(self
                .error(TYPE, node, format!("{place} needs text, but this is {}", type_name(&other)))
                .help("write cast(… as varchar)")),
        }
    }

    fn case(&self, operand: Option<&ast::Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&ast::Expr>) -> Converted {
        let subject = operand.map(|node| self.expr(node).map(|expr| (node, expr))).transpose()?;
        let mut conditions_made = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for branch in conditions {
            let when = match &subject {
                None => self.condition(&branch.condition, "`when`")?,
                Some((node, expr)) => {
                    let (left, right) = self.aligned((node, expr.clone()), (&branch.condition, self.expr(&branch.condition)?))?;
                    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), Operator::Eq, Box::new(right)))
                }
            };
            conditions_made.push(Box::new(when));
            results.push((&branch.result, self.expr(&branch.result)?));
        }
        if let Some(node) = otherwise {
            results.push((node, self.expr(node)?));
        }
        let mut results = self.unified("`case`", results)?.into_iter().map(Box::new);
        let branches = conditions_made.into_iter().zip(results.by_ref()).collect();
        Ok(Expr::Case(Case::new(None, branches, results.next())))
    }

    fn cast(&self, node: &ast::Expr, expr: &ast::Expr, sql_type: &ast::DataType, attempt: bool) -> Converted {
        let wanted = arrow_type(sql_type).map_err(|reason| {
            self.error(UNSUPPORTED, node, reason)
                .help("types are boolean, int, bigint, real, double, decimal(p,s), varchar, bytea, date and timestamp")
        })?;
        let inner = self.expr(expr)?;
        self.cast_to(inner, &wanted, attempt || self.mode == Mode::Float, self.parsed.span(expr))
    }

    /// `expr` cast to `wanted`; with `attempt`, null where that fails. Constants are cast at once.
    pub fn cast_to(&self, expr: Expr, wanted: &DataType, attempt: bool, span: Range<usize>) -> Converted {
        let found = self.type_of(&expr);
        if let Expr::Literal(value, _) = &expr {
            return match literal_as(value, wanted) {
                Ok(value) => Ok(lit(value)),
                Err(_) if attempt => ScalarValue::try_new_null(wanted).map(lit).map_err(|e| ExpressionError::new(CONSTANT, span, tidy(&e))),
                Err(reason) => Err(ExpressionError::new(CONSTANT, span, reason)),
            };
        }
        if !can_cast_types(&found, wanted) {
            return Err(ExpressionError::new(TYPE, span, format!("{} cannot be cast to {}", type_name(&found), type_name(wanted))));
        }
        Ok(if attempt { Expr::TryCast(TryCast::new(Box::new(expr), wanted.clone())) } else { cast(expr, wanted.clone()) })
    }

    /// `expr` as a timestamp, if it is a date.
    pub fn instant(&self, expr: Expr) -> Expr {
        if self.type_of(&expr) == DataType::Date32 { cast(expr, timestamp_type()) } else { expr }
    }
}

fn cast(expr: Expr, wanted: DataType) -> Expr {
    Expr::Cast(Cast::new(Box::new(expr), wanted))
}

/// A balanced tree of `and`, or of `or`; `None` of nothing.
pub fn balanced(mut level: Vec<Expr>, and: bool) -> Option<Expr> {
    while level.len() > 1 {
        let mut next = Vec::with_capacity(level.len().div_ceil(2));
        let mut pairs = level.into_iter();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) if and => left.and(right),
                Some(right) => left.or(right),
                None => left,
            });
        }
        level = next;
    }
    level.pop()
}

fn is_guarded(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "finite")
}
