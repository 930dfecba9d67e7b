//! Arrow columns as JSON values, row by row, without allocating per row.
//!
//! A batch's columns are first brought to the few types that have a text form here ([`encodable`]); unusual ones (views, large offsets, small
//! integers) are cast once per batch. Bytes are base64, dates and instants RFC 3339, decimals exact numbers, NaN and infinities null (S13.3).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};

use super::{base64, date, decimal, float32, float64, instant, integer, string, string_part};
use crate::data::append_part;

/// The type a column of type `kind` is cast to before it is written; itself for most. `None`: it cannot be written.
pub(crate) fn encodable(kind: &DataType) -> Option<DataType> {
    use DataType as T;
    let nested = |field: &Arc<Field>| Some(Arc::new(field.as_ref().clone().with_data_type(encodable(field.data_type())?)));
    Some(match kind {
        T::Null | T::Boolean | T::Int32 | T::Int64 | T::UInt64 | T::Float32 | T::Float64 => kind.clone(),
        T::Utf8 | T::Binary | T::Date32 | T::Timestamp(..) | T::Decimal128(..) => kind.clone(),
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::UInt32 => T::Int64,
        T::Float16 => T::Float32,
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date64 => T::Timestamp(TimeUnit::Millisecond, None),
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) => T::Decimal128(*precision, *scale),
        T::Dictionary(_, value) => encodable(value)?,
        T::List(item) | T::LargeList(item) => T::List(nested(item)?),
        T::Struct(fields) => T::Struct(fields.iter().map(nested).collect::<Option<Vec<_>>>()?.into()),
        _ => return None,
    })
}

/// One column of a batch, ready to be written.
pub(crate) struct JsonColumn<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    UInt64(&'a [u64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], i8),
    /// The offsets of the texts, and the bytes they are in.
    Text(&'a [i32], &'a [u8]),
    Binary(&'a BinaryArray),
    Date(&'a [i32]),
    /// Units since 1970 and how many of them are a second.
    Instant(&'a [i64], i64),
    List(&'a OffsetBuffer<i32>, Box<JsonColumn<'a>>),
    Struct(Vec<(Prefix, JsonColumn<'a>)>),
}

impl<'a> JsonColumn<'a> {
    /// A view of `array`, whose type must be one that [`encodable`] returns.
    pub(crate) fn new(array: &'a ArrayRef) -> Result<Self, String> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean()),
            DataType::Int32 => Values::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt64 => Values::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float32 => Values::Float32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal128(_, scale) => Values::Decimal(array.as_primitive::<Decimal128Type>().values(), *scale),
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                Values::Text(texts.value_offsets(), texts.value_data())
            }
            DataType::Binary => Values::Binary(array.as_binary::<i32>()),
            DataType::Date32 => Values::Date(array.as_primitive::<Date32Type>().values()),
            DataType::Timestamp(TimeUnit::Second, _) => Values::Instant(array.as_primitive::<TimestampSecondType>().values(), 1),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Values::Instant(array.as_primitive::<TimestampMillisecondType>().values(), 1_000)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Instant(array.as_primitive::<TimestampMicrosecondType>().values(), 1_000_000)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Values::Instant(array.as_primitive::<TimestampNanosecondType>().values(), 1_000_000_000)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Values::List(list.offsets(), Box::new(JsonColumn::new(list.values())?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let inner = fields.iter().zip(columns).enumerate();
                Values::Struct(
                    inner
                        .map(|(at, (field, column))| Ok((Prefix::new(at, field.name()), JsonColumn::new(column)?)))
                        .collect::<Result<_, String>>()?,
                )
            }
            other => return Err(format!("a column of type {other} cannot be written")),
        };
        Ok(Self { values, nulls: array.nulls().filter(|nulls| nulls.null_count() > 0) })
    }

    /// Whether the value of `row` is null.
    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the JSON value of `row`; a NaN or infinity is counted. The types that most columns have are written in place.
    #[inline(always)]
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>, non_finite: &mut u64) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Int64(values) => integer(out, values[row]),
            Values::Float64(values) => *non_finite += u64::from(!float64(out, values[row])),
            Values::Text(offsets, bytes) => string_part(out, bytes, offsets[row] as usize, offsets[row + 1] as usize),
            _ => self.write_other(row, out, non_finite),
        }
    }

    /// Appends a value that is not null, of one of the other types.
    #[inline(never)]
    fn write_other(&self, row: usize, out: &mut Vec<u8>, non_finite: &mut u64) {
        match &self.values {
            Values::Int32(values) => integer(out, values[row]),
            Values::UInt64(values) => integer(out, values[row]),
            Values::Float32(values) => *non_finite += u64::from(!float32(out, values[row])),
            Values::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Values::Decimal(values, scale) => decimal(out, values[row], *scale),
            Values::Binary(_) | Values::Date(_) | Values::Instant(..) => {
                out.push(b'"');
                self.write_plain(row, out);
                out.push(b'"');
            }
            Values::List(offsets, items) => {
                out.push(b'[');
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                for item in start..end {
                    if item > start {
                        out.push(b',');
                    }
                    items.write(item, out, non_finite);
                }
                out.push(b']');
            }
            Values::Struct(fields) => {
                for (prefix, column) in fields {
                    prefix.write(out);
                    column.write(row, out, non_finite);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
            }
            Values::Int64(_) | Values::Float64(_) | Values::Text(..) | Values::Null => self.write(row, out, non_finite),
        }
    }

    /// Appends the value of `row` as plain text: strings as they are, dates and instants without quotes, bytes as base64, the rest as in JSON.
    /// The caller has seen to nulls.
    pub(crate) fn write_plain(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Text(offsets, bytes) => append_part(out, bytes, offsets[row] as usize, offsets[row + 1] as usize),
            Values::Binary(values) => base64(out, values.value(row)),
            Values::Date(values) => date(out, i64::from(values[row])),
            Values::Instant(values, per_second) => instant(out, values[row], *per_second),
            _ => self.write(row, out, &mut 0),
        }
    }

    /// Appends the value of `row` as bytes of a Kafka key: bytes as they are, the rest as plain text.
    pub(crate) fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Binary(values) => out.extend_from_slice(values.value(row)),
            _ => self.write_plain(row, out),
        }
    }
}

