//! Activations, one number at a time. On the CPU their `exp`, `tanh` and `erf` are those of the `libm` crate, so that bits do not hang on the system's
//! C library; on a GPU they are candle's kernels.
//!
//! `gelu` is the exact one with `erf` (Hendrycks and Gimpel, 2016), `silu` is x·sigmoid(x), `leaky_relu` has the option `slope` (default 0.01).
//! A NaN stays a NaN: a row that overflowed must not look like an answer.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use serde::Deserialize;

use super::{Built, Layer, Options, options};
use crate::inference::artefact::Tensors;

#[derive(Clone, Copy, Debug)]
enum Activation {
    Gelu,
    LeakyRelu(f32),
    Relu,
    Sigmoid,
    Silu,
    Tanh,
}

impl Activation {
    fn apply(self, x: f32) -> f32 {
        match self {
            Self::Gelu => 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::LeakyRelu(slope) => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Sigmoid => sigmoid_of(x),
            Self::Silu => x * sigmoid_of(x),
            Self::Tanh => libm::tanhf(x),
        }
    }
}

fn sigmoid_of(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("an activation needs contiguous float32");
        };
        let values = values[start..end].iter().map(|x| self.apply(*x)).collect();
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }
}

impl Layer for Activation {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        if x.device().is_cpu() {
            return x.apply_op1_no_bwd(self);
        }
        self.kernels(x)
    }
}

impl Activation {
    /// `apply` as whole-tensor operations. The maximum of NaN and 0 is 0 on a GPU, so what has a bend at 0 chooses by a comparison instead.
    fn kernels(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::LeakyRelu(slope) => x.lt(&x.zeros_like()?)?.where_cond(&x.affine(f64::from(slope), 0.0)?, x),
            Self::Relu => {
                let zeros = x.zeros_like()?;
                x.lt(&zeros)?.where_cond(&zeros, x)
            }
            Self::Sigmoid => candle_nn::ops::sigmoid(x),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
        }
    }
}

fn plain(activation: Activation, declared: Options, width: usize) -> Result<Built, String> {
    match declared.keys().next() {
        Some(key) => Err(format!("it has no option `{key}`")),
        None => Ok(Built { layer: Box::new(activation), outputs: width }),
    }
}

pub(super) fn gelu(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    plain(Activation::Gelu, declared, width)
}

pub(super) fn relu(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    plain(Activation::Relu, declared, width)
}

pub(super) fn sigmoid(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    plain(Activation::Sigmoid, declared, width)
}

pub(super) fn silu(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    plain(Activation::Silu, declared, width)
}

pub(super) fn tanh(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    plain(Activation::Tanh, declared, width)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaky {
    #[serde(default = "usual_slope")]
    slope: f32,
}

fn usual_slope() -> f32 {
    0.01
}

pub(super) fn leaky_relu(declared: Options, _: &mut Tensors, width: usize) -> Result<Built, String> {
    let Leaky { slope } = options(declared)?;
    match slope.is_finite() {
        true => Ok(Built { layer: Box::new(Activation::LeakyRelu(slope)), outputs: width }),
        false => Err(format!("`slope` must be finite, not {slope}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_have_their_textbook_values() {
        let cases = [
            (Activation::Gelu, 1.0, 0.841_344_7),
            (Activation::LeakyRelu(0.1), -2.0, -0.2),
            (Activation::LeakyRelu(0.1), 2.0, 2.0),
            (Activation::Relu, -2.0, 0.0),
            (Activation::Relu, 2.0, 2.0),
            (Activation::Sigmoid, 0.0, 0.5),
            (Activation::Sigmoid, -200.0, 0.0),
            (Activation::Sigmoid, 200.0, 1.0),
            (Activation::Silu, 1.0, 0.731_058_6),
            (Activation::Tanh, 0.5, 0.462_117_16),
        ];
        for (activation, x, y) in cases {
            assert!((activation.apply(x) - y).abs() < 1e-6, "{x} -> {}", activation.apply(x));
        }
    }

    const ALL: [Activation; 6] =
        [Activation::Gelu, Activation::LeakyRelu(0.1), Activation::Relu, Activation::Sigmoid, Activation::Silu, Activation::Tanh];

    #[test]
    fn nan_stays_nan() {
        for activation in ALL {
            assert!(activation.apply(f32::NAN).is_nan());
        }
    }

    #[test]
    fn whole_tensor_operations_compute_the_same_function() {
        let x = [-f32::INFINITY, -3e38, -200.0, -2.0, -1e-3, 0.0, 1e-3, 0.5, 2.0, 200.0, 3e38, f32::INFINITY, f32::NAN];
        let tensor = Tensor::from_slice(&x, x.len(), &candle_core::Device::Cpu).expect("a tensor");
        for activation in ALL {
            let there = activation.kernels(&tensor).and_then(|y| y.to_vec1::<f32>()).expect("an answer");
            for (x, there) in x.iter().zip(there) {
                let here = activation.apply(*x);
                let same = here == there || (here - there).abs() <= 1e-6 * here.abs().max(1.0) || (here.is_nan() && there.is_nan());
                assert!(same, "{activation:?} of {x}: {here} and {there}");
            }
        }
    }
}
