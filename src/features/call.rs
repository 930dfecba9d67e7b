//! Aggregate calls: from what SQL says to what a view computes (S7.4).

use arrow::datatypes::DataType;

use super::registry::{REGISTRY, Row};
use crate::data::CellType;

/// A parameter of a call, behind its argument.
#[derive(Clone, Debug, PartialEq)]
pub enum FunctionParameter {
    /// A number, as the quantile of `approx_quantile(x, 0.95)`.
    Number(f64),
    /// A string, as the half-life of `ewm_sum(x, '1h')`.
    Text(String),
}

/// The shape of an aggregate call.
#[derive(Clone, Copy, Debug)]
pub struct CallShape<'a> {
    /// Name in lower case.
    pub function: &'a str,
    /// `distinct` before the argument.
    pub distinct: bool,
    /// Type of the argument; `None` for `*` and for no argument.
    pub argument: Option<&'a DataType>,
    /// What follows the argument.
    pub parameters: &'a [FunctionParameter],
}

/// A resolved function: a row of the registry and its parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Function {
    /// Name in the registry; `count(distinct x)` is `count distinct`.
    pub name: &'static str,
    /// The quantile, or the half-life in microseconds; 0 where there is none.
    pub parameter: f64,
}

impl Function {
    /// Whether it sees what precedes the record in canonical order, whatever `include_current` says (S7.4).
    pub fn is_prior(&self) -> bool {
        row(self.name).is_some_and(|row| row.prior)
    }
}

/// What a call resolves to.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What is computed.
    pub function: Function,
    /// How the argument column is to be handed over; `None` without argument.
    pub argument_cell: Option<CellType>,
    /// Type of the result.
    pub cell: CellType,
    /// Ignores `windows` and gets no suffix.
    pub own_horizon: bool,
    /// The state of one key stays constant even if nothing is ever evicted.
    pub lifetime_bounded: bool,
}

/// The names a pipeline file may use, in alphabetical order.
pub fn function_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = REGISTRY.iter().map(|row| row.name).filter(|name| !name.contains(' ')).collect();
    names.sort_unstable();
    names
}

pub(super) fn row(name: &str) -> Option<&'static Row> {
    REGISTRY.iter().find(|row| row.name == name)
}

/// The cell type that an argument of this Arrow type is handed over as.
pub(super) fn argument_cell(kind: &DataType) -> Result<CellType, String> {
    match kind {
        DataType::Boolean => Ok(CellType::Bool),
        DataType::Utf8 => Ok(CellType::Text),
        DataType::Timestamp(..) | DataType::Date32 => Ok(CellType::Timestamp),
        DataType::UInt64 => Err("arguments of type uint64 do not fit; cast them to int64".to_string()),
        kind if kind.is_integer() => Ok(CellType::Int64),
        DataType::Float16 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => Ok(CellType::Float64),
        kind => Err(format!("an aggregate cannot take a value of type {kind}")),
    }
}

/// Checks a call and says what it computes; `Err` says what is wrong, with the nearest name where the name is unknown.
pub fn resolve(call: &CallShape<'_>) -> Result<Resolved, String> {
    let name = call.function;
    let found = if call.distinct { row(&format!("{name} distinct")) } else { row(name) };
    let Some(row) = found else {
        if call.distinct && REGISTRY.iter().any(|row| row.name == name) {
            return Err(format!("`{name}` does not take `distinct`; `count(distinct x)` does"));
        }
        let near = function_names().into_iter().min_by_key(|known| distance(known, name));
        let hint = near.filter(|known| distance(known, name) <= 1 + name.len() / 3).map(|known| format!("; did you mean `{known}`?"));
        return Err(format!(
            "`{name}` is not an aggregate function{}",
            hint.unwrap_or_else(|| format!("; there are {}", function_names().join(", ")))
        ));
    };
    let argument = call.argument.map(argument_cell).transpose()?;
    (row.resolve)(row, argument, call.parameters)
}

/// For a function without parameters: `accepts` are the argument types, and `cell` gives the result's type.
pub(super) fn plain(
    row: &'static Row,
    argument: Option<CellType>,
    parameters: &[FunctionParameter],
    accepts: &[CellType],
    cell: impl Fn(CellType) -> CellType,
) -> Result<Resolved, String> {
    if !parameters.is_empty() {
        return Err(format!("`{}` takes one argument", row.name));
    }
    with_argument(row, argument, accepts, cell, 0.0)
}

/// The resolved call of a function that needs an argument of one of the types `accepts`.
pub(super) fn with_argument(
    row: &'static Row,
    argument: Option<CellType>,
    accepts: &[CellType],
    cell: impl Fn(CellType) -> CellType,
    parameter: f64,
) -> Result<Resolved, String> {
    let kind = argument.ok_or_else(|| format!("`{}` needs an argument", row.name))?;
    if !accepts.contains(&kind) {
        let wanted: Vec<&str> = accepts.iter().map(|kind| words(*kind)).collect();
        return Err(format!("`{}` takes {}, not {}", row.name, wanted.join(", "), words(kind)));
    }
    Ok(Resolved {
        function: Function { name: row.name, parameter },
        argument_cell: Some(kind),
        cell: cell(kind),
        own_horizon: row.own_horizon,
        lifetime_bounded: row.bounded,
    })
}

fn words(kind: CellType) -> &'static str {
    match kind {
        CellType::Float64 => "floats",
        CellType::Int64 => "integers",
        CellType::Bool => "booleans",
        CellType::Timestamp => "timestamps",
        CellType::Text => "strings",
    }
}

/// Levenshtein distance, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut line: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = line[0];
        line[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(line[j] + 1).min(line[j + 1] + 1);
            corner = line[j + 1];
            line[j + 1] = next;
        }
    }
    line[b.len()]
}
