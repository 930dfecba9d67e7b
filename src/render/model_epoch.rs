//! One epoch of one model: its rows, the features read for them, and the inputs that learners and networks gather from them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::input_rows::{InputSources, LookupRows, Tile};
use super::packet::{FeatureBlock, ModelInput, Packet, Reader};
use super::relation::{RelationColumns, Rows, SourceNames, StreamColumns, feature_column, timestamps};
use super::streams::arrow_error;
use crate::data::EventBatch;
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
    features: Vec<LookupRows>,
    /// Derived columns, float64.
    derived: Vec<ArrayRef>,
    sources: Arc<InputSources>,
    /// The inputs that are columns, as `sources` lists them.
    columns: Vec<Float64Array>,
}

impl ModelEpoch {
    /// Puts together what arrived for `model`, whose inputs come from `sources`; `None` if nothing did.
    pub fn assemble(
        plan: &Plan,
        model: &ModelPlan,
        sources: &Arc<InputSources>,
        epoch: Epoch,
        parcels: Vec<Packet>,
    ) -> Result<Option<Self>> {
        let mut input = None;
        let mut blocks: Vec<Vec<FeatureBlock>> = model.lookups.iter().map(|_| Vec::new()).collect();
        for parcel in parcels {
            match parcel {
                Packet::Rows(rows) => input = Some(rows),
                Packet::Features(block) => match block.reader {
                    Reader::Model { lookup, .. } if lookup < blocks.len() => blocks[lookup].push(block),
                    _ => return Err(Error::internal(format!("{} got features it does not read", model.id))),
                },
                _ => return Err(Error::internal(format!("{} got something other than rows and features", model.id))),
            }
        }
        let Some(input) = input else {
            let nothing = blocks.iter().all(Vec::is_empty);
            return if nothing { Ok(None) } else { Err(Error::internal(format!("{} got features without rows", model.id))) };
        };
        let rows = EventBatch::new(input.rows.0.clone());
        let of_lookup = |(blocks, index): (Vec<FeatureBlock>, usize)| LookupRows::new(blocks, rows.len(), plan.views[index].features.len());
        let features = blocks.into_iter().zip(model.lookups.iter().map(|lookup| lookup.view)).map(of_lookup).collect();
        let (derived, columns) = (Vec::new(), Vec::new());
        let mut assembled = Self { epoch, input, rows, features, derived, sources: sources.clone(), columns };
        assembled.derive(plan, model)?;
        for (_, origin) in sources.columns() {
            let column = match origin {
                InputOrigin::Stream(column) => numeric(assembled.rows.rows().column(*column))?,
                InputOrigin::Derived(derived) => assembled.derived[*derived].clone(),
                InputOrigin::Feature { .. } => return Err(Error::internal(format!("{}: a feature is no column", model.id))),
            };
            assembled.columns.push(column.as_primitive::<Float64Type>().clone());
        }
        Ok(Some(assembled))
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The inputs of some rows.
    pub fn gather(&self, rows: Range<usize>, tile: &mut Tile) {
        self.sources.gather(rows, &self.features, &self.columns, tile);
    }

    /// The label of a row where it is a column, and the weight for learning.
    #[inline]
    pub fn label(&self, row: usize) -> Option<(f64, f64)> {
        let y = self.input.labels.get(row).copied().filter(|y| !y.is_nan())?;
        Some((y, self.weight(row)))
    }

    /// The weight of a row for learning.
    #[inline]
    pub fn weight(&self, row: usize) -> f64 {
        self.input.weights.get(row).copied().unwrap_or(1.0)
    }

    fn derive(&mut self, plan: &Plan, model: &ModelPlan) -> Result<()> {
        for (name, expression) in &model.derive {
            let mut columns = Vec::with_capacity(expression.inputs().len());
            for input in expression.inputs() {
                columns.push(match &model.row_scope[*input] {
                    RowColumn::Stream(column) => numeric(self.rows.rows().column(*column))?,
                    RowColumn::Feature { lookup, feature } => {
                        numeric(&self.feature(plan, model, *lookup, *feature, &Rows::all(self.rows.len())))?
                    }
                });
            }
            let column = expression.evaluate(&columns, self.rows.len());
            self.derived.push(column.map_err(|message| Error::internal(format!("{}: derive.{name}: {message}", model.id)))?);
        }
        Ok(())
    }

    /// A feature of a lookup as a column.
    fn feature(&self, plan: &Plan, model: &ModelPlan, lookup: usize, feature: usize, rows: &Rows) -> ArrayRef {
        let cell = plan.views[model.lookups[lookup].view].features[feature].cell;
        let features = &self.features[lookup];
        feature_column(|row| features.place(row), feature, cell, rows)
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
    /// Rows without a full prediction, ascending, and why.
    pub degraded: Vec<(usize, &'static str)>,
    /// Contributions, row-major, where asked for.
    pub contributions: Vec<f64>,
    /// Epoch after which the parameters used had their state.
    pub version: u64,
}

impl Answers {
    /// Why a row has no full prediction.
    fn reason(&self, row: usize) -> Option<&'static str> {
        self.degraded.binary_search_by_key(&row, |(row, _)| *row).ok().map(|at| self.degraded[at].1)
    }
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

/// Numbers of the wanted rows; what is not finite is null.
fn floats(rows: &Rows, value: impl Fn(usize) -> f64) -> ArrayRef {
    let values: Vec<f64> = rows.iter().map(value).collect();
    let nulls = (!values.iter().all(|value| value.is_finite()))
        .then(|| NullBuffer::new(BooleanBuffer::collect_bool(values.len(), |row| values[row].is_finite())));
    Arc::new(Float64Array::new(values.into(), nulls))
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
            RelationOrigin::Lookup { lookup, feature } => epoch.feature(self.plan, self.model, *lookup, *feature, rows),
            RelationOrigin::Derived(derived) => rows.of(&epoch.derived[*derived])?,
            RelationOrigin::Input(input) => {
                let column = match self.model.inputs[*input].origin {
                    InputOrigin::Feature { lookup, feature } => numeric(&epoch.feature(self.plan, self.model, lookup, feature, rows))?,
                    InputOrigin::Stream(column) => numeric(&rows.of(epoch.rows.rows().column(column))?)?,
                    InputOrigin::Derived(derived) => rows.of(&epoch.derived[derived])?,
                };
                let column = column.as_primitive::<Float64Type>();
                floats(&Rows::all(rows.len()), |at| if column.is_valid(at) { column.value(at) } else { f64::NAN })
            }
            RelationOrigin::Explain(input) => {
                let width = self.model.inputs.len();
                floats(rows, |row| answers.contributions.get(row * width + input).copied().unwrap_or(f64::NAN))
            }
            RelationOrigin::Prediction if self.model.classification => {
                let threshold = self.model.threshold;
                let class = rows.iter().map(|row| Some(answers.predictions[row]).filter(|p| !p.is_nan()).map(|p| p >= threshold));
                Arc::new(arrow::array::BooleanArray::from_iter(class))
            }
            RelationOrigin::Prediction | RelationOrigin::Probability => floats(rows, |row| answers.predictions[row]),
            RelationOrigin::Degraded if answers.degraded.is_empty() => Arc::new(StringArray::new_null(rows.len())),
            RelationOrigin::Degraded => Arc::new(StringArray::from_iter(rows.iter().map(|row| answers.reason(row)))),
            RelationOrigin::ModelVersion => Arc::new(arrow::array::Int64Array::from_value(answers.version as i64, rows.len())),
            RelationOrigin::Label => floats(rows, |row| epoch.input.labels.get(row).copied().unwrap_or(f64::NAN)),
            RelationOrigin::LabelTime => timestamps(vec![None; rows.len()]),
            other => {
                let source = self.plan.streams[self.model.stream].source;
                StreamColumns { batch: &epoch.rows, source, epoch: epoch.epoch, names: self.names }.column(other, rows)?
            }
        })
    }
}
