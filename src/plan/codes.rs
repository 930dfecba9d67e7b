//! The diagnostics of the plan, one row each: codes are stable, so users can search for them.
//!
//! What needs no schema (references, names, circles) is found by `config` and has its codes; faults inside an SQL text have those of
//! `expressions`.

/// Two columns share a name.
pub const NAME_TWICE: &str = "P001";
/// A column that does not exist.
pub const UNKNOWN_COLUMN: &str = "P002";
/// A file that cannot be used.
pub const FILE: &str = "P003";
/// A schema that is missing or does not fit the file.
pub const SCHEMA: &str = "P004";
/// An event time that is missing or no time.
pub const EVENT_TIME: &str = "P005";
/// A column name that is reserved.
pub const RESERVED_NAME: &str = "P006";
/// A column that cannot be a key.
pub const KEY_TYPE: &str = "P007";
/// A generator that does not exist.
pub const GENERATOR: &str = "P008";
/// An aggregate that does not exist or does not take this argument.
pub const AGGREGATE: &str = "P009";
/// An aggregate without a window.
pub const NO_WINDOW: &str = "P010";
/// State without a bound.
pub const UNBOUNDED: &str = "P011";
/// A lookup key that does not fit the entity.
pub const LOOKUP_KEY: &str = "P012";
/// The rows of a model are not clear.
pub const NO_ROWS: &str = "P013";
/// An input that matches nothing.
pub const UNKNOWN_INPUT: &str = "P014";
/// An input of a type that models cannot read.
pub const INPUT_TYPE: &str = "P015";
/// A label that does not fit its rows.
pub const LABEL: &str = "P016";
/// The label reaches an input (S10.6).
pub const LEAKAGE: &str = "P017";
/// An artefact that cannot be used.
pub const ARTEFACT: &str = "P018";
/// A monitor that cannot work.
pub const MONITOR: &str = "P019";
/// A sink that cannot be written.
pub const SINK: &str = "P020";
/// A test that names a column that does not exist.
pub const TEST: &str = "P021";
/// Hyper-parameters that do not go together.
pub const LEARNER: &str = "P022";
/// The lag of `learn = "epoch"` is long (S10.2).
pub const LAG: &str = "P101";
/// Rows are chosen by the label's columns.
pub const CHOSEN_BY_LABEL: &str = "P102";
/// Keys of a function with its own horizon are kept for ever.
pub const KEPT_FOR_EVER: &str = "P103";
/// Fewer keys allowed than there are shards.
pub const FEW_KEYS: &str = "P104";

/// Every code of the plan and what it means, in order; those from P101 on are warnings.
pub const ALL: &[(&str, &str)] = &[
    (NAME_TWICE, "two columns share a name"),
    (UNKNOWN_COLUMN, "no column has this name"),
    (FILE, "a file cannot be used"),
    (SCHEMA, "a schema is missing or does not fit"),
    (EVENT_TIME, "the event time is missing or is no time"),
    (RESERVED_NAME, "the name of a column is reserved"),
    (KEY_TYPE, "a column of this type cannot be a key"),
    (GENERATOR, "no generator has this name"),
    (AGGREGATE, "an aggregate does not exist or does not take this argument"),
    (NO_WINDOW, "an aggregate has no window"),
    (UNBOUNDED, "state would grow without a bound"),
    (LOOKUP_KEY, "the key of a lookup does not fit the view's entity"),
    (NO_ROWS, "it is not clear which rows a model predicts"),
    (UNKNOWN_INPUT, "an input matches nothing"),
    (INPUT_TYPE, "a model cannot read an input of this type"),
    (LABEL, "the label does not fit its rows"),
    (LEAKAGE, "the label reaches an input of its own prediction"),
    (ARTEFACT, "an artefact cannot be used"),
    (MONITOR, "a monitor cannot work as declared"),
    (SINK, "a sink cannot be written as declared"),
    (TEST, "a test names a column that does not exist"),
    (LEARNER, "the settings of a learner do not go together"),
    (LAG, "a model lags by a long epoch"),
    (CHOSEN_BY_LABEL, "rows are chosen by the label's columns"),
    (KEPT_FOR_EVER, "keys are kept for ever"),
    (FEW_KEYS, "fewer keys than shards"),
];

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn codes_are_distinct_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
