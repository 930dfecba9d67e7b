//! The numbers of a model by name: what snapshots and artefacts store, so that both resume bit for bit.
//!
//! Names: `intercept` and `weights`; `scaler.count`, `scaler.mean`, `scaler.var`, or without a scaler `imputer.count` and `imputer.mean`; the optimizer's
//! state (`optimizer.*`); `penalty.received` and `penalty.total` with a model's `l1`. All are vectors of float64, in byte order of their names.

use std::collections::BTreeMap;

use super::OnlineModel;
use super::lanes::{fill, to_vec};

/// Values by name.
pub(super) type Tensors = BTreeMap<String, Vec<f64>>;

impl OnlineModel {
    /// All numbers of the model.
    pub(super) fn tensors(&self) -> Tensors {
        let width = self.spec.inputs.len();
        let mut tensors = Tensors::new();
        tensors.insert("intercept".into(), vec![self.intercept]);
        tensors.insert("weights".into(), to_vec(&self.weights, width));
        tensors.extend(self.inputs.state().into_iter().map(|(name, values)| (name.to_string(), values)));
        tensors.extend(self.optimizer.state().into_iter().map(|(name, lanes)| (name.to_string(), to_vec(lanes, width))));
        if let Some(penalty) = &self.penalty {
            tensors.insert("penalty.received".into(), to_vec(&penalty.received, width));
            tensors.insert("penalty.total".into(), vec![penalty.total]);
        }
        tensors
    }

    /// Takes over all numbers of a model of the same shape. Names, lengths, finiteness and ranges are checked before anything changes.
    pub(super) fn set_tensors(&mut self, tensors: &Tensors) -> Result<(), String> {
        let expected = self.tensors();
        if let Some(name) = expected.keys().find(|name| !tensors.contains_key(*name)) {
            return Err(format!("tensor `{name}` is missing"));
        }
        for (name, values) in tensors {
            let Some(shape) = expected.get(name) else { return Err(format!("tensor `{name}` is not part of this kind of model")) };
            if values.len() != shape.len() {
                return Err(format!("tensor `{name}` has {} values, not {}", values.len(), shape.len()));
            }
            if let Some(position) = values.iter().position(|value| !value.is_finite()) {
                return Err(format!("tensor `{name}` is not finite at position {position}"));
            }
            let never_negative = matches!(name.as_str(), "scaler.var" | "optimizer.g2" | "optimizer.n" | "penalty.total");
            let count = name.ends_with(".count");
            let allowed = |value: &f64| if count { *value >= 0.0 && value.fract() == 0.0 } else { !never_negative || *value >= 0.0 };
            if let Some(position) = values.iter().position(|value| !allowed(value)) {
                let wanted = if count { "whole numbers of at least 0" } else { "numbers of at least 0" };
                return Err(format!("tensor `{name}` holds {wanted}, but {} stands at position {position}", values[position]));
            }
        }
        for (name, values) in tensors {
            match name.as_str() {
                "intercept" => self.intercept = values[0],
                "weights" => fill(&mut self.weights, values),
                "penalty.received" => self.penalty.iter_mut().for_each(|penalty| fill(&mut penalty.received, values)),
                "penalty.total" => self.penalty.iter_mut().for_each(|penalty| penalty.total = values[0]),
                _ => {
                    self.inputs.set(name, values);
                    let mut state = self.optimizer.state_mut();
                    state.iter_mut().filter(|(known, _)| known == name).for_each(|(_, lanes)| fill(lanes, values));
                }
            }
        }
        Ok(())
    }
}
