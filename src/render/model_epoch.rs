//! One epoch of one model: its rows, the features read for them, and the dense matrix of inputs that learners and networks read.
//!
//! The matrix is assembled once: row-major `f64`, inputs in byte order of their names, one bit of validity a cell.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::packet::{ModelInput, Packet, Reader};
use super::relation::{RelationColumns, Rows, SourceNames, StreamColumns, feature_column, timestamps};
use super::streams::arrow_error;
use crate::data::{CellType, EventBatch, FeatureRows};
use crate::error::{Error, Result};
use crate::plan::{InputOrigin, ModelPlan, Plan, RelationOrigin, RowColumn};
use crate::time::Epoch;

/// Rows, features and inputs of one model in one epoch.
pub struct ModelEpoch {
    /// Which epoch.
    pub epoch: Epoch,
    /// Rows, labels, weights.
    pub input: Arc<ModelInput>,
    /// The rows as an event batch.
    pub rows: EventBatch,
    /// Per lookup the features of each row.
    pub features: Vec<FeatureRows>,
    /// Derived columns, float64.
    pub derived: Vec<ArrayRef>,
    /// Inputs, row-major; 0 where null.
    pub x: Vec<f64>,
    /// Validity of the inputs, `words` words a row.
    pub valid: Vec<u64>,
    /// Inputs per row.
    pub width: usize,
}

/// The memory of a matrix of inputs, kept from one epoch to the next: megabytes that the system need not clear anew for each.
#[derive(Default)]
pub struct Matrix {
    x: Vec<f64>,
    valid: Vec<u64>,
}

impl ModelEpoch {
    /// Puts together what arrived for `model`, in the memory of `matrix`; `None` if nothing did.
    pub fn assemble(plan: &Plan, model: &ModelPlan, epoch: Epoch, parcels: Vec<Packet>, matrix: Matrix) -> Result<Option<Self>> {
        let mut input = None;
        let mut blocks = Vec::new();
        for parcel in parcels {
            match parcel {
                Packet::Rows(rows) => input = Some(rows),
                Packet::Features(block) => blocks.push(block),
                _ => return Err(Error::internal(format!("{} got something other than rows and features", model.id))),
            }
        }
        let Some(input) = input else {
            return if blocks.is_empty() { Ok(None) } else { Err(Error::internal(format!("{} got features without rows", model.id))) };
        };
        let rows = EventBatch::new(input.rows.0.clone());
        let mut features: Vec<FeatureRows> = Vec::with_capacity(model.lookups.len());
        for (index, lookup) in model.lookups.iter().enumerate() {
            let types: Vec<CellType> = plan.views[lookup.view].features.iter().map(|feature| feature.cell).collect();
            let whole = blocks.iter().position(|block| {
                let mine = matches!(block.reader, Reader::Model { lookup, .. } if lookup == index);
                mine && block.rows.len() == rows.len() && block.rows.iter().enumerate().all(|(at, row)| at == *row as usize)
            });
            if let Some(whole) = whole {
                features.push(std::mem::take(&mut blocks[whole].features));
                continue;
            }
            let mut merged = FeatureRows::nulls(rows.len(), types.len());
            for block in blocks.iter().filter(|block| matches!(block.reader, Reader::Model { lookup, .. } if lookup == index)) {
                for (from, row) in block.rows.iter().enumerate() {
                    merged.copy_row(*row as usize, &block.features, from, &types);
                }
            }
            features.push(merged);
        }
        let width = model.inputs.len();
        let Matrix { x, valid } = matrix;
        let mut assembled = Self { epoch, input, rows, features, derived: Vec::new(), x, valid, width };
        assembled.derive(plan, model)?;
        assembled.fill(plan, model)?;
        Ok(Some(assembled))
    }

