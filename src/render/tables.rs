//! Tables as streams see them: the row of a key in force at an event time (S8.2).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use hashbrown::HashMap;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::streams::arrow_error;
use crate::data::{KeyColumn, timestamp_type};
use crate::error::Result;

/// A file table, indexed by its key. All of it is known from epoch 1 on (S2.3).
#[derive(Clone, Debug)]
pub struct TableIndex {
    rows: RecordBatch,
    key: usize,
    /// Per key its versions: (event time, row), ascending; without event time one version, in force always.
    versions: HashMap<Box<[u8]>, Vec<(i64, u32)>, Xxh3DefaultBuilder>,
}

impl TableIndex {
    /// Indexes `rows` by column `key`. Of several rows of a key without event time the last one counts; with event time, of those at the same time.
    pub fn new(rows: RecordBatch, key: usize, event_time: Option<usize>) -> Result<Self> {
        let keys = KeyColumn::encode(&[rows.column(key).clone()], rows.num_rows());
        let times: Option<ArrayRef> = match event_time {
            None => None,
            Some(column) => Some(cast(rows.column(column), &timestamp_type()).map_err(arrow_error)?),
        };
        let mut versions: HashMap<Box<[u8]>, Vec<(i64, u32)>, Xxh3DefaultBuilder> = HashMap::default();
        for row in 0..rows.num_rows() {
            if keys.is_null(row) {
                continue;
            }
            let time = times.as_ref().map_or(i64::MIN, |times| times.as_primitive::<TimestampMicrosecondType>().value(row));
            let of_key = versions.entry(keys.key(row).into()).or_default();
            let at = of_key.partition_point(|(t, _)| *t < time);
            match of_key.get_mut(at).filter(|(t, _)| *t == time) {
                Some(same) => same.1 = row as u32,
                None => of_key.insert(at, (time, row as u32)),
            }
        }
        Ok(Self { rows, key, versions })
    }

    /// The table's columns for each of `keys` as of `times`; nulls where there is no match.
    pub fn lookup(&self, keys: &ArrayRef, times: &[i64]) -> Result<Vec<ArrayRef>> {
        let wanted: DataType = self.rows.column(self.key).data_type().clone();
        let keys = if keys.data_type() == &wanted { Arc::clone(keys) } else { cast(keys, &wanted).map_err(arrow_error)? };
        let encoded = KeyColumn::encode(&[keys], times.len());
        let found: UInt32Array = times
            .iter()
            .enumerate()
            .map(|(row, time)| {
                let versions = self.versions.get(encoded.key(row)).filter(|_| !encoded.is_null(row))?;
                let after = versions.partition_point(|(from, _)| from <= time);
                after.checked_sub(1).map(|version| versions[version].1)
            })
            .collect();
        self.rows.columns().iter().map(|column| take(column, &found, None)).collect::<std::result::Result<_, _>>().map_err(arrow_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};

    #[test]
    fn the_version_in_force_is_the_latest_at_or_before_the_time() {
        let key: ArrayRef = Arc::new(StringArray::from(vec!["a", "a", "b", "a"]));
        let value: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let time: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![10, 20, 10, 20]).with_timezone("UTC"));
        let rows = RecordBatch::try_from_iter([("k", key), ("v", value), ("t", time)]).unwrap();
        let table = TableIndex::new(rows, 0, Some(2)).unwrap();
        let keys: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), Some("a"), Some("c"), None]));
        let found = table.lookup(&keys, &[9, 10, 25, 25, 25]).unwrap();
        let values = found[1].as_primitive::<arrow::datatypes::Int64Type>();
        let shown: Vec<Option<i64>> = (0..5).map(|row| values.is_valid(row).then(|| values.value(row))).collect();
        assert_eq!(shown, [None, Some(1), Some(4), None, None]);
    }
}
