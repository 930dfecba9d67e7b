//! Digests of rows that are columns, computed column by column.
//!
//! The digest of a row is xxh3 (seed 0) over eight little-endian bytes per column, and then one bit per column that is set where the value is null, in
//! words of 64. A number, date, instant or bool stands as itself (integers sign-extended, floats as their bits), a decimal as 16 bytes, a text as
//! its own xxh3, a value of another type as the xxh3 of its JSON; a null as zeros. So it is a function of the row's values and of the order of columns
//! alone, not of chunks, slices or buffers.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::write_json;

/// Rows digested together: their words should stay in the processor's first cache.
const BLOCK: usize = 256;

/// What is known of the rows of a batch beside their values.
pub(super) struct RowDigests {
    /// xxh3 of each row.
    pub digests: Vec<u64>,
    /// Size of each row in bytes: one per column, and its value if it is not null, texts with four bytes for their length.
    pub sizes: Vec<u32>,
}

/// Digests and sizes of the first `rows` rows of `arrays`, which are columns of the declared types.
pub(super) fn digest_rows(arrays: &[ArrayRef], rows: usize) -> RowDigests {
    let widths: Vec<usize> = arrays.iter().map(|array| words(array.data_type())).collect();
    let values = widths.iter().sum::<usize>() * 8;
    let stride = values + arrays.len().div_ceil(64) * 8;
    let mut matrix = vec![0u8; stride * BLOCK.min(rows)];
    let (mut digests, mut sizes) = (Vec::with_capacity(rows), vec![arrays.len() as u32; rows]);
    for first in (0..rows).step_by(BLOCK) {
        let count = BLOCK.min(rows - first);
        let block = &mut matrix[..stride * count];
        block.fill(0);
        let mut at = 0;
        for (index, (array, width)) in arrays.iter().zip(&widths).enumerate() {
            let sizes = &mut sizes[first..first + count];
            let mut cells = Cells { block: &mut *block, stride, at, sizes };
            cells.fill(array, first);
            if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
                for row in (0..count).filter(|row| nulls.is_null(first + row)) {
                    cells.clear(array, first, row, *width);
                    cells.block[row * stride + values + index / 8] |= 1 << (index % 8);
                }
            }
            at += width * 8;
        }
        digests.extend(block.chunks_exact(stride.max(1)).map(xxh3_64));
    }
    digests.resize(rows, xxh3_64(&[]));
    RowDigests { digests, sizes }
}

/// Words that a column takes in a row.
fn words(data_type: &DataType) -> usize {
    if matches!(data_type, DataType::Decimal128(..)) { 2 } else { 1 }
}

/// One column of a block of rows: the bytes from `at` on in each `stride` bytes, and the sizes of the rows.
struct Cells<'a> {
    block: &'a mut [u8],
    stride: usize,
    at: usize,
    sizes: &'a mut [u32],
}

