//! The laws every learner keeps with every optimizer and scaler: run over the registries, so a new row of one is covered by being there.

use super::artefact::{self, Meta};
use super::optimizers::REGISTRY;
use super::*;

/// splitmix64: the same rows on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

struct Example {
    x: Vec<f64>,
    valid: Vec<u64>,
    label: Option<(f64, f64)>,
}

impl Example {
    fn row(&self) -> Row<'_> {
        Row { x: &self.x, valid: &self.valid }
    }
}

/// `count` rows of `width` inputs of very different sizes; some nulls if asked for, one input constant, 90 % labelled, weights between 0 and 2.
fn examples(count: usize, width: usize, logistic: bool, nulls: bool) -> Vec<Example> {
    let mut random = Random(42);
    (0..count)
        .map(|_| {
            let x: Vec<f64> = (0..width).map(|j| if j == 3 { 4.0 } else { (random.unit() - 0.3) * f64::from(1 << (j % 10)) }).collect();
            let mut valid = vec![u64::MAX; width.div_ceil(64)];
            let mut x = x;
            for j in 0..width {
                if nulls && random.next().is_multiple_of(7) {
                    valid[j / 64] &= !(1 << (j % 64));
                    x[j] = f64::NAN;
                }
            }
            let signal = 2.0 * x.first().filter(|x| x.is_finite()).unwrap_or(&0.0) - 0.5 + random.unit();
            let y = if logistic { f64::from(signal > 0.4) } else { signal };
            let weight = if random.next().is_multiple_of(3) { random.unit() * 2.0 } else { 1.0 };
            Example { x, valid, label: (!random.next().is_multiple_of(10)).then_some((y, weight)) }
        })
        .collect()
}

/// Every combination of learner, optimizer, scaler and penalty, with a name.
fn specs(width: usize) -> Vec<(String, LinearSpec)> {
    let inputs: Vec<String> = (0..width).map(|j| format!("x{j:03}")).collect();
    let mut specs = Vec::new();
    for learner in learners::REGISTRY {
        for optimizer in REGISTRY {
            for scaler in ["none", "on_learn", "before"] {
                for (l1, l2) in [(0.0, 0.0), (0.0, 0.01), (0.001, 0.0)] {
                    let logistic = learner.name() == learners::of(true).name();
                    let mut spec = LinearSpec::new(logistic, inputs.clone());
                    spec.optimizer = optimizer.default;
                    spec.standard_scaler = scaler != "none";
                    spec.scaler_before = scaler == "before";
                    spec.learn_record = true;
                    (spec.l1, spec.l2) = (l1, l2);
                    spec.nulls = (0..width).map(|j| if j % 3 == 1 { InputNulls::Constant(0.5) } else { InputNulls::Mean }).collect();
                    if spec.check().is_ok() {
                        specs.push((format!("{} {} {scaler} l1 {l1} l2 {l2}", learner.name(), optimizer.name), spec));
                    }
                }
            }
        }
    }
    assert!(specs.len() >= 2 * 3 * 3 * 2);
    specs
}

fn run(model: &mut OnlineModel, rows: &[Example]) -> Vec<Option<u64>> {
    rows.iter().map(|row| model.record(row.row(), row.label).value().map(f64::to_bits)).collect()
}

/// Spec, its name, and rows with and without nulls.
fn for_each(width: usize, count: usize, law: impl Fn(&str, &LinearSpec, &[Example])) {
    for (name, spec) in specs(width) {
        for nulls in [false, true] {
            law(&format!("{name} nulls {nulls}"), &spec, &examples(count, width, spec.logistic, nulls));
        }
    }
}

#[test]
fn a_prediction_changes_nothing() {
    for_each(11, 60, |name, spec, rows| {
        let (mut asked, mut silent) = (OnlineModel::new(spec.clone()), OnlineModel::new(spec.clone()));
        let mut out = [0.0; 11];
        for row in rows {
            let before = asked.snapshot();
            assert!(rows.iter().take(5).all(|other| asked.predict(other.row()).value().is_some()));
            assert!(asked.contributions(row.row(), &mut out).is_ok());
            assert_eq!(asked.snapshot(), before, "{name}");
            assert_eq!(asked.record(row.row(), row.label), silent.record(row.row(), row.label), "{name}");
        }
        assert_eq!(asked.snapshot(), silent.snapshot(), "{name}");
    });
}

