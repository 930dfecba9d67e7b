//! From a parsed expression to one that runs: coercion and constant folding by DataFusion's simplifier, then its physical expression.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, DataFusionError, ScalarValue};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::{Cast, ColumnarValue, Expr, ExprSchemable, Operator, lit};
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_physical_expr::expressions::BinaryExpr;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use sqlparser::ast;

use super::{
    CONSTANT, Compiled, Converter, Expression, ExpressionError, Frame, Mode, Parsed, RESULT_TYPE, Scope, TOO_LARGE, TYPE, engine_type,
    is_text, literal_as, tidy, type_name, with_stack,
};
use crate::data::timestamp_type;

/// Nesting that any thread's stack has room for.
const SHALLOW: usize = 16;

/// Compiles `sql` over `scope`, with the type that SQL gives it.
pub fn compile(sql: &str, scope: &Scope) -> Result<Expression, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    build(&parsed, &parsed.ast, &Frame::new(scope)?, Mode::Sql, None)
}

/// Compiles `sql` to a value of `wanted`: adds a cast that loses nothing, or says why there is none.
///
/// Boolean for conditions; for numbers, conditions count as 0 and 1, and int64 becomes float64 (rounded beyond 2^53); text constants become dates and timestamps.
pub fn compile_as(sql: &str, scope: &Scope, wanted: &DataType) -> Result<Expression, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    build(&parsed, &parsed.ast, &Frame::new(scope)?, Mode::Sql, Some(wanted))
}

/// Compiles `sql` as a model's `derive` (S9.1): arithmetic in float64, the result float64, null wherever a value is not finite or cannot be computed.
///
/// Numeric columns are float64 in `scope`; conditions count as 0 and 1. Evaluation never fails on data.
pub fn compile_float(sql: &str, scope: &Scope) -> Result<Expression, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    build(&parsed, &parsed.ast, &Frame::new(scope)?, Mode::Float, Some(&DataType::Float64))
}

/// Compiles the node `root` of `parsed`; deep expressions on a thread of their own, since DataFusion's rewriters recurse with large frames.
pub fn build(
    parsed: &Parsed<'_>,
    root: &ast::Expr,
    frame: &Frame<'_>,
    mode: Mode,
    wanted: Option<&DataType>,
) -> Result<Expression, ExpressionError> {
    with_stack(parsed.depth > SHALLOW, || build_here(parsed, root, frame, mode, wanted)).unwrap_or_else(|| {
        Err(ExpressionError::new(TOO_LARGE, parsed.span(root), "the expression is nested too deeply for this machine's memory"))
    })
}

fn build_here(
    parsed: &Parsed<'_>,
    root: &ast::Expr,
    frame: &Frame<'_>,
    mode: Mode,
    wanted: Option<&DataType>,
) -> Result<Expression, ExpressionError> {
    let span = parsed.span(root);
    let converter = Converter { parsed, frame, mode };
    let mut logical = converter.expr(root)?;
    let found = converter.type_of(&logical);
    let kept = engine_type(&found);
    check_kept(&kept, &span)?;
    if kept != found {
        logical = converter.cast_to(logical, &kept, false, span.clone())?;
    }
    if let Some(wanted) = wanted
        && *wanted != kept
    {
        logical = fitted(&converter, logical, &kept, wanted, root)?;
    }
    logical = converter.guarded(logical);
    let refused = |error: DataFusionError| ExpressionError::new(TYPE, span.clone(), tidy(&error));
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(Arc::clone(&frame.schema)).build());
    let coerced = simplifier.coerce(logical, &frame.schema).map_err(refused)?;
    let data_type = coerced.get_type(frame.schema.as_ref()).map_err(refused)?;
    let mut simplified = simplifier.simplify(coerced).map_err(refused)?;
    if simplified.get_type(frame.schema.as_ref()).map_err(refused)? != data_type {
        simplified = Expr::Cast(Cast::new(Box::new(simplified), data_type.clone()));
    }
    let nullable = simplified.nullable(frame.schema.as_ref()).map_err(refused)?;
    let inputs: BTreeSet<usize> =
        simplified.column_refs().into_iter().filter_map(|column| frame.schema.maybe_index_of_column(column)).collect();
    let inputs: Vec<usize> = inputs.into_iter().collect();
    let column = matches!(simplified, Expr::Column(_)).then(|| inputs.first().copied()).flatten();
    let fields: Vec<Field> = inputs.iter().map(|i| frame.schema.field(*i).as_ref().clone().with_nullable(true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let physical = physical(&simplified, &schema).map_err(refused)?;
    let sql = if std::ptr::eq(root, &parsed.ast) { parsed.sql.trim().to_string() } else { root.to_string() };
    let expression =
        Expression::new(Compiled { sql, data_type, nullable: nullable || mode == Mode::Float, inputs, column, schema, physical, mode });
    if expression.inputs().is_empty() {
        expression.evaluate(&[], 1).map_err(|reason| ExpressionError::new(CONSTANT, span, reason))?;
    }
    Ok(expression)
}

/// Whether columns have this type (S5.1).
fn check_kept(data_type: &DataType, span: &Range<usize>) -> Result<(), ExpressionError> {
    let help = match data_type {
        DataType::Duration(_) => "date_part('epoch', …) makes seconds of a duration",
        DataType::Interval(_) => "an interval is added to a time or compared with a difference of times",
        DataType::Time32(_) | DataType::Time64(_) => "use date_part('hour', …) and the like",
        _ => return Ok(()),
    };
    Err(ExpressionError::new(RESULT_TYPE, span.clone(), format!("the result cannot be of type {}", type_name(data_type))).help(help))
}

/// DataFusion's executable form, with integer overflow an error.
fn physical(expr: &Expr, schema: &Arc<Schema>) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let schema = DFSchema::try_from(Arc::clone(schema))?;
    let made = create_physical_expr(expr, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let checked = made.transform_up(|node| {
        Ok(match node.downcast_ref::<BinaryExpr>() {
            Some(binary) if matches!(binary.op(), Operator::Plus | Operator::Minus | Operator::Multiply) => {
                Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true)) as Arc<dyn PhysicalExpr>)
            }
            _ => Transformed::no(node),
        })
    })?;
    Ok(checked.data)
}

