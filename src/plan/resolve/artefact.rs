//! Artefacts: what the JSON beside the tensors says about inputs, output and tile (S10.7), and the digest of the tensors (S1.1).

use std::ops::Range;

use serde_json::Value;

use super::Resolver;
use crate::config;
use crate::config::declaration::Spanned;
use crate::diagnostic::Diagnostic;
use crate::plan::{InputPlan, codes};

/// What the plan needs to know about a network.
pub(super) struct Network {
    /// Path of the JSON.
    pub(super) path: String,
    /// Its inputs, in the artefact's order.
    pub(super) inputs: Vec<String>,
    /// Rows of the one tile (S11.1).
    pub(super) tile: usize,
    /// Digest of the tensors.
    pub(super) sha256: String,
    /// Whether its output is a probability.
    pub(super) classification: bool,
    /// Where the file names it.
    pub(super) place: Range<usize>,
}

impl Resolver<'_> {
    /// Reads the description of a network; reports and gives `None` if it cannot be used.
    pub(super) fn network(&mut self, artifact: &Spanned<String>, batch_rows: Option<&Spanned<usize>>) -> Option<Network> {
        if artifact.value.starts_with("registry:") {
            self.report(
                Diagnostic::error(config::codes::NOT_BUILT, artifact.span.clone(), "the model registry is not available yet")
                    .help("name the folder of the artefact, or its .safetensors file"),
            );
            return None;
        }
        let (json_path, document, sha256) = self.document(artifact)?;
        let inputs = self.input_names(artifact, &json_path, &document)?;
        let declared_tile = document.get("tile").and_then(Value::as_u64).and_then(|tile| usize::try_from(tile).ok());
        let tile = match batch_rows.map(|rows| rows.value).or(declared_tile) {
            Some(tile) if tile > 0 => tile,
            _ => {
                self.unusable(artifact, format!("`{json_path}` does not say its tile"), "add batch_rows = 256, the rows of one tile");
                return None;
            }
        };
        let output = document.get("output");
        let output_kind =
            output.and_then(|output| output.as_str().or_else(|| output.get("kind").and_then(Value::as_str))).unwrap_or("value");
        let classification = matches!(output_kind, "probability" | "sigmoid" | "logistic");
        Some(Network { path: json_path, inputs, tile, sha256, classification, place: artifact.span.clone() })
    }

    /// A saved learner to start from: its folder and the digest of its tensors. Its inputs must be the model's.
    pub(super) fn initial(&mut self, folder: &Spanned<String>, inputs: &[InputPlan]) -> Option<(String, String)> {
        let (json_path, document, sha256) = self.document(folder)?;
        let names = self.input_names(folder, &json_path, &document)?;
        if !names.iter().eq(inputs.iter().map(|input| &input.name)) {
            let own: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            let message = format!("`{json_path}` was learned from other inputs: {}", names.join(", "));
            self.unusable(folder, message, &format!("this model reads {}", own.join(", ")));
            return None;
        }
        Some((folder.value.clone(), sha256))
    }

    /// The JSON of an artefact, its path, and the digest of the tensors beside it, which the JSON must state.
    fn document(&mut self, artifact: &Spanned<String>) -> Option<(String, Value, String)> {
        let (tensors, json) = match artifact.value.strip_suffix(".safetensors") {
            Some(stem) => (artifact.value.clone(), format!("{stem}.json")),
            None => {
                let folder = artifact.value.trim_end_matches('/');
                (format!("{folder}/model.safetensors"), format!("{folder}/model.json"))
            }
        };
        let bytes = self.files.read(&json);
        let bytes = self.outside(codes::ARTEFACT, &artifact.span, bytes)?;
        let document = match serde_json::from_slice::<Value>(&bytes) {
            Ok(document) => document,
            Err(error) => {
                let help = "an artefact is a folder with model.safetensors and model.json, or a .safetensors file beside its .json";
                self.unusable(artifact, format!("`{json}` is not JSON: {error}"), help);
                return None;
            }
        };
        let sha256 = self.files.sha256(&tensors);
        let sha256 = self.outside(codes::ARTEFACT, &artifact.span, sha256)?;
        if let Some(stated) = document.get("sha256").and_then(Value::as_str)
            && !stated.eq_ignore_ascii_case(&sha256)
        {
            let message = format!("`{tensors}` is not the file that `{json}` describes: its sha256 is {sha256}, not {stated}");
            self.unusable(artifact, message, "copy both files of the artefact again");
            return None;
        }
        Some((json, document, sha256))
    }

    /// The names in `inputs [{ name, type }]`; bare names are accepted too.
    fn input_names(&mut self, artifact: &Spanned<String>, json: &str, document: &Value) -> Option<Vec<String>> {
        let listed = document.get("inputs").and_then(Value::as_array).map(|inputs| {
            inputs
                .iter()
                .filter_map(|input| input.as_str().or_else(|| input.get("name").and_then(Value::as_str)))
                .map(str::to_string)
                .collect::<Vec<_>>()
        });
        match listed {
            Some(names) if !names.is_empty() => Some(names),
            _ => {
                self.unusable(
                    artifact,
                    format!("`{json}` names no inputs"),
                    "the JSON of an artefact lists inputs as [{ \"name\": …, \"type\": … }]",
                );
                None
            }
        }
    }

    fn unusable(&mut self, artifact: &Spanned<String>, message: String, help: &str) {
        self.report(Diagnostic::error(codes::ARTEFACT, artifact.span.clone(), message).help(help));
    }
}