#[test]
fn a_restored_model_continues_bit_for_bit_from_a_snapshot_and_from_an_artefact() {
    for_each(11, 120, |name, spec, rows| {
        let mut whole = OnlineModel::new(spec.clone());
        run(&mut whole, &rows[..70]);
        let mut restored = OnlineModel::restore(spec.clone(), SNAPSHOT_VERSION, &whole.snapshot()).unwrap();
        let meta = Meta { epoch: 9, fingerprint: "abc".into() };
        let stored = artefact::encode(&whole, &meta).unwrap();
        let (mut loaded, loaded_meta) = artefact::decode(&stored).unwrap();
        let mut started = artefact::start_from(spec.clone(), &loaded).unwrap();
        assert_eq!((loaded.spec(), loaded_meta), (spec, meta), "{name}");
        let expected = run(&mut whole, &rows[70..]);
        for other in [&mut restored, &mut loaded, &mut started] {
            assert_eq!(run(other, &rows[70..]), expected, "{name}");
            assert_eq!(other.tensors(), whole.tensors(), "{name}");
            assert_eq!(other.learned_rows(), whole.learned_rows(), "{name}");
        }
        assert_eq!(restored.snapshot(), whole.snapshot(), "{name}");
    });
}

#[test]
fn record_is_observe_then_predict_then_learn_however_epochs_are_cut() {
    for_each(11, 100, |name, spec, rows| {
        let mut whole = OnlineModel::new(spec.clone());
        let expected = run(&mut whole, rows);
        for epoch in [1, 7, 64] {
            let mut model = OnlineModel::new(spec.clone());
            let got: Vec<Option<u64>> = rows.chunks(epoch).flat_map(|rows| run(&mut model, rows)).collect();
            assert_eq!(got, expected, "{name}");
        }
        let mut stepwise = OnlineModel::new(spec.clone());
        for (row, expected) in rows.iter().zip(&expected) {
            stepwise.observe(row.row()).unwrap();
            assert_eq!(stepwise.predict(row.row()).value().map(f64::to_bits), *expected, "{name}");
            if let Some((y, weight)) = row.label {
                assert_eq!(stepwise.learn(row.row(), y, weight), Learned::Yes, "{name}");
            }
        }
        assert_eq!(stepwise.snapshot(), whole.snapshot(), "{name}");
    });
}

#[test]
fn an_epoch_is_predicted_by_one_version_and_then_learned_in_order() {
    for_each(11, 96, |name, spec, rows| {
        let spec = LinearSpec { learn_record: false, scaler_before: false, ..spec.clone() };
        let mut model = OnlineModel::new(spec.clone());
        for rows in rows.chunks(32) {
            let version = model.snapshot();
            let mut out = Vec::new();
            model.predict_all(rows.iter().map(Example::row), &mut out);
            for row in rows {
                row.label.iter().for_each(|(y, weight)| assert_eq!(model.learn(row.row(), *y, *weight), Learned::Yes, "{name}"));
            }
            let kept = OnlineModel::restore(spec.clone(), SNAPSHOT_VERSION, &version).unwrap();
            assert!(rows.iter().zip(&out).all(|(row, outcome)| kept.predict(row.row()) == *outcome), "{name}");
        }
        let mut by_record = OnlineModel::new(LinearSpec { learn_record: true, ..spec });
        run(&mut by_record, rows);
        assert_eq!(by_record.snapshot(), model.snapshot(), "{name}: the same rows learned in the same order");
    });
}

