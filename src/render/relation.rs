//! What a sink can read: the columns of a relation (S13.1), built only where its expressions use them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};

use super::packet::RelationRows;
use super::streams::arrow_error;
use crate::data::{Cell, CellType, Columns, EventBatch, FeatureRows};
use crate::error::{Error, Result};
use crate::ids::SourceIndex;
use crate::plan::{FeaturePlan, RelationOrigin, SinkPlan};
use crate::time::Epoch;

/// Names of sources and of their partitions, for `_source` and `_partition`.
#[derive(Clone, Debug, Default)]
pub struct SourceNames {
    /// Source names by index, each with its partitions' names by index.
    pub sources: Vec<(String, Vec<String>)>,
}

impl SourceNames {
    /// The name of a source.
    pub fn source(&self, source: SourceIndex) -> &str {
        self.sources.get(usize::from(source.0)).map_or("", |(name, _)| name)
    }

    /// The name of a partition; its number where no name is known.
    pub fn partition(&self, source: SourceIndex, partition: u32) -> String {
        let known = self.sources.get(usize::from(source.0)).and_then(|(_, partitions)| partitions.get(partition as usize));
        known.cloned().unwrap_or_else(|| partition.to_string())
    }
}

/// Something that has rows and can give a column of a relation.
pub trait RelationColumns {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Event times of the rows.
    fn times(&self) -> Vec<i64>;
    /// The column of `origin`.
    fn column(&self, origin: &RelationOrigin) -> Result<ArrayRef>;
}

/// The used columns of `sink`'s relation.
pub fn relation(index: usize, sink: &SinkPlan, columns: &dyn RelationColumns) -> Result<RelationRows> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for used in sink.used_columns() {
        let declared = &sink.relation[used];
        let array = columns.column(&declared.origin)?;
        if array.data_type() != &declared.data_type {
            return Err(Error::internal(format!("{}: column {} is {}, not {}", sink.id, declared.name, array.data_type(), declared.data_type)));
        }
        fields.push(Field::new(&declared.name, declared.data_type.clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(columns.rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map_err(arrow_error)?;
    Ok(RelationRows { sink: index, columns: Columns(batch), times: columns.times() })
}

/// The relation of a source or stream.
pub struct StreamColumns<'a> {
    /// The rows.
    pub batch: &'a EventBatch,
    /// Where they come from.
    pub source: SourceIndex,
    /// In which epoch.
    pub epoch: Epoch,
    /// Names.
    pub names: &'a SourceNames,
}

impl RelationColumns for StreamColumns<'_> {
    fn rows(&self) -> usize {
        self.batch.len()
    }

    fn times(&self) -> Vec<i64> {
        self.batch.times().to_vec()
    }

    fn column(&self, origin: &RelationOrigin) -> Result<ArrayRef> {
        let rows = self.batch.len();
        Ok(match origin {
            RelationOrigin::Stream(column) => self.batch.rows().column(*column).clone(),
            RelationOrigin::Time => timestamps(self.batch.times().iter().map(|time| Some(*time)).collect()),
            RelationOrigin::Epoch => Arc::new(Int64Array::from_value(self.epoch.0 as i64, rows)),
            RelationOrigin::Source => Arc::new(StringArray::from_iter_values((0..rows).map(|_| self.names.source(self.source)))),
            RelationOrigin::Partition => {
                let names = self.batch.partitions().iter().map(|partition| self.names.partition(self.source, *partition));
                Arc::new(StringArray::from_iter_values(names))
            }
            RelationOrigin::Offset => Arc::new(Int64Array::from_iter_values(self.batch.offsets().iter().map(|offset| *offset as i64))),
            other => return Err(Error::internal(format!("a stream has no column {other:?}"))),
        })
    }
}

/// The relation of a view: one row per record that updated it.
pub struct ViewColumns<'a> {
    /// The stream's columns.
    pub stream: StreamColumns<'a>,
    /// Features of each row.
    pub features: &'a FeatureRows,
    /// Their types.
    pub plan: &'a [FeaturePlan],
}

impl RelationColumns for ViewColumns<'_> {
    fn rows(&self) -> usize {
        self.stream.rows()
    }

    fn times(&self) -> Vec<i64> {
        self.stream.times()
    }

    fn column(&self, origin: &RelationOrigin) -> Result<ArrayRef> {
        match origin {
            RelationOrigin::Feature(feature) => Ok(feature_column(self.features, *feature, self.plan[*feature].cell)),
            other => self.stream.column(other),
        }
    }
}

/// A timestamp column of the engine's one type.
pub fn timestamps(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// One feature of all rows as an Arrow column.
pub fn feature_column(features: &FeatureRows, column: usize, cell: CellType) -> ArrayRef {
    let cells = (0..features.rows()).map(|row| features.get(row, column, cell));
    match cell {
        CellType::Float64 => Arc::new(Float64Array::from_iter(cells.map(|cell| match cell {
            Cell::Float64(value) => Some(value),
            _ => None,
        }))),
        CellType::Int64 => Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
            Cell::Int64(value) => Some(value),
            _ => None,
        }))),
        CellType::Bool => Arc::new(BooleanArray::from_iter(cells.map(|cell| match cell {
            Cell::Bool(value) => Some(value),
            _ => None,
        }))),
        CellType::Timestamp => timestamps(
            cells
                .map(|cell| match cell {
                    Cell::Timestamp(value) => Some(value),
                    _ => None,
                })
                .collect(),
        ),
        CellType::Text => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
            Cell::Text(value) => Some(value.to_owned()),
            _ => None,
        }))),
    }
}
