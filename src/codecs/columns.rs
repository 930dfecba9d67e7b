//! Batches that are columns already (Parquet, generators) to the declared schema: columns by name, lossless changes of type, nullability and bounds
//! checked row by row (S5.1, S5.2).
//!
//! The same data means the same in every format: NaN and infinities, which JSON cannot spell, are poison here too. Types that cannot become the declared
//! one are refused when the file is opened (`check_types`); values that do not fit reject their row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StructArray,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options, filter};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, Reason, TimestampUnit, timestamp_type};
use crate::error::{Error, Exit, Result};
use crate::time::EventTime;

use super::{Assembly, Codec, CodecSpec, DecodedChunk, EventTimeFrom, Fault, Payload, RawChunk};
use super::{RowDigests, bounds_in_words, decimal_as_float, digest_rows, in_bounds, is_allowed, type_name};

/// Whether every value of `from` that fits is exactly a value of `to`.
fn convertible(from: &DataType, to: &LogicalType) -> bool {
    match (to, from) {
        (_, DataType::Null) => true,
        (_, DataType::Dictionary(_, values)) => convertible(values, to),
        (LogicalType::Bool, DataType::Boolean) => true,
        (LogicalType::Int32 | LogicalType::Int64, from) => from.is_integer(),
        (LogicalType::Float64, from) => from.is_integer() || from.is_floating(),
        (LogicalType::Float32, from) => from.is_integer() || matches!(from, DataType::Float16 | DataType::Float32),
        (LogicalType::Decimal(_, scale), DataType::Decimal32(_, own) | DataType::Decimal64(_, own) | DataType::Decimal128(_, own)) => {
            own <= scale
        }
        (LogicalType::Decimal(..), from) => from.is_integer(),
        (LogicalType::String, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => true,
        (LogicalType::Bytes, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)) => true,
        (LogicalType::Date, DataType::Date32 | DataType::Date64) => true,
        (LogicalType::Timestamp(_), from) => from.is_integer() || matches!(from, DataType::Timestamp(..)),
        (LogicalType::List(item), DataType::List(own) | DataType::LargeList(own) | DataType::FixedSizeList(own, _)) => {
            convertible(own.data_type(), &item.kind)
        }
        (LogicalType::Struct(columns), DataType::Struct(fields)) => columns.iter().all(|column| match fields.find(&column.name) {
            Some((_, field)) => convertible(field.data_type(), &column.kind),
            None => column.nullable,
        }),
        _ => false,
    }
}

/// Checks that columns of these types can be read as the declared ones; `what` names the file in the error (exit 65).
pub fn check_types(own: &Schema, declared: &DeclaredSchema, what: &str) -> Result<()> {
    for column in &declared.columns {
        match own.column_with_name(&column.name) {
            Some((_, field)) if convertible(field.data_type(), &column.kind) => {}
            Some((_, field)) => {
                return Err(Error::new(
                    Exit::Data,
                    format!("column `{}` of {what} is {}, which cannot become {}", column.name, field.data_type(), type_name(&column.kind)),
                    "declare the column with the type it has, or leave `schema` out",
                ));
            }
            None if column.nullable => {}
            None => {
                let names: Vec<&str> = own.fields().iter().map(|field| field.name().as_str()).collect();
                let near = crate::diagnostic::nearest(&column.name, names.iter().copied());
                return Err(Error::new(
                    Exit::Data,
                    format!("{what} has no column `{}`", column.name),
                    near.map_or_else(|| format!("its columns are {}", names.join(", ")), |near| format!("did you mean `{near}`?")),
                ));
            }
        }
    }
    Ok(())
}

/// What is wrong with rows: per row the first fault, unreadable values before values outside their bounds.
type Faults = BTreeMap<usize, Box<Fault>>;

fn note(faults: &mut Faults, row: usize, fault: Box<Fault>) {
    let worse = |known: &Fault| known.reason == Reason::Check && fault.reason != Reason::Check;
    if faults.get(&row).is_none_or(|known| worse(known)) {
        faults.insert(row, fault);
    }
}

