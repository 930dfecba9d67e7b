//! Declared schemas: the types of S5.1 and the Arrow schema they compile to.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// A type a column can be declared with (S5.1).
#[derive(Clone, Debug, PartialEq)]
pub enum LogicalType {
    /// `bool`
    Bool,
    /// `int32`
    Int32,
    /// `int64`
    Int64,
    /// `float32`
    Float32,
    /// `float64`
    Float64,
    /// `decimal(p,s)`: precision 1..=38, scale 0..=precision
    Decimal(u8, i8),
    /// `string`
    String,
    /// `bytes` (base64 text in JSON and CSV)
    Bytes,
    /// `date`
    Date,
    /// `timestamp_s`, `timestamp_ms`, `timestamp_us`: the unit is that of the epoch numbers in the input; inside, all are microseconds (S4.4).
    Timestamp(TimestampUnit),
    /// A list of one type.
    List(Box<DeclaredColumn>),
    /// A struct of named columns.
    Struct(Vec<DeclaredColumn>),
}

/// The unit of epoch numbers of a timestamp column in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
    /// Microseconds.
    Microsecond,
}

impl TimestampUnit {
    /// Microseconds in one unit.
    pub fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Millisecond => 1_000,
            Self::Microsecond => 1,
        }
    }
}

impl LogicalType {
    /// The Arrow type inside the engine. Timestamps are UTC microseconds whatever the input's unit.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::String => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp(_) => timestamp_type(),
            Self::List(item) => DataType::List(Arc::new(Field::new("item", item.kind.arrow(), item.nullable))),
            Self::Struct(columns) => DataType::Struct(columns.iter().map(DeclaredColumn::field).collect()),
        }
    }
}

/// The one timestamp type inside the engine: microseconds, UTC (S4.4).
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// One declared column.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredColumn {
    /// Its name, case-sensitive.
    pub name: String,
    /// Its type.
    pub kind: LogicalType,
    /// Whether it may be null or missing (`?` after the type).
    pub nullable: bool,
    /// Smallest value allowed, inclusive (`minimum` of JSON Schema); numeric columns only.
    pub minimum: Option<f64>,
    /// Largest value allowed, inclusive (`maximum`).
    pub maximum: Option<f64>,
    /// The values allowed (`enum`); string columns only; empty = any.
    pub allowed: Vec<String>,
}

impl DeclaredColumn {
    /// A column without bounds.
    pub fn new(name: impl Into<String>, kind: LogicalType, nullable: bool) -> Self {
        Self { name: name.into(), kind, nullable, minimum: None, maximum: None, allowed: Vec::new() }
    }

    /// Its Arrow field.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.arrow(), self.nullable)
    }
}

/// A declared schema: columns in their declared order, and what to do with fields it does not name.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DeclaredSchema {
    /// The columns.
    pub columns: Vec<DeclaredColumn>,
    /// `additionalProperties: false`: a record with an undeclared field is poison (S5.2).
    pub closed: bool,
}

impl DeclaredSchema {
    /// The Arrow schema of the declared columns.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(DeclaredColumn::field).collect::<Vec<_>>()))
    }

    /// The position of the column called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}