/// The value of an expression that names no column.
pub fn constant(expr: Expr) -> Result<ScalarValue, DataFusionError> {
    let schema = DFSchema::empty();
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().build());
    let coerced = simplifier.coerce(expr, &schema)?;
    let physical = physical(&coerced, &Arc::new(Schema::empty()))?;
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &RecordBatchOptions::new().with_row_count(Some(1)))?;
    match physical.evaluate(&batch)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

/// `expr` of type `found` as `wanted`, if nothing is lost.
fn fitted(converter: &Converter<'_>, expr: Expr, found: &DataType, wanted: &DataType, root: &ast::Expr) -> Result<Expr, ExpressionError> {
    if let Expr::Literal(value, _) = &expr
        && (is_text(found) && *wanted != DataType::Boolean && !wanted.is_numeric())
    {
        return literal_as(value, wanted).map(lit).map_err(|reason| converter.error(CONSTANT, root, reason));
    }
    if let (Expr::Literal(value, _), true, true) = (&expr, found.is_integer(), wanted.is_numeric())
        && let Ok(value) = value.cast_to(wanted)
    {
        return Ok(lit(value));
    }
    if is_lossless(found, wanted) {
        return converter.cast_to(expr, wanted, false, converter.parsed.span(root));
    }
    let message = match wanted {
        DataType::Boolean => format!("a condition is needed here, but this is {}", type_name(found)),
        _ => format!("{} is needed here, but this is {}", type_name(wanted), type_name(found)),
    };
    let help = match wanted {
        DataType::Boolean if found.is_numeric() => "compare it: `x > 0`",
        DataType::Boolean => "compare it: `x = 'text'`, `x is not null`",
        DataType::Float64 if is_text(found) => {
            "read a number from text with cast(… as double), or compare it: `x = 'text'` counts as 0 or 1"
        }
        DataType::Float64 => "date_part('epoch', …) makes a number of a time or of a duration",
        _ if wanted.is_integer() => "round it and write cast(… as bigint)",
        _ => "write an explicit cast(… as …)",
    };
    Err(converter.error(RESULT_TYPE, root, message).help(help))
}

/// Whether every value of `from` has one of `to` that means the same.
fn is_lossless(from: &DataType, to: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Int32, Int64, Null};
    match (from, to) {
        (Null, _) => true,
        (Boolean, Int32 | Int64 | Float32 | Float64) => true,
        (Int32, Int64 | Float64) | (Int64 | Float32, Float64) | (Decimal128(_, _), Float64) => true,
        (Int32, Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 10,
        (Int64, Decimal128(p, s)) => i16::from(*p) - i16::from(*s) >= 19,
        (Decimal128(p, s), Decimal128(q, r)) => r >= s && i16::from(*q) - i16::from(*r) >= i16::from(*p) - i16::from(*s),
        (Date32, other) => *other == timestamp_type(),
        _ => false,
    }
}