/// Converts one column; `row_of` maps its elements to rows of the batch (for the items of lists). Nested fields come out nullable.
fn convert(
    array: &ArrayRef,
    column: &DeclaredColumn,
    path: &str,
    row_of: &dyn Fn(usize) -> usize,
    faults: &mut Faults,
) -> Result<ArrayRef, String> {
    let text = |error: arrow::error::ArrowError| format!("column `{path}`: {error}");
    let safe = CastOptions { safe: true, ..CastOptions::default() };
    let array = match array.data_type() {
        DataType::Dictionary(_, values) => &cast_with_options(array, values, &safe).map_err(text)?,
        _ => array,
    };
    let out: ArrayRef = match &column.kind {
        LogicalType::Timestamp(unit) => Arc::new(timestamps(array, *unit, &safe).map_err(text)?),
        LogicalType::List(item) => {
            let lists = match array.data_type() {
                DataType::List(_) => array.clone(),
                DataType::LargeList(own) | DataType::FixedSizeList(own, _) => {
                    cast_with_options(array, &DataType::List(own.clone()), &safe).map_err(text)?
                }
                _ => new_null_array(&nullable(&column.kind.arrow()), array.len()),
            };
            let lists: &ListArray = lists.as_list();
            let mut owners = vec![usize::MAX; lists.values().len()];
            for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
                let (start, end) = (lists.value_offsets()[row] as usize, lists.value_offsets()[row + 1] as usize);
                owners[start..end].fill(row_of(row));
            }
            let items =
                convert(lists.values(), item, &format!("{path}[]"), &|index| owners.get(index).copied().unwrap_or(usize::MAX), faults)?;
            let field = Arc::new(Field::new("item", items.data_type().clone(), true));
            Arc::new(ListArray::try_new(field, lists.offsets().clone(), items, lists.nulls().cloned()).map_err(text)?)
        }
        LogicalType::Struct(columns) => {
            let (mut fields, mut arrays) = (Vec::new(), Vec::new());
            let own = array.as_struct_opt();
            for column in columns {
                let child = own.and_then(|own| own.column_by_name(&column.name)).cloned();
                let child = child.unwrap_or_else(|| new_null_array(&nullable(&column.kind.arrow()), array.len()));
                let present = |index: usize| if array.is_valid(index) { row_of(index) } else { usize::MAX };
                let child = convert(&child, column, &format!("{path}.{}", column.name), &present, faults)?;
                fields.push(Field::new(&column.name, child.data_type().clone(), true));
                arrays.push(child);
            }
            Arc::new(StructArray::try_new_with_length(Fields::from(fields), arrays, array.logical_nulls(), array.len()).map_err(text)?)
        }
        kind => cast_with_options(array, &kind.arrow(), &safe).map_err(text)?,
    };
    if is_plainly_right(array, &out, column) {
        return Ok(out);
    }
    for element in 0..out.len() {
        let row = row_of(element);
        if row == usize::MAX {
            continue;
        }
        if out.is_null(element) {
            if !array.is_null(element) && array.data_type() != &DataType::Null {
                note(faults, row, Fault::decode(format!("field `{path}`: out of range for {}", type_name(&column.kind))));
            } else if !column.nullable {
                note(faults, row, Fault::decode(format!("field `{path}`: null, but it is required")));
            }
        } else if let Some(fault) = value_fault(&out, element, column, path) {
            note(faults, row, fault);
        }
    }
    Ok(out)
}

/// Whether a whole column needs no look at its values: nothing is bounded, nothing was lost, nulls are allowed or absent, floats are finite.
fn is_plainly_right(array: &ArrayRef, out: &ArrayRef, column: &DeclaredColumn) -> bool {
    let bounded = column.minimum.is_some() || column.maximum.is_some() || !column.allowed.is_empty();
    let nulls = out.null_count() == 0 || (column.nullable && out.null_count() == array.null_count());
    let finite = match &column.kind {
        LogicalType::Float32 => out.as_primitive::<Float32Type>().values().iter().all(|value| value.is_finite()),
        LogicalType::Float64 => out.as_primitive::<Float64Type>().values().iter().all(|value| value.is_finite()),
        _ => true,
    };
    !bounded && nulls && finite
}

