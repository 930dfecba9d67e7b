//! Every code a diagnostic of the pipeline file can carry, with one line of meaning. Codes are stable: they are never reused and never renumbered.
//!
//! `T` the text and its shape, `D` declared schemas, `C` components and how they fit together, `W` warnings. `X` (expressions) and `P` (plan) are
//! listed by those modules. `tests/ui.rs` checks that each code here has a golden case.

/// Not TOML.
pub const SYNTAX: &str = "T001";
/// A key or table written twice.
pub const DUPLICATE_KEY: &str = "T002";
/// `${VAR}` without default, and the variable is not set.
pub const VARIABLE_MISSING: &str = "T003";
/// `${` that is not a variable.
pub const VARIABLE_SYNTAX: &str = "T004";
/// A key that does not exist here.
pub const UNKNOWN_KEY: &str = "T010";
/// A section that does not exist.
pub const UNKNOWN_SECTION: &str = "T011";
/// A required key or section is missing.
pub const MISSING_KEY: &str = "T012";
/// A value of the wrong TOML type.
pub const WRONG_TYPE: &str = "T013";
/// A key that exists, but not for this kind of component or not in this file.
pub const MISPLACED_KEY: &str = "T014";
/// A word that is none of the choices.
pub const UNKNOWN_CHOICE: &str = "T015";
/// Named in the documentation, not built yet.
pub const NOT_BUILT: &str = "T016";
/// A number or length outside its range.
pub const OUT_OF_RANGE: &str = "T017";
/// Not a duration.
pub const BAD_DURATION: &str = "T018";
/// Not a size in bytes.
pub const BAD_SIZE: &str = "T019";
/// An empty text, list or table where something is needed.
pub const EMPTY: &str = "T020";
/// A name that components, columns or pipelines cannot have.
pub const BAD_NAME: &str = "T021";
/// The same thing listed twice.
pub const REPEATED: &str = "T022";
/// An unknown type in a schema.
pub const UNKNOWN_TYPE: &str = "D001";
/// A type whose parameters are wrong.
pub const MALFORMED_TYPE: &str = "D002";
/// The schema file cannot be read.
pub const SCHEMA_FILE: &str = "D003";
/// The schema file is not JSON.
pub const SCHEMA_JSON: &str = "D004";
/// The schema file says something outside the supported subset of JSON Schema.
pub const SCHEMA_SUBSET: &str = "D005";
/// A column name that is reserved.
pub const RESERVED_COLUMN: &str = "D006";
/// A reference to a component that is not declared.
pub const UNKNOWN_COMPONENT: &str = "C001";
/// A reference to a component of a family that cannot stand here.
pub const WRONG_FAMILY: &str = "C002";
/// Sources, streams and tables share one namespace (S9.1).
pub const NAME_CLASH: &str = "C003";
/// Streams that read each other in a circle.
pub const CYCLE: &str = "C004";
/// Two sinks write to the same place.
pub const SHARED_OUTPUT: &str = "C005";
/// A sink writes what a source or table of the same pipeline reads.
pub const OWN_OUTPUT: &str = "C006";
/// A Kafka source or sink without `[kafka]`.
pub const NO_KAFKA: &str = "C007";
/// A librdkafka property that Tidemill sets itself.
pub const OWNED_PROPERTY: &str = "C008";
/// A column that the declared schema does not have.
pub const UNKNOWN_COLUMN: &str = "C009";
/// A column whose type cannot serve as event time or key.
pub const COLUMN_TYPE: &str = "C010";
/// Two keys of one component that exclude or need each other.
pub const CONTRADICTION: &str = "C011";
/// The format does not follow from the path.
pub const UNKNOWN_FORMAT: &str = "C012";
/// A learner that could never learn.
pub const NEVER_LEARNS: &str = "C013";
/// A monitor that would compare or measure nothing.
pub const IDLE_MONITOR: &str = "C014";
/// A `[[tests]]` entry that proves nothing or feeds what is no source.
pub const BAD_TEST: &str = "C015";
/// A pipeline without sources.
pub const NO_SOURCES: &str = "C016";
/// A component that nothing reads.
pub const UNUSED: &str = "W001";

/// All codes of this module with their meanings, in order.
pub const ALL: &[(&str, &str)] = &[
    (SYNTAX, "the file is not TOML"),
    (DUPLICATE_KEY, "a key or table is written twice"),
    (VARIABLE_MISSING, "an environment variable is not set and has no default"),
    (VARIABLE_SYNTAX, "`${` that does not begin a variable"),
    (UNKNOWN_KEY, "a key that does not exist here"),
    (UNKNOWN_SECTION, "a section that does not exist"),
    (MISSING_KEY, "a required key or section is missing"),
    (WRONG_TYPE, "a value of the wrong type"),
    (MISPLACED_KEY, "a key that belongs to another kind of component, or on the command line"),
    (UNKNOWN_CHOICE, "a word that is none of the choices"),
    (NOT_BUILT, "documented, but not built yet"),
    (OUT_OF_RANGE, "a number or length outside its range"),
    (BAD_DURATION, "not a duration"),
    (BAD_SIZE, "not a size in bytes"),
    (EMPTY, "empty where something is needed"),
    (BAD_NAME, "a name that is not allowed"),
    (REPEATED, "the same thing is listed twice"),
    (UNKNOWN_TYPE, "an unknown type in a schema"),
    (MALFORMED_TYPE, "a type whose parameters are wrong"),
    (SCHEMA_FILE, "a schema file that cannot be read"),
    (SCHEMA_JSON, "a schema file that is not JSON"),
    (SCHEMA_SUBSET, "a schema file outside the supported subset of JSON Schema"),
    (RESERVED_COLUMN, "a column name that is reserved"),
    (UNKNOWN_COMPONENT, "a component that is not declared"),
    (WRONG_FAMILY, "a component that cannot stand here"),
    (NAME_CLASH, "one name for two sources, streams or tables"),
    (CYCLE, "streams that read each other in a circle"),
    (SHARED_OUTPUT, "two sinks that write to the same place"),
    (OWN_OUTPUT, "a sink that writes what the pipeline reads"),
    (NO_KAFKA, "a Kafka source or sink without [kafka]"),
    (OWNED_PROPERTY, "a librdkafka property that Tidemill sets itself"),
    (UNKNOWN_COLUMN, "a column that the schema does not have"),
    (COLUMN_TYPE, "a column whose type cannot serve as event time or key"),
    (CONTRADICTION, "two keys that exclude or need each other"),
    (UNKNOWN_FORMAT, "a path whose ending names no format"),
    (NEVER_LEARNS, "a model that could never learn"),
    (IDLE_MONITOR, "a monitor that would compare or measure nothing"),
    (BAD_TEST, "a test that proves nothing or feeds what is no source"),
    (NO_SOURCES, "a pipeline without sources"),
    (UNUSED, "a component that nothing reads"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct() {
        let distinct: std::collections::BTreeSet<&str> = ALL.iter().map(|(code, _)| *code).collect();
        assert_eq!(distinct.len(), ALL.len());
    }
}
