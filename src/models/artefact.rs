//! Models as files (S10.7): `model.safetensors` holds the numbers, `model.json` says what they mean; together they resume bit for bit.
//!
//! The tensors are those of `tensors`: little-endian float64 vectors in byte order of their names, without a metadata block, so equal models give
//! equal bytes. `encode` and `decode` are pure; `save` and `load` add the two files.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{InputNulls, LinearSpec, OnlineModel, optimizers};
use crate::config::declaration::Optimizer;
use crate::error::{Error, Exit};

/// The value of `format`.
pub const FORMAT: &str = "tidemill-model/1";
/// The file of the numbers.
pub const TENSORS_FILE: &str = "model.safetensors";
/// The file that describes them.
pub const JSON_FILE: &str = "model.json";

/// What an artefact says beside the model itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The epoch after which the model had this state.
    pub epoch: u64,
    /// Fingerprint of the model's part of the plan (S1.3).
    pub fingerprint: String,
}

/// A model in memory as the two files hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Bytes of `model.safetensors`.
    pub tensors: Vec<u8>,
    /// Text of `model.json`.
    pub json: String,
}

/// `model.json`, keys in this order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    kind: String,
    parameters: Parameters,
    inputs: Vec<Input>,
    output: String,
    scaler: Scaler,
    optimizer: DescribedOptimizer,
    seed: u64,
    epoch: u64,
    learned_rows: u64,
    fingerprint: String,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    learn: Learn,
    l1: f64,
    l2: f64,
    clip_gradient: f64,
    intercept_lr: f64,
    intercept_init: f64,
    nulls: BTreeMap<String, Nulls>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Learn {
    Record,
    Epoch,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Nulls {
    Mean,
    Constant(f64),
    Skip,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    r#type: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Scaler {
    None,
    Standard { update: Update },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Update {
    OnLearn,
    Before,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum DescribedOptimizer {
    Sgd { lr: f64 },
    AdaGrad { lr: f64, eps: f64 },
    Ftrl { alpha: f64, beta: f64, l1: f64, l2: f64 },
}

/// The model as the bytes of its two files.
pub fn encode(model: &OnlineModel, meta: &Meta) -> Result<Artefact, String> {
    let values = model.tensors();
    let bytes: BTreeMap<&str, Vec<u8>> =
        values.iter().map(|(name, values)| (name.as_str(), values.iter().flat_map(|value| value.to_le_bytes()).collect())).collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, bytes) in &bytes {
        let view = TensorView::new(Dtype::F64, vec![bytes.len() / 8], bytes).map_err(|error| format!("tensor `{name}`: {error}"))?;
        views.push((*name, view));
    }
    let tensors = safetensors::serialize(views, None).map_err(|error| error.to_string())?;
    let description = describe(model, meta, sha256(&tensors));
    let json = serde_json::to_string_pretty(&description).map_err(|error| error.to_string())?;
    Ok(Artefact { tensors, json: json + "\n" })
}

/// The model in `artefact`, checked: format, keys, digest, names, sizes, finiteness and ranges.
pub fn decode(artefact: &Artefact) -> Result<(OnlineModel, Meta), String> {
    let description: Description = serde_json::from_str(&artefact.json).map_err(|error| format!("{JSON_FILE}: {error}"))?;
    if description.format != FORMAT {
        return Err(format!("{JSON_FILE}: format is `{}`; this build reads `{FORMAT}`", description.format));
    }
    let found = sha256(&artefact.tensors);
    if description.sha256 != found {
        return Err(format!("{TENSORS_FILE} has sha256 {found}, but {JSON_FILE} says {}", description.sha256));
    }
    let spec = specification(&description)?;
    let mut model = OnlineModel::new(spec);
    if description.output != model.output() {
        return Err(format!("{JSON_FILE}: the output of `{}` is `{}`, not `{}`", model.kind(), model.output(), description.output));
    }
    let stored = SafeTensors::deserialize(&artefact.tensors).map_err(|error| format!("{TENSORS_FILE}: {error}"))?;
    let mut values = BTreeMap::new();
    for (name, view) in stored.iter() {
        if view.dtype() != Dtype::F64 || view.shape().len() != 1 {
            return Err(format!("{TENSORS_FILE}: tensor `{name}` is not a vector of float64"));
        }
        let (chunks, _) = view.data().as_chunks::<8>();
        values.insert(name.to_string(), chunks.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect());
    }
    model.set_tensors(&values).map_err(|reason| format!("{TENSORS_FILE}: {reason}"))?;
    model.learned_rows = description.learned_rows;
    Ok((model, Meta { epoch: description.epoch, fingerprint: description.fingerprint }))
}

/// Starts a model of `spec` from a stored one: kind, inputs, scaler and optimizer must agree; rates, penalties and null policies are `spec`'s.
pub fn start_from(spec: LinearSpec, stored: &OnlineModel) -> Result<OnlineModel, String> {
    let mut model = OnlineModel::new(spec);
    let (new, old) = (model.spec(), stored.spec());
    if new.logistic != old.logistic {
        return Err(format!("the saved model is a `{}`, this one a `{}`", stored.kind(), model.kind()));
    }
    if new.inputs != old.inputs {
        let missing: Vec<&str> = new.inputs.iter().filter(|name| !old.inputs.contains(name)).map(String::as_str).collect();
        let extra: Vec<&str> = old.inputs.iter().filter(|name| !new.inputs.contains(name)).map(String::as_str).collect();
        return Err(format!("the inputs differ: the saved model lacks [{}] and has [{}] besides", missing.join(", "), extra.join(", ")));
    }
    if new.standard_scaler != old.standard_scaler {
        return Err("one of the two models has a scaler, the other has none".into());
    }
    if std::mem::discriminant(&new.optimizer) != std::mem::discriminant(&old.optimizer) {
        return Err("the two models have different kinds of optimizers".into());
    }
    if (new.l1 > 0.0) != (old.l1 > 0.0) {
        return Err("one of the two models has an `l1` penalty, the other has none".into());
    }
    model.set_tensors(&stored.tensors())?;
    model.learned_rows = stored.learned_rows;
    Ok(model)
}

/// Writes both files into `folder` (created if needed), each whole or not at all; the description last.
pub fn save(folder: &Path, model: &OnlineModel, meta: &Meta) -> Result<(), Error> {
    let artefact = encode(model, meta).map_err(Error::internal)?;
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    for (name, bytes) in [(TENSORS_FILE, artefact.tensors.as_slice()), (JSON_FILE, artefact.json.as_bytes())] {
        let (path, temporary) = (folder.join(name), folder.join(format!("{name}.tmp")));
        let written = std::fs::File::create(&temporary).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.map_err(|error| Error::io("write", &temporary, &error))?;
        std::fs::rename(&temporary, &path).map_err(|error| Error::io("rename", &temporary, &error))?;
    }
    Ok(())
}

/// Reads the model in `folder`.
pub fn load(folder: &Path) -> Result<(OnlineModel, Meta), Error> {
    let (tensors, json) = (folder.join(TENSORS_FILE), folder.join(JSON_FILE));
    let artefact = Artefact {
        tensors: std::fs::read(&tensors).map_err(|error| Error::io("read", &tensors, &error))?,
        json: std::fs::read_to_string(&json).map_err(|error| Error::io("read", &json, &error))?,
    };
    let shown = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    decode(&artefact).map_err(|reason| {
        Error::new(
            Exit::Data,
            format!("cannot use the model in {}: {reason}", shown.display()),
            "save the model again, or choose another folder",
        )
    })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe(model: &OnlineModel, meta: &Meta, sha256: String) -> Description {
    let spec = model.spec();
    let nulls = spec.nulls.iter().map(|nulls| match nulls {
        InputNulls::Mean => Nulls::Mean,
        InputNulls::Constant(value) => Nulls::Constant(*value),
        InputNulls::Skip => Nulls::Skip,
    });
    Description {
        format: FORMAT.into(),
        kind: model.kind().into(),
        parameters: Parameters {
            learn: if spec.learn_record { Learn::Record } else { Learn::Epoch },
            l1: spec.l1,
            l2: spec.l2,
            clip_gradient: spec.clip_gradient,
            intercept_lr: spec.intercept_lr,
            intercept_init: spec.intercept_init,
            nulls: spec.inputs.iter().cloned().zip(nulls).collect(),
        },
        inputs: spec.inputs.iter().map(|name| Input { name: name.clone(), r#type: "float64".into() }).collect(),
        output: model.output().into(),
        scaler: match (spec.standard_scaler, spec.scaler_before) {
            (false, _) => Scaler::None,
            (true, false) => Scaler::Standard { update: Update::OnLearn },
            (true, true) => Scaler::Standard { update: Update::Before },
        },
        optimizer: match spec.optimizer {
            Optimizer::Sgd { lr } => DescribedOptimizer::Sgd { lr },
            Optimizer::AdaGrad { lr, eps } => DescribedOptimizer::AdaGrad { lr, eps },
            Optimizer::Ftrl { alpha, beta, l1, l2 } => DescribedOptimizer::Ftrl { alpha, beta, l1, l2 },
        },
        seed: spec.seed,
        epoch: meta.epoch,
        learned_rows: model.learned_rows(),
        fingerprint: meta.fingerprint.clone(),
        sha256,
    }
}

fn specification(description: &Description) -> Result<LinearSpec, String> {
    let known: Vec<&str> = super::learners::REGISTRY.iter().map(|learner| learner.name()).collect();
    if !known.contains(&description.kind.as_str()) {
        return Err(format!("{JSON_FILE}: kind `{}` is none of {}", description.kind, known.join(", ")));
    }
    let mut nulls = Vec::with_capacity(description.inputs.len());
    for input in &description.inputs {
        if input.r#type != "float64" {
            return Err(format!("{JSON_FILE}: input `{}` has type `{}`, only float64 is known", input.name, input.r#type));
        }
        nulls.push(match description.parameters.nulls.get(&input.name) {
            Some(Nulls::Mean) => InputNulls::Mean,
            Some(Nulls::Constant(value)) => InputNulls::Constant(*value),
            Some(Nulls::Skip) => InputNulls::Skip,
            None => return Err(format!("{JSON_FILE}: parameters.nulls says nothing about input `{}`", input.name)),
        });
    }
    let spec = LinearSpec {
        logistic: description.kind == super::learners::of(true).name(),
        optimizer: match description.optimizer {
            DescribedOptimizer::Sgd { lr } => Optimizer::Sgd { lr },
            DescribedOptimizer::AdaGrad { lr, eps } => Optimizer::AdaGrad { lr, eps },
            DescribedOptimizer::Ftrl { alpha, beta, l1, l2 } => Optimizer::Ftrl { alpha, beta, l1, l2 },
        },
        standard_scaler: !matches!(description.scaler, Scaler::None),
        scaler_before: matches!(description.scaler, Scaler::Standard { update: Update::Before }),
        learn_record: description.parameters.learn == Learn::Record,
        l1: description.parameters.l1,
        l2: description.parameters.l2,
        clip_gradient: description.parameters.clip_gradient,
        intercept_lr: description.parameters.intercept_lr,
        intercept_init: description.parameters.intercept_init,
        seed: description.seed,
        inputs: description.inputs.iter().map(|input| input.name.clone()).collect(),
        nulls,
    };
    optimizers::check(&spec.optimizer).and_then(|()| spec.check()).map_err(|reason| format!("{JSON_FILE}: {reason}"))?;
    if description.parameters.nulls.len() != spec.inputs.len() {
        return Err(format!("{JSON_FILE}: parameters.nulls names an input that the model does not have"));
    }
    Ok(spec)
}
