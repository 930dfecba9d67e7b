//! Aggregate calls of a view (S7.4): `avg(delay)`, `count(*) filter (where delay > 15)`, `approx_quantile(x, 0.95)`.
//!
//! Only the shape is read here; which functions exist, and what they take, is the features' business.

use std::ops::Range;

use arrow::datatypes::DataType;
use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Spanned, UnaryOperator,
    Value,
};

use super::{AGGREGATE, Expression, ExpressionError, Frame, Mode, Parsed, Scope, build};

/// A constant that follows the argument of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A number: `0.95`.
    Number(f64),
    /// A text: `'1h'`.
    Text(String),
}

/// One call of an aggregate.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// Name of the function, in lower case.
    pub function: String,
    /// Bytes of the name in the SQL.
    pub function_span: Range<usize>,
    /// Whether it is called with `*`.
    pub star: bool,
    /// Whether it is called with `distinct`.
    pub distinct: bool,
    /// What is aggregated; `None` for `count(*)` and `time_since_last()`.
    pub argument: Option<Expression>,
    /// Bytes of the argument in the SQL.
    pub argument_span: Option<Range<usize>>,
    /// The constants after the argument.
    pub parameters: Vec<Parameter>,
    /// Which rows count; boolean.
    pub filter: Option<Expression>,
    /// Bytes of the condition in the SQL.
    pub filter_span: Option<Range<usize>>,
}

/// Reads one aggregate call over the columns of `scope`.
pub fn parse_aggregate(sql: &str, scope: &Scope) -> Result<AggregateCall, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    let Expr::Function(call) = unwrapped(&parsed.ast) else {
        return Err(ExpressionError::new(AGGREGATE, parsed.span(&parsed.ast), "an aggregate is one call of a function")
            .help("write `avg(delay)` or `count(*) filter (where delay > 15)`; compute with aggregates in a model's `derive`"));
    };
    let whole = parsed.span(&parsed.ast);
    let malformed = |message: &str| ExpressionError::new(AGGREGATE, whole.clone(), message);
    if call.over.is_some() || !call.within_group.is_empty() || call.null_treatment.is_some() || call.parameters != FunctionArguments::None {
        return Err(malformed("`over`, `within group` and `nulls` are not part of an aggregate here")
            .help("windows are given with `windows = [\"1h\"]`"));
    }
    let FunctionArguments::List(list) = &call.args else {
        return Err(malformed("an aggregate is called with parentheses").help(format!("write `{}()`", call.name)));
    };
    if !list.clauses.is_empty() {
        return Err(
            malformed("`order by` and `limit` are not part of an aggregate here").help("rows have the order of their event times (S3.1)")
        );
    }
    let frame = Frame::new(scope)?;
    let (star, argument, parameters) = arguments(&parsed, list)?;
    let compiled = argument.map(|node| build(&parsed, node, &frame, Mode::Sql, None)).transpose()?;
    let filter = call.filter.as_deref().map(|node| build(&parsed, node, &frame, Mode::Sql, Some(&DataType::Boolean))).transpose()?;
    Ok(AggregateCall {
        function: name(call),
        function_span: parsed.range(call.name.span()),
        star,
        distinct: list.duplicate_treatment == Some(DuplicateTreatment::Distinct),
        argument_span: argument.map(|node| parsed.span(node)),
        argument: compiled,
        parameters,
        filter,
        filter_span: call.filter.as_deref().map(|node| parsed.span(node)),
    })
}

fn unwrapped(mut node: &Expr) -> &Expr {
    while let Expr::Nested(inner) = node {
        node = inner;
    }
    node
}

fn name(call: &Function) -> String {
    call.name.to_string().to_lowercase()
}

/// Whether there is a star, the argument, and the parameters after it.
fn arguments<'a>(parsed: &Parsed<'_>, list: &'a FunctionArgumentList) -> Result<(bool, Option<&'a Expr>, Vec<Parameter>), ExpressionError> {
    let (mut star, mut argument, mut parameters) = (false, None, Vec::new());
    for (position, item) in list.args.iter().enumerate() {
        match item {
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if position == 0 => star = true,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(node)) if position == 0 => argument = Some(node),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(node)) => parameters.push(parameter(parsed, node)?),
            _ => return Err(ExpressionError::new(AGGREGATE, parsed.span(&parsed.ast), "this argument is not supported")),
        }
    }
    Ok((star, argument, parameters))
}

fn parameter(parsed: &Parsed<'_>, node: &Expr) -> Result<Parameter, ExpressionError> {
    let refused = || {
        ExpressionError::new(AGGREGATE, parsed.span(node), "what follows the argument of an aggregate is a constant")
            .help("write approx_quantile(x, 0.95) or ewm_avg(x, '1h')")
    };
    let (sign, node) = match unwrapped(node) {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (-1.0, unwrapped(expr)),
        other => (1.0, other),
    };
    let Expr::Value(value) = node else { return Err(refused()) };
    match &value.value {
        Value::Number(text, false) => text.parse::<f64>().map(|number| Parameter::Number(sign * number)).map_err(|_| refused()),
        Value::SingleQuotedString(text) if sign > 0.0 => Ok(Parameter::Text(text.clone())),
        _ => Err(refused()),
    }
}
