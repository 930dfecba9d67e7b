//! Rows for Parquet: cleaned of what may not leave (S13.3), brought to the types of the file, and split by partition value.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Encoded, Encoder, Encoding, JsonColumn, SinkRows, encodable};
use crate::data::{Columns, timestamp_type};

/// The rows of one partition value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartRows {
    /// The value as text (dates `YYYY-MM-DD`, instants RFC 3339); `None`: null, or a sink without partitions.
    pub value: Option<String>,
    /// The rows, in canonical order, with the columns of [`output_schema`].
    pub rows: Columns,
    /// For each row its number in the encoder's input, which `merge` needs; empty when they are 0, 1, 2, …
    pub origin: Vec<u32>,
}

/// The columns of the Parquet file for output columns of `schema`: views, large offsets and dictionaries are made plain, timestamps are
/// microseconds in UTC (S14.3), and floats may be null because NaN and infinities become null (S13.3). The error names a column that cannot be written.
pub fn output_schema(schema: &SchemaRef) -> Result<SchemaRef, String> {
    if schema.fields().is_empty() {
        return Err("a Parquet file needs at least one column".into());
    }
    let fields = schema.fields().iter().map(|field| {
        let kind = encodable(field.data_type()).filter(|kind| !matches!(kind, DataType::Null) && !is_empty_struct(kind));
        let kind = kind.ok_or_else(|| format!("column `{}` of type {} cannot be written", field.name(), field.data_type()))?;
        Ok(file_field(&Field::new(field.name(), kind, field.is_nullable())))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, String>>()?)))
}

/// Parquet has no group without children.
fn is_empty_struct(kind: &DataType) -> bool {
    match kind {
        DataType::Struct(fields) => fields.is_empty() || fields.iter().any(|field| is_empty_struct(field.data_type())),
        DataType::List(item) => is_empty_struct(item.data_type()),
        _ => false,
    }
}

fn file_field(field: &Field) -> Field {
    let inner = |field: &Arc<Field>| Arc::new(file_field(field));
    let (kind, nullable) = match field.data_type() {
        DataType::Timestamp(..) => (timestamp_type(), field.is_nullable()),
        float @ (DataType::Float32 | DataType::Float64) => (float.clone(), true),
        DataType::List(item) => (DataType::List(inner(item)), field.is_nullable()),
        DataType::Struct(fields) => (DataType::Struct(fields.iter().map(inner).collect()), field.is_nullable()),
        other => (other.clone(), field.is_nullable()),
    };
    Field::new(field.name(), kind, nullable)
}

/// Rows to rows: `SinkRows::by` is the partition value.
pub struct RowEncoder {
    schema: SchemaRef,
}

impl RowEncoder {
    /// An encoder for output columns of `schema`; the error names the column that cannot be written.
    pub fn new(schema: &SchemaRef) -> Result<Self, String> {
        let schema = output_schema(schema)?;
        let fields: Vec<SortField> = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        if !RowConverter::supports_fields(&fields) {
            return Err("a column nests lists and structs in a way that cannot be written".into());
        }
        Ok(Self { schema })
    }
}

impl Encoder for RowEncoder {
    fn encode(&mut self, rows: &SinkRows<'_>) -> Result<Encoding, String> {
        let count = rows.columns.num_rows();
        if count == 0 {
            return Ok(Encoding { encoded: Encoded::Rows(Vec::new()), non_finite: 0 });
        }
        if rows.columns.num_columns() != self.schema.fields().len() {
            return Err(format!("{} output columns where {} are planned", rows.columns.num_columns(), self.schema.fields().len()));
        }
        let mut non_finite = 0;
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for (column, field) in rows.columns.columns().iter().zip(self.schema.fields()) {
            let plain = to_type(column, field.data_type())?;
            columns.push(finite(&plain, field, &mut non_finite)?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| error.to_string())?;
        Ok(Encoding { encoded: Encoded::Rows(split(batch, rows.by)?), non_finite })
    }
}

/// Casts `column`. A timestamp without a zone is UTC (S4.4), so a cast between zones never shifts the instant.
fn to_type(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
    if column.data_type() == kind {
        return Ok(Arc::clone(column));
    }
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) if *kind == timestamp_type() => cast(column, kind),
        DataType::Timestamp(..) if *kind == timestamp_type() => {
            cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).and_then(|column| cast(&column, kind))
        }
        _ => cast(column, kind),
    }
    .map_err(|error| error.to_string())
}