/// What is wrong with a value that is not null.
fn value_fault(array: &ArrayRef, at: usize, column: &DeclaredColumn, path: &str) -> Option<Box<Fault>> {
    let number = match &column.kind {
        LogicalType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(at)),
        LogicalType::Float64 => array.as_primitive::<Float64Type>().value(at),
        LogicalType::Int32 => f64::from(array.as_primitive::<Int32Type>().value(at)),
        LogicalType::Int64 => array.as_primitive::<Int64Type>().value(at) as f64,
        LogicalType::Decimal(_, scale) => decimal_as_float(array.as_primitive::<Decimal128Type>().value(at), *scale),
        LogicalType::String => {
            let text = array.as_string::<i32>().value(at);
            return (!is_allowed(column, text)).then(|| Fault::check(format!("field `{path}`: `{text}` is none of the values allowed")));
        }
        _ => return None,
    };
    if !number.is_finite() {
        return Some(Fault::decode(format!("field `{path}`: {number} is not a finite number")));
    }
    (!in_bounds(column, number)).then(|| Fault::check(format!("field `{path}`: {number} is {}", bounds_in_words(column))))
}

/// Instants as UTC microseconds: timestamps of any unit, or epoch numbers in `unit`. What does not fit becomes null.
fn timestamps(
    array: &ArrayRef,
    unit: TimestampUnit,
    safe: &CastOptions<'_>,
) -> Result<arrow::array::TimestampMicrosecondArray, arrow::error::ArrowError> {
    let (factor, divisor) = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000, 1),
        DataType::Timestamp(TimeUnit::Millisecond, _) => (1_000, 1),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (1, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => (1, 1_000),
        _ => (unit.micros(), 1),
    };
    let numbers = cast_with_options(array, &DataType::Int64, safe)?;
    let numbers: &Int64Array = numbers.as_primitive();
    let micros: PrimitiveArray<TimestampMicrosecondType> = if (factor, divisor) == (1, 1) {
        PrimitiveArray::new(numbers.values().clone(), numbers.nulls().cloned())
    } else {
        numbers.unary_opt(|number| number.checked_mul(factor).map(|micros| micros.div_euclid(divisor)))
    };
    Ok(micros.with_data_type(timestamp_type()))
}

/// A type with all nested fields nullable.
fn nullable(data_type: &DataType) -> DataType {
    let field = |field: &Field| Arc::new(Field::new(field.name(), nullable(field.data_type()), true));
    match data_type {
        DataType::List(item) => DataType::List(field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|own| field(own)).collect()),
        other => other.clone(),
    }
}

/// One row as a JSON object, for quarantine.
pub fn row_as_json(batch: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (index, (field, array)) in batch.schema_ref().fields().iter().zip(batch.columns()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_text(field.name(), &mut out);
        out.push(b':');
        write_json(array, row, &mut out);
    }
    out.push(b'}');
    out
}

/// A JSON string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// One value as JSON: numbers that JSON can spell, texts, bools, lists and structs; all else as text.
pub(super) fn write_json(array: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    if row >= array.len() || array.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match array.data_type() {
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.push(b'[');
            for index in 0..items.len() {
                if index > 0 {
                    out.push(b',');
                }
                write_json(&items, index, out);
            }
            out.push(b']');
        }
        DataType::Struct(fields) => {
            out.push(b'{');
            for (index, (field, child)) in fields.iter().zip(array.as_struct().columns()).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(field.name(), out);
                out.push(b':');
                write_json(child, row, out);
            }
            out.push(b'}');
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_text(&EventTime(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string(), out);
        }
        data_type => {
            let options = FormatOptions::default();
            let shown =
                ArrayFormatter::try_new(array, &options).map_or_else(|error| error.to_string(), |shown| shown.value(row).to_string());
            let bare = data_type == &DataType::Boolean || (data_type.is_numeric() && shown.parse::<f64>().is_ok_and(f64::is_finite));
            if bare { out.extend_from_slice(shown.as_bytes()) } else { write_text(&shown, out) }
        }
    }
}

/// Decodes batches.
pub(super) struct ColumnsCodec {
    spec: Arc<CodecSpec>,
}

impl ColumnsCodec {
    pub fn new(spec: Arc<CodecSpec>) -> Self {
        Self { spec }
    }