/// What stands before the value of a field: `{"name":` or `,"name":`.
#[derive(Clone, Debug)]
struct Prefix {
    /// The bytes, and zeros behind them, so that a fixed number can be copied.
    padded: Vec<u8>,
    length: usize,
}

impl Prefix {
    /// That of field number `at` of an object.
    fn new(at: usize, name: &str) -> Self {
        let mut padded = vec![if at == 0 { b'{' } else { b',' }];
        string(&mut padded, name);
        padded.push(b':');
        let length = padded.len();
        padded.resize(length + 16, 0);
        Self { padded, length }
    }

    #[inline(always)]
    fn write(&self, out: &mut Vec<u8>) {
        append_part(out, &self.padded, 0, self.length);
    }
}

/// The template of a JSON object per row: fields in schema order, no spaces.
#[derive(Clone, Debug)]
pub(crate) struct JsonRows {
    prefixes: Vec<Prefix>,
    kinds: Vec<DataType>,
}

impl JsonRows {
    /// A template for output columns of `schema`; the error names the column that cannot be written.
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, String> {
        let prefixes = schema.fields().iter().enumerate().map(|(at, field)| Prefix::new(at, field.name())).collect();
        let kinds = schema.fields().iter().map(|field| {
            encodable(field.data_type()).ok_or_else(|| format!("column `{}` of type {} cannot be written", field.name(), field.data_type()))
        });
        Ok(Self { prefixes, kinds: kinds.collect::<Result<_, _>>()? })
    }

    /// The columns of `batch`, cast to what can be written.
    pub(crate) fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, String> {
        if batch.num_columns() != self.kinds.len() {
            return Err(format!("{} output columns where {} are planned", batch.num_columns(), self.kinds.len()));
        }
        let cast_one = |(column, kind): (&ArrayRef, &DataType)| {
            if column.data_type() == kind {
                return Ok(Arc::clone(column));
            }
            cast(column, kind).map_err(|error| error.to_string())
        };
        batch.columns().iter().zip(&self.kinds).map(cast_one).collect()
    }

    /// Appends the object of `row`.
    #[inline]
    pub(crate) fn write(&self, columns: &[JsonColumn<'_>], row: usize, out: &mut Vec<u8>, non_finite: &mut u64) {
        for (prefix, column) in self.prefixes.iter().zip(columns) {
            prefix.write(out);
            column.write(row, out, non_finite);
        }
        if self.prefixes.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
    }
}
