//! What the records of an epoch bring to a view: event times, argument columns and filter columns, by row.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};

use crate::data::{CellType, hash_key};

/// One argument column. Floats that are not finite count as null: no aggregate can give them back (S13.3).
#[derive(Clone, Debug)]
pub enum Argument {
    /// Floats; decimals come as the nearest float, which the sums take for the decimal again (see `exact`).
    Float64 {
        /// Values by row.
        values: ScalarBuffer<f64>,
        /// Validity.
        nulls: Option<NullBuffer>,
    },
    /// Integers.
    Int64 {
        /// Values by row.
        values: ScalarBuffer<i64>,
        /// Validity.
        nulls: Option<NullBuffer>,
    },
    /// Truth values.
    Bool {
        /// Values by row.
        values: BooleanBuffer,
        /// Validity.
        nulls: Option<NullBuffer>,
    },
    /// UTC microseconds.
    Timestamp {
        /// Values by row.
        values: ScalarBuffer<i64>,
        /// Validity.
        nulls: Option<NullBuffer>,
    },
    /// Strings.
    Text(StringArray),
}

impl From<&ArrayRef> for Argument {
    /// Any Arrow type that `resolve` accepts; another one is a column of nulls (a plan never gets there).
    fn from(array: &ArrayRef) -> Self {
        let nulls = array.nulls().cloned();
        match array.data_type() {
            DataType::Boolean => Self::Bool { values: array.as_boolean().values().clone(), nulls },
            DataType::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            DataType::Timestamp(..) | DataType::Date32 => {
                let wanted = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
                let plain = if array.data_type() == &DataType::Date32 { cast(array, &wanted).ok() } else { Some(array.clone()) };
                match plain.as_ref().and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>()) {
                    Some(column) => Self::Timestamp { values: column.values().clone(), nulls },
                    None => Self::nulls(array.len()),
                }
            }
            kind if kind.is_integer() => match cast(array, &DataType::Int64) {
                Ok(column) => Self::Int64 { values: column.as_primitive::<Int64Type>().values().clone(), nulls: column.nulls().cloned() },
                Err(_) => Self::nulls(array.len()),
            },
            _ => match cast(array, &DataType::Float64) {
                Ok(column) => {
                    Self::Float64 { values: column.as_primitive::<Float64Type>().values().clone(), nulls: column.nulls().cloned() }
                }
                Err(_) => Self::nulls(array.len()),
            },
        }
    }
}

impl Argument {
    fn nulls(rows: usize) -> Self {
        Self::Float64 { values: vec![f64::NAN; rows].into(), nulls: None }
    }

    /// How its cells are to be read.
    pub fn cell(&self) -> CellType {
        match self {
            Self::Float64 { .. } => CellType::Float64,
            Self::Int64 { .. } => CellType::Int64,
            Self::Bool { .. } => CellType::Bool,
            Self::Timestamp { .. } => CellType::Timestamp,
            Self::Text(_) => CellType::Text,
        }
    }

    /// The word kept for `row`: the bits of the value, or the hash of a string; and whether it is not null. A null float is NaN.
    #[inline]
    pub fn word(&self, row: usize) -> (u64, bool) {
        let valid = |nulls: &Option<NullBuffer>| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        match self {
            Self::Float64 { values, nulls } => {
                let value = values[row];
                if value.is_finite() && valid(nulls) { (value.to_bits(), true) } else { (f64::NAN.to_bits(), false) }
            }
            Self::Int64 { values, nulls } | Self::Timestamp { values, nulls } => (values[row] as u64, valid(nulls)),
            Self::Bool { values, nulls } => (u64::from(values.value(row)), valid(nulls)),
            Self::Text(values) if values.is_valid(row) => (hash_key(values.value(row).as_bytes()), true),
            Self::Text(_) => (0, false),
        }
    }

    /// The string of `row`.
    pub fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Text(values) if values.is_valid(row) => Some(values.value(row)),
            _ => None,
        }
    }
}

/// The updates of one epoch. `arguments` and `filters` are as the view's spec lists them; all columns have as many rows as `times`.
#[derive(Clone, Debug)]
pub struct Updates {
    /// Event times, UTC microseconds.
    pub times: ScalarBuffer<i64>,
    /// Argument columns.
    pub arguments: Vec<Argument>,
    /// Filter columns; null counts as false, so callers clear those bits.
    pub filters: Vec<BooleanBuffer>,
}