/// `array` with NaN and infinities as null, counted.
fn finite(array: &ArrayRef, field: &Field, non_finite: &mut u64) -> Result<ArrayRef, String> {
    Ok(match field.data_type() {
        DataType::Float64 => finite_floats::<Float64Type>(array, |value| value.is_finite(), non_finite),
        DataType::Float32 => finite_floats::<Float32Type>(array, |value| value.is_finite(), non_finite),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = finite(list.values(), item, non_finite)?;
            Arc::new(
                ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, list.nulls().cloned())
                    .map_err(|error| error.to_string())?,
            )
        }
        DataType::Struct(fields) => {
            let structure = array.as_struct();
            let columns = structure.columns().iter().zip(fields).map(|(column, field)| finite(column, field, non_finite));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, structure.nulls().cloned()).map_err(|error| error.to_string())?)
        }
        _ => Arc::clone(array),
    })
}

fn finite_floats<T: ArrowPrimitiveType>(array: &ArrayRef, is_finite: fn(T::Native) -> bool, non_finite: &mut u64) -> ArrayRef {
    let floats = array.as_primitive::<T>();
    if floats.values().iter().all(|value| is_finite(*value)) {
        return Arc::clone(array);
    }
    let mut replaced = 0;
    let valid = BooleanBuffer::collect_bool(floats.len(), |row| {
        let finite = is_finite(floats.values()[row]);
        replaced += u64::from(!finite && floats.is_valid(row));
        finite && floats.is_valid(row)
    });
    *non_finite += replaced;
    Arc::new(PrimitiveArray::<T>::new(floats.values().clone(), Some(NullBuffer::new(valid))))
}

/// The rows by partition value, null first, then in byte order.
fn split(batch: RecordBatch, by: Option<&ArrayRef>) -> Result<Vec<PartRows>, String> {
    let whole = |value, rows| vec![PartRows { value, rows: Columns(rows), origin: Vec::new() }];
    let Some(by) = by else {
        return Ok(whole(None, batch));
    };
    let kind = encodable(by.data_type()).ok_or_else(|| format!("a partition value of type {} cannot be written", by.data_type()))?;
    let by = cast(by, &kind).map_err(|error| error.to_string())?;
    let values = JsonColumn::new(&by)?;
    let mut groups: BTreeMap<Option<Vec<u8>>, Vec<u32>> = BTreeMap::new();
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        let value = if values.is_null(row) {
            None
        } else {
            text.clear();
            values.write_plain(row, &mut text);
            Some(&text)
        };
        match groups.get_mut(&value.cloned()) {
            Some(rows) => rows.push(row as u32),
            None => drop(groups.insert(value.cloned(), vec![row as u32])),
        }
    }
    let name = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if groups.len() == 1 {
        return Ok(groups.into_keys().next().map_or_else(Vec::new, |value| whole(name(value), batch)));
    }
    let parts = groups.into_iter().map(|(value, rows)| {
        let chosen = take_record_batch(&batch, &UInt32Array::from(rows.clone())).map_err(|error| error.to_string())?;
        Ok(PartRows { value: name(value), rows: Columns(chosen), origin: rows })
    });
    parts.collect()
}

