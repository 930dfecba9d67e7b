//! Evaluation: whole batches, and row by row where a batch fails (S9.1).
//!
//! Whether a row fails, and its value, depend on that row alone. A batch computes at least what its rows would compute one at a time (`and`, `or`,
//! `case` and `coalesce` skip work only where no row of the batch needs it), so a batch that succeeds gives what single rows give; one that fails is
//! halved until single rows remain.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;

use super::{Mode, tidy};

/// A compiled expression. Cheap to clone; every evaluation is a pure function of its arguments.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

/// What compiling gives.
pub struct Compiled {
    /// The SQL.
    pub sql: String,
    /// Type of the result.
    pub data_type: DataType,
    /// Whether results may be null.
    pub nullable: bool,
    /// Positions in the scope, ascending.
    pub inputs: Vec<usize>,
    /// The scope's position, if it is nothing but a column.
    pub column: Option<usize>,
    /// The inputs' names and types.
    pub schema: SchemaRef,
    /// DataFusion's executable form over that schema.
    pub physical: Arc<dyn PhysicalExpr>,
    /// Whether rows that fail are null.
    pub mode: Mode,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiled { sql, data_type, inputs, .. } = self.0.as_ref();
        f.debug_struct("Expression").field("sql", sql).field("data_type", data_type).field("inputs", inputs).finish_non_exhaustive()
    }
}

impl Expression {
    pub(super) fn new(compiled: Compiled) -> Self {
        Self(Arc::new(compiled))
    }

    /// The SQL that it was compiled from.
    pub fn sql(&self) -> &str {
        &self.0.sql
    }

    /// Type of the result. Timestamps are UTC microseconds.
    pub fn data_type(&self) -> &DataType {
        &self.0.data_type
    }

    /// Whether results may be null, rows that fail apart.
    pub fn nullable(&self) -> bool {
        self.0.nullable
    }

    /// Positions in the scope of the columns that it reads, ascending, each once.
    pub fn inputs(&self) -> &[usize] {
        &self.0.inputs
    }

    /// The scope's position, if the expression is nothing but that column.
    pub fn as_column(&self) -> Option<usize> {
        self.0.column
    }

    /// Evaluates over `rows` rows; `columns` are the arrays of [`Self::inputs`], in that order. Fails if any row does, except after
    /// [`super::compile_float`], where such rows are null.
    pub fn evaluate(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, String> {
        if let Ok(array) = self.whole(columns, rows) {
            return Ok(array);
        }
        let (array, failed) = self.evaluate_rows(columns, rows);
        match failed.into_iter().next() {
            Some((_, reason)) if self.0.mode == Mode::Sql || columns.len() != self.0.inputs.len() => Err(reason),
            _ => Ok(array),
        }
    }

    /// As [`Self::evaluate`]; rows that fail are null in the array and listed, ascending, with the reason.
    pub fn evaluate_rows(&self, columns: &[ArrayRef], rows: usize) -> (ArrayRef, Vec<(usize, String)>) {
        if let Ok(array) = self.whole(columns, rows) {
            return (array, Vec::new());
        }
        let (mut parts, mut failed) = (Vec::new(), Vec::new());
        let mut ranges = vec![(0, rows)];
        while let Some((start, length)) = ranges.pop() {
            let slices: Vec<ArrayRef> = columns.iter().map(|column| column.slice(start, length)).collect();
            match self.whole(&slices, length) {
                Ok(array) => parts.push(array),
                Err(reason) if length <= 1 => {
                    parts.push(new_null_array(&self.0.data_type, length));
                    failed.push((start, reason));
                }
                Err(_) => {
                    let half = length / 2;
                    ranges.push((start + half, length - half));
                    ranges.push((start, half));
                }
            }
        }
        let borrowed: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        match concat(&borrowed) {
            Ok(array) => (array, failed),
            Err(error) => {
                let reason = error.to_string();
                (new_null_array(&self.0.data_type, rows), (0..rows).map(|row| (row, reason.clone())).collect())
            }
        }
    }

    /// Evaluates over a batch whose columns are the scope's, in order.
    pub fn evaluate_batch(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        self.evaluate(&self.picked(batch)?, batch.num_rows())
    }

    /// As [`Self::evaluate_batch`]; rows that fail are null in the array and listed with the reason.
    pub fn evaluate_batch_rows(&self, batch: &RecordBatch) -> (ArrayRef, Vec<(usize, String)>) {
        let rows = batch.num_rows();
        match self.picked(batch) {
            Ok(columns) => self.evaluate_rows(&columns, rows),
            Err(reason) => (new_null_array(&self.0.data_type, rows), (0..rows).map(|row| (row, reason.clone())).collect()),
        }
    }

    fn picked(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, String> {
        let pick =
            |i: &usize| batch.columns().get(*i).cloned().ok_or_else(|| format!("column {i} of `{}` is not in the batch", self.0.sql));
        self.0.inputs.iter().map(pick).collect()
    }

    fn whole(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef, String> {
        if let (Some(_), [column]) = (self.0.column, columns)
            && column.data_type() == &self.0.data_type
            && column.len() == rows
        {
            return Ok(Arc::clone(column));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.0.schema), columns.to_vec(), &options).map_err(|e| e.to_string())?;
        let value = self.0.physical.evaluate(&batch).map_err(|error| tidy(&error))?;
        let array = value.into_array(rows).map_err(|error| tidy(&error))?;
        if array.len() != rows || array.data_type() != &self.0.data_type {
            return Err(format!(
                "`{}` gave {} values of {} instead of {rows} of {}",
                self.0.sql,
                array.len(),
                array.data_type(),
                self.0.data_type
            ));
        }
        Ok(array)
    }
}