    /// The event time of `row`, or why there is none.
    fn time(&self, times: Option<&EventTimes>, row: usize) -> Result<i64, Box<Fault>> {
        let EventTimeFrom::Column(index) = self.spec.event_time else { return Ok(0) };
        match times {
            Some(times) if times.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) => Ok(times.values[row]),
            _ => {
                let name = self.spec.schema.columns.get(index).map_or("", |column| column.name.as_str());
                Err(Fault::decode(format!("field `{name}`: null, but it is the event time")))
            }
        }
    }
}

/// A column as event times.
struct EventTimes {
    values: Vec<i64>,
    nulls: Option<NullBuffer>,
}

/// The event times of all rows; `None` where no column has them.
fn event_times(from: EventTimeFrom, arrays: &[ArrayRef]) -> Option<EventTimes> {
    let EventTimeFrom::Column(index) = from else { return None };
    let array = arrays.get(index)?;
    let values = match array.data_type() {
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
        DataType::Int64 => array.as_primitive::<Int64Type>().values().to_vec(),
        DataType::Date32 => array.as_primitive::<Date32Type>().values().iter().map(|day| i64::from(*day) * 86_400_000_000).collect(),
        _ => return None,
    };
    Some(EventTimes { values, nulls: array.nulls().filter(|nulls| nulls.null_count() > 0).cloned() })
}

/// `array` as the declared type, which differs only in which nested fields may be null.
fn retype(array: ArrayRef, column: &DeclaredColumn) -> Result<ArrayRef, arrow::error::ArrowError> {
    let wanted = column.kind.arrow();
    if array.data_type() == &wanted {
        Ok(array)
    } else {
        cast_with_options(&array, &wanted, &CastOptions { safe: false, ..CastOptions::default() })
    }
}

impl Codec for ColumnsCodec {
    fn decode(&mut self, chunk: RawChunk) -> Result<DecodedChunk> {
        let mut assembly = Assembly::new(&self.spec, &chunk);
        let Payload::Rows(rows) = &chunk.payload else {
            return Err(Error::internal("other than columns was handed to the columns codec"));
        };
        let count = rows.batch.num_rows();
        let mut faults = Faults::new();
        let mut arrays = Vec::with_capacity(self.spec.schema.columns.len());
        for column in &self.spec.schema.columns {
            let own = rows.batch.column_by_name(&column.name).cloned();
            let own = own.unwrap_or_else(|| new_null_array(&nullable(&column.kind.arrow()), count));
            arrays.push(convert(&own, column, &column.name, &|row| row, &mut faults).map_err(Error::internal)?);
        }
        let RowDigests { digests, sizes } = digest_rows(&arrays, count);
        let times = event_times(self.spec.event_time, &arrays);
        let all_timed = times.as_ref().is_some_and(|times| times.nulls.is_none()) || self.spec.event_time == EventTimeFrom::Nothing;
        if faults.is_empty() && all_timed {
            assembly.all_used(rows.first, digests, sizes, times.map_or_else(|| vec![0; count], |times| times.values));
        } else {
            for row in 0..count {
                assembly.record(rows.first + row as u64, sizes[row] as usize, digests[row]);
                match (faults.get(&row), self.time(times.as_ref(), row)) {
                    (None, Ok(time)) => assembly.used(time),
                    (None, Err(fault)) => {
                        assembly.rejected(*fault);
                        faults.insert(row, Fault::decode(""));
                    }
                    (Some(fault), time) => {
                        let event_time = time.ok().filter(|_| self.spec.event_time != EventTimeFrom::Nothing);
                        assembly.rejected(Fault { event_time, ..(**fault).clone() });
                    }
                }
            }
        }
        let misfit = |error: arrow::error::ArrowError| Error::internal(format!("columns do not fit their declared types: {error}"));
        if !faults.is_empty() {
            let keep: BooleanArray = (0..count).map(|row| Some(!faults.contains_key(&row))).collect();
            arrays = arrays.iter().map(|array| filter(array, &keep)).collect::<Result<_, _>>().map_err(misfit)?;
        }
        let arrays =
            arrays.into_iter().zip(&self.spec.schema.columns).map(|(array, column)| retype(array, column)).collect::<Result<_, _>>();
        let options = RecordBatchOptions::new().with_row_count(Some(count - faults.len()));
        let used = RecordBatch::try_new_with_options(self.spec.arrow.clone(), arrays.map_err(misfit)?, &options).map_err(misfit)?;
        Ok(assembly.finish(used, chunk.payload))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, StringArray, TimestampNanosecondArray, UInt64Array};

