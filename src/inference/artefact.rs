//! The two files of a network (S10.7): what `model.json` must say, and the tensors of `model.safetensors`, checked before anything is built.
//!
//! Only safetensors are read: a format that is a header and numbers and nothing that could run. Sizes are bounded before memory is taken.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Exit, Result};
use crate::models::artefact::{FORMAT, JSON_FILE, TENSORS_FILE};

/// The value of `kind`.
pub(super) const KIND: &str = "network";
/// Largest `model.json`, bytes.
const MAX_JSON: u64 = 4 << 20;
/// Largest `model.safetensors`, bytes.
const MAX_TENSORS: u64 = 4 << 30;
/// Largest header within it, bytes.
const MAX_HEADER: u64 = 1 << 20;
/// What other formats begin with, so that the error can name them.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a zip archive, as PyTorch writes"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x89HDF", "HDF5, as Keras writes"),
    (b"GGUF", "GGUF"),
];

/// `model.json` of a network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    format: String,
    kind: String,
    /// How it was trained; only for people.
    #[serde(rename = "parameters")]
    _parameters: Map<String, Value>,
    pub(super) inputs: Vec<Input>,
    pub(super) output: Output,
    pub(super) scaler: Scaler,
    optimizer: Option<Value>,
    #[serde(rename = "seed")]
    _seed: u64,
    pub(super) epoch: u64,
    pub(super) learned_rows: u64,
    #[serde(rename = "fingerprint")]
    _fingerprint: String,
    pub(super) sha256: String,
    pub(super) layers: Vec<Map<String, Value>>,
    dtype: String,
    tile: usize,
}

/// One input, in the order of the first layer's columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) r#type: String,
}

/// What the one number that comes out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Output {
    /// Of the positive class; the last layer is a sigmoid.
    Probability,
    /// Of a regression.
    Value,
}

/// How inputs are normalised: `(x - mean) / scale`, in float64. A scale of 0 gives 0 (S10.3).
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Scaler {
    /// Not at all; the mean that stands for nulls is 0.
    None,
    /// By these, one per input.
    Standard {
        /// Means.
        mean: Vec<f64>,
        /// Divisors.
        scale: Vec<f64>,
    },
}

impl Description {
    /// Reads the text and checks all that needs neither tensors nor layers.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        let stated: Value = serde_json::from_str(json).map_err(|error| format!("{JSON_FILE} is not JSON: {error}"))?;
        for (key, wanted) in [("format", FORMAT), ("kind", KIND)] {
            match stated.get(key).and_then(Value::as_str) {
                Some(found) if found == wanted => {}
                Some(found) => return Err(format!("{JSON_FILE}: `{key}` is `{found}`; a network for this build has `{wanted}`")),
                None => return Err(format!("{JSON_FILE}: `{key}` is missing; a network has `{wanted}`")),
            }
        }
        let mut description: Self = serde_json::from_value(stated).map_err(|error| format!("{JSON_FILE}: {error}"))?;
        description.check()?;
        if matches!(description.scaler, Scaler::None) {
            let width = description.inputs.len();
            description.scaler = Scaler::Standard { mean: vec![0.0; width], scale: vec![1.0; width] };
        }
        Ok(description)
    }

    fn check(&self) -> Result<(), String> {
        debug_assert!(self.format == FORMAT && self.kind == KIND);
        if self.dtype != "f32" {
            return Err(format!("{JSON_FILE}: `dtype` is `{}`; only f32 is known", self.dtype));
        }
        if self.optimizer.is_some() {
            return Err(format!("{JSON_FILE}: `optimizer` must be null: a network does not learn here"));
        }
        if self.tile == 0 {
            return Err(format!("{JSON_FILE}: `tile` must be at least 1"));
        }
        if self.inputs.is_empty() {
            return Err(format!("{JSON_FILE} names no inputs"));
        }
        let mut names: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{JSON_FILE}: input `{}` is listed twice", twice[0]));
        }
        if let Some(input) = self.inputs.iter().find(|input| input.r#type != "float64") {
            return Err(format!("{JSON_FILE}: input `{}` has type `{}`, only float64 is known", input.name, input.r#type));
        }
        let Scaler::Standard { mean, scale } = &self.scaler else { return Ok(()) };
        for (key, values) in [("mean", mean), ("scale", scale)] {
            if values.len() != self.inputs.len() {
                return Err(format!("{JSON_FILE}: scaler.{key} has {} numbers for {} inputs", values.len(), self.inputs.len()));
            }
        }
        for (input, (mean, scale)) in self.inputs.iter().zip(mean.iter().zip(scale)) {
            if !mean.is_finite() || !scale.is_finite() || *scale < 0.0 {
                return Err(format!("{JSON_FILE}: the scaler of input `{}` has mean {mean} and scale {scale}", input.name));
            }
        }
        Ok(())
    }
}

