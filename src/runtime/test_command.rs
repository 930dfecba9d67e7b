//! `tidemill test`: the `[[tests]]` of a pipeline file (S16). Each test runs the real pipeline over its own rows and compares what comes out.

use std::path::Path;

use serde_json::Value;

use super::capture::{Scratch, captured, read_rows, run_captured};
use crate::config::declaration::{Format, Test};
use crate::error::{Error, Result};
use crate::plan::{Plan, SourceKindPlan};

/// Relative tolerance of floats (S16.1).
const TOLERANCE: f64 = 1e-9;

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// One line per difference; empty = passed.
    pub differences: Vec<String>,
}

impl TestOutcome {
    /// Whether nothing differed.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The outcomes as text, or one JSON object a line.
pub fn test_report(outcomes: &[TestOutcome], json: bool) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        if json {
            let line = serde_json::json!({ "name": outcome.name, "passed": outcome.passed(), "differences": outcome.differences });
            out.push_str(&format!("{line}\n"));
            continue;
        }
        out.push_str(&format!("{} {}\n", if outcome.passed() { "ok    " } else { "FAILED" }, outcome.name));
        outcome.differences.iter().for_each(|difference| out.push_str(&format!("         {difference}\n")));
    }
    if !json {
        let passed = outcomes.iter().filter(|outcome| outcome.passed()).count();
        out.push_str(&format!("{passed} passed, {} failed\n", outcomes.len() - passed));
    }
    out
}

/// Runs every test of `plan`, or those whose name contains `only`.
pub fn run_tests(plan: &Plan, only: Option<&str>) -> Result<Vec<TestOutcome>> {
    let chosen = plan.tests.iter().filter(|test| only.is_none_or(|only| test.name.value.contains(only)));
    chosen.map(|test| run_test(plan, test)).collect()
}

fn run_test(plan: &Plan, test: &Test) -> Result<TestOutcome> {
    let scratch = Scratch::new("test")?;
    let mut rewritten = Plan { sinks: Vec::new(), tests: Vec::new(), kafka: None, ..plan.clone() };
    rewritten.epoch.max_rows = test.epoch_rows.unwrap_or(usize::MAX);
    rewritten.epoch.max_bytes = usize::MAX;
    for source in &mut rewritten.sources {
        let path = scratch.path().join(format!("{}.ndjson", source.id.name()));
        let rows = test.input.get(source.id.name()).map(|rows| rows.value.as_slice()).unwrap_or_default();
        write_rows(&path, rows)?;
        source.kind = SourceKindPlan::File { paths: vec![path.display().to_string()], format: Format::Json };
    }
    let mut outputs = Vec::new();
    for (at, (from, expected)) in test.expect.iter().enumerate() {
        let path = scratch.path().join(format!("expected-{at}.ndjson"));
        let mut columns: Vec<String> = Vec::new();
        for name in expected.value.iter().filter_map(Value::as_object).flat_map(|row| row.keys()).filter(|name| *name != "any") {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        rewritten.sinks.push(captured(plan, from, &columns, &path)?);
        outputs.push((from, &expected.value, path));
    }
    for (at, sink) in rewritten.sinks.iter_mut().enumerate() {
        sink.id = crate::ids::ComponentId::new("sinks", &format!("expected_{at}"));
    }
    // Records of a test that cannot be used belong to what it can expect, not to a file.
    rewritten.max_quarantine = None;
    run_captured(rewritten, scratch.path(), None)?;
    let mut differences = Vec::new();
    for (from, expected, path) in outputs {
        compare(from, expected, &read_rows(&path)?, &mut differences);
    }
    Ok(TestOutcome { name: test.name.value.clone(), differences })
}

fn write_rows(path: &Path, rows: &[Value]) -> Result<()> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&row.to_string());
        text.push('\n');
    }
    std::fs::write(path, text).map_err(|error| Error::io("write", path, &error))
}

fn compare(from: &str, expected: &[Value], found: &[serde_json::Map<String, Value>], differences: &mut Vec<String>) {
    if expected.len() != found.len() {
        differences.push(format!("{from}: {} rows expected, {} came out", expected.len(), found.len()));
    }
    for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
        let Some(expected) = expected.as_object() else { continue };
        if expected.get("any") == Some(&Value::Bool(true)) {
            continue;
        }
        for (name, value) in expected {
            let came = found.get(name).unwrap_or(&Value::Null);
            if !equal(value, came) {
                differences.push(format!("{from} row {}: {name} is {came}, {value} was expected", at + 1));
            }
        }
    }
    for (at, row) in found.iter().enumerate().skip(expected.len()) {
        differences.push(format!("{from} row {}: not expected: {}", at + 1, Value::Object(row.clone())));
    }
}

/// Equal, floats within the tolerance; an instant equals its RFC 3339 text or its number as it prints.
fn equal(expected: &Value, found: &Value) -> bool {
    match (expected.as_f64(), found.as_f64()) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => expected == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_compared_by_the_named_columns_with_a_tolerance() {
        let found =
            vec![json!({"x": 1.0, "y": "a"}).as_object().cloned().unwrap(), json!({"x": 2.5, "y": null}).as_object().cloned().unwrap()];
        let mut differences = Vec::new();
        compare("m", &[json!({"x": 1.0000000001}), json!({"any": true})], &found, &mut differences);
        assert!(differences.is_empty(), "{differences:?}");
        compare("m", &[json!({"x": 1.1})], &found, &mut differences);
        assert_eq!(differences.len(), 3, "{differences:?}");
    }
}
