//! Mathematical functions whose bits do not depend on the machine (S9.2): every one is the `libm` crate's, over float64, null for null.
//!
//! `log(x)` is base 10 and `log(b, x)` is `ln(x) / ln(b)`, as in PostgreSQL and DataFusion; `cot(x)` is `1 / tan(x)`. Outside the domain the result is
//! what IEEE 754 says (NaN, an infinity). `sqrt` needs no replacement: it is correctly rounded everywhere.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::{binary, unary};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// One function of one or two floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atan2,
    Atanh,
    Cbrt,
    Cos,
    Cosh,
    Cot,
    Exp,
    Ln,
    Log10,
    Log2,
    LogBase,
    Power,
    Sin,
    Sinh,
    Tan,
    Tanh,
    /// Square root where a negative number has none: NaN, not an error.
    Root,
    /// The number itself, or null if it is not finite.
    Finite,
    /// The number itself, with 0 for −0.
    OneZero,
}

use Kind::*;

/// Name, arities and meaning of each replaced function.
const REPLACED: [(&str, &[Kind]); 21] = [
    ("acos", &[Acos]),
    ("acosh", &[Acosh]),
    ("asin", &[Asin]),
    ("asinh", &[Asinh]),
    ("atan", &[Atan]),
    ("atan2", &[Atan2]),
    ("atanh", &[Atanh]),
    ("cbrt", &[Cbrt]),
    ("cos", &[Cos]),
    ("cosh", &[Cosh]),
    ("cot", &[Cot]),
    ("exp", &[Exp]),
    ("ln", &[Ln]),
    ("log", &[Log10, LogBase]),
    ("log10", &[Log10]),
    ("log2", &[Log2]),
    ("power", &[Power]),
    ("sin", &[Sin]),
    ("sinh", &[Sinh]),
    ("tan", &[Tan]),
    ("tanh", &[Tanh]),
];

impl Kind {
    fn arity(self) -> usize {
        if matches!(self, Atan2 | LogBase | Power) { 2 } else { 1 }
    }

    fn one(self, x: f64) -> f64 {
        match self {
            Acos => libm::acos(x),
            Acosh => libm::acosh(x),
            Asin => libm::asin(x),
            Asinh => libm::asinh(x),
            Atan => libm::atan(x),
            Atanh => libm::atanh(x),
            Cbrt => libm::cbrt(x),
            Cos => libm::cos(x),
            Cosh => libm::cosh(x),
            Cot => 1.0 / libm::tan(x),
            Exp => libm::exp(x),
            Ln => libm::log(x),
            Log10 => libm::log10(x),
            Log2 => libm::log2(x),
            Sin => libm::sin(x),
            Sinh => libm::sinh(x),
            Tan => libm::tan(x),
            Tanh => libm::tanh(x),
            Root => x.sqrt(),
            OneZero => x + 0.0,
            Finite | Atan2 | LogBase | Power => x,
        }
    }

    fn two(self, a: f64, b: f64) -> f64 {
        match self {
            Atan2 => libm::atan2(a, b),
            LogBase => libm::log(b) / libm::log(a),
            _ => libm::pow(a, b),
        }
    }

    fn array(self, arguments: &[ArrayRef]) -> Result<Float64Array> {
        let floats: Vec<&Float64Array> = arguments.iter().map(|a| a.as_primitive::<Float64Type>()).collect();
        match floats.as_slice() {
            [x] if self == Finite => Ok(finite_only(x)),
            [x] => Ok(unary(x, |x| self.one(x))),
            [a, b] => Ok(binary(a, b, |a, b| self.two(a, b))?),
            _ => exec_err!("one or two arguments are needed"),
        }
    }
}

/// Nulls in place of NaN and infinities; the same buffers if there are none.
fn finite_only(values: &Float64Array) -> Float64Array {
    if values.values().iter().all(|x| x.is_finite()) { values.clone() } else { values.unary_opt(|x| x.is_finite().then_some(x)) }
}

/// A function by name; `kinds` are its meanings, one for each number of arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FloatFunction {
    name: &'static str,
    aliases: Vec<String>,
    kinds: Vec<Kind>,
    signature: Signature,
}

impl FloatFunction {
    fn udf(name: &'static str, alias: Option<&str>, kinds: &[Kind]) -> Arc<ScalarUDF> {
        let arities = kinds.iter().map(|kind| datafusion_expr::TypeSignature::Uniform(kind.arity(), vec![DataType::Float64])).collect();
        Arc::new(ScalarUDF::new_from_impl(Self {
            name,
            aliases: alias.map(String::from).into_iter().collect(),
            kinds: kinds.to_vec(),
            signature: Signature::one_of(arities, Volatility::Immutable),
        }))
    }
}

impl ScalarUDFImpl for FloatFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = self.kinds.contains(&Finite) || arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name, DataType::Float64, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(kind) = self.kinds.iter().find(|kind| kind.arity() == arguments.args.len()) else {
            return exec_err!("{} does not take {} arguments", self.name, arguments.args.len());
        };
        let scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let result: ArrayRef = Arc::new(kind.array(&arrays)?);
        if scalar && result.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// The functions that replace DataFusion's of the same names.
pub fn libm_functions() -> Vec<Arc<ScalarUDF>> {
    REPLACED.iter().map(|(name, kinds)| FloatFunction::udf(name, (*name == "power").then_some("pow"), kinds)).collect()
}

/// Null where its float64 argument is not finite, else the argument. Not callable from SQL.
pub fn finite() -> Arc<ScalarUDF> {
    FloatFunction::udf("finite", None, &[Finite])
}

/// Its float64 argument, with 0 for −0, for comparisons that DataFusion makes by bits. Not callable from SQL.
pub fn one_zero() -> Arc<ScalarUDF> {
    FloatFunction::udf("one_zero", None, &[OneZero])
}

/// `sqrt` for expressions in which nothing fails (S9.1): NaN for negative numbers.
pub fn safe_sqrt() -> Arc<ScalarUDF> {
    FloatFunction::udf("sqrt", None, &[Root])
}
