//! `y = x·Wᵀ + b`: options `name`, `inputs`, `outputs`, `bias` (default true); tensors `NAME.weight` (outputs × inputs) and `NAME.bias` (outputs).

use candle_core::Tensor;
use candle_nn::Module as _;
use serde::Deserialize;

use super::{Built, Layer, MAX_WIDTH, Options, options};
use crate::inference::artefact::Tensors;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    inputs: usize,
    outputs: usize,
    #[serde(default = "yes")]
    bias: bool,
}

fn yes() -> bool {
    true
}

struct Linear(candle_nn::Linear);

impl Layer for Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward(x)
    }
}

pub(super) fn build(declared: Options, tensors: &mut Tensors, width: usize) -> Result<Built, String> {
    let Declared { name, inputs, outputs, bias } = options(declared)?;
    if inputs != width {
        return Err(format!("`{name}` reads {inputs} numbers, but {width} arrive"));
    }
    if outputs > MAX_WIDTH {
        return Err(format!("`{name}` gives {outputs} numbers; at most {MAX_WIDTH} are possible"));
    }
    let weight = tensors.take(&format!("{name}.weight"), &[outputs, inputs])?;
    let bias = bias.then(|| tensors.take(&format!("{name}.bias"), &[outputs])).transpose()?;
    Ok(Built { layer: Box::new(Linear(candle_nn::Linear::new(weight, bias))), outputs })
}
