//! From the feature rows of an epoch to the inputs of a model: a few rows at a time, in the order of the inputs, into memory that stays near.
//!
//! Feature rows stay in the blocks they came in, and where each of the model's rows is among them is remembered instead of merging them. Whoever
//! needs the inputs of some rows has them gathered into a [`Tile`]; nobody fills a matrix of a whole epoch that is read once.

use std::ops::Range;

use arrow::array::{Array, Float64Array};

use super::packet::FeatureBlock;
use crate::data::{CellType, FeatureRows};
use crate::models::Row;
use crate::plan::{InputOrigin, ModelPlan, Plan};

/// Feature rows of one lookup of a model.
pub struct LookupRows {
    blocks: Vec<FeatureRows>,
    /// Block and row in it, by the model's row; `None`: the one block has all rows in order.
    places: Option<Vec<(u32, u32)>>,
}

impl LookupRows {
    /// The blocks of one lookup, for a model with `rows` rows; `width` features each. Rows that no block has are null.
    pub fn new(mut blocks: Vec<FeatureBlock>, rows: usize, width: usize) -> Self {
        let whole = |block: &FeatureBlock| block.rows.len() == rows && block.rows.iter().enumerate().all(|(at, row)| at == *row as usize);
        if let Some(whole) = blocks.iter().position(whole) {
            return Self { blocks: vec![blocks.swap_remove(whole).features], places: None };
        }
        let mut places = vec![(0, 0); rows];
        let mut kept = vec![FeatureRows::nulls(1, width)];
        for block in blocks {
            let at = kept.len() as u32;
            for (from, row) in block.rows.iter().enumerate() {
                places[*row as usize] = (at, from as u32);
            }
            kept.push(block.features);
        }
        Self { blocks: kept, places: Some(places) }
    }

    /// The block of a row, and which of its rows it is.
    #[inline]
    pub fn place(&self, row: usize) -> (&FeatureRows, usize) {
        match &self.places {
            None => (&self.blocks[0], row),
            Some(places) => {
                let (block, row) = places[row];
                (&self.blocks[block as usize], row as usize)
            }
        }
    }
}

/// Where the inputs of a model come from, sorted by what reading them takes. The same for every epoch.
pub struct InputSources {
    /// Per lookup.
    lookups: Vec<FromLookup>,
    /// Input, and the column of the stream or the derived column that it is.
    columns: Vec<(usize, InputOrigin)>,
    width: usize,
}

/// The inputs that are features of one lookup.
#[derive(Default)]
struct FromLookup {
    /// Inputs that follow one another: the first, and the feature of each. Mostly all of a lookup, whose names begin alike.
    runs: Vec<(usize, Vec<u32>)>,
    /// Those among them whose cells are integers.
    integers: Vec<u32>,
    /// Bits of a feature row's validity that are all set if none of these inputs is null.
    needed: Vec<u64>,
    /// Bits of these inputs.
    inputs: Vec<u64>,
    /// By feature, the inputs that are this feature.
    inputs_of: Vec<Vec<u32>>,
}

/// Cells and validity of a feature row.
type FeatureRow<'a> = (&'a [u64], &'a [u64]);

impl FromLookup {
    /// Nothing of a lookup with so many features, for a model with `width` inputs.
    fn new(features: usize, width: usize) -> Self {
        Self {
            needed: vec![0; features.div_ceil(64)],
            inputs: vec![0; width.div_ceil(64)],
            inputs_of: vec![Vec::new(); features],
            ..Self::default()
        }
    }

    /// Also `input`, which is greater than those before it: it is `feature`.
    fn add(&mut self, input: usize, feature: usize, is_float: bool) {
        match self.runs.last_mut().filter(|(first, features)| first + features.len() == input) {
            Some((_, features)) => features.push(feature as u32),
            None => self.runs.push((input, vec![feature as u32])),
        }
        if !is_float {
            self.integers.push(input as u32);
        }
        set(&mut self.needed, feature);
        set(&mut self.inputs, input);
        self.inputs_of[feature].push(input as u32);
    }

