//! The scalar functions by name: DataFusion's, with those of S9.2 replaced or refused.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion_expr::{ScalarUDF, Volatility};

use super::libm_functions;

/// What a name stands for.
pub enum Found {
    /// A function of its arguments alone.
    Scalar(Arc<ScalarUDF>),
    /// A function of the clock, of chance or of the environment.
    Volatile,
    /// An aggregate.
    Aggregate,
    /// Nothing.
    Unknown,
}

/// DataFusion's functions that show its inside, or make values of types that columns do not have (structs, unions, lists, times of day).
const HIDDEN: [&str; 18] = [
    "arrow_cast",
    "arrow_field",
    "arrow_metadata",
    "arrow_try_cast",
    "arrow_typeof",
    "cast_to_type",
    "get_field",
    "make_time",
    "named_struct",
    "row",
    "struct",
    "to_time",
    "try_cast_to_type",
    "union_extract",
    "union_tag",
    "version",
    "with_metadata",
    "regexp_match",
];

/// Names that databases give to the clock, to chance and to the session.
const VOLATILE: [&str; 12] = [
    "clock_timestamp",
    "current_catalog",
    "current_schema",
    "current_user",
    "getdate",
    "localtime",
    "localtimestamp",
    "session_user",
    "statement_timestamp",
    "sysdate",
    "gen_random_uuid",
    "random_uuid",
];

/// Aggregates (S7.4), and those that other systems have, which belong in `[features.*.aggregates]`.
const AGGREGATES: [&str; 24] = [
    "approx_distinct",
    "approx_quantile",
    "array_agg",
    "avg",
    "count",
    "ewm_avg",
    "ewm_sum",
    "first",
    "first_value",
    "lag",
    "last",
    "last_value",
    "lead",
    "max",
    "mean",
    "median",
    "min",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "time_since_last",
    "var_pop",
    "var_samp",
];

/// All functions under all their names, in lower case.
static FUNCTIONS: LazyLock<BTreeMap<String, Option<Arc<ScalarUDF>>>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    for function in datafusion_functions::all_default_functions().into_iter().chain(libm_functions()) {
        let immutable = function.signature().volatility == Volatility::Immutable;
        for name in std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str)) {
            if !HIDDEN.contains(&name) {
                all.insert(name.to_lowercase(), immutable.then(|| Arc::clone(&function)));
            }
        }
    }
    all.extend(VOLATILE.iter().map(|name| ((*name).to_string(), None)));
    all
});

/// The function called `name`, in lower case.
pub fn find(name: &str) -> Found {
    match FUNCTIONS.get(name) {
        Some(Some(function)) => Found::Scalar(Arc::clone(function)),
        Some(None) => Found::Volatile,
        None if AGGREGATES.contains(&name) => Found::Aggregate,
        None => Found::Unknown,
    }
}

/// The names of all scalar functions that expressions may call, sorted; `date`, and the forms with syntax of their own (`cast`, `extract`, …), included.
pub fn function_names() -> Vec<&'static str> {
    let own = ["cast", "date", "extract", "try_cast"];
    let mut names: Vec<&'static str> =
        FUNCTIONS.iter().filter(|(_, function)| function.is_some()).map(|(name, _)| name.as_str()).chain(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}