/// Feeds the values of `batch`, row by row, to `hasher`; buffers, slices and null representation make no difference.
pub(crate) fn content_digest(hasher: &mut Xxh3, batch: &RecordBatch) -> Result<(), String> {
    let fields = batch.schema_ref().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(|error| error.to_string())?;
    let rows = converter.convert_columns(batch.columns()).map_err(|error| error.to_string())?;
    for row in &rows {
        let bytes: &[u8] = row.as_ref();
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    Ok(())
}

/// Size of the values of `batch` in bytes, whatever the buffers behind them: fixed widths, and the bytes of strings and lists plus 4 a row.
pub(crate) fn logical_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(array_bytes).sum()
}

fn array_bytes(array: &ArrayRef) -> u64 {
    let rows = array.len() as u64;
    match array.data_type() {
        DataType::Utf8 => {
            let offsets = array.as_string::<i32>().value_offsets();
            4 * rows + (offsets[array.len()] - offsets[0]) as u64
        }
        DataType::Binary => {
            let offsets = array.as_binary::<i32>().value_offsets();
            4 * rows + (offsets[array.len()] - offsets[0]) as u64
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = (list.value_offsets()[0] as usize, list.value_offsets()[list.len()] as usize);
            4 * rows + array_bytes(&list.values().slice(start, end - start))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(array_bytes).sum(),
        DataType::Boolean => rows.div_ceil(8),
        kind => rows * kind.primitive_width().unwrap_or(1) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int64Array, StringArray, TimestampMillisecondArray};
    use arrow::compute::concat_batches;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("x", Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(4.0)])) as ArrayRef),
            ("s", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
            ("t", Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3, 4]))),
        ])
        .unwrap()
    }

    fn encode(batch: &RecordBatch, by: Option<&ArrayRef>) -> (Vec<PartRows>, u64) {
        let encoding = RowEncoder::new(&batch.schema()).unwrap().encode(&SinkRows { columns: batch, times: &[], by }).unwrap();
        let Encoded::Rows(parts) = encoding.encoded else { panic!("rows") };
        (parts, encoding.non_finite)
    }

    #[test]
    fn rows_are_split_by_value_in_byte_order_and_cleaned() {
        let by: ArrayRef = Arc::new(Date32Array::from(vec![Some(1), Some(0), None, Some(0)]));
        let (parts, non_finite) = encode(&batch(), Some(&by));
        let shown: Vec<_> = parts.iter().map(|part| (part.value.as_deref(), part.origin.clone())).collect();
        assert_eq!(shown, [(None, vec![2]), (Some("1970-01-01"), vec![1, 3]), (Some("1970-01-02"), vec![0])]);
        assert_eq!(non_finite, 1);
        let second = &parts[1].rows.0;
        assert!(second.column(0).is_null(0) && second.column(0).is_valid(1));
        assert_eq!(second.column(2).data_type(), &timestamp_type());
    }

    #[test]
    fn the_digest_sees_values_and_not_buffers() {
        let batch = batch();
        let digest = |batch: &RecordBatch| Encoded::Rows(encode(batch, None).0).digest().unwrap();
        let again = concat_batches(&batch.schema(), &[batch.slice(0, 1), batch.slice(1, 3)]).unwrap();
        assert_eq!(digest(&batch), digest(&again));
        assert_ne!(digest(&batch), digest(&batch.slice(0, 3)));
    }

    #[test]
    fn sizes_do_not_depend_on_slices() {
        let batch = batch();
        let whole = logical_bytes(&batch);
        assert_eq!(whole, 4 * 8 + (4 * 4 + 4) + 4 * 8);
        assert_eq!((0..4).map(|row| logical_bytes(&batch.slice(row, 1))).sum::<u64>(), whole);
    }

    #[test]
    fn what_parquet_cannot_hold_is_refused() {
        assert!(output_schema(&Arc::new(Schema::empty())).is_err());
        let ints = RecordBatch::try_from_iter([("i", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
        assert!(output_schema(&ints.schema()).is_ok());
        let none: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Null, true)]));
        assert!(RowEncoder::new(&none).err().unwrap().contains("`n`"));
    }
}
