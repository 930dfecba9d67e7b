//! Types as users write them (S5.1): `int64`, `float64?`, `decimal(10,2)`, `list<string?>`.

use std::ops::Range;

use crate::config::codes;
use crate::data::{DeclaredColumn, LogicalType, TimestampUnit};
use crate::diagnostic::nearest;

/// Names of the types that take no parameters.
const SIMPLE: [(&str, LogicalType); 12] = [
    ("bool", LogicalType::Bool),
    ("int32", LogicalType::Int32),
    ("int64", LogicalType::Int64),
    ("float32", LogicalType::Float32),
    ("float64", LogicalType::Float64),
    ("string", LogicalType::String),
    ("bytes", LogicalType::Bytes),
    ("date", LogicalType::Date),
    ("timestamp_s", LogicalType::Timestamp(TimestampUnit::Second)),
    ("timestamp_ms", LogicalType::Timestamp(TimestampUnit::Millisecond)),
    ("timestamp_us", LogicalType::Timestamp(TimestampUnit::Microsecond)),
    ("decimal", LogicalType::Decimal(38, 10)),
];

/// Names that other systems use, and ours.
const ELSEWHERE: [(&str, &str); 25] = [
    ("int", "int64"),
    ("integer", "int64"),
    ("bigint", "int64"),
    ("long", "int64"),
    ("i64", "int64"),
    ("i32", "int32"),
    ("float", "float64"),
    ("double", "float64"),
    ("number", "float64"),
    ("real", "float32"),
    ("f64", "float64"),
    ("f32", "float32"),
    ("str", "string"),
    ("text", "string"),
    ("utf8", "string"),
    ("varchar", "string"),
    ("boolean", "bool"),
    ("binary", "bytes"),
    ("blob", "bytes"),
    ("timestamp", "timestamp_ms"),
    ("datetime", "timestamp_ms"),
    ("timestamp_millis", "timestamp_ms"),
    ("timestamp_micros", "timestamp_us"),
    ("numeric", "decimal(10,2)"),
    ("array", "list<string>"),
];

/// What is wrong with a type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TypeFault {
    /// `D001` or `D002`.
    pub code: &'static str,
    /// Bytes of the text.
    pub at: Range<usize>,
    /// One line.
    pub message: String,
    /// What to write.
    pub help: String,
}

/// Reads a type and whether it may be null.
pub(super) fn parse(text: &str) -> Result<(LogicalType, bool), TypeFault> {
    parse_at(text, 0)
}

fn parse_at(text: &str, from: usize) -> Result<(LogicalType, bool), TypeFault> {
    let start = from + (text.len() - text.trim_start().len());
    let text = text.trim();
    let (body, nullable) = match text.strip_suffix('?') {
        Some(body) => (body.trim_end(), true),
        None => (text, false),
    };
    let at = start..start + body.len();
    let malformed =
        |message: String, help: &str| TypeFault { code: codes::MALFORMED_TYPE, at: at.clone(), message, help: help.to_string() };
    if let Some(inner) = body.strip_prefix("list<") {
        let Some(inner) = inner.strip_suffix('>') else {
            return Err(malformed(
                format!("`{body}` does not end with `>`"),
                "write list<string>, or list<string?> if entries may be null",
            ));
        };
        let (kind, entries_nullable) = parse_at(inner, start + "list<".len())?;
        return Ok((LogicalType::List(Box::new(DeclaredColumn::new("item", kind, entries_nullable))), nullable));
    }
    if let Some(inner) = body.strip_prefix("decimal") {
        const HELP: &str =
            "write decimal(precision,scale) with a precision of 1 to 38 digits, scale of them after the point: decimal(10,2)";
        let parts = inner.trim().strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).and_then(|inner| inner.split_once(','));
        let numbers = parts.and_then(|(precision, scale)| Some((precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?)));
        return match numbers {
            Some((precision @ 1..=38, scale)) if scale >= 0 && scale as u8 <= precision => {
                Ok((LogicalType::Decimal(precision, scale), nullable))
            }
            Some(_) => Err(malformed(format!("`{body}` is out of range"), HELP)),
            None if inner.trim().is_empty() || inner.trim_start().starts_with('(') => {
                Err(malformed(format!("`{body}` needs a precision and a scale"), HELP))
            }
            None => Err(unknown(body, at.clone())),
        };
    }
    match SIMPLE.iter().find(|(name, _)| *name == body) {
        Some((_, kind)) => Ok((kind.clone(), nullable)),
        None => Err(unknown(body, at.clone())),
    }
}

fn unknown(name: &str, at: Range<usize>) -> TypeFault {
    let lower = name.to_ascii_lowercase();
    let known = SIMPLE.iter().map(|(known, _)| *known);
    let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let help = match elsewhere.or_else(|| nearest(&lower, known.clone())) {
        Some(ours) => format!("did you mean \"{ours}\"?"),
        None => format!(
            "types are {}, decimal(p,s) and list<type>; `?` behind a type: may be null",
            known.filter(|name| *name != "decimal").collect::<Vec<_>>().join(", ")
        ),
    };
    TypeFault { code: codes::UNKNOWN_TYPE, at, message: format!("unknown type `{name}`"), help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_rules() {
        assert_eq!(parse("int64"), Ok((LogicalType::Int64, false)));
        assert_eq!(parse(" float64? "), Ok((LogicalType::Float64, true)));
        assert_eq!(parse("decimal( 10 , 2 )?"), Ok((LogicalType::Decimal(10, 2), true)));
        let item = DeclaredColumn::new("item", LogicalType::Int32, true);
        assert_eq!(parse("list<int32?>"), Ok((LogicalType::List(Box::new(item)), false)));
    }

    #[test]
    fn faults_point_into_the_text() {
        let fault = parse("list< strng >").unwrap_err();
        assert_eq!((fault.at, fault.help.as_str()), (6..11, "did you mean \"string\"?"));
        assert_eq!(parse("double").unwrap_err().help, "did you mean \"float64\"?");
        assert_eq!(parse("decimal(40,2)").unwrap_err().code, codes::MALFORMED_TYPE);
        assert_eq!(parse("decimal").unwrap_err().code, codes::MALFORMED_TYPE);
        assert_eq!(parse("list<int64").unwrap_err().code, codes::MALFORMED_TYPE);
    }
}
