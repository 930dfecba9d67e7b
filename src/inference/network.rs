//! A feed-forward network in memory, on its device: checked when it is loaded, asked tile by tile (S11.1).

use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::artefact::{self, Description, Output, Scaler, Tensors, unusable};
use super::layers::{self, Layer};
use super::place::{self, Place};
use super::tile::{Normal, Predicted, Tile, normalise};
use crate::error::{Error, Exit, Result};
use crate::models::{InputNulls, NoPrediction};

/// Most rows of a tile.
const MAX_TILE: usize = 1 << 16;

/// A network, ready to answer. Clones share it.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    nulls: Arc<[InputNulls]>,
}

struct Shared {
    inputs: Vec<String>,
    normals: Vec<Normal>,
    layers: Vec<Box<dyn Layer>>,
    device: Device,
    device_kind: String,
    tile: usize,
    classification: bool,
    epoch: u64,
    learned_rows: u64,
    sha256: String,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared { inputs, layers, device_kind, tile, .. } = &*self.shared;
        write!(f, "Network({} inputs, {} layers, tile {tile}, {device_kind})", inputs.len(), layers.len())
    }
}

impl Network {
    /// Loads the network at `artifact` (folder, `.json` or `.safetensors`) to `device` (`auto`, `cpu`, `cuda:N`), to be asked in tiles of `tile` rows,
    /// checks it whole, warms it up and sees that it keeps the rule of the tile on this machine.
    ///
    /// `sha256` is the digest that the plan holds of the tensors. Errors: 65 for an artefact that cannot be used, 74 where it cannot be read, 78 for a
    /// device or tile this build or machine does not offer, 69 for a GPU that cannot be reached.
    pub fn load(artifact: &Path, device: &str, tile: usize, sha256: &str) -> Result<Self> {
        let (json, tensors) = artefact::read(artifact)?;
        let network =
            Self::from_parts(&json, &tensors, sha256, tile, place::choose(device)?).map_err(|reason| unusable(artifact, &reason))?;
        network.warm_up().map_err(|error| Error { cause: format!("{}: {}", artifact.display(), error.cause), ..error })?;
        Ok(network)
    }

    /// The network that the two files describe; what is wrong with them otherwise.
    pub(super) fn from_parts(json: &str, tensors: &[u8], sha256: &str, tile: usize, place: Place) -> Result<Self, String> {
        let description = Description::parse(json)?;
        if !description.sha256.eq_ignore_ascii_case(sha256) {
            return Err(format!("the JSON describes tensors of sha256 {}, the plan was made with {sha256}", description.sha256));
        }
        if tile == 0 || tile > MAX_TILE {
            return Err(format!("a tile of {tile} rows; from 1 to {MAX_TILE} are possible"));
        }
        let mut tensors = Tensors::read(tensors, sha256, &place.device)?;
        let classification = description.output == Output::Probability;
        let layers = layers::build(description.layers, &mut tensors, description.inputs.len(), classification)?;
        tensors.finish()?;
        // Every thread has a stream of its own on a GPU, and not this one will ask: nothing may still be on its way there.
        place.device.synchronize().map_err(|error| format!("its tensors did not reach the device: {error}"))?;
        let Scaler::Standard { mean, scale } = description.scaler else { return Err("the scaler was not resolved".into()) };
        let scaled = mean.into_iter().zip(scale).enumerate().map(|(column, (mean, scale))| Normal { column, mean, scale });
        let mut inputs: Vec<(String, Normal)> = description.inputs.into_iter().map(|input| input.name).zip(scaled).collect();
        inputs.sort_by(|a, b| a.0.cmp(&b.0));
        let (inputs, normals): (Vec<String>, Vec<Normal>) = inputs.into_iter().unzip();
        let nulls = vec![InputNulls::Mean; inputs.len()].into();
        let Place { device, kind: device_kind } = place;
        let (epoch, learned_rows, sha256) = (description.epoch, description.learned_rows, description.sha256);
        let shared = Shared { inputs, normals, layers, device, device_kind, tile, classification, epoch, learned_rows, sha256 };
        Ok(Self { shared: Arc::new(shared), nulls })
    }

    /// The same network with these policies for nulls, one per input (S10.1); without, the mean of the training rows stands for a null.
    pub fn with_nulls(self, nulls: Vec<InputNulls>) -> Result<Self> {
        if nulls.len() != self.shared.inputs.len() {
            return Err(Error::internal(format!("{} null policies for a network of {} inputs", nulls.len(), self.shared.inputs.len())));
        }
        Ok(Self { nulls: nulls.into(), ..self })
    }

    /// Names of the inputs in byte order: the order of the columns of what is asked.
    pub fn inputs(&self) -> &[String] {
        &self.shared.inputs
    }

    /// Rows of the one tile.
    pub fn tile(&self) -> usize {
        self.shared.tile
    }

    /// Device kind and instruction set, e.g. `cpu x86-64 avx512`: bits are promised for these (S11.3).
    pub fn device_kind(&self) -> &str {
        &self.shared.device_kind
    }