    use super::*;
    use crate::codecs::{RowChunk, build};
    use crate::ids::{PartitionIndex, SourceIndex};

    #[test]
    fn types_are_widened_and_rows_that_do_not_fit_are_rejected() {
        let mut amount = DeclaredColumn::new("amount", LogicalType::Float64, true);
        amount.maximum = Some(10.0);
        let columns = vec![
            DeclaredColumn::new("at", LogicalType::Timestamp(TimestampUnit::Second), false),
            DeclaredColumn::new("id", LogicalType::Int64, false),
            amount,
            DeclaredColumn::new("absent", LogicalType::String, true),
            DeclaredColumn::new("tags", LogicalType::List(Box::new(DeclaredColumn::new("item", LogicalType::Int64, false))), true),
        ];
        let schema = DeclaredSchema { columns, closed: false };
        let tags = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1)]),
            None,
            Some(vec![Some(1), None]),
            Some(vec![]),
            Some(vec![Some(2), Some(3)]),
            None,
        ]);
        let batch = RecordBatch::try_from_iter(vec![
            (
                "at",
                Arc::new(TimestampNanosecondArray::from(vec![Some(1_500), Some(-1), Some(0), None, Some(5_000), Some(7_000)])) as ArrayRef,
            ),
            ("id", Arc::new(UInt64Array::from(vec![1, 2, 3, 4, u64::MAX, 6]))),
            ("amount", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0), Some(1.0), Some(1.0), Some(11.0)]))),
            ("tags", Arc::new(tags)),
            ("other", Arc::new(StringArray::from(vec!["a"; 6]))),
        ])
        .unwrap();
        check_types(&batch.schema(), &schema, "the batch").unwrap();
        let spec = CodecSpec::new(SourceIndex(3), schema, EventTimeFrom::Column(0), 1 << 20);
        let raw = RawChunk { partition: PartitionIndex(1), end: 46, payload: Payload::Rows(RowChunk { batch, first: 40 }) };
        let chunk = build("columns", spec.clone()).unwrap().decode(raw.clone()).unwrap();
        assert_eq!(chunk.rows.schema(), spec.arrow);
        assert_eq!(chunk.times, [1, -1]);
        let faults: Vec<(u64, Reason, &str)> = chunk.rejected.iter().map(|r| (r.offset, r.reason, r.detail.as_str())).collect();
        assert_eq!(
            faults,
            [
                (42, Reason::Decode, "field `tags[]`: null, but it is required"),
                (43, Reason::Decode, "field `at`: null, but it is required"),
                (44, Reason::Decode, "field `id`: out of range for int64"),
                (45, Reason::Check, "field `amount`: 11 is above the maximum 10"),
            ]
        );
        assert_eq!(chunk.rejected[3].event_time, Some(7));
        assert_eq!(
            std::str::from_utf8(&chunk.raw.original(&chunk.rejected[3]).unwrap()).unwrap(),
            r#"{"at":"1970-01-01T00:00:00.000007","id":6,"amount":11.0,"tags":null,"other":"a"}"#
        );
        assert_eq!(build("columns", spec).unwrap().decode(raw).unwrap().digests, chunk.digests);
    }

    #[test]
    fn types_that_lose_values_are_refused_before_reading() {
        let own = Schema::new(vec![Field::new("a", DataType::Float64, true), Field::new("amount", DataType::Utf8, true)]);
        let declared = |name: &str, kind| DeclaredSchema { columns: vec![DeclaredColumn::new(name, kind, false)], closed: false };
        assert!(check_types(&own, &declared("a", LogicalType::Float64), "f").is_ok());
        assert!(check_types(&own, &declared("a", LogicalType::Int64), "f").unwrap_err().cause.contains("cannot become int64"));
        assert_eq!(check_types(&own, &declared("amuont", LogicalType::String), "f").unwrap_err().help, "did you mean `amount`?");
        let batch = RecordBatch::try_from_iter(vec![("a", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
        assert_eq!(row_as_json(&batch, 0), br#"{"a":1}"#);
    }
}
