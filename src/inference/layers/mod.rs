//! What a network is made of: the kinds of layers by name. A row of a tile is never mixed with another one.

mod activations;
mod layer_norm;
mod linear;

use candle_core::Tensor;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::artefact::Tensors;

/// One layer on its device.
pub(super) trait Layer: Send + Sync {
    /// `tile × inputs` → `tile × outputs`, float32.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor>;
}

/// A layer and how many numbers it makes of a row.
pub(super) struct Built {
    /// The layer.
    pub(super) layer: Box<dyn Layer>,
    /// Its outputs per row.
    pub(super) outputs: usize,
}

/// Options of a layer, without `kind`.
type Options = Map<String, Value>;

/// One kind of layer.
struct Kind {
    /// Name in `layers [{ kind }]`.
    name: &'static str,
    /// Builds it from its options and tensors for rows of `usize` numbers.
    build: fn(Options, &mut Tensors, usize) -> Result<Built, String>,
    /// Whether all its outputs lie in [0, 1].
    bounded: bool,
}

/// All kinds, in byte order of their names.
const REGISTRY: [Kind; 8] = [
    Kind { name: "gelu", build: activations::gelu, bounded: false },
    Kind { name: "layer_norm", build: layer_norm::build, bounded: false },
    Kind { name: "leaky_relu", build: activations::leaky_relu, bounded: false },
    Kind { name: "linear", build: linear::build, bounded: false },
    Kind { name: "relu", build: activations::relu, bounded: false },
    Kind { name: "sigmoid", build: activations::sigmoid, bounded: true },
    Kind { name: "silu", build: activations::silu, bounded: false },
    Kind { name: "tanh", build: activations::tanh, bounded: false },
];

/// Most numbers a layer may make of a row.
const MAX_WIDTH: usize = 1 << 16;

/// Names of all kinds of layers, in byte order.
pub fn layer_names() -> Vec<&'static str> {
    REGISTRY.iter().map(|kind| kind.name).collect()
}

/// Builds the chain `layers` over rows of `width` numbers; one number must come out, in [0, 1] where `probability`.
pub(super) fn build(layers: Vec<Options>, tensors: &mut Tensors, width: usize, probability: bool) -> Result<Vec<Box<dyn Layer>>, String> {
    let (mut chain, mut width, mut bounded) = (Vec::with_capacity(layers.len()), width, false);
    for (index, mut options) in layers.into_iter().enumerate() {
        let place = |reason: String| format!("layer {}: {reason}", index + 1);
        let name = options.remove("kind").and_then(|kind| kind.as_str().map(str::to_string));
        let name = name.ok_or_else(|| place("`kind` is missing".into()))?;
        let kind = REGISTRY.iter().find(|kind| kind.name == name);
        let kind = kind.ok_or_else(|| place(format!("kind `{name}` is none of {}", layer_names().join(", "))))?;
        let built = (kind.build)(options, tensors, width).map_err(|reason| place(format!("{name}: {reason}")))?;
        if built.outputs == 0 || built.outputs > MAX_WIDTH {
            return Err(place(format!("{name}: {} outputs; from 1 to {MAX_WIDTH} are possible", built.outputs)));
        }
        (width, bounded) = (built.outputs, kind.bounded);
        chain.push(built.layer);
    }
    match (width, probability && !bounded) {
        _ if chain.is_empty() => Err("there are no layers".into()),
        (1, false) => Ok(chain),
        (1, true) => Err("the output is a probability, so the last layer must be `sigmoid`".into()),
        (width, _) => Err(format!("the last layer gives {width} numbers; a network gives one")),
    }
}

/// The options of a layer as its own type.
fn options<T: DeserializeOwned>(options: Options) -> Result<T, String> {
    serde_json::from_value(Value::Object(options)).map_err(|error| error.to_string())
}
