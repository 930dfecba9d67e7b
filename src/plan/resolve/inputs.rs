//! The inputs of a model: patterns of `features` become columns, in byte order of names and each once (S10.1).

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::datatypes::DataType;

use super::artefact::Network;
use super::models::{Derived, Row};
use super::{Resolver, suggestion, type_name};
use crate::config::declaration::{Model, NullPolicy, Spanned};
use crate::diagnostic::Diagnostic;
use crate::plan::{InputNulls, InputOrigin, RowColumn, codes};

/// Inputs by name, with the place that asked for each.
pub(super) type Chosen = BTreeMap<String, (InputOrigin, Range<usize>)>;

impl Resolver<'_> {
    /// A learner has the columns that `features` names; a network has the inputs that its artefact names, which `features` only opens.
    pub(super) fn inputs(
        &mut self,
        name: &str,
        declared: &Spanned<Model>,
        network: Option<&Network>,
        row: &Row,
        derived: &Derived,
    ) -> Chosen {
        let mut chosen = Chosen::new();
        let asked: Vec<Spanned<String>> = match network {
            None => declared.value.features.clone(),
            Some(network) => network.inputs.iter().map(|input| Spanned { value: input.clone(), span: network.place.clone() }).collect(),
        };
        for pattern in &asked {
            match pattern.value.strip_suffix(".*") {
                Some(prefix) => self.all_of(prefix, pattern, row, &mut chosen),
                None => self.one(pattern, network.is_some(), row, derived, &mut chosen),
            }
        }
        if asked.is_empty() {
            self.report(
                Diagnostic::error(codes::UNKNOWN_INPUT, declared.span.clone(), format!("model `{name}` has no inputs"))
                    .help("add features = [\"view.*\", \"column\", …]"),
            );
        }
        if let Some(network) = network {
            let patterns = declared.value.features.iter();
            let mut opened = Chosen::new();
            for pattern in patterns {
                match pattern.value.strip_suffix(".*") {
                    Some(prefix) => self.all_of(prefix, pattern, row, &mut opened),
                    None => self.one(pattern, false, row, derived, &mut opened),
                }
            }
            if let Some(missing) = chosen.keys().find(|input| !declared.value.features.is_empty() && !opened.contains_key(*input)) {
                let message = format!("the network of model `{name}` reads `{missing}`, which `features` does not list");
                self.report(
                    Diagnostic::error(codes::UNKNOWN_INPUT, network.place.clone(), message).help(format!("add \"{missing}\" to features")),
                );
            }
        }
        chosen
    }

    /// `alias.*`: every feature of a lookup, or every column of a joined table.
    fn all_of(&mut self, prefix: &str, pattern: &Spanned<String>, row: &Row, chosen: &mut Chosen) {
        let matching: Vec<usize> = (0..row.columns.len())
            .filter(|index| row.scope.columns[*index].name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')))
            .collect();
        if matching.is_empty() {
            self.unknown(&Spanned { value: prefix.to_string(), span: pattern.span.clone() }, false, row, &[]);
        }
        for index in matching {
            self.choose(index, pattern, row, chosen);
        }
    }

    fn one(&mut self, name: &Spanned<String>, network: bool, row: &Row, derived: &Derived, chosen: &mut Chosen) {
        if let Some(index) = row.scope.columns.iter().position(|column| column.name == name.value) {
            self.choose(index, name, row, chosen);
        } else if let Some(index) = derived.iter().position(|(column, _)| *column == name.value) {
            chosen.entry(name.value.clone()).or_insert((InputOrigin::Derived(index), name.span.clone()));
        } else {
            self.unknown(name, network, row, derived);
        }
    }

    /// Takes one column of the feature row, if a model can read its type.
    fn choose(&mut self, index: usize, asked: &Spanned<String>, row: &Row, chosen: &mut Chosen) {
        let column = &row.scope.columns[index];
        let help = match &column.data_type {
            DataType::Float64 | DataType::Boolean => {
                let origin = match row.columns[index] {
                    RowColumn::Stream(index) => InputOrigin::Stream(index),
                    RowColumn::Feature { lookup, feature } => InputOrigin::Feature { lookup, feature },
                };
                chosen.entry(column.name.clone()).or_insert((origin, asked.span.clone()));
                return;
            }
            DataType::Utf8 | DataType::Binary => {
                "encoders of text (one_hot, ordinal, hash, target) are not available yet: derive a number from it, such as case when origin = 'BOS' then 1 else 0 end"
            }
            DataType::Timestamp(..) | DataType::Date32 => "derive a number from it, such as date_part('hour', …)",
            _ => "inputs are numbers or booleans: derive one from it",
        };
        let message = format!("input `{}` is {}, and models read numbers and booleans", column.name, type_name(&column.data_type));
        self.report(Diagnostic::error(codes::INPUT_TYPE, asked.span.clone(), message).help(help));
    }

    fn unknown(&mut self, name: &Spanned<String>, network: bool, row: &Row, derived: &Derived) {
        let mut known: Vec<&str> = row.scope.columns.iter().map(|column| column.name.as_str()).collect();
        known.extend(derived.iter().map(|(column, _)| column.as_str()));
        let alias = known.iter().any(|column| column.split_once('.').is_some_and(|(prefix, _)| prefix == name.value));
        let dotted = name.value.replace("__", ".");
        let help = if alias || self.views.iter().any(|view| view.id.name() == name.value) {
            format!("for all its features write `{}.*`", name.value)
        } else if network && known.contains(&dotted.as_str()) {
            format!("the artefact must name it `{dotted}`: `__` is only how outputs write the dot")
        } else if let (Some((_, column)), false) = (name.value.split_once('.'), known.iter().any(|column| *column == name.value)) {
            suggestion(&name.value, &known, &format!("`{column}` is read by alias.feature; the row has"))
        } else {
            let prefixes: Vec<&str> = known.iter().filter_map(|column| column.split_once('.').map(|(prefix, _)| prefix)).collect();
            match crate::diagnostic::nearest(&name.value, prefixes) {
                Some(prefix) => format!("did you mean `{prefix}.*`?"),
                None => suggestion(&name.value, &known, "the row has"),
            }
        };
        let message = match network {
            true => format!("the network reads `{}`, which is neither a column nor a feature of the row", name.value),
            false => format!("`{}` is neither a column, a feature nor a derived column of this model", name.value),
        };
        self.report(Diagnostic::error(codes::UNKNOWN_INPUT, name.span.clone(), message).help(help));
    }

    /// What a null becomes, for each input in order.
    pub(super) fn nulls(&mut self, policy: &NullPolicy, chosen: &Chosen) -> Vec<InputNulls> {
        let by_name = match policy {
            NullPolicy::PerInput(by_name) => by_name,
            all => return vec![one_policy(all); chosen.len()],
        };
        for (name, policy) in by_name.iter().filter(|(name, _)| !chosen.contains_key(*name)) {
            let known: Vec<&str> = chosen.keys().map(String::as_str).collect();
            let help = suggestion(name, &known, "its inputs are");
            self.report(
                Diagnostic::error(codes::UNKNOWN_INPUT, policy.span.clone(), format!("`nulls` names `{name}`, which is no input"))
                    .help(help),
            );
        }
        chosen.keys().map(|name| by_name.get(name).map_or(InputNulls::Mean, |policy| one_policy(&policy.value))).collect()
    }
}

fn one_policy(policy: &NullPolicy) -> InputNulls {
    match policy {
        NullPolicy::Constant(value) => InputNulls::Constant(*value),
        NullPolicy::Skip => InputNulls::Skip,
        NullPolicy::Mean | NullPolicy::PerInput(_) => InputNulls::Mean,
    }
}
