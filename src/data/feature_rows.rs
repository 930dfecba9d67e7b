//! Feature rows: the values of the features of one view as of each probing record, dense and row-major.

use serde::{Deserialize, Serialize};

/// How the bits of a cell are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellType {
    /// `f64::to_bits`
    Float64,
    /// `i64 as u64`
    Int64,
    /// 0 or 1
    Bool,
    /// UTC microseconds, `i64 as u64`
    Timestamp,
    /// Index into the block's `texts`
    Text,
}

/// One value read back from a block.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Null.
    Null,
    /// A float.
    Float64(f64),
    /// An integer.
    Int64(i64),
    /// A truth value.
    Bool(bool),
    /// UTC microseconds.
    Timestamp(i64),
    /// A string.
    Text(&'a str),
}

/// A block of feature rows: `rows × width` cells, row-major, one bit of validity a cell.
///
/// Learners and networks read whole rows; sinks read columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureRows {
    width: usize,
    cells: Vec<u64>,
    /// `words_per_row` words a row; bit `c` of the row's words is set when cell `c` is not null.
    valid: Vec<u64>,
    texts: Vec<Box<str>>,
}

impl FeatureRows {
    /// `rows` rows of `width` nulls.
    pub fn nulls(rows: usize, width: usize) -> Self {
        Self { width, cells: vec![0; rows * width], valid: vec![0; rows * width.div_ceil(64)], texts: Vec::new() }
    }

    /// Features per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or(0)
    }

    /// Validity words per row.
    pub fn words_per_row(&self) -> usize {
        self.width.div_ceil(64)
    }

    /// The cells of `row`, and its validity words.
    #[inline]
    pub fn row(&self, row: usize) -> (&[u64], &[u64]) {
        let words = self.words_per_row();
        (&self.cells[row * self.width..(row + 1) * self.width], &self.valid[row * words..(row + 1) * words])
    }

    /// The same, to be written.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> (&mut [u64], &mut [u64]) {
        let words = self.words_per_row();
        (&mut self.cells[row * self.width..(row + 1) * self.width], &mut self.valid[row * words..(row + 1) * words])
    }

    /// Sets one cell to a value with these bits.
    #[inline]
    pub fn set(&mut self, row: usize, column: usize, bits: u64) {
        let words = self.words_per_row();
        self.cells[row * self.width + column] = bits;
        self.valid[row * words + column / 64] |= 1 << (column % 64);
    }

    /// Sets one cell to a string.
    pub fn set_text(&mut self, row: usize, column: usize, text: &str) {
        let index = self.texts.len() as u64;
        self.texts.push(text.into());
        self.set(row, column, index);
    }

    /// Reads one cell as `kind`.
    pub fn get(&self, row: usize, column: usize, kind: CellType) -> Cell<'_> {
        if !self.is_valid(row, column) {
            return Cell::Null;
        }
        let bits = self.cells[row * self.width + column];
        match kind {
            CellType::Float64 => Cell::Float64(f64::from_bits(bits)),
            CellType::Int64 => Cell::Int64(bits as i64),
            CellType::Bool => Cell::Bool(bits != 0),
            CellType::Timestamp => Cell::Timestamp(bits as i64),
            CellType::Text => self.texts.get(bits as usize).map_or(Cell::Null, |text| Cell::Text(text)),
        }
    }

    /// Whether a cell is not null.
    #[inline]
    pub fn is_valid(&self, row: usize, column: usize) -> bool {
        self.valid[row * self.words_per_row() + column / 64] >> (column % 64) & 1 == 1
    }

    /// Copies `from`'s row `source` over row `target` of `self`, strings included; widths and types must agree.
    pub fn copy_row(&mut self, target: usize, from: &FeatureRows, source: usize, types: &[CellType]) {
        let (cells, valid) = from.row(source);
        let (own_cells, own_valid) = self.row_mut(target);
        own_cells.copy_from_slice(cells);
        own_valid.copy_from_slice(valid);
        if from.texts.is_empty() {
            return;
        }
        for (column, kind) in types.iter().enumerate() {
            if let (CellType::Text, Cell::Text(text)) = (kind, from.get(source, column, *kind)) {
                self.set_text(target, column, text);
            }
        }
    }
}
