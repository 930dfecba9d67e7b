//! TOML rows of a test as the JSON records a source would read.

use serde_json::{Map, Number, Value};
use toml::de::DeValue;

use crate::config::codes;
use crate::config::value::Node;

/// The JSON for a TOML value. Dates and times become their text; infinities and NaN, which JSON lacks, are errors.
pub(super) fn value(node: &Node<'_>) -> Option<Value> {
    match node.value {
        DeValue::String(_) => node.raw_text().map(|text| Value::String(text.value)),
        DeValue::Boolean(value) => Some(Value::Bool(*value)),
        DeValue::Datetime(at) => Some(Value::String(at.to_string())),
        DeValue::Integer(number) => {
            let whole = i64::from_str_radix(number.as_str(), number.radix()).map(Number::from);
            match whole.or_else(|_| u64::from_str_radix(number.as_str(), number.radix()).map(Number::from)) {
                Ok(number) => Some(Value::Number(number)),
                Err(_) => {
                    node.fail(codes::OUT_OF_RANGE, format!("`{}` has more than 64 bits", node.key), "out of range", "write it as a string")
                }
            }
        }
        DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) => Some(Value::Number(number)),
            None => node.fail(
                codes::OUT_OF_RANGE,
                format!("`{}` must be a finite number", node.key),
                "out of range",
                "records are JSON, which has no infinities and no NaN",
            ),
        },
        DeValue::Array(_) => node.entries().iter().map(value).collect::<Option<Vec<Value>>>().map(Value::Array),
        DeValue::Table(_) => {
            let mut map = Map::new();
            for (name, node) in node.table("a row")?.all("") {
                map.insert(name.value, value(&node)?);
            }
            Some(Value::Object(map))
        }
    }
}
