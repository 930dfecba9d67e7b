//! Keys: the bytes that identify an entity or a record, and their hash (S6.1).

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use serde::{Deserialize, Serialize};

use super::append_part;

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
        let parts: Vec<Part<'_>> = columns.iter().map(Part::of).collect();
        let room = parts.iter().map(|part| part.room(rows)).sum();
        let (mut bytes, mut ends, mut hashes) = (Vec::with_capacity(room), Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let start = bytes.len();
            for part in &parts {
                part.push(&mut bytes, row);
            }
            ends.push(bytes.len() as u32);
            hashes.push(hash_key(&bytes[start..]));
        }
        let nulls = match parts.iter().any(|part| part.nulls.is_some()) {
            true => (0..rows).map(|row| parts.iter().any(|part| part.is_null(row))).collect(),
            false => Vec::new(),
        };
        Self { bytes, ends, hashes, nulls }
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

/// One column of a key.
struct Part<'a> {
    values: Values<'a>,
    /// Which of them are null, if any is.
    nulls: Option<&'a NullBuffer>,
}

/// The values of a column, as S6.1 has them.
enum Values<'a> {
    /// Byte strings: offsets, and the bytes they are in.
    Bytes(&'a [i32], &'a [u8]),
    Numbers(Cow<'a, [i64]>),
}

impl<'a> Part<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        let values = match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                Values::Bytes(texts.value_offsets(), texts.value_data())
            }
            DataType::Binary => {
                let values = column.as_binary::<i32>();
                Values::Bytes(values.value_offsets(), values.value_data())
            }
            DataType::Boolean => Values::Numbers(column.as_boolean().values().iter().map(i64::from).collect()),
            DataType::Int32 => Values::Numbers(column.as_primitive::<Int32Type>().values().iter().map(|value| i64::from(*value)).collect()),
            DataType::Date32 => {
                Values::Numbers(column.as_primitive::<Date32Type>().values().iter().map(|value| i64::from(*value)).collect())
            }
            DataType::Timestamp(..) => Values::Numbers(Cow::from(&column.as_primitive::<TimestampMicrosecondType>().values()[..])),
            _ => Values::Numbers(Cow::from(&column.as_primitive::<Int64Type>().values()[..])),
        };
        Self { values, nulls: column.nulls().filter(|nulls| nulls.null_count() > 0) }
    }

    /// The bytes that so many rows take, or a few more.
    fn room(&self, rows: usize) -> usize {
        match &self.values {
            Values::Bytes(offsets, _) => {
                5 * rows + offsets.last().zip(offsets.first()).map_or(0, |(end, start)| (end - start) as usize) + 16
            }
            Values::Numbers(_) => 9 * rows,
        }
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the value of `row` as S6.1 encodes it.
    #[inline]
    fn push(&self, bytes: &mut Vec<u8>, row: usize) {
        if self.is_null(row) {
            bytes.push(0);
            return;
        }
        match &self.values {
            Values::Bytes(offsets, data) => {
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let [a, b, c, d] = ((end - start) as u32).to_le_bytes();
                bytes.extend_from_slice(&[1, a, b, c, d]);
                append_part(bytes, data, start, end);
            }
            Values::Numbers(values) => {
                bytes.push(1);
                bytes.extend_from_slice(&values[row].to_le_bytes());
            }
        }
    }
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
