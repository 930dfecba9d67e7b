//! The progress records of a pipeline, read without disturbing a run that goes on.

use super::prepare::{kafka_settings, state_dir};
use super::run::RunOptions;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::progress::{self, ProgressRecord};

/// The epochs that `plan` has committed, in order.
pub fn bindings(plan: &Plan, options: &RunOptions) -> Result<Vec<ProgressRecord>> {
    match kafka_settings(plan) {
        Some(kafka) => progress::peek_topic(&kafka, &plan.name),
        None => progress::peek_folder(&state_dir(plan, options)),
    }
}

/// The same, one JSON object a line.
pub fn bindings_text(plan: &Plan, options: &RunOptions) -> Result<String> {
    let mut text = String::new();
    for record in bindings(plan, options)? {
        let line =
            serde_json::to_string(&record).map_err(|error| Error::internal(format!("a progress record cannot be written: {error}")))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}
