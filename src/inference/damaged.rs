//! Artefacts that must be refused, each with a reason that names what is wrong, and those that load.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::laws::{Files, network, noise, tensors};
use super::network::Network;
use crate::error::Exit;
use crate::models::{InputNulls, NoPrediction};

fn good() -> Files {
    network(3, 4, &json!({ "kind": "relu" }), Some("sigmoid"))
}

fn refused(files: &Files) -> String {
    match files.load_on("cpu", 16) {
        Ok(_) => panic!("it loaded: {}", files.description),
        Err(reason) => reason,
    }
}

#[test]
fn descriptions_that_do_not_fit_are_refused_by_name() {
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/format", json!("tidemill-model/2"), "`format` is `tidemill-model/2`"),
        ("/kind", json!("logistic_regression"), "`kind` is `logistic_regression`"),
        ("/dtype", json!("f16"), "`dtype` is `f16`"),
        ("/tile", json!(0), "`tile` must be at least 1"),
        ("/optimizer", json!({ "kind": "sgd" }), "`optimizer` must be null"),
        ("/output", json!("logits"), "unknown variant `logits`"),
        ("/output", json!("value"), ""),
        ("/inputs", json!([]), "names no inputs"),
        ("/inputs/1/name", json!("x000"), "`x000` is listed twice"),
        ("/inputs/1/type", json!("string"), "type `string`"),
        ("/inputs", json!([{ "name": "a", "type": "float64" }]), "`l0` reads 3 numbers, but 1 arrive"),
        ("/scaler", json!({ "kind": "standard", "mean": [0.0], "scale": [1.0, 1.0, 1.0] }), "scaler.mean has 1 numbers for 3 inputs"),
        (
            "/scaler",
            json!({ "kind": "standard", "mean": [0.0, 0.0, 0.0], "scale": [1.0, -1.0, 1.0] }),
            "input `x001` has mean 0 and scale -1",
        ),
        ("/scaler", json!({ "kind": "minmax" }), "unknown variant `minmax`"),
        ("/layers", json!([]), "there are no layers"),
        ("/layers/0/kind", json!("conv"), "layer 1: kind `conv` is none of gelu, "),
        ("/layers/0/inputs", json!(5), "`l0` reads 5 numbers, but 3 arrive"),
        ("/layers/0/outputs", json!(5), "tensor `l0.weight` has shape [4, 3]; its layer needs [5, 3]"),
        ("/layers/0/outputs", json!(1u64 << 40), "at most 65536"),
        ("/layers/0/name", json!("nobody"), "tensor `nobody.weight` is missing"),
        ("/layers/2/name", json!("l0"), "tensor `l0.weight` is missing, or two layers ask for it"),
        ("/layers/0/bias", json!(false), "no layer asks for tensor `l0.bias`"),
        ("/layers/0/units", json!(4), "unknown field `units`"),
        ("/layers/1/slope", json!(4), "it has no option `slope`"),
        ("/surprise", json!(4), "unknown field `surprise`"),
    ];
    for (place, value, reason) in cases {
        let mut files = good();
        let (parent, key) = place.rsplit_once('/').expect("a pointer");
        match files.description.pointer_mut(parent).expect("a place") {
            Value::Object(map) => drop(map.insert(key.into(), value.clone())),
            Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value.clone(),
            _ => panic!("{place}"),
        }
        if reason.is_empty() {
            assert!(files.load_on("cpu", 16).is_ok(), "{place} = {value}");
            continue;
        }
        let found = refused(&files);
        assert!(found.contains(reason), "{place} = {value}: {found}");
    }
}

#[test]
fn the_last_layer_must_give_one_number_and_a_probability_comes_from_a_sigmoid() {
    let mut files = network(3, 4, &json!({ "kind": "relu" }), None);
    files.description["output"] = json!("probability");
    assert!(refused(&files).contains("the last layer must be `sigmoid`"));
    let mut files = good();
    let layers = files.description["layers"].as_array_mut().expect("layers");
    layers.truncate(2);
    assert!(refused(&files).contains("no layer asks") || refused(&files).contains("gives 4 numbers"));
}

