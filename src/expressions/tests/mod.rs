//! Tests of the family, over one small batch of flights.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;

mod calls;
mod errors;
mod floats;
mod limits;
mod rows;
mod values;

/// 2001-03-04 17:05:06.5 UTC, a Sunday.
const NOON: i64 = 983_725_506_500_000;

fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flight_id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ("delay", Arc::new(Float64Array::from(vec![Some(20.0), Some(-0.0), None, Some(f64::NAN)]))),
        ("Delay", Arc::new(Int32Array::from(vec![Some(1), Some(0), None, Some(i32::MAX)]))),
        ("n", Arc::new(Int64Array::from(vec![Some(10), Some(0), None, Some(i64::MAX)]))),
        ("origin", Arc::new(StringArray::from(vec![Some("BOS"), Some("LGA"), None, Some("")]))),
        ("price", Arc::new(Decimal128Array::from(vec![Some(1025), Some(10), None, Some(-1)]).with_precision_and_scale(10, 2).unwrap())),
        ("late", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(NOON), Some(0), None, Some(NOON - 86_400_000_000)]).with_timezone("UTC")),
        ),
        (
            "left_at",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(NOON - 90_000_000_000), Some(0), None, Some(NOON)]).with_timezone("UTC")),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(11_385), Some(0), None, Some(11_384)]))),
        ("airports.city", Arc::new(StringArray::from(vec![Some("Boston"), Some("New York"), None, None]))),
        ("airports.iata", Arc::new(StringArray::from(vec![Some("BOS"), Some("LGA"), None, None]))),
        ("user", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
        ("my col", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), !["flight_id", "user"].contains(name))).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn scope() -> Scope {
    Scope::from_schema(&batch().schema())
}

fn texts(array: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(array, &options).unwrap();
    (0..array.len()).map(|row| formatter.value(row).to_string()).collect()
}

fn eval(sql: &str) -> String {
    match compile(sql, &scope()) {
        Ok(expression) => {
            let (array, failed) = expression.evaluate_batch_rows(&batch());
            let mut out = texts(&array);
            for (row, reason) in failed {
                out[row] = format!("!{reason}");
            }
            out.join(" | ")
        }
        Err(error) => format!("{} [{}] {} -> {}", error.code, &sql[error.span.clone()], error.message, error.help),
    }
}

/// Evaluates every expression of `cases` over [`batch`] and compares with the rows' texts, ` | ` between them; `!` marks a row that fails.
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(sql, expected)| eval(sql) != *expected)
        .map(|(sql, expected)| format!("{sql}\n  is       {}\n  expected {expected}", eval(sql)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The error of compiling `sql`.
fn refused(sql: &str) -> ExpressionError {
    compile(sql, &scope()).expect_err(sql)
}
