//! Growing columns of the declared types with one property that Arrow's builders lack: a record that turns out to be unusable half-way is taken back
//! by cutting every column to the rows that are complete.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    NullBufferBuilder, RecordBatch, RecordBatchOptions, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use crate::data::{DeclaredColumn, LogicalType};

/// The values of a column, nulls as placeholders. `ends` are Arrow's offsets: 0, then the end of each row.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>),
    Text { ends: Vec<i32>, bytes: Vec<u8> },
    Binary { ends: Vec<i32>, bytes: Vec<u8> },
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    List { ends: Vec<i32>, item: Box<ColumnBuffer> },
    Struct(Vec<ColumnBuffer>),
}

/// One growing column.
#[derive(Debug)]
pub(super) struct ColumnBuffer {
    pub values: Values,
    pub nulls: NullBufferBuilder,
    data_type: DataType,
}

impl ColumnBuffer {
    /// An empty column.
    pub fn new(column: &DeclaredColumn) -> Self {
        let values = match &column.kind {
            LogicalType::Bool => Values::Bool(Vec::new()),
            LogicalType::Int32 => Values::Int32(Vec::new()),
            LogicalType::Int64 => Values::Int64(Vec::new()),
            LogicalType::Float32 => Values::Float32(Vec::new()),
            LogicalType::Float64 => Values::Float64(Vec::new()),
            LogicalType::Decimal(..) => Values::Decimal(Vec::new()),
            LogicalType::String => Values::Text { ends: vec![0], bytes: Vec::new() },
            LogicalType::Bytes => Values::Binary { ends: vec![0], bytes: Vec::new() },
            LogicalType::Date => Values::Date(Vec::new()),
            LogicalType::Timestamp(_) => Values::Timestamp(Vec::new()),
            LogicalType::List(item) => Values::List { ends: vec![0], item: Box::new(Self::new(item)) },
            LogicalType::Struct(columns) => Values::Struct(columns.iter().map(Self::new).collect()),
        };
        Self { values, nulls: NullBufferBuilder::new(0), data_type: column.kind.arrow() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends a null: a placeholder and its validity.
    pub fn push_null(&mut self) {
        self.push_placeholder();
        self.nulls.append_null();
    }

    /// Appends a placeholder value without its validity.
    fn push_placeholder(&mut self) {
        match &mut self.values {
            Values::Bool(values) => values.push(false),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values) => values.push(0),
            Values::Text { ends, bytes } | Values::Binary { ends, bytes } => ends.push(bytes.len() as i32),
            Values::List { ends, item } => ends.push(item.len() as i32),
            Values::Struct(columns) => {
                for column in columns {
                    column.push_placeholder();
                    column.nulls.append_non_null();
                }
            }
        }
    }

    /// Cuts the column to its first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        self.nulls.truncate(rows);
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values) => values.truncate(rows),
            Values::Text { ends, bytes } | Values::Binary { ends, bytes } => {
                ends.truncate(rows + 1);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::List { ends, item } => {
                ends.truncate(rows + 1);
                item.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            Values::Struct(columns) => columns.iter_mut().for_each(|column| column.truncate(rows)),
        }
    }

    /// The last row as event time in UTC microseconds; `None` if it is null, missing or of another type.
    #[inline]
    pub fn last_time(&self) -> Option<i64> {
        if self.nulls.as_slice().is_some() && !self.nulls.is_valid(self.len().checked_sub(1)?) {
            return None;
        }
        match &self.values {
            Values::Timestamp(values) | Values::Int64(values) => values.last().copied(),
            Values::Date(values) => values.last().map(|day| i64::from(*day) * 86_400_000_000),
            _ => None,
        }
    }

    /// Takes all rows as an Arrow array; the column is empty afterwards.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Bool(values) => Arc::new(BooleanArray::new(take(values).into(), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::try_new(take(values).into(), nulls)?),
            Values::Int64(values) => Arc::new(Int64Array::try_new(take(values).into(), nulls)?),
            Values::Float32(values) => Arc::new(Float32Array::try_new(take(values).into(), nulls)?),
            Values::Float64(values) => Arc::new(Float64Array::try_new(take(values).into(), nulls)?),
            Values::Date(values) => Arc::new(Date32Array::try_new(take(values).into(), nulls)?),
            Values::Timestamp(values) => {
                Arc::new(TimestampMicrosecondArray::try_new(take(values).into(), nulls)?.with_data_type(self.data_type.clone()))
            }
            Values::Decimal(values) => {
                Arc::new(Decimal128Array::try_new(take(values).into(), nulls)?.with_data_type(self.data_type.clone()))
            }
            Values::Text { ends, bytes } => Arc::new(StringArray::try_new(offsets(ends), Buffer::from_vec(take(bytes)), nulls)?),
            Values::Binary { ends, bytes } => Arc::new(BinaryArray::try_new(offsets(ends), Buffer::from_vec(take(bytes)), nulls)?),
            Values::List { ends, item } => match &self.data_type {
                DataType::List(field) => Arc::new(ListArray::try_new(field.clone(), offsets(ends), item.finish()?, nulls)?),
                other => return Err(ArrowError::SchemaError(format!("a list column of type {other}"))),
            },
            Values::Struct(columns) => match &self.data_type {
                DataType::Struct(fields) => {
                    let rows = columns.first().map_or(0, ColumnBuffer::len);
                    let arrays = columns.iter_mut().map(ColumnBuffer::finish).collect::<Result<Vec<_>, _>>()?;
                    Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows)?)
                }
                other => return Err(ArrowError::SchemaError(format!("a struct column of type {other}"))),
            },
        })
    }
}

/// Takes the values; the next chunk probably has as many.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(values.len());
    std::mem::replace(values, next)
}

/// Takes the offsets.
fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut next = Vec::with_capacity(ends.len());
    next.push(0);
    OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(ends, next)))
}

/// The growing columns of a schema.
#[derive(Debug)]
pub(super) struct RowBuffers {
    pub columns: Vec<ColumnBuffer>,
    rows: usize,
}

impl RowBuffers {
    /// Empty columns.
    pub fn new(columns: &[DeclaredColumn]) -> Self {
        Self { columns: columns.iter().map(ColumnBuffer::new).collect(), rows: 0 }
    }

    /// The row being appended is complete in every column.
    #[inline]
    pub fn commit(&mut self) {
        self.rows += 1;
        debug_assert!(self.columns.iter().all(|column| column.len() == self.rows));
    }

    /// Takes back the row being appended.
    pub fn rollback(&mut self) {
        let rows = self.rows;
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
    }

    /// Takes all complete rows; the columns are empty afterwards.
    pub fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(ColumnBuffer::finish).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
    }
}
