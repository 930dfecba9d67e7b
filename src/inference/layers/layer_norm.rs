//! Layer normalisation (Ba, Kiros, Hinton, 2016): each row by its own mean and variance. Options `name`, `eps` (default 1e-5); tensors `NAME.weight` and
//! `NAME.bias` (one number per column).

use candle_core::Tensor;
use serde::Deserialize;

use super::{Built, Layer, Options, options};
use crate::inference::artefact::Tensors;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    #[serde(default = "usual")]
    eps: f64,
}

fn usual() -> f64 {
    1e-5
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl Layer for LayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        candle_nn::ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

pub(super) fn build(declared: Options, tensors: &mut Tensors, width: usize) -> Result<Built, String> {
    let Declared { name, eps } = options(declared)?;
    if !(eps.is_finite() && eps > 0.0) {
        return Err(format!("`eps` must be a finite number above 0, not {eps}"));
    }
    let weight = tensors.take(&format!("{name}.weight"), &[width])?;
    let bias = tensors.take(&format!("{name}.bias"), &[width])?;
    Ok(Built { layer: Box::new(LayerNorm { weight, bias, eps: eps as f32 }), outputs: width })
}
