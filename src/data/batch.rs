//! The rows of one stream in one epoch, as Arrow columns.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type};
use std::sync::Arc;

/// Event time in UTC microseconds, `Int64`, never null.
pub const TIME_COLUMN: &str = "_time";
/// Partition index within the source, `UInt32`, never null.
pub const PARTITION_COLUMN: &str = "_partition";
/// Position within the partition (S2.4), `UInt64`, never null.
pub const OFFSET_COLUMN: &str = "_offset";

/// Rows of one stream in one epoch, in canonical order (S3.1): the declared and derived columns, then `_time`, `_partition`, `_offset`.
///
/// Cloning is cheap (columns are shared). User columns may not begin with an underscore, so the three never clash.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBatch {
    rows: RecordBatch,
}

impl EventBatch {
    /// Number of columns that every batch has behind the user's columns.
    pub const HIDDEN: usize = 3;

    /// The full schema of a stream whose user columns are `columns`.
    pub fn schema_of(columns: &Schema) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(TIME_COLUMN, DataType::Int64, false)));
        fields.push(Arc::new(Field::new(PARTITION_COLUMN, DataType::UInt32, false)));
        fields.push(Arc::new(Field::new(OFFSET_COLUMN, DataType::UInt64, false)));
        Arc::new(Schema::new(fields))
    }

    /// Wraps `rows`, whose last three columns must be `_time`, `_partition`, `_offset`.
    pub fn new(rows: RecordBatch) -> Self {
        debug_assert!(rows.num_columns() >= Self::HIDDEN);
        debug_assert_eq!(rows.schema_ref().field(rows.num_columns() - Self::HIDDEN).name(), TIME_COLUMN);
        Self { rows }
    }

    /// The rows with all columns.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// Event times, UTC microseconds.
    pub fn times(&self) -> &[i64] {
        let index = self.rows.num_columns() - Self::HIDDEN;
        self.rows.column(index).as_primitive::<Int64Type>().values()
    }

    /// Partition indices.
    pub fn partitions(&self) -> &[u32] {
        let index = self.rows.num_columns() - Self::HIDDEN + 1;
        self.rows.column(index).as_primitive::<UInt32Type>().values()
    }

    /// Offsets within the partitions.
    pub fn offsets(&self) -> &[u64] {
        let index = self.rows.num_columns() - Self::HIDDEN + 2;
        self.rows.column(index).as_primitive::<UInt64Type>().values()
    }

    /// Whether rows are in canonical order: (event time, partition, offset) never decreases.
    pub fn is_canonical(&self) -> bool {
        let (times, partitions, offsets) = (self.times(), self.partitions(), self.offsets());
        (1..self.len()).all(|i| (times[i - 1], partitions[i - 1], offsets[i - 1]) <= (times[i], partitions[i], offsets[i]))
    }

    /// Estimated memory of the columns, in bytes.
    pub fn bytes(&self) -> usize {
        self.rows.columns().iter().map(|column| column.get_array_memory_size()).sum()
    }
}