    /// Reads feature rows into as many rows of inputs, of `width` numbers and `words` words, whose bits of validity are not set yet.
    fn read(&self, rows: &[FeatureRow<'_>], (x, width): (&mut [f64], usize), (valid, words): (&mut [u64], usize)) {
        let known = self.inputs_of.len();
        for (first, features) in &self.runs {
            let (fours, rest) = features.as_chunks::<4>();
            for (at, four) in fours.iter().enumerate() {
                copy(rows, known, four, x, (width, first + 4 * at));
            }
            match features.last_chunk::<4>() {
                // Copied twice, which costs less than one by one.
                Some(four) if !rest.is_empty() => copy(rows, known, four, x, (width, first + features.len() - 4)),
                _ => rest.iter().enumerate().for_each(|(at, one)| copy(rows, known, &[*one], x, (width, first + at))),
            }
        }
        for ((x, valid), (_, present)) in x.chunks_exact_mut(width).zip(valid.chunks_exact_mut(words)).zip(rows) {
            for input in &self.integers {
                let x = &mut x[*input as usize];
                *x = x.to_bits() as i64 as f64;
            }
            for (valid, inputs) in valid.iter_mut().zip(&self.inputs) {
                *valid |= inputs;
            }
            for (word, (needed, present)) in self.needed.iter().zip(*present).enumerate() {
                if needed & !present != 0 {
                    self.clear(word, needed & !present, x, valid);
                }
            }
        }
    }

    /// The inputs of the features `missing` of word `word` are null.
    #[inline(never)]
    fn clear(&self, word: usize, mut missing: u64, x: &mut [f64], valid: &mut [u64]) {
        while missing != 0 {
            let feature = word * 64 + missing.trailing_zeros() as usize;
            missing &= missing - 1;
            for input in self.inputs_of[feature].iter().map(|input| *input as usize) {
                x[input] = 0.0;
                valid[input / 64] &= !(1 << (input % 64));
            }
        }
    }
}

/// Copies the bits of `N` of so many features of each row to neighbouring inputs, of `width` a row, from `first` on. Which these are is looked at once, not
/// once a row.
#[inline(always)]
fn copy<const N: usize>(rows: &[FeatureRow<'_>], features: usize, which: &[u32; N], x: &mut [f64], (width, first): (usize, usize)) {
    let which = which.map(|feature| feature as usize);
    assert!(which.iter().all(|feature| *feature < features), "a feature that the lookup has");
    let targets = x.chunks_exact_mut(width).filter_map(|x| x.get_mut(first..)?.first_chunk_mut::<N>());
    for ((cells, _), out) in rows.iter().zip(targets) {
        let cells = &cells[..features];
        *out = which.map(|feature| f64::from_bits(cells[feature]));
    }
}

/// Sets bit `at`.
fn set(words: &mut [u64], at: usize) {
    words[at / 64] |= 1 << (at % 64);
}

impl InputSources {
    /// Those of `model`.
    pub fn new(plan: &Plan, model: &ModelPlan) -> Self {
        let width = model.inputs.len();
        let inputs_of = |lookup: usize| {
            let features = &plan.views[model.lookups[lookup].view].features;
            let mut found = FromLookup::new(features.len(), width);
            for (input, declared) in model.inputs.iter().enumerate() {
                if let InputOrigin::Feature { lookup: from, feature } = declared.origin
                    && from == lookup
                {
                    found.add(input, feature, features[feature].cell == CellType::Float64);
                }
            }
            found
        };
        let columns = model.inputs.iter().map(|input| input.origin).enumerate();
        Self {
            lookups: (0..model.lookups.len()).map(inputs_of).collect(),
            columns: columns.filter(|(_, origin)| !matches!(origin, InputOrigin::Feature { .. })).collect(),
            width,
        }
    }

    /// Inputs that are columns: which, and of what.
    pub fn columns(&self) -> &[(usize, InputOrigin)] {
        &self.columns
    }

    /// Gathers `rows` into `tile`; `lookups` are the feature rows of each lookup, `columns` those of [`columns`](Self::columns).
    pub fn gather(&self, rows: Range<usize>, lookups: &[LookupRows], columns: &[Float64Array], tile: &mut Tile) {
        tile.shape(rows.len(), self.width);
        let (width, words) = (tile.width, tile.words);
        if width == 0 {
            return;
        }
        for (from, features) in self.lookups.iter().zip(lookups).filter(|(from, _)| !from.runs.is_empty()) {
            let tiles = tile.x.chunks_mut(Tile::ROWS * width).zip(tile.valid.chunks_mut(Tile::ROWS * words));
            for ((x, valid), start) in tiles.zip(rows.clone().step_by(Tile::ROWS)) {
                let mut found: [FeatureRow<'_>; Tile::ROWS] = [(&[], &[]); Tile::ROWS];
                let count = Tile::ROWS.min(rows.end - start);
                for (found, row) in found.iter_mut().zip(start..start + count) {
                    let (block, row) = features.place(row);
                    *found = block.row(row);
                }
                from.read(&found[..count], (x, width), (valid, words));
            }
        }
        for ((input, _), column) in self.columns.iter().zip(columns) {
            let (word, bit) = (input / 64, 1u64 << (input % 64));
            let values = &column.values()[rows.clone()];
            match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => {
                    for ((x, valid), value) in tile.x.chunks_exact_mut(width).zip(tile.valid.chunks_exact_mut(words)).zip(values) {
                        x[*input] = *value;
                        valid[word] |= bit;
                    }
                }
                Some(nulls) => {
                    for (at, row) in rows.clone().enumerate() {
                        let is_valid = nulls.is_valid(row);
                        tile.x[at * width + input] = if is_valid { values[at] } else { 0.0 };
                        tile.valid[at * words + word] |= if is_valid { bit } else { 0 };
                    }
                }
            }
        }
    }
}

/// Inputs of some rows, row-major: 0 and no bit of validity where null.
#[derive(Default)]
pub struct Tile {
    /// Inputs, `width` a row.
    pub x: Vec<f64>,
    /// Validity, `width.div_ceil(64)` words a row.
    pub valid: Vec<u64>,
    width: usize,
    words: usize,
}

impl Tile {
    /// Rows that are worth gathering at a time: with dozens of inputs they stay in the nearest cache.
    pub const ROWS: usize = 64;

    /// Room for `rows` rows, none of them valid yet.
    fn shape(&mut self, rows: usize, width: usize) {
        (self.width, self.words) = (width, width.div_ceil(64));
        self.x.resize(rows * width, 0.0);
        self.valid.clear();
        self.valid.resize(rows * self.words, 0);
    }

    /// The inputs of row `at` of those gathered.
    #[inline]
    pub fn row(&self, at: usize) -> Row<'_> {
        Row { x: &self.x[at * self.width..(at + 1) * self.width], valid: &self.valid[at * self.words..(at + 1) * self.words] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Reader;

    const ROWS: usize = 150;
    const FEATURES: usize = 70;
    const WIDTH: usize = FEATURES + 1;

    /// The value of a feature, if it is not null: integers where the feature is odd. Rows with even numbers are complete.
    fn value(row: usize, feature: usize) -> Option<u64> {
        let number = (row * 97 + feature * 31) as u64 % 1009;
        let bits = if feature.is_multiple_of(2) { (number as f64 / 8.0).to_bits() } else { number };
        ((!number.is_multiple_of(5) || row.is_multiple_of(2)) && row % 10 != 9).then_some(bits)
    }

    /// A block with these rows.
    fn block(rows: Vec<u32>) -> FeatureBlock {
        let mut features = FeatureRows::nulls(rows.len(), FEATURES);
        for (at, row) in rows.iter().enumerate() {
            for feature in 0..FEATURES {
                if let Some(bits) = value(*row as usize, feature) {
                    features.set(at, feature, bits);
                }
            }
        }
        FeatureBlock { view: 0, reader: Reader::Model { model: 0, lookup: 0 }, rows, features }
    }

    /// Features in reverse order, the column in their midst.
    fn input_of(feature: usize) -> usize {
        let input = FEATURES - 1 - feature;
        if input < FEATURES / 2 { input } else { input + 1 }
    }

    fn sources() -> InputSources {
        let mut lookup = FromLookup::new(FEATURES, WIDTH);
        for feature in (0..FEATURES).rev() {
            lookup.add(input_of(feature), feature, feature.is_multiple_of(2));
        }
        InputSources { lookups: vec![lookup], columns: vec![(FEATURES / 2, InputOrigin::Stream(0))], width: WIDTH }
    }

    #[test]
    fn tiles_hold_what_the_rows_hold_however_blocks_are_cut() {
        let column = |row: usize| (row % 4 != 1).then_some(row as f64 + 0.5);
        let columns = [Float64Array::from_iter((0..ROWS).map(column))];
        let (one, odd, even) = ((0..ROWS as u32).collect(), (1..ROWS as u32).step_by(2).collect(), (0..ROWS as u32).step_by(2).collect());
        // Every tenth row has no features at all: some of the blocks leave it out.
        let sparse = (0..ROWS as u32).rev().filter(|row| row % 10 != 9).collect();
        for blocks in [vec![block(one)], vec![block(odd), block(even)], vec![block(sparse)]] {
            let lookups = [LookupRows::new(blocks, ROWS, FEATURES)];
            let mut tile = Tile::default();
            for rows in [0..64, 64..128, 128..ROWS, 7..8, 0..0, 0..ROWS] {
                sources().gather(rows.clone(), &lookups, &columns, &mut tile);
                for (at, row) in rows.enumerate() {
                    let Row { x, valid } = tile.row(at);
                    let mut expected = vec![None; WIDTH];
                    expected[FEATURES / 2] = column(row);
                    for feature in 0..FEATURES {
                        let number = |bits: u64| if feature.is_multiple_of(2) { f64::from_bits(bits) } else { bits as f64 };
                        expected[input_of(feature)] = value(row, feature).map(number);
                    }
                    for (input, expected) in expected.into_iter().enumerate() {
                        assert_eq!((x[input], valid[input / 64] >> (input % 64) & 1 == 1), (expected.unwrap_or(0.0), expected.is_some()));
                    }
                }
            }
        }
    }
}