#[test]
fn nothing_non_finite_reaches_a_parameter() {
    for_each(11, 80, |name, spec, rows| {
        let mut model = OnlineModel::new(spec.clone());
        run(&mut model, &rows[..40]);
        let before = model.tensors();
        let valid = vec![u64::MAX];
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for j in 0..11 {
                let mut x = vec![1.0; 11];
                x[j] = bad;
                let outcome = model.record(Row { x: &x, valid: &valid }, Some((1.0, 1.0)));
                assert_eq!(outcome, Outcome::Missing(NoPrediction::NonFiniteInput(j)), "{name}");
                assert_eq!(model.predict(Row { x: &x, valid: &valid }), outcome, "{name}");
                assert_eq!(model.learn(Row { x: &x, valid: &valid }, 1.0, 1.0), Learned::Skipped(Skip::NonFiniteInput), "{name}");
            }
            let row = rows[50].row();
            assert_eq!(model.learn(row, bad, 1.0), Learned::Skipped(Skip::NonFiniteLabel), "{name}");
            assert_eq!(model.learn(row, 1.0, bad), Learned::Skipped(Skip::BadWeight), "{name}");
        }
        assert_eq!(model.learn(rows[50].row(), 1.0, -1.0), Learned::Skipped(Skip::BadWeight), "{name}");
        assert_eq!(model.tensors(), before, "{name}");
        assert_eq!(model.learn_skipped(), 3 * (2 * 11 + 2) + 1, "{name}");
        for (i, size) in [1e300, -1e308, f64::MAX, 1e160, 1e-320].into_iter().enumerate() {
            for y in [0.0, 1.0] {
                let x: Vec<f64> = (0..11).map(|j| if (j + i) % 2 == 0 { size } else { -size }).collect();
                model.record(Row { x: &x, valid: &valid }, Some((y, 2.0)));
                model.learn(Row { x: &x, valid: &valid }, y, 1e300);
                assert!(model.tensors().values().flatten().all(|value| value.is_finite()), "{name} at {size}");
            }
        }
        let learned = model.learned_rows() + model.learn_skipped();
        run(&mut model, &rows[40..]);
        assert!(
            model.learned_rows() + model.learn_skipped() > learned && model.tensors().values().flatten().all(|value| value.is_finite())
        );
    });
}

#[test]
fn contributions_add_up_to_the_prediction() {
    for_each(70, 60, |name, spec, rows| {
        let mut model = OnlineModel::new(spec.clone());
        run(&mut model, rows);
        let mut parts = vec![0.0; 70];
        for row in rows {
            model.contributions(row.row(), &mut parts).unwrap();
            let raw = model.intercept() + parts.iter().sum::<f64>();
            let expected = if spec.logistic { 1.0 / (1.0 + libm::exp(-raw)) } else { raw };
            let got = model.predict(row.row()).value().unwrap();
            assert!((got - expected).abs() <= 1e-9 * (1.0 + parts.iter().map(|part| part.abs()).sum::<f64>()), "{name}: {got} {expected}");
        }
    });
}

#[test]
fn the_usual_path_and_the_one_for_nulls_give_the_same_bits() {
    for (name, spec) in specs(19) {
        let mut spec = spec;
        spec.nulls.fill(InputNulls::Constant(0.25));
        let rows = examples(150, 19, spec.logistic, true);
        let filled: Vec<Example> = rows
            .iter()
            .map(|row| {
                let value = |j: usize| if row.valid[0] >> j & 1 == 1 { row.x[j] } else { 0.25 };
                Example { x: (0..19).map(value).collect(), valid: vec![u64::MAX], label: row.label }
            })
            .collect();
        let (mut with_nulls, mut without) = (OnlineModel::new(spec.clone()), OnlineModel::new(spec));
        assert_eq!(run(&mut with_nulls, &rows), run(&mut without, &filled), "{name}");
        assert_eq!(with_nulls.snapshot(), without.snapshot(), "{name}: a constant equals coalesce");
    }
}

