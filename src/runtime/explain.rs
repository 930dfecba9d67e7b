//! `tidemill explain`: one named prediction, recomputed from the recorded bindings: its inputs, what each contributed, and with which parameters.

use serde_json::{Map, Value};

use super::capture::{Scratch, captured, read_rows, run_captured};
use super::run::RunOptions;
use crate::error::{Error, Exit, Result};
use crate::expressions::{self, Scope, ScopeColumn};
use crate::plan::{ModelKindPlan, Plan};

/// One explained prediction.
#[derive(Clone, Debug)]
pub struct Explained {
    /// `models.NAME`
    pub model: String,
    /// The model's columns: epoch, version, prediction, probability.
    pub answer: Map<String, Value>,
    /// Per input its value and contribution; strongest contribution first.
    pub inputs: Vec<(String, Value, Option<f64>)>,
}

/// Recomputes the predictions of `plan` for the record with identity `key`, by the bindings that its run committed.
pub fn explain(plan: &Plan, options: &RunOptions, key: &str, model: Option<&str>) -> Result<Vec<Explained>> {
    let position = match model {
        Some(name) => plan.models.iter().position(|declared| declared.id.name() == name),
        None => (!plan.models.is_empty()).then_some(0),
    };
    if plan.models.is_empty() {
        return Err(Error::new(Exit::Usage, "the file declares no model, so there is no prediction to explain", "add a [models.NAME]"));
    }
    let Some(position) = position else {
        let known: Vec<&str> = plan.models.iter().map(|model| model.id.name()).collect();
        return Err(Error::new(Exit::Usage, "there is no such model in the file", format!("give one of: {}", known.join(", "))));
    };
    let declared = &plan.models[position];
    let records = super::bindings::bindings(plan, options)?;
    if records.is_empty() {
        let help = "`tidemill run FILE` first: a prediction is explained from what was committed";
        return Err(Error::new(Exit::Data, "this pipeline has committed nothing yet", help));
    }
    let stream = &plan.streams[declared.stream];
    let Some(identity) = stream.key else {
        let cause = format!("{} has no `key`, so its records have no name", stream.id);
        return Err(Error::new(Exit::Config, cause, "give the source a `key`"));
    };
    let explains = matches!(declared.kind, ModelKindPlan::Linear(_));
    let mut columns: Vec<String> = ["prediction", "degraded", "model_version", "_epoch"].map(str::to_string).to_vec();
    if declared.classification {
        columns.push("probability".to_string());
    }
    for input in &declared.inputs {
        columns.push(input.name.clone());
        if explains {
            columns.push(format!("explain.{}", input.name));
        }
    }
    let scratch = Scratch::new("explain")?;
    let path = scratch.path().join("rows.ndjson");
    let mut sink = captured(plan, declared.id.as_str(), &columns, &path)?;
    let scope = sink.relation.iter().map(|column| ScopeColumn {
        name: column.name.clone(),
        data_type: column.data_type.clone(),
        nullable: column.nullable,
    });
    let name = expressions::quote(stream.schema.field(identity).name());
    let condition = format!("cast({name} as varchar) = '{}'", key.replace('\'', "''"));
    let filter = expressions::compile(&condition, &Scope::new(scope.collect()));
    sink.filter = Some(filter.map_err(|error| Error::internal(format!("the condition on the key does not compile: {}", error.message)))?);
    let mut rewritten = plan.clone();
    rewritten.sinks = vec![sink];
    let committed = records.len();
    run_captured(rewritten, scratch.path(), Some(records))?;
    let rows = read_rows(&path)?;
    if rows.is_empty() {
        let cause = format!("{} predicted no record with key {key} in the {committed} committed epochs", declared.id);
        return Err(Error::new(
            Exit::Data,
            cause,
            "the key is the value of the source's `key` column; it must have been predicted already",
        ));
    }
    let names: Vec<&str> = declared.inputs.iter().map(|input| input.name.as_str()).collect();
    Ok(rows.into_iter().map(|row| explained(declared.id.as_str(), row, &names)).collect())
}

fn explained(model: &str, mut row: Map<String, Value>, names: &[&str]) -> Explained {
    let mut take = |name: &str| row.remove(&name.replace('.', "__")).unwrap_or(Value::Null);
    let mut inputs: Vec<(String, Value, Option<f64>)> =
        names.iter().map(|name| ((*name).to_string(), take(name), take(&format!("explain.{name}")).as_f64())).collect();
    inputs.sort_by(|a, b| b.2.unwrap_or(0.0).abs().total_cmp(&a.2.unwrap_or(0.0).abs()).then_with(|| a.0.cmp(&b.0)));
    Explained { model: model.to_string(), answer: row, inputs }
}

impl Explained {
    /// For a person.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.model);
        for (name, value) in &self.answer {
            out.push_str(&format!("  {name:<24} {value}\n"));
        }
        out.push_str("  inputs, strongest contribution first\n");
        for (name, value, contribution) in &self.inputs {
            let contribution = contribution.map(|contribution| format!("{contribution:+.6}")).unwrap_or_default();
            out.push_str(&format!("    {name:<32} {value:<24} {contribution}\n", value = value.to_string()));
        }
        out
    }

    /// For a program, one line.
    pub fn json(&self) -> String {
        let inputs: Vec<Value> = self
            .inputs
            .iter()
            .map(|(name, value, contribution)| serde_json::json!({ "name": name, "value": value, "contribution": contribution }))
            .collect();
        let mut line = serde_json::json!({ "model": self.model, "answer": self.answer, "inputs": inputs }).to_string();
        line.push('\n');
        line
    }
}