#[test]
fn tensors_that_are_not_sound_are_refused_by_name() {
    let with = |bytes: Vec<u8>| Files { tensors: bytes, ..good() };
    for (bytes, reason) in [
        (b"PK\x03\x04rest".to_vec(), "a zip archive"),
        (b"\x80\x02}q".to_vec(), "a Python pickle"),
        (b"\x80\x04\x95".to_vec(), "a Python pickle"),
        (b"GGUF....".to_vec(), "GGUF"),
        (Vec::new(), "too short"),
        (vec![0; 7], "too short"),
        (vec![0xff; 64], "does not begin with a safetensors header"),
        ((1u64 << 60).to_le_bytes().to_vec(), "does not begin with a safetensors header"),
        ([&4u64.to_le_bytes()[..], b"abcd"].concat(), "does not begin with a safetensors header"),
        ([&2u64.to_le_bytes()[..], b"{}"].concat(), "tensor `l0.weight` is missing"),
        ([&4u64.to_le_bytes()[..], b"{]}}"].concat(), "model.safetensors"),
    ] {
        let found = refused(&with(bytes.clone()));
        assert!(found.contains(reason), "{bytes:?}: {found}");
    }
    let whole = good().tensors;
    for cut in [8, 9, 40, whole.len() - 4, whole.len() - 1] {
        refused(&with(whole[..cut].to_vec()));
    }
    let mut longer = whole.clone();
    longer.extend([0; 4]);
    refused(&with(longer));
    let mut poisoned = whole.clone();
    let last = poisoned.len() - 4;
    for (number, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        poisoned[last..].copy_from_slice(&number.to_le_bytes());
        assert!(refused(&with(poisoned.clone())).contains(shown));
    }
    let mut one = BTreeMap::new();
    one.insert("extra".to_string(), (vec![2], noise(1, 2)));
    assert!(refused(&with(tensors(&one))).contains("`l0.weight` is missing"));
}

#[test]
fn the_digest_must_be_the_one_of_the_plan_and_of_the_description() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = good();
    let mut description = files.description.clone();
    description["sha256"] = json!(files.sha256());
    std::fs::write(folder.path().join("model.json"), description.to_string()).expect("written");
    std::fs::write(folder.path().join("model.safetensors"), &files.tensors).expect("written");
    for artifact in [folder.path().to_path_buf(), folder.path().join("model.json"), folder.path().join("model.safetensors")] {
        let network = Network::load(&artifact, "cpu", 16, &files.sha256()).expect("it loads");
        assert_eq!((network.tile(), network.classification(), network.inputs().len()), (16, true, 3));
    }
    let load = |tile: usize, device: &str, sha256: &str| {
        Network::load(folder.path(), device, tile, sha256).map(drop).map_err(|error| (error.exit, error.cause))
    };
    let other = "00".repeat(32);
    assert!(matches!(load(16, "cpu", &other), Err((Exit::Data, cause)) if cause.contains("the plan was made with 0000")));
    assert!(matches!(load(0, "cpu", &files.sha256()), Err((Exit::Data, cause)) if cause.contains("a tile of 0 rows")));
    assert!(matches!(load(16, "tpu", &files.sha256()), Err((Exit::Config, _))));
    let mut flipped = files.tensors.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(folder.path().join("model.safetensors"), &flipped).expect("written");
    assert!(matches!(load(16, "cpu", &files.sha256()), Err((Exit::Data, cause)) if cause.contains("has sha256")));
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    assert!(matches!(load(16, "cpu", &files.sha256()), Err((Exit::Io, _))));
    let pickle = folder.path().join("model.pt");
    std::fs::write(&pickle, b"PK\x03\x04").expect("written");
    assert!(Network::load(&pickle, "cpu", 16, &files.sha256()).is_err_and(|error| error.exit == Exit::Data));
}

#[test]
fn rows_without_an_answer_say_why_and_leave_their_neighbours_alone() {
    let network = good().load(16).with_nulls(vec![InputNulls::Skip, InputNulls::Mean, InputNulls::Mean]).expect("three policies");
    let sound = [0.5, -0.5, 0.25];
    let alone = network.predict(&sound, &[7], 1).expect("an answer");
    let x: Vec<f64> = [sound, [f64::NAN, 0.0, 0.0], [0.0, f64::INFINITY, 0.0], [0.0, f64::NAN, 0.0], [1e300, 0.0, 0.0], sound].concat();
    let answered = network.predict(&x, &[7, 6, 7, 5, 7, 7], 6).expect("an answer");
    assert_eq!(
        answered.missing,
        [None, Some(NoPrediction::NullInput(0)), Some(NoPrediction::NonFiniteInput(1)), None, Some(NoPrediction::OutOfRange), None]
    );
    for (value, missing) in answered.values.iter().zip(&answered.missing) {
        assert_eq!(value.is_nan(), missing.is_some());
    }
    assert_eq!(answered.values[0].to_bits(), alone.values[0].to_bits());
    assert_eq!(answered.values[5].to_bits(), alone.values[0].to_bits());
}

#[test]
fn a_result_that_overflows_is_no_prediction() {
    let mut values = BTreeMap::new();
    values.insert("l.weight".to_string(), (vec![1, 1], vec![3e38]));
    let mut files = network(1, 1, &json!({ "kind": "relu" }), None);
    files.description["layers"] = json!([{ "kind": "linear", "name": "l", "inputs": 1, "outputs": 1, "bias": false }]);
    files.tensors = tensors(&values);
    let answered = files.load(4).predict(&[1.0, 10.0], &[1, 1], 2).expect("an answer");
    assert_eq!(answered.missing, [None, Some(NoPrediction::OutOfRange)]);
}