#[test]
fn an_input_that_disappears_keeps_its_mean_and_adds_nothing_when_scaled() {
    let mut spec = LinearSpec::new(true, vec!["a".into(), "b".into()]);
    let mut model = OnlineModel::new(spec.clone());
    for (a, y) in [(1.0, 0.0), (3.0, 1.0), (5.0, 1.0), (1.5, 0.0)] {
        model.learn(Row { x: &[a, a * 2.0], valid: &[3] }, y, 1.0);
    }
    let mut parts = [0.0; 2];
    for _ in 0..5 {
        model.learn(Row { x: &[2.0, f64::NAN], valid: &[1] }, 1.0, 1.0);
        model.contributions(Row { x: &[2.0, f64::NAN], valid: &[1] }, &mut parts).unwrap();
        assert_eq!(parts[1], 0.0);
    }
    assert_eq!(model.tensors()["scaler.count"], [9.0, 4.0]);
    assert_eq!(model.tensors()["scaler.mean"][1], 5.25);
    spec.standard_scaler = false;
    let mut plain = OnlineModel::new(spec.clone());
    assert_eq!(plain.learn(Row { x: &[1.0, 0.0], valid: &[1] }, 1.0, 1.0), Learned::Yes, "0 before any");
    plain.learn(Row { x: &[1.0, 8.0], valid: &[3] }, 1.0, 1.0);
    assert_eq!(plain.predict(Row { x: &[1.0, f64::NAN], valid: &[1] }), plain.predict(Row { x: &[1.0, 8.0], valid: &[3] }));
    spec.nulls[1] = InputNulls::Skip;
    let mut strict = OnlineModel::new(spec);
    assert_eq!(strict.record(Row { x: &[1.0, 8.0], valid: &[1] }, Some((1.0, 1.0))), Outcome::Missing(NoPrediction::NullInput(1)));
    assert_eq!(strict.skipped().find(|(skip, _)| *skip == Skip::NullInput), Some((Skip::NullInput, 1)));
    assert!(strict.is_cold());
}

#[test]
fn a_classifier_takes_only_classes_and_a_weight_of_zero_teaches_nothing() {
    let mut model = OnlineModel::new(LinearSpec::new(true, vec!["a".into()]));
    let row = Row { x: &[1.0], valid: &[1] };
    assert_eq!(model.learn(row, 0.5, 1.0), Learned::Skipped(Skip::NotAClass));
    assert_eq!(model.learn(row, 1.0, 0.0), Learned::Yes);
    assert_eq!((model.intercept(), model.weights()), (0.0, vec![0.0]));
}

#[test]
fn damaged_snapshots_and_artefacts_are_refused_with_a_reason() {
    let spec = LinearSpec::new(false, vec!["a".into(), "b".into()]);
    let mut model = OnlineModel::new(spec.clone());
    model.learn(Row { x: &[1.0, 2.0], valid: &[3] }, 1.0, 1.0);
    let bytes = model.snapshot();
    for length in 0..bytes.len() {
        assert!(OnlineModel::restore(spec.clone(), SNAPSHOT_VERSION, &bytes[..length]).is_err());
    }
    assert!(OnlineModel::restore(spec.clone(), 99, &bytes).unwrap_err().contains("version 99"));
    let other = LinearSpec::new(false, vec!["a".into()]);
    assert!(OnlineModel::restore(other.clone(), SNAPSHOT_VERSION, &bytes).unwrap_err().contains("has 2 values, not 1"));
    assert!(artefact::start_from(other, &model).unwrap_err().contains("[b]"));

    let good = artefact::encode(&model, &Meta::default()).unwrap();
    assert_eq!(artefact::encode(&model.clone(), &Meta::default()).unwrap(), good);
    let damage = |from: &str, to: &str| {
        assert!(good.json.contains(from), "{from} in {}", good.json);
        artefact::decode(&artefact::Artefact { json: good.json.replacen(from, to, 1), ..good.clone() }).unwrap_err()
    };
    assert!(damage("model/1", "model/9").contains("format"));
    assert!(damage("linear_regression", "quadratic_regression").contains("quadratic"));
    assert!(damage("\"seed\"", "\"sead\"").contains("sead"));
    assert!(damage("\"value\"", "\"probability\"").contains("output"));
    assert!(damage("\"lr\": 0.01", "\"lr\": -1.0").contains("optimizer.lr"));
    assert!(damage("\"sgd\",\n    \"lr\": 0.01", "\"adagrad\",\n    \"lr\": 0.1,\n    \"eps\": 1e-8").contains("optimizer.g2"));
    let mut tensors = good.tensors.clone();
    *tensors.last_mut().unwrap() ^= 1;
    assert!(artefact::decode(&artefact::Artefact { tensors, ..good.clone() }).unwrap_err().contains("sha256"));
    let mut infinite = model.clone();
    infinite.intercept = f64::INFINITY;
    let error = artefact::decode(&artefact::encode(&infinite, &Meta::default()).unwrap()).unwrap_err();
    assert!(error.contains("`intercept` is not finite"), "{error}");
    let mut negative = model.clone();
    negative.inputs.set("scaler.var", &[-1.0, 0.0]);
    let error = artefact::decode(&artefact::encode(&negative, &Meta::default()).unwrap()).unwrap_err();
    assert!(error.contains("scaler.var"), "{error}");
}

