//! Types: how SQL names them, which of them the engine keeps, and how messages call them.

use arrow::datatypes::{DataType, TimeUnit};
use sqlparser::ast::{self, ExactNumberInfo};

use crate::data::timestamp_type;

/// The Arrow type of a SQL type name in `cast(… as …)`; `Err` says which names exist.
pub fn arrow_type(sql: &ast::DataType) -> Result<DataType, String> {
    use ast::DataType as Sql;
    Ok(match sql {
        Sql::Bool | Sql::Boolean => DataType::Boolean,
        Sql::TinyInt(_) | Sql::SmallInt(_) | Sql::Int2(_) | Sql::Int16 | Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) | Sql::Int32 => {
            DataType::Int32
        }
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => DataType::Int64,
        Sql::Real | Sql::Float4 | Sql::Float32 => DataType::Float32,
        Sql::Float(_) | Sql::Float8 | Sql::Float64 | Sql::Double(_) | Sql::DoublePrecision => DataType::Float64,
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => decimal(info)?,
        Sql::Character(_)
        | Sql::Char(_)
        | Sql::CharacterVarying(_)
        | Sql::CharVarying(_)
        | Sql::Varchar(_)
        | Sql::Text
        | Sql::String(_) => DataType::Utf8,
        Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) | Sql::Bytes(_) | Sql::Bytea => DataType::Binary,
        Sql::Date | Sql::Date32 => DataType::Date32,
        Sql::Timestamp(..) | Sql::Datetime(_) => timestamp_type(),
        other => return Err(format!("unknown type `{}`", other.to_string().to_lowercase())),
    })
}

fn decimal(info: &ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..=38), Ok(s)) if s >= 0 && i64::from(p) >= scale => Ok(DataType::Decimal128(p, s)),
        _ => Err(format!("decimal({precision},{scale}) does not exist: the precision is 1 to 38, the scale 0 to the precision")),
    }
}

/// The type the engine keeps for values of `found`, where they fit without loss; the same type where there is nothing to change.
///
/// DataFusion's functions return narrower, wider and differently encoded types than columns have: views and dictionaries of strings, nanoseconds, unsigned integers.
pub fn engine_type(found: &DataType) -> DataType {
    match found {
        DataType::Timestamp(_, _) => timestamp_type(),
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => engine_type(values),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Duration(_) => DataType::Duration(TimeUnit::Microsecond),
        other => other.clone(),
    }
}

/// Text in any encoding.
pub fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// What messages call a type: the name that schemas declare it with (S5.1) where there is one.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::Duration(_) => "duration".into(),
        DataType::Null => "null".into(),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        DataType::Struct(_) => "struct".into(),
        other => other.to_string().to_lowercase(),
    }
}
