//! Constants: numbers, texts read as another type, intervals.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalUnit};
use datafusion_common::ScalarValue;
use sqlparser::ast::{DateTimeField, Expr, Interval, UnaryOperator, Value};

use super::type_name;

/// A number as written, with its sign: int64, or float64 where it has a point or an exponent, or where `float` asks for it.
pub fn number(text: &str, float: bool) -> Result<ScalarValue, String> {
    let whole = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if whole && !float {
        return text
            .parse::<i64>()
            .map(|value| ScalarValue::Int64(Some(value)))
            .map_err(|_| format!("{text} is beyond the range of int64"));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(ScalarValue::Float64(Some(value))),
        Ok(_) => Err(format!("{text} is beyond the range of float64")),
        Err(_) => Err(format!("{text} is not a number")),
    }
}

/// `text` read as a value of `wanted`, as `cast` would.
pub fn text_as(text: &str, wanted: &DataType) -> Result<ScalarValue, String> {
    let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&array, wanted, &options)
        .map_err(|_| format!("'{text}' cannot be read as {}", type_name(wanted)))
        .and_then(|cast| ScalarValue::try_from_array(&cast, 0).map_err(|error| super::tidy(&error)))
}

/// A constant as a value of `wanted`, as `cast` would.
pub fn literal_as(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue, String> {
    if let Some(Some(text)) = value.try_as_str() {
        return text_as(text, wanted);
    }
    value.cast_to(wanted).map_err(|_| format!("{value} cannot be read as {}", type_name(wanted)))
}

/// `interval '1 hour'`, `interval '90' minute`, `interval 2 day`.
pub fn interval_literal(interval: &Interval) -> Result<ScalarValue, String> {
    if interval.last_field.is_some() || interval.leading_precision.is_some() || interval.fractional_seconds_precision.is_some() {
        return Err("this form of interval is not supported".into());
    }
    let (negative, value) = match interval.value.as_ref() {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (true, expr.as_ref()),
        other => (false, other),
    };
    let amount = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            Value::Number(text, _) => text.clone(),
            _ => return Err("an interval is a constant: interval '1 hour'".into()),
        },
        _ => return Err("an interval is a constant: interval '1 hour'".into()),
    };
    let sign = if negative { "-" } else { "" };
    let text = match &interval.leading_field {
        Some(DateTimeField::Custom(_) | DateTimeField::NoDateTime) => return Err("unknown unit of an interval".into()),
        Some(unit) => format!("{sign}{amount} {}", unit.to_string().to_lowercase()),
        None => format!("{sign}{amount}"),
    };
    text_as(&text, &DataType::Interval(IntervalUnit::MonthDayNano))
        .map_err(|_| format!("'{text}' is not an interval; write '1 hour', '15 minutes', '2 days' or '1 day 6 hours'"))
}