#[test]
fn artefact_files_have_the_written_keys_in_order_and_are_found_again() {
    let mut spec = LinearSpec::new(true, vec!["a".into(), "b".into()]);
    spec.nulls = vec![InputNulls::Constant(0.1), InputNulls::Skip];
    spec.seed = u64::MAX;
    let mut model = OnlineModel::new(spec);
    model.learn(Row { x: &[1.0, 2.0], valid: &[3] }, 1.0, 1.0);
    let folder = tempfile::tempdir().unwrap();
    artefact::save(folder.path(), &model, &Meta { epoch: 3, fingerprint: "f".into() }).unwrap();
    let (loaded, meta) = artefact::load(folder.path()).unwrap();
    assert_eq!((loaded.spec(), loaded.tensors(), meta.epoch), (model.spec(), model.tensors(), 3));
    let json = std::fs::read_to_string(folder.path().join(artefact::JSON_FILE)).unwrap();
    let keys: Vec<&str> = json.lines().filter_map(|line| line.strip_prefix("  \"")).filter_map(|line| line.split('"').next()).collect();
    let wanted = "format kind parameters inputs output scaler optimizer seed epoch learned_rows fingerprint sha256";
    assert_eq!(keys.join(" "), wanted);
    let tensors = std::fs::read(folder.path().join(artefact::TENSORS_FILE)).unwrap();
    let header = String::from_utf8_lossy(&tensors[8..8 + u64::from_le_bytes(tensors[..8].try_into().unwrap()) as usize]).to_string();
    let at = |name: &str| header.find(&format!("\"{name}\"")).unwrap();
    let order = ["intercept", "scaler.count", "scaler.mean", "scaler.var", "weights"].map(at);
    assert!(order.is_sorted() && !header.contains("__metadata__"), "{header}");
    std::fs::remove_file(folder.path().join(artefact::JSON_FILE)).unwrap();
    assert_eq!(artefact::load(folder.path()).unwrap_err().exit, crate::error::Exit::Io);
}

#[test]
fn specs_that_make_no_sense_are_refused_by_name() {
    let good = LinearSpec::new(true, vec!["a".into(), "b".into()]);
    assert_eq!(good.check(), Ok(()));
    let wrong = |change: &dyn Fn(&mut LinearSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec.check().unwrap_err()
    };
    assert!(wrong(&|spec| (spec.l1, spec.l2) = (0.1, 0.1)).contains("`l1` and `l2`"));
    assert!(wrong(&|spec| spec.scaler_before = true).contains("before"));
    assert!(wrong(&|spec| spec.clip_gradient = 0.0).contains("clip_gradient"));
    assert!(wrong(&|spec| spec.l2 = f64::NAN).contains("`l2`"));
    assert!(wrong(&|spec| spec.inputs.reverse()).contains("byte order"));
    assert!(wrong(&|spec| spec.nulls[0] = InputNulls::Constant(f64::NAN)).contains("`a`"));
    assert!(wrong(&|spec| (spec.l1, spec.optimizer) = (0.1, REGISTRY[2].default)).contains("ftrl"));
}