    /// Gives the memory of the matrix back.
    pub fn into_matrix(self) -> Matrix {
        Matrix { x: self.x, valid: self.valid }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Validity words per row.
    pub fn words(&self) -> usize {
        self.width.div_ceil(64)
    }

    /// Inputs and validity of one row.
    #[inline]
    pub fn row(&self, row: usize) -> (&[f64], &[u64]) {
        let words = self.words();
        (&self.x[row * self.width..(row + 1) * self.width], &self.valid[row * words..(row + 1) * words])
    }

    fn derive(&mut self, plan: &Plan, model: &ModelPlan) -> Result<()> {
        for (name, expression) in &model.derive {
            let mut columns = Vec::with_capacity(expression.inputs().len());
            for input in expression.inputs() {
                columns.push(match &model.row_scope[*input] {
                    RowColumn::Stream(column) => numeric(self.rows.rows().column(*column))?,
                    RowColumn::Feature { lookup, feature } => {
                        let cell = plan.views[model.lookups[*lookup].view].features[*feature].cell;
                        numeric(&feature_column(&self.features[*lookup], *feature, cell, &Rows::all(self.rows.len())))?
                    }
                });
            }
            let column = expression.evaluate(&columns, self.rows.len());
            self.derived.push(column.map_err(|message| Error::internal(format!("{}: derive.{name}: {message}", model.id)))?);
        }
        Ok(())
    }

    fn fill(&mut self, plan: &Plan, model: &ModelPlan) -> Result<()> {
        let (rows, width, words) = (self.rows.len(), self.width, self.words());
        // Every cell of `x` is written below: each input has one origin. What an earlier epoch left there does no harm.
        self.x.resize(rows * width, 0.0);
        self.valid.clear();
        self.valid.resize(rows * words, 0);
        for lookup in 0..model.lookups.len() {
            let read: Vec<(usize, usize, CellType)> = model
                .inputs
                .iter()
                .enumerate()
                .filter_map(|(input, declared)| match declared.origin {
                    InputOrigin::Feature { lookup: from, feature } if from == lookup => {
                        Some((input, feature, plan.views[model.lookups[lookup].view].features[feature].cell))
                    }
                    _ => None,
                })
                .collect();
            let features = &self.features[lookup];
            for row in 0..if read.is_empty() { 0 } else { rows } {
                let (cells, present) = features.row(row);
                let x = &mut self.x[row * width..(row + 1) * width];
                let valid = &mut self.valid[row * words..(row + 1) * words];
                for (input, feature, cell) in &read {
                    let (bits, is_present) = (cells[*feature], present[feature / 64] >> (feature % 64) & 1);
                    let value = if *cell == CellType::Float64 { f64::from_bits(bits) } else { bits as i64 as f64 };
                    x[*input] = if is_present == 1 { value } else { 0.0 };
                    valid[input / 64] |= is_present << (input % 64);
                }
            }
        }
        for (input, declared) in model.inputs.iter().enumerate() {
            let column = match declared.origin {
                InputOrigin::Feature { .. } => continue,
                InputOrigin::Stream(column) => numeric(self.rows.rows().column(column))?,
                InputOrigin::Derived(derived) => self.derived[derived].clone(),
            };
            let column: &Float64Array = column.as_primitive::<Float64Type>();
            for row in 0..rows {
                let is_valid = column.is_valid(row);
                self.x[row * width + input] = if is_valid { column.value(row) } else { 0.0 };
                self.valid[row * words + input / 64] |= u64::from(is_valid) << (input % 64);
            }
        }
        Ok(())
    }
}

/// A numeric or boolean column as float64; other columns as they are.
fn numeric(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Float64 => Ok(column.clone()),
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::Float32 | DataType::Decimal128(..) => {
            cast(column, &DataType::Float64).map_err(arrow_error)
        }
        _ => Ok(column.clone()),
    }
}

/// What a model answered for the rows of an epoch.
#[derive(Default)]
pub struct Answers {
    /// Probability or value; NaN = none.
    pub predictions: Vec<f64>,
    /// Why there is none, or why it is not a full one.
    pub degraded: Vec<Option<&'static str>>,
    /// Contributions, row-major, where asked for.
    pub contributions: Vec<f64>,
    /// Epoch after which the parameters used had their state.
    pub version: u64,
}

/// The relation of `models.M` for one epoch.
pub struct ModelColumns<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The model.
    pub model: &'a ModelPlan,
    /// Rows, features, inputs.
    pub epoch: &'a ModelEpoch,
    /// Answers.
    pub answers: &'a Answers,
    /// Names.
    pub names: &'a SourceNames,
}

impl ModelColumns<'_> {
    fn floats(&self, rows: &Rows, value: impl Fn(usize) -> Option<f64>) -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| value(row).filter(|value| value.is_finite()))))
    }
}

impl RelationColumns for ModelColumns<'_> {
    fn rows(&self) -> usize {
        self.epoch.len()
    }

    fn times(&self) -> &[i64] {
        self.epoch.rows.times()
    }

    fn column(&self, origin: &RelationOrigin, rows: &Rows) -> Result<ArrayRef> {
        let (epoch, answers) = (self.epoch, self.answers);
        Ok(match origin {
            RelationOrigin::Lookup { lookup, feature } => {
                let cell = self.plan.views[self.model.lookups[*lookup].view].features[*feature].cell;
                feature_column(&epoch.features[*lookup], *feature, cell, rows)
            }
            RelationOrigin::Derived(derived) => rows.of(&epoch.derived[*derived])?,
            RelationOrigin::Input(input) => self.floats(rows, |row| {
                let (x, valid) = epoch.row(row);
                (valid[input / 64] >> (input % 64) & 1 == 1).then(|| x[*input])
            }),
            RelationOrigin::Explain(input) => self.floats(rows, |row| answers.contributions.get(row * epoch.width + input).copied()),
            RelationOrigin::Prediction if self.model.classification => {
                let threshold = self.model.threshold;
                let class = rows.iter().map(|row| Some(answers.predictions[row]).filter(|p| !p.is_nan()).map(|p| p >= threshold));
                Arc::new(arrow::array::BooleanArray::from_iter(class))
            }
            RelationOrigin::Prediction | RelationOrigin::Probability => self.floats(rows, |row| Some(answers.predictions[row])),
            RelationOrigin::Degraded => Arc::new(arrow::array::StringArray::from_iter(rows.iter().map(|row| answers.degraded[row]))),
            RelationOrigin::ModelVersion => Arc::new(arrow::array::Int64Array::from_value(answers.version as i64, rows.len())),
            RelationOrigin::Label => self.floats(rows, |row| epoch.input.labels.get(row).copied()),
            RelationOrigin::LabelTime => timestamps(vec![None; rows.len()]),
            other => {
                let source = self.plan.streams[self.model.stream].source;
                StreamColumns { batch: &epoch.rows, source, epoch: epoch.epoch, names: self.names }.column(other, rows)?
            }
        })
    }
}
