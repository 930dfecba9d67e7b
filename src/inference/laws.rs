//! The law of the tile (S11.1): a row has the same bits alone, anywhere in a tile, among any neighbours, in an epoch of any size, on any number of
//! threads; for every kind of layer. With the feature `cuda` the same on the GPU, and both agree within a tolerance. What makes networks here serves the
//! other tests too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::device::DeviceThread;
use super::layers::layer_names;
use super::network::Network;
use super::place;
use super::tile::Rows;
use crate::models::NoPrediction;
use crate::time::Busy;

/// A network as its two files.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) description: Value,
    pub(super) tensors: Vec<u8>,
}

impl Files {
    pub(super) fn sha256(&self) -> String {
        Sha256::digest(&self.tensors).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Loads it, with the digest put right.
    pub(super) fn load_on(&self, device: &str, tile: usize) -> Result<Network, String> {
        let mut description = self.description.clone();
        description["sha256"] = json!(self.sha256());
        let place = place::choose(device).map_err(|error| error.to_string())?;
        Network::from_parts(&description.to_string(), &self.tensors, &self.sha256(), tile, place)
    }

    pub(super) fn load(&self, tile: usize) -> Network {
        self.load_on("cpu", tile).unwrap_or_else(|reason| panic!("{reason}"))
    }
}

/// Fixed numbers in [-1, 1).
pub(super) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(super) fn tensors(values: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes: BTreeMap<&String, Vec<u8>> =
        values.iter().map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let views = values
        .iter()
        .map(|(name, (shape, _))| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).expect("sizes agree")));
    safetensors::serialize(views, None).expect("names are distinct")
}

/// `width` inputs → linear → `middle` → linear → `middle` → linear → 1 → `last`, with the layer kind under test between the linear ones.
pub(super) fn network(width: usize, hidden: usize, middle: &Value, last: Option<&str>) -> Files {
    let mut layers = Vec::new();
    let mut values = BTreeMap::new();
    for (index, (inputs, outputs)) in [(width, hidden), (hidden, hidden), (hidden, 1)].into_iter().enumerate() {
        let name = format!("l{index}");
        let scale = 2.0 / (inputs as f32).sqrt();
        let weight = noise(index as u64 + 1, inputs * outputs).into_iter().map(|v| v * scale).collect();
        values.insert(format!("{name}.weight"), (vec![outputs, inputs], weight));
        values.insert(format!("{name}.bias"), (vec![outputs], noise(index as u64 + 77, outputs)));
        layers.push(json!({ "kind": "linear", "name": name, "inputs": inputs, "outputs": outputs }));
        if outputs > 1 && middle["kind"] != "linear" {
            let mut layer = middle.clone();
            if middle["kind"] == "layer_norm" {
                layer["name"] = json!(format!("n{index}"));
                values.insert(format!("n{index}.weight"), (vec![outputs], noise(index as u64 + 5, outputs)));
                values.insert(format!("n{index}.bias"), (vec![outputs], noise(index as u64 + 9, outputs)));
            }
            layers.push(layer);
        }
    }
    layers.extend(last.map(|kind| json!({ "kind": kind })));
    let inputs: Vec<Value> = (0..width).map(|i| json!({ "name": format!("x{i:03}"), "type": "float64" })).collect();
    let description = json!({
        "format": "tidemill-model/1", "kind": "network", "parameters": {}, "inputs": inputs,
        "output": if last == Some("sigmoid") { "probability" } else { "value" }, "scaler": { "kind": "none" }, "optimizer": null, "seed": 1,
        "epoch": 0, "learned_rows": 1000, "fingerprint": "", "sha256": "", "layers": layers, "dtype": "f32", "tile": 256,
    });
    Files { description, tensors: tensors(&values) }
}

/// One network per kind of layer, by name.
pub(super) fn every_kind(width: usize, hidden: usize) -> Vec<(&'static str, Files)> {
    layer_names()
        .into_iter()
        .map(|name| (name, network(width, hidden, &json!({ "kind": name }), (name == "sigmoid").then_some("sigmoid"))))
        .collect()
}