impl Cells<'_> {
    /// Takes in the values from row `first` on, what stands in place of nulls included.
    fn fill(&mut self, array: &ArrayRef, first: usize) {
        let rows = first..first + self.sizes.len();
        match array.data_type() {
            DataType::Boolean => {
                let values = array.as_boolean();
                self.put(1, rows.map(|row| u64::from(values.value(row)).to_le_bytes()));
            }
            DataType::Int32 => self.put(4, array.as_primitive::<Int32Type>().values()[rows].iter().map(|v| i64::from(*v).to_le_bytes())),
            DataType::Date32 => self.put(4, array.as_primitive::<Date32Type>().values()[rows].iter().map(|v| i64::from(*v).to_le_bytes())),
            DataType::Int64 => self.put(8, array.as_primitive::<Int64Type>().values()[rows].iter().map(|v| v.to_le_bytes())),
            DataType::Timestamp(..) => {
                self.put(8, array.as_primitive::<TimestampMicrosecondType>().values()[rows].iter().map(|v| v.to_le_bytes()));
            }
            DataType::Float32 => {
                self.put(4, array.as_primitive::<Float32Type>().values()[rows].iter().map(|v| u64::from(v.to_bits()).to_le_bytes()));
            }
            DataType::Float64 => self.put(8, array.as_primitive::<Float64Type>().values()[rows].iter().map(|v| v.to_bits().to_le_bytes())),
            DataType::Decimal128(..) => {
                self.put(16, array.as_primitive::<Decimal128Type>().values()[rows].iter().map(|v| v.to_le_bytes()));
            }
            DataType::Utf8 => {
                let texts = array.as_string::<i32>();
                let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
                let range = |row: usize| offsets[row] as usize..offsets[row + 1] as usize;
                self.put(4, rows.clone().map(|row| xxh3_64(&bytes[range(row)]).to_le_bytes()));
                self.sizes.iter_mut().zip(rows).for_each(|(size, row)| *size += range(row).len() as u32);
            }
            _ => {
                let mut json = Vec::new();
                for (at, row) in rows.enumerate().filter(|(_, row)| array.is_valid(*row)) {
                    json.clear();
                    write_json(array, row, &mut json);
                    let cell = at * self.stride + self.at;
                    self.block[cell..cell + 8].copy_from_slice(&xxh3_64(&json).to_le_bytes());
                    self.sizes[at] += json.len() as u32;
                }
            }
        }
    }

    /// Writes one value per row, each of `size` bytes.
    #[inline(always)]
    fn put<const WIDTH: usize>(&mut self, size: u32, values: impl Iterator<Item = [u8; WIDTH]>) {
        let at = self.at;
        for (cells, value) in self.block.chunks_exact_mut(self.stride).zip(values) {
            cells[at..at + WIDTH].copy_from_slice(&value);
        }
        self.sizes.iter_mut().for_each(|of_row| *of_row += size);
    }

    /// Takes out again what stands in place of a null.
    fn clear(&mut self, array: &ArrayRef, first: usize, row: usize, width: usize) {
        let begin = row * self.stride + self.at;
        self.block[begin..begin + width * 8].fill(0);
        self.sizes[row] -= match array.data_type() {
            DataType::Utf8 => {
                let offsets = array.as_string::<i32>().value_offsets();
                4 + (offsets[first + row + 1] - offsets[first + row]) as u32
            }
            DataType::Boolean => 1,
            other => other.primitive_width().unwrap_or(0) as u32,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Float64Array, Int32Array, ListArray, StringArray};
    use arrow::compute::concat;

    use super::*;

    fn columns() -> Vec<ArrayRef> {
        let rows = 1_000i64;
        let some = |row: i64, every: i64| row % every != 0;
        vec![
            Arc::new((0..rows).map(|row| some(row, 3).then_some(row % 2 == 0)).collect::<BooleanArray>()),
            Arc::new((0..rows).map(|row| some(row, 5).then_some(row as i32 - 500)).collect::<Int32Array>()),
            Arc::new((0..rows).map(|row| row as f64 / 7.0).collect::<Float64Array>()),
            Arc::new((0..rows).map(|row| some(row, 7).then_some(i128::from(row) << 70)).collect::<Decimal128Array>()),
            Arc::new((0..rows).map(|row| some(row, 11).then(|| "x".repeat(row as usize % 40))).collect::<StringArray>()),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                (0..rows).map(|row| some(row, 13).then(|| (0..row as i32 % 4).map(Some))),
            )),
        ]
    }

    #[test]
    fn slices_and_buffers_make_no_difference() {
        let columns = columns();
        let whole = digest_rows(&columns, 1_000);
        for (from, count) in [(0, 1), (1, 255), (255, 300), (300, 700), (999, 1)] {
            let slices: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, count)).collect();
            let copies: Vec<ArrayRef> = slices.iter().map(|slice| concat(&[slice, &slice.slice(0, 0)]).unwrap()).collect();
            for part in [slices, copies] {
                let part = digest_rows(&part, count);
                assert_eq!((&part.digests[..], &part.sizes[..]), (&whole.digests[from..from + count], &whole.sizes[from..from + count]));
            }
        }
        let none = digest_rows(&[], 3);
        assert_eq!((none.digests.len(), none.sizes), (3, vec![0; 3]));
    }

    #[test]
    fn every_value_and_every_null_counts_and_what_stands_under_a_null_does_not() {
        let columns = columns();
        let whole = digest_rows(&columns, 1_000);
        let distinct: std::collections::BTreeSet<u64> = whole.digests.iter().copied().collect();
        assert_eq!(distinct.len(), 1_000);
        for index in 0..columns.len() {
            let mut other = columns.clone();
            // Each row has the value of the row before, and the first that of the last.
            other[index] = concat(&[&columns[index].slice(999, 1), &columns[index].slice(0, 999)]).unwrap();
            let other = digest_rows(&other, 1_000);
            let same = (0..1_000).filter(|row| other.digests[*row] == whole.digests[*row]).count();
            assert!(same < 600, "column {index} does not count in {same} rows");
        }
        let under = |placeholder: &str| -> Vec<ArrayRef> {
            let nulls = Some(vec![true, false].into());
            let text = StringArray::from(vec!["a", placeholder]);
            vec![Arc::new(StringArray::new(text.offsets().clone(), text.values().clone(), nulls))]
        };
        let (one, other) = (digest_rows(&under(""), 2), digest_rows(&under("zzz"), 2));
        assert_eq!((one.digests, one.sizes), (other.digests, other.sizes.clone()));
        assert_eq!(other.sizes, [1 + 4 + 1, 1]);
    }
}