    /// Whether the output is the probability of the positive class.
    pub fn classification(&self) -> bool {
        self.shared.classification
    }

    /// Epoch after which the parameters had their state, as the artefact says.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// Rows it was trained on, as the artefact says.
    pub fn learned_rows(&self) -> u64 {
        self.shared.learned_rows
    }

    /// Digest of the tensors.
    pub fn sha256(&self) -> &str {
        &self.shared.sha256
    }

    /// Asks one whole tile: `tile × inputs` normalised numbers, columns as in the artefact; one number a row.
    pub fn predict_tile(&self, rows: &[f32]) -> Result<Vec<f32>> {
        let Shared { device, tile, inputs, layers, .. } = &*self.shared;
        let forward = || -> candle_core::Result<Vec<f32>> {
            let mut x = Tensor::from_slice(rows, (*tile, inputs.len()), device)?;
            for layer in layers {
                x = layer.forward(&x)?;
            }
            x.flatten_all()?.to_vec1::<f32>()
        };
        forward().map_err(|error| match device.is_cpu() {
            true => Error::internal(format!("a network failed on the CPU: {error}")),
            false => Error::new(
                Exit::Unreachable,
                format!("a network failed on {}: {error}", self.device_kind()),
                "check the GPU with nvidia-smi and run the same command again: it resumes; or write device = \"cpu\"",
            ),
        })
    }

    /// Asks `rows` rows (see [`Rows`](super::Rows)), tile by tile.
    pub fn predict(&self, x: &[f64], valid: &[u64], rows: usize) -> Result<Predicted> {
        let mut predicted = Predicted::default();
        let mut start = 0;
        while start < rows {
            let tile = self.prepare(x, valid, rows, start)?;
            start += tile.rows();
            self.answer(tile, &mut predicted)?;
        }
        Ok(predicted)
    }

    /// The tile that begins at row `start` of `rows` rows, padded with zeros.
    pub fn prepare(&self, x: &[f64], valid: &[u64], rows: usize, start: usize) -> Result<Tile> {
        let Shared { tile, normals, .. } = &*self.shared;
        let (width, words) = (normals.len(), normals.len().div_ceil(64));
        if x.len() != rows * width || valid.len() != rows * words || start >= rows {
            return Err(Error::internal(format!("{} values and {} words for {rows} rows of {width} inputs", x.len(), valid.len())));
        }
        let used = (*tile).min(rows - start);
        let mut values = vec![0.0f32; tile * width];
        let missing = (start..start + used).zip(values.chunks_exact_mut(width)).map(|(row, cells)| {
            let (x, valid) = (&x[row * width..(row + 1) * width], &valid[row * words..(row + 1) * words]);
            normalise(normals, &self.nulls, x, valid, cells)
        });
        let missing = missing.collect();
        Ok(Tile { values, missing })
    }

    /// Runs a tile and appends the answers of its rows.
    pub fn answer(&self, tile: Tile, predicted: &mut Predicted) -> Result<()> {
        let outputs = self.predict_tile(&tile.values)?;
        for (missing, output) in tile.missing.into_iter().zip(outputs) {
            let missing = missing.or_else(|| (!output.is_finite()).then_some(NoPrediction::OutOfRange));
            predicted.values.push(if missing.is_some() { f64::NAN } else { f64::from(output) });
            predicted.missing.push(missing);
        }
        Ok(())
    }

    /// Runs the kernels once before anybody waits, and sees that the answer of a row depends neither on its place in the tile nor on its neighbours.
    pub fn warm_up(&self) -> Result<()> {
        let Shared { tile, inputs, device, device_kind, .. } = &*self.shared;
        let width = inputs.len();
        let mean = self.predict_tile(&vec![0.0; tile * width])?;
        if mean.iter().any(|output| !output.is_finite()) {
            let help = "train the network again: its numbers overflow";
            return Err(Error::new(Exit::Data, "the network gives no finite number even for a row of means", help));
        }
        let values = noise(tile * width);
        let crowded = self.predict_tile(&values)?;
        let probe = |from: usize, to: usize| -> Result<bool> {
            let mut alone = vec![0.0; tile * width];
            alone[to * width..(to + 1) * width].copy_from_slice(&values[from * width..(from + 1) * width]);
            Ok(self.predict_tile(&alone)?[to].to_bits() == crowded[from].to_bits())
        };
        let last = tile - 1;
        for (from, to) in [(0, 0), (0, last), (last, 0), (last / 2, last / 3)] {
            if !probe(from, to)? {
                let cause =
                    format!("on {device_kind} this network does not give a row the same bits at every place of a tile of {tile} rows");
                let help = match device.is_cpu() {
                    true => "write batch_rows = 256, a tile that does, then train or evaluate with it",
                    false => "write another batch_rows (64, 128 or 256), or device = \"cpu\", then train or evaluate with it",
                };
                return Err(Error::new(Exit::Config, cause, help));
            }
        }
        Ok(())
    }
}

/// `count` fixed numbers in [-2, 2) (a linear congruential generator, Knuth's MMIX constants).
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    };
    (0..count).map(|_| next()).collect()
}
