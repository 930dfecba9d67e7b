//! What a sink can read: the columns of a relation (S13.1), built only where its expressions use them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, NullBufferBuilder, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema};

use super::packet::RelationRows;
use super::streams::{arrow_error, certain};
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

/// Which rows of a batch are wanted: all, or those of a list.
#[derive(Clone, Debug)]
pub struct Rows {
    count: usize,
    chosen: Option<UInt32Array>,
}

impl Rows {
    /// All of so many.
    pub fn all(count: usize) -> Self {
        Self { count, chosen: None }
    }

    /// Those for which `kept` is true.
    fn kept(kept: &BooleanArray) -> Self {
        let kept = certain(kept);
        if kept.true_count() == kept.len() {
            return Self::all(kept.len());
        }
        let chosen: Vec<u32> = kept.values().set_indices().map(|row| row as u32).collect();
        Self { count: chosen.len(), chosen: Some(chosen.into()) }
    }

    /// Number of rows wanted.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The position in the batch of wanted row `index`.
    #[inline]
    pub fn at(&self, index: usize) -> usize {
        self.chosen.as_ref().map_or(index, |chosen| chosen.value(index) as usize)
    }

    /// Positions in the batch, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).map(|index| self.at(index))
    }

    /// The wanted rows of a column of the batch.
    pub fn of(&self, column: &ArrayRef) -> Result<ArrayRef> {
        match &self.chosen {
            None => Ok(column.clone()),
            Some(chosen) => take(column, chosen, None).map_err(arrow_error),
        }
    }
}

/// Something that has rows and can give a column of a relation.
pub trait RelationColumns {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Event times of the rows.
    fn times(&self) -> &[i64];
    /// Some rows of the column of `origin`.
    fn column(&self, origin: &RelationOrigin, rows: &Rows) -> Result<ArrayRef>;
}

/// The used columns of `sink`'s relation, of the rows that pass its `where`: what few rows need is not built for all.
pub fn relation(index: usize, sink: &SinkPlan, columns: &dyn RelationColumns) -> Result<RelationRows> {
    let mut rows = Rows::all(columns.rows());
    if let Some(filter) = &sink.filter {
        let inputs = filter.inputs().iter().map(|input| column_of(sink, *input, columns, &rows)).collect::<Result<Vec<_>>>()?;
        // A row the filter fails on is not written: what is not known to be true is not (S9.1).
        rows = Rows::kept(filter.evaluate_rows(&inputs, columns.rows()).0.as_boolean());
    }
    let times = match rows.chosen {
        None => columns.times().to_vec(),
        Some(_) => rows.iter().map(|row| columns.times()[row]).collect(),
    };
    Ok(RelationRows { sink: index, filtered: true, columns: used(sink, columns, &rows)?, times })
}

/// The used columns of `sink`'s relation, of the rows wanted.
pub fn used(sink: &SinkPlan, columns: &dyn RelationColumns, rows: &Rows) -> Result<Columns> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for used in sink.used_columns() {
        let declared = &sink.relation[used];
        arrays.push(column_of(sink, used, columns, rows)?);
        fields.push(Field::new(&declared.name, declared.data_type.clone(), true));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options).map(Columns).map_err(arrow_error)
}

/// One column of `sink`'s relation, of the declared type.
fn column_of(sink: &SinkPlan, column: usize, columns: &dyn RelationColumns, rows: &Rows) -> Result<ArrayRef> {
    let declared = &sink.relation[column];
    let array = columns.column(&declared.origin, rows)?;
    if array.data_type() != &declared.data_type {
        return Err(Error::internal(format!("{}: column {} is {}, not {}", sink.id, declared.name, array.data_type(), declared.data_type)));
    }
    Ok(array)
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

    fn times(&self) -> &[i64] {
        self.batch.times()
    }

    fn column(&self, origin: &RelationOrigin, rows: &Rows) -> Result<ArrayRef> {
        let (times, partitions, offsets) = (self.batch.times(), self.batch.partitions(), self.batch.offsets());
        Ok(match origin {
            RelationOrigin::Stream(column) => rows.of(self.batch.rows().column(*column))?,
            RelationOrigin::Time => timestamps(rows.iter().map(|row| Some(times[row])).collect()),
            RelationOrigin::Epoch => Arc::new(Int64Array::from_value(self.epoch.0 as i64, rows.len())),
            RelationOrigin::Source => Arc::new(StringArray::from_iter_values(rows.iter().map(|_| self.names.source(self.source)))),
            RelationOrigin::Partition => {
                let names = rows.iter().map(|row| self.names.partition(self.source, partitions[row]));
                Arc::new(StringArray::from_iter_values(names))
            }
            RelationOrigin::Offset => Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| offsets[row] as i64))),
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

    fn times(&self) -> &[i64] {
        self.stream.times()
    }

    fn column(&self, origin: &RelationOrigin, rows: &Rows) -> Result<ArrayRef> {
        match origin {
            RelationOrigin::Feature(feature) => Ok(feature_column(|row| (self.features, row), *feature, self.plan[*feature].cell, rows)),
            other => self.stream.column(other, rows),
        }
    }
}

/// A timestamp column of the engine's one type.
pub fn timestamps(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC"))
}

/// One feature of the wanted rows as an Arrow column; `place` says in which block a row is, and which of its rows it is.
pub fn feature_column<'a>(place: impl Fn(usize) -> (&'a FeatureRows, usize), column: usize, cell: CellType, rows: &Rows) -> ArrayRef {
    let placed = || rows.iter().map(&place);
    let mut nulls = NullBufferBuilder::new(rows.len());
    let mut bits = Vec::with_capacity(rows.len());
    for (block, row) in placed() {
        let (cells, valid) = block.row(row);
        bits.push(cells[column]);
        nulls.append(valid[column / 64] >> (column % 64) & 1 == 1);
    }
    let (nulls, bits) = (nulls.finish(), bits.into_iter());
    match cell {
        CellType::Float64 => Arc::new(Float64Array::new(bits.map(f64::from_bits).collect::<Vec<_>>().into(), nulls)),
        CellType::Int64 => Arc::new(Int64Array::new(bits.map(|bits| bits as i64).collect::<Vec<_>>().into(), nulls)),
        CellType::Bool => Arc::new(BooleanArray::new(bits.map(|bits| bits != 0).collect(), nulls)),
        CellType::Timestamp => {
            Arc::new(TimestampMicrosecondArray::new(bits.map(|bits| bits as i64).collect::<Vec<_>>().into(), nulls).with_timezone("UTC"))
        }
        CellType::Text => Arc::new(StringArray::from_iter(placed().map(|(block, row)| match block.get(row, column, cell) {
            Cell::Text(value) => Some(value),
            _ => None,
        }))),
    }
}
