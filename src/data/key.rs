//! Keys: the bytes that identify an entity or a record, and their hash (S6.1).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};

/// The hash of key bytes: xxh3 with seed 0, pinned for ever (S6.1).
#[inline]
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The key bytes of the rows of a batch, one after another, with their hashes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyColumn {
    bytes: Vec<u8>,
    /// End of each row's key in `bytes`.
    ends: Vec<u32>,
    hashes: Vec<u64>,
    /// Rows of which a key column is null (S6.2); empty when there is none.
    nulls: Vec<bool>,
}

impl KeyColumn {
    /// Encodes the keys of `rows` rows from `columns` (none = the one global key). Types must be among those `supports` accepts.
    pub fn encode(columns: &[ArrayRef], rows: usize) -> Self {
        let mut key =
            Self { bytes: Vec::with_capacity(rows * (columns.len() * 12).max(1)), ends: Vec::with_capacity(rows), ..Self::default() };
        let has_nulls = columns.iter().any(|column| column.null_count() > 0);
        if has_nulls {
            key.nulls.reserve(rows);
        }
        for row in 0..rows {
            let start = key.bytes.len();
            let mut null = false;
            for column in columns {
                null |= push_value(&mut key.bytes, column, row);
            }
            if has_nulls {
                key.nulls.push(null);
            }
            key.ends.push(key.bytes.len() as u32);
            key.hashes.push(hash_key(&key.bytes[start..]));
        }
        key
    }

    /// Whether a column of this type can be part of a key. Floats cannot (S6.1).
    pub fn supports(kind: &DataType) -> bool {
        matches!(
            kind,
            DataType::Boolean
                | DataType::Int32
                | DataType::Int64
                | DataType::Date32
                | DataType::Utf8
                | DataType::Binary
                | DataType::Timestamp(TimeUnit::Microsecond, _)
        )
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The key bytes of `row`.
    #[inline]
    pub fn key(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }

    /// The hash of the key of `row`.
    #[inline]
    pub fn hash(&self, row: usize) -> u64 {
        self.hashes[row]
    }

    /// Whether a key column is null in `row`.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.get(row).copied().unwrap_or(false)
    }
}

/// Appends one value as S6.1 encodes it; true if it is null.
fn push_value(bytes: &mut Vec<u8>, column: &ArrayRef, row: usize) -> bool {
    if column.is_null(row) {
        bytes.push(0);
        return true;
    }
    bytes.push(1);
    let text: &[u8] = match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).as_bytes(),
        DataType::Binary => column.as_binary::<i32>().value(row),
        kind => {
            let value = match kind {
                DataType::Boolean => i64::from(column.as_boolean().value(row)),
                DataType::Int32 => i64::from(column.as_primitive::<Int32Type>().value(row)),
                DataType::Date32 => i64::from(column.as_primitive::<Date32Type>().value(row)),
                DataType::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row),
                _ => column.as_primitive::<Int64Type>().value(row),
            };
            bytes.extend_from_slice(&value.to_le_bytes());
            return false;
        }
    };
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text);
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn keys_are_encoded_as_the_rule_says() {
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![Some("ab"), None])), Arc::new(Int64Array::from(vec![-2i64, 7]))];
        let keys = KeyColumn::encode(&columns, 2);
        assert_eq!(keys.key(0), [&[1, 2, 0, 0, 0, b'a', b'b', 1][..], &(-2i64).to_le_bytes()].concat());
        assert_eq!(keys.key(1), [&[0, 1][..], &7i64.to_le_bytes()].concat());
        assert!(!keys.is_null(0) && keys.is_null(1));
        assert_eq!(keys.hash(0), hash_key(keys.key(0)));
    }

    #[test]
    fn no_columns_give_one_global_key() {
        let keys = KeyColumn::encode(&[], 3);
        assert!((0..3).all(|row| keys.key(row).is_empty() && !keys.is_null(row)));
    }
}
