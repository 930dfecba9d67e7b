//! A network on the CPU against the matrix products it is made of: `cargo bench --bench network`.
//!
//! The network is 64 → 256 → 256 → 1 with relu, asked in whole tiles of rows that are already gathered. Beside it stand the three products alone, by
//! candle, at the same batch, on tensors that are already there. Before the figures of each tile it prints the share of candle's own rate that the
//! network reaches, normalising, biases, activations and copies included: the best of many interleaved rounds of either.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use sha2::{Digest, Sha256};
use tidemill::inference::Network;

const WIDTHS: [usize; 4] = [64, 256, 256, 1];

/// Rows a call.
const TILES: [usize; 3] = [64, 256, 1024];

/// Rounds for the ratio.
const ROUNDS: usize = 200;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// `count` fixed numbers in [-1, 1).
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Weights of layer `index`, outputs × inputs.
fn weights(index: usize) -> Vec<f32> {
    let scale = 1.0 / (WIDTHS[index] as f32).sqrt();
    noise(index as u64 + 1, WIDTHS[index] * WIDTHS[index + 1]).into_iter().map(|value| value * scale).collect()
}

/// Writes the two files of the network to `folder` and loads it from there.
fn network(folder: &Path, tile: usize) -> Fallible<Network> {
    let (mut tensors, mut layers) = (BTreeMap::new(), Vec::new());
    for index in 0..3 {
        let (inputs, outputs) = (WIDTHS[index], WIDTHS[index + 1]);
        let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        tensors.insert(format!("l{index}.weight"), (vec![outputs, inputs], bytes(weights(index))));
        tensors.insert(format!("l{index}.bias"), (vec![outputs], bytes(noise(index as u64 + 9, outputs))));
        layers.push(json!({ "kind": "linear", "name": format!("l{index}"), "inputs": inputs, "outputs": outputs }));
        if outputs > 1 {
            layers.push(json!({ "kind": "relu" }));
        }
    }
    let mut views = Vec::new();
    for (name, (shape, bytes)) in &tensors {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    let bytes = safetensors::serialize(views, None)?;
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let inputs: Vec<_> = (0..WIDTHS[0]).map(|input| json!({ "name": format!("x{input:03}"), "type": "float64" })).collect();
    let description = json!({
        "format": "tidemill-model/1", "kind": "network", "parameters": {}, "inputs": inputs, "output": "value", "scaler": { "kind": "none" },
        "optimizer": null, "seed": 1, "epoch": 0, "learned_rows": 1, "fingerprint": "", "sha256": sha256, "layers": layers, "dtype": "f32",
        "tile": tile,
    });
    std::fs::write(folder.join("model.safetensors"), bytes)?;
    std::fs::write(folder.join("model.json"), description.to_string())?;
    Ok(Network::load(folder, "cpu", tile, &sha256).map_err(|error| error.cause)?)
}

/// The three products alone.
struct Products {
    of: Vec<(Tensor, Tensor)>,
}

impl Products {
    fn new(tile: usize) -> Fallible<Self> {
        let pair = |index: usize| -> Fallible<(Tensor, Tensor)> {
            let (inputs, outputs) = (WIDTHS[index], WIDTHS[index + 1]);
            let x = Tensor::from_vec(noise(77, tile * inputs), (tile, inputs), &Device::Cpu)?;
            Ok((x, Tensor::from_vec(weights(index), (outputs, inputs), &Device::Cpu)?.t()?))
        };
        Ok(Self { of: (0..3).map(pair).collect::<Fallible<_>>()? })
    }

    fn run(&self) {
        self.of.iter().for_each(|(x, weights)| _ = black_box(x.matmul(weights)));
    }
}

/// The shortest of many rounds.
fn shortest(best: Duration, work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    best.min(start.elapsed())
}

fn networks(c: &mut Criterion) {
    let mut group = c.benchmark_group("network 64-256-256-1");
    for tile in TILES {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a folder for the network: {error}"));
        let network = network(folder.path(), tile).unwrap_or_else(|error| panic!("the network: {error}"));
        let products = Products::new(tile).unwrap_or_else(|error| panic!("the products: {error}"));
        let x: Vec<f64> = noise(5, tile * WIDTHS[0]).into_iter().map(f64::from).collect();
        let valid = vec![u64::MAX; tile];
        let ask = || _ = black_box(network.predict(&x, &valid, tile));
        let (mut whole, mut alone) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            whole = shortest(whole, ask);
            alone = shortest(alone, || products.run());
        }
        let flops = 2.0 * tile as f64 * WIDTHS.windows(2).map(|pair| pair[0] * pair[1]).sum::<usize>() as f64;
        let rate = |time: Duration| flops / time.as_secs_f64() / 1e9;
        println!(
            "tile {tile}: network {:.1} GFLOP/s, products alone {:.1} GFLOP/s: {:.0} %",
            rate(whole),
            rate(alone),
            100.0 * alone.as_secs_f64() / whole.as_secs_f64()
        );
        group.throughput(Throughput::Elements(tile as u64));
        group.bench_function(BenchmarkId::new("asked", tile), |bencher| bencher.iter(ask));
        group.bench_function(BenchmarkId::new("products alone", tile), |bencher| bencher.iter(|| products.run()));
    }
    group.finish();
}

criterion_group!(benches, networks);
criterion_main!(benches);
