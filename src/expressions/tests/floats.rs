//! `compile_float` (S9.1) and the functions over `libm` (S9.2).

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type};

use super::*;

fn float(sql: &str) -> String {
    texts(&compile_float(sql, &scope()).expect(sql).evaluate_batch(&batch()).expect(sql)).join(" | ")
}

#[test]
fn arithmetic_is_float64_and_never_fails() {
    for (sql, expected) in [
        ("1 / 2", "0.5 | 0.5 | 0.5 | 0.5"),
        ("1 / 0", "null | null | null | null"),
        ("n / 4", "2.5 | 0.0 | null | 2.305843009213694e18"),
        ("n / n", "1.0 | null | null | 1.0"),
        ("n % 3", "1.0 | 0.0 | null | 2.0"),
        ("delay / delay", "1.0 | null | null | null"),
        ("delay", "20.0 | -0.0 | null | null"),
        ("delay > 5", "1.0 | 0.0 | null | null"),
        ("late", "1.0 | 0.0 | null | 1.0"),
        ("late + 1", "2.0 | 1.0 | null | 2.0"),
        ("origin = 'BOS'", "1.0 | 0.0 | null | 0.0"),
        ("date_part('hour', at) / 24", "0.7083333333333334 | 0.0 | null | 0.7083333333333334"),
        ("10 / date_part('hour', at)", "0.5882352941176471 | null | null | 0.5882352941176471"),
        ("coalesce(n / 0, -1)", "-1.0 | -1.0 | -1.0 | -1.0"),
        ("case when n / n > 0.5 then 1 else 0 end", "1.0 | 0.0 | 0.0 | 1.0"),
        ("sqrt(-n)", "null | 0.0 | null | null"),
        ("ln(n)", "2.302585092994046 | null | null | 43.66827237527655"),
        ("pow(10, 400)", "null | null | null | null"),
        ("cast(origin as double)", "null | null | null | null"),
        ("cast(n as int) / 4", "2.5 | 0.0 | null | null"),
        ("price / 4", "2.5625 | 0.025 | null | -0.0025"),
        ("round(n / 3, 2)", "3.33 | 0.0 | null | 3.074457345618258e18"),
        ("floor(n / 3)", "3.0 | 0.0 | null | 3.0744573456182584e18"),
        ("n * n * n", "1000.0 | 0.0 | null | 7.846377169233351e56"),
        ("null", "null | null | null | null"),
    ] {
        assert_eq!(float(sql), expected, "{sql}");
        assert_eq!(compile_float(sql, &scope()).unwrap().data_type(), &DataType::Float64, "{sql}");
    }
    for sql in ["origin", "at", "at - left_at"] {
        assert_eq!(compile_float(sql, &scope()).unwrap_err().code, "X007", "{sql}");
    }
}

#[test]
fn rows_that_cannot_be_computed_are_null_and_still_listed() {
    let expression = compile_float("1 + factorial(cast(n as bigint))", &scope()).unwrap();
    let (array, failed) = expression.evaluate_batch_rows(&batch());
    assert_eq!(texts(&array), ["3628801.0", "2.0", "null", "null"]);
    assert_eq!(failed.len(), 1);
    assert_eq!(texts(&expression.evaluate_batch(&batch()).unwrap()), ["3628801.0", "2.0", "null", "null"]);
}

#[test]
fn mathematics_is_libm_bit_for_bit() {
    type One = fn(f64) -> f64;
    let ones: [(&str, One); 19] = [
        ("exp", libm::exp),
        ("ln", libm::log),
        ("log", libm::log10),
        ("log10", libm::log10),
        ("log2", libm::log2),
        ("sin", libm::sin),
        ("cos", libm::cos),
        ("tan", libm::tan),
        ("asin", libm::asin),
        ("acos", libm::acos),
        ("atan", libm::atan),
        ("sinh", libm::sinh),
        ("cosh", libm::cosh),
        ("tanh", libm::tanh),
        ("asinh", libm::asinh),
        ("acosh", libm::acosh),
        ("atanh", libm::atanh),
        ("cbrt", libm::cbrt),
        ("sqrt", f64::sqrt),
    ];
    let x: Vec<f64> = (1..2000).map(|i| f64::from(i) * 0.013_7).collect();
    let y: Vec<f64> = (1..2000).map(|i| f64::from(i % 91) * 0.171 - 3.0).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(x.clone())), Arc::new(Float64Array::from(y.clone()))];
    let scope = Scope::new(vec![ScopeColumn::new("x", DataType::Float64, false), ScopeColumn::new("y", DataType::Float64, false)]);
    let bits = |sql: &str| -> Vec<u64> {
        let expression = compile(sql, &scope).expect(sql);
        let inputs: Vec<ArrayRef> = expression.inputs().iter().map(|i| Arc::clone(&columns[*i])).collect();
        let array = expression.evaluate(&inputs, x.len()).expect(sql);
        array.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect()
    };
    for (name, function) in ones {
        assert_eq!(bits(&format!("{name}(x)")), x.iter().map(|v| function(*v).to_bits()).collect::<Vec<_>>(), "{name}");
    }
    let pairs = |f: fn(f64, f64) -> f64| x.iter().zip(&y).map(|(a, b)| f(*a, *b).to_bits()).collect::<Vec<u64>>();
    assert_eq!(bits("power(x, y)"), pairs(libm::pow));
    assert_eq!(bits("pow(x, y)"), pairs(libm::pow));
    assert_eq!(bits("atan2(x, y)"), pairs(libm::atan2));
    assert_eq!(bits("log(2, x)"), pairs(|a, _| libm::log(a) / libm::log(2.0)));
    assert_eq!(bits("cot(x)"), pairs(|a, _| 1.0 / libm::tan(a)));
    assert_eq!(bits("exp(1) + 0 * x"), pairs(|_, _| libm::exp(1.0)));
    check(&[
        ("exp(n / 10)", "2.7182818284590455 | 1.0 | null | inf"),
        ("ln(price)", "2.327277705584417 | -2.3025850929940455 | null | NaN"),
    ]);
}
