//! Schemas that files bring themselves: Parquet's own, and the header line of CSV, whose columns are all `string?`.

use std::path::Path;

use arrow::datatypes::{DataType, Field};

use crate::codecs::CsvHeader;
use crate::config::declaration::Format;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit};
use crate::error::{Error, Exit, Result};

use super::{header_fields, schema_of_file};

/// A path for messages, absolute.
pub(crate) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// The schema of a file that has one (Parquet, CSV); exit 65 where it cannot be used, 78 for JSON, which has none.
pub fn read_schema(path: &str, format: Format) -> Result<DeclaredSchema> {
    let path = Path::new(path);
    let columns = match format {
        Format::Json => {
            return Err(Error::new(
                Exit::Config,
                format!("{} is JSON, which does not name its columns", absolute(path)),
                "declare a `schema`",
            ));
        }
        Format::Csv => {
            let (names, _) = header_fields(path)?;
            names.into_iter().map(|name| DeclaredColumn::new(name, LogicalType::String, true)).collect()
        }
        Format::Parquet => {
            let own = schema_of_file(path)?;
            let column = |field: &Field| {
                declared(field).ok_or_else(|| {
                    let cause =
                        format!("column `{}` of {} is {}, which Tidemill has no type for", field.name(), absolute(path), field.data_type());
                    Error::new(Exit::Data, cause, "declare a `schema` with the columns you need")
                })
            };
            own.fields().iter().map(|field| column(field)).collect::<Result<Vec<_>>>()?
        }
    };
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(Exit::Data, format!("{} has two columns called `{}`", absolute(path), pair[0]), "rename one of them"));
    }
    Ok(DeclaredSchema { columns, closed: false })
}

/// The column that holds what an Arrow field holds; `None` if no type does.
fn declared(field: &Field) -> Option<DeclaredColumn> {
    Some(DeclaredColumn::new(field.name(), kind(field.data_type())?, field.is_nullable()))
}

fn kind(data_type: &DataType) -> Option<LogicalType> {
    Some(match data_type {
        DataType::Boolean => LogicalType::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => LogicalType::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => LogicalType::Int64,
        DataType::Float16 | DataType::Float32 => LogicalType::Float32,
        DataType::Float64 => LogicalType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => LogicalType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => LogicalType::Bytes,
        DataType::Date32 | DataType::Date64 => LogicalType::Date,
        DataType::Timestamp(..) => LogicalType::Timestamp(TimestampUnit::Microsecond),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            LogicalType::Decimal(*precision, *scale)
        }
        DataType::Dictionary(_, values) => kind(values)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            LogicalType::List(Box::new(DeclaredColumn { name: "item".into(), ..declared(item)? }))
        }
        DataType::Struct(fields) => LogicalType::Struct(fields.iter().map(|field| declared(field)).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// Matches the header line of a CSV file with the declared columns; returns also the position of the first record.
pub(super) fn csv_header(path: &Path, schema: &DeclaredSchema) -> Result<(CsvHeader, u64)> {
    let (names, end) = header_fields(path)?;
    let mut positions = Vec::with_capacity(schema.columns.len());
    for column in &schema.columns {
        let mut found = names.iter().enumerate().filter(|(_, name)| **name == column.name).map(|(index, _)| index);
        let position = found.next();
        if found.next().is_some() {
            let cause = format!("{} has two columns called `{}`", absolute(path), column.name);
            return Err(Error::new(Exit::Data, cause, "rename one of them in the header line"));
        }
        if position.is_none() && !column.nullable {
            let near = crate::diagnostic::nearest(&column.name, names.iter().map(String::as_str));
            let help = near.map_or_else(|| format!("its columns are {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
            return Err(Error::new(Exit::Data, format!("{} has no column `{}`", absolute(path), column.name), help));
        }
        positions.push(position);
    }
    if schema.closed
        && let Some(name) = names.iter().find(|name| schema.index_of(name).is_none())
    {
        let cause = format!("{} has a column `{name}`, but the schema allows no others than its own", absolute(path));
        return Err(Error::new(Exit::Data, cause, "add it to the schema, or allow `additionalProperties`"));
    }
    Ok((CsvHeader { fields: names.len(), positions }, end))
}