/// The tensors of a network: float32, finite, taken by the layers one by one.
pub(super) struct Tensors {
    values: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    device: Device,
}

impl Tensors {
    /// Reads `bytes`; their digest must be `sha256`.
    pub(super) fn read(bytes: &[u8], sha256: &str, device: &Device) -> Result<Self, String> {
        for (magic, name) in FOREIGN {
            if bytes.starts_with(magic) {
                return Err(format!("{TENSORS_FILE} is {name}, not safetensors; nothing of it was read"));
            }
        }
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if !found.eq_ignore_ascii_case(sha256) {
            return Err(format!("{TENSORS_FILE} has sha256 {found}, not {sha256}"));
        }
        let Some(length) = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) else {
            return Err(format!("{TENSORS_FILE} has {} bytes: too short for safetensors", bytes.len()));
        };
        if length > MAX_HEADER || length > bytes.len() as u64 - 8 || bytes.get(8) != Some(&b'{') {
            return Err(format!("{TENSORS_FILE} does not begin with a safetensors header of at most {MAX_HEADER} bytes"));
        }
        let stored = SafeTensors::deserialize(bytes).map_err(|error| format!("{TENSORS_FILE}: {error}"))?;
        let mut values = BTreeMap::new();
        for (name, view) in stored.iter() {
            if view.dtype() != Dtype::F32 {
                return Err(format!("{TENSORS_FILE}: tensor `{name}` is {:?}; only F32 is known", view.dtype()));
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let numbers: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                return Err(format!("{TENSORS_FILE}: tensor `{name}` holds {} at position {at}", numbers[at]));
            }
            values.insert(name.to_string(), (view.shape().to_vec(), numbers));
        }
        Ok(Self { values, device: device.clone() })
    }

    /// Takes the tensor `name`, which must have `shape`, to the device.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        let Some((found, numbers)) = self.values.remove(name) else {
            return Err(format!("{TENSORS_FILE}: tensor `{name}` is missing, or two layers ask for it"));
        };
        if found != shape {
            return Err(format!("{TENSORS_FILE}: tensor `{name}` has shape {found:?}; its layer needs {shape:?}"));
        }
        Tensor::from_vec(numbers, shape, &self.device).map_err(|error| format!("tensor `{name}` does not fit on the device: {error}"))
    }

    /// All tensors must have been taken.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.values.keys().next() {
            Some(name) => Err(format!("{TENSORS_FILE}: no layer asks for tensor `{name}`")),
            None => Ok(()),
        }
    }
}

/// Where the two files of `artifact` are (a folder, the `.json` or the `.safetensors`): description, tensors.
fn places(artifact: &Path) -> Result<(PathBuf, PathBuf)> {
    match artifact.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "safetensors") => Ok((artifact.with_extension("json"), artifact.with_extension("safetensors"))),
        _ if artifact.is_file() => Err(unusable(artifact, "it is neither a folder nor a .safetensors file nor the .json beside one")),
        _ => Ok((artifact.join(JSON_FILE), artifact.join(TENSORS_FILE))),
    }
}

/// The two files of `artifact`: description, tensors.
pub(super) fn read(artifact: &Path) -> Result<(String, Vec<u8>)> {
    let (json, tensors) = places(artifact)?;
    let text = bounded(&json, MAX_JSON)?;
    let text = String::from_utf8(text).map_err(|_| unusable(&json, "it is not UTF-8 text"))?;
    Ok((text, bounded(&tensors, MAX_TENSORS)?))
}

fn bounded(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| Error::io("read", path, &error))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| Error::io("read", path, &error))?;
    match bytes.len() as u64 > most {
        true => Err(unusable(path, &format!("it is larger than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// The network at `path` cannot be used (exit 65).
pub(super) fn unusable(path: &Path, reason: &str) -> Error {
    let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let help = "an artefact is a folder with model.safetensors and model.json that belong together; write both again with the script that trained it";
    Error::new(Exit::Data, format!("cannot use the network in {}: {reason}", shown.display()), help)
}