/// Rows of `width` inputs and their validity, every 11th value null.
pub(super) fn rows(width: usize, count: usize) -> (Vec<f64>, Vec<u64>) {
    let x: Vec<f64> = noise(4242, width * count).into_iter().map(|v| f64::from(v) * 3.0).collect();
    let words = width.div_ceil(64);
    let mut valid = vec![0u64; count * words];
    for row in 0..count {
        for input in (0..width).filter(|input| !(row * width + input).is_multiple_of(11)) {
            valid[row * words + input / 64] |= 1 << (input % 64);
        }
    }
    (x, valid)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A row alone, at other places, among other neighbours, in epochs of 1 to 3 tiles: always the bits it has in the whole.
pub(super) fn obeys_the_tile(network: &Network, label: &str) {
    let (width, tile) = (network.inputs().len(), network.tile());
    let words = width.div_ceil(64);
    let count = 3 * tile;
    let (x, valid) = rows(width, count);
    let whole = bits(&network.predict(&x, &valid, count).expect("an answer").values);
    let part = |start: usize, end: usize| {
        let answered = network.predict(&x[start * width..end * width], &valid[start * words..end * words], end - start).expect("an answer");
        bits(&answered.values)
    };
    let distinct: std::collections::BTreeSet<&u64> = whole.iter().collect();
    assert!(distinct.len() > count / 2, "{label}: the answers hardly differ");
    for row in [0, 1, tile / 2, tile - 1, tile, 2 * tile + tile / 3, count - 1].into_iter().filter(|row| *row < count) {
        assert_eq!(part(row, row + 1), whole[row..row + 1], "{label}: row {row} alone");
    }
    // Every shift puts every row at another place among other neighbours, and cuts the epoch elsewhere.
    for start in [1, 2, 3, 5, tile / 3 + 1, tile.saturating_sub(1), tile + 1].into_iter().filter(|start| *start < count) {
        assert_eq!(part(start, count), whole[start..], "{label}: rows from {start}");
    }
    for end in [tile / 2 + 1, tile, tile + 1, 2 * tile, count - 1].into_iter().filter(|end| *end > 0) {
        assert_eq!(part(0, end), whole[..end], "{label}: an epoch of {end} rows");
    }
}

#[test]
fn every_kind_of_layer_obeys_the_tile() {
    for (name, files) in every_kind(24, 32) {
        for tile in [16, 256] {
            obeys_the_tile(&files.load(tile), &format!("{name}, tile {tile}"));
        }
    }
}

#[test]
fn every_tile_that_loads_obeys_its_law_and_the_others_are_refused() {
    let files = network(24, 32, &json!({ "kind": "tanh" }), Some("sigmoid"));
    let wide = network(200, 96, &json!({ "kind": "relu" }), None);
    let mut refused = Vec::new();
    for tile in [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 128, 255, 257, 500] {
        for (name, files) in [("narrow", &files), ("wide", &wide)] {
            let network = files.load(tile);
            match network.warm_up() {
                Ok(()) => obeys_the_tile(&network, &format!("{name}, tile {tile}")),
                Err(error) => {
                    assert!(error.cause.contains("same bits"), "{error}");
                    refused.push((name, tile));
                }
            }
        }
    }
    eprintln!("refused: {refused:?}");
    for tile in [16, 64, 128] {
        assert!(refused.iter().all(|(_, other)| *other != tile), "{refused:?}");
    }
}

/// Prints one digest over all kinds of layers, narrow ones and some wide enough for the matrix product to be shared among threads.
#[test]
#[ignore = "run by the test below, in processes of their own"]
fn digest_of_all_kinds() {
    let mut digest = Sha256::new();
    let wide = [network(96, 192, &json!({ "kind": "relu" }), Some("sigmoid")), network(96, 192, &json!({ "kind": "layer_norm" }), None)];
    for files in every_kind(24, 32).into_iter().map(|(_, files)| files).chain(wide) {
        let network = files.load(256);
        let (x, valid) = rows(network.inputs().len(), 700);
        for value in network.predict(&x, &valid, 700).expect("an answer").values {
            digest.update(value.to_bits().to_le_bytes());
        }
    }
    let shown: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("digest={shown};");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let here = std::env::current_exe().expect("a test binary");
    let run = |threads: &str| {
        let test = format!("{}::digest_of_all_kinds", module_path!().split_once("::").map_or("", |(_, path)| path));
        let mut child = std::process::Command::new(&here);
        let output =
            child.args(["--exact", &test, "--ignored", "--nocapture"]).env("RAYON_NUM_THREADS", threads).output().expect("a child");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let found = said.split_once("digest=").and_then(|(_, rest)| rest.split_once(';')).map(|(digest, _)| digest.to_string());
        found.unwrap_or_else(|| panic!("no digest: {said}"))
    };
    let one = run("1");
    assert_eq!([run("2"), run("3")], [one.clone(), one]);
}

#[test]
fn the_order_in_which_the_artefact_lists_inputs_is_not_the_order_of_asking() {
    let mut files = network(3, 8, &json!({ "kind": "relu" }), None);
    let straight = files.load(16);
    files.description["inputs"] = json!([
        { "name": "c", "type": "float64" }, { "name": "a", "type": "float64" }, { "name": "b", "type": "float64" }
    ]);
    let turned = files.load(16);
    assert_eq!(turned.inputs(), ["a", "b", "c"]);
    let one = straight.predict(&[3.0, 1.0, 2.0], &[7], 1).expect("an answer");
    let other = turned.predict(&[1.0, 2.0, 3.0], &[7], 1).expect("an answer");
    assert_eq!(bits(&one.values), bits(&other.values));
}

/// The network that the repository ships.
pub(super) fn flights(device: &str) -> Network {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/models/delay-mlp");
    let description = std::fs::read_to_string(folder.join("model.json")).expect("it is in the repository");
    let description: Value = serde_json::from_str(&description).expect("JSON");
    Network::load(&folder, device, 256, description["sha256"].as_str().expect("a digest")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_network_for_flights_loads_and_obeys_the_tile() {
    let network = flights("cpu");
    assert!(network.classification() && network.learned_rows() > 100_000);
    obeys_the_tile(&network, "delay-mlp");
}

/// A row whose sums overflow to inf − inf inside the network has no answer, whatever activation follows; its neighbours have theirs.
fn an_overflow_inside_is_no_answer(device: &str) {
    for name in layer_names().into_iter().filter(|name| *name != "linear") {
        let mut files = network(2, 2, &json!({ "kind": name }), (name == "sigmoid").then_some("sigmoid"));
        let mut values = BTreeMap::new();
        for (layer, outputs) in [("l0", 2), ("l1", 2), ("l2", 1)] {
            let weight = if layer == "l0" { vec![3e38, -3e38, 1.0, 1.0] } else { vec![0.5; 2 * outputs] };
            values.insert(format!("{layer}.weight"), (vec![outputs, 2], weight));
            values.insert(format!("{layer}.bias"), (vec![outputs], vec![0.25; outputs]));
        }
        for layer in ["n0", "n1"].into_iter().filter(|_| name == "layer_norm") {
            values.insert(format!("{layer}.weight"), (vec![2], vec![1.0; 2]));
            values.insert(format!("{layer}.bias"), (vec![2], vec![0.0; 2]));
        }
        files.tensors = tensors(&values);
        let network = files.load_on(device, 16).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        let answered = network.predict(&[1e-38, 0.0, 10.0, 10.0, 0.0, 1e-38], &[3, 3, 3], 3).expect("an answer");
        assert_eq!(answered.missing, [None, Some(NoPrediction::OutOfRange), None], "{name}: {:?}", answered.values);
    }
}

#[test]
fn an_overflow_inside_a_network_is_no_answer() {
    an_overflow_inside_is_no_answer("cpu");
}

/// Two networks at work at once on their own threads give the bits of a direct question, epoch after epoch.
fn threads_change_no_bit(files: [&Files; 2], device: &str) {
    let networks = files.map(|files| files.load_on(device, 64).unwrap_or_else(|reason| panic!("{reason}")));
    let counts = [300, 64, 1, 129];
    let direct: Vec<Vec<Vec<u64>>> = networks
        .iter()
        .map(|network| {
            counts
                .map(|count| {
                    let (x, valid) = rows(network.inputs().len(), count);
                    bits(&network.predict(&x, &valid, count).expect("an answer").values)
                })
                .to_vec()
        })
        .collect();
    std::thread::scope(|scope| {
        for (network, direct) in networks.iter().zip(&direct) {
            scope.spawn(move || {
                let (wake, woken) = crossbeam_channel::unbounded();
                let mut thread = DeviceThread::start(network.clone(), "models.m", Busy::default(), move || {
                    let _ = wake.send(());
                })
                .expect("threads");
                for _ in 0..5 {
                    for (count, direct) in counts.iter().zip(direct) {
                        let (x, valid) = rows(network.inputs().len(), *count);
                        thread.submit(Rows { x, valid, count: *count }).expect("room");
                        let answered = loop {
                            if let Some(answered) = thread.poll().unwrap_or_else(|error| panic!("{error}")) {
                                break answered;
                            }
                            woken.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute");
                        };
                        assert_eq!(&bits(&answered.values), direct, "an epoch of {count} rows");
                    }
                }
            });
        }
    });
}

#[test]
fn networks_at_work_at_once_change_no_bit_of_each_other() {
    let (a, b) = (network(100, 160, &json!({ "kind": "relu" }), Some("sigmoid")), network(40, 128, &json!({ "kind": "layer_norm" }), None));
    threads_change_no_bit([&a, &b], "cpu");
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;

    /// Relative, or absolute below 1: float32 sums of a few hundred terms in another order, through three layers.
    const TOLERANCE: f64 = 2e-5;

    #[test]
    fn every_kind_of_layer_obeys_the_tile_on_the_gpu() {
        for (name, files) in every_kind(24, 32) {
            for tile in [16, 256] {
                let network = files.load_on("cuda:0", tile).unwrap_or_else(|reason| panic!("{reason}"));
                assert!(network.device_kind().starts_with("cuda sm_"), "{}", network.device_kind());
                network.warm_up().unwrap_or_else(|error| panic!("{name}: {error}"));
                obeys_the_tile(&network, &format!("{name}, tile {tile}, GPU"));
            }
        }
    }

    #[test]
    fn wide_networks_and_the_one_for_flights_obey_the_tile_on_the_gpu() {
        let mlp = network(100, 1024, &json!({ "kind": "relu" }), Some("sigmoid"));
        for tile in [64, 256] {
            let network = mlp.load_on("cuda:0", tile).unwrap_or_else(|reason| panic!("{reason}"));
            network.warm_up().unwrap_or_else(|error| panic!("tile {tile}: {error}"));
            obeys_the_tile(&network, &format!("100-1024-1024-1, tile {tile}, GPU"));
        }
        obeys_the_tile(&flights("cuda:0"), "delay-mlp, GPU");
    }

    #[test]
    fn an_overflow_inside_a_network_is_no_answer_on_the_gpu() {
        an_overflow_inside_is_no_answer("cuda:0");
    }

    #[test]
    fn networks_at_work_at_once_change_no_bit_of_each_other_on_the_gpu() {
        let a = network(100, 1024, &json!({ "kind": "relu" }), Some("sigmoid"));
        let b = network(200, 512, &json!({ "kind": "layer_norm" }), None);
        threads_change_no_bit([&a, &b], "cuda:0");
    }

    #[test]
    fn the_gpu_agrees_with_the_cpu_within_the_tolerance() {
        for (name, files) in every_kind(24, 32).into_iter().chain([("wide", network(200, 512, &json!({ "kind": "relu" }), None))]) {
            let (cpu, gpu) = (files.load(256), files.load_on("cuda:0", 256).unwrap_or_else(|reason| panic!("{reason}")));
            let (x, valid) = rows(cpu.inputs().len(), 700);
            let (a, b) = (cpu.predict(&x, &valid, 700).expect("an answer"), gpu.predict(&x, &valid, 700).expect("an answer"));
            let mut worst = 0.0f64;
            for (row, (a, b)) in a.values.iter().zip(&b.values).enumerate() {
                let apart = (a - b).abs() / a.abs().max(1.0);
                assert!(apart <= TOLERANCE, "{name}, row {row}: {a} on the CPU, {b} on the GPU");
                worst = worst.max(apart);
            }
            eprintln!("{name}: CPU and GPU at most {worst:e} apart");
        }
    }
}
