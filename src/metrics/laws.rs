//! Laws that every row of the registry keeps: restoring continues bit for bit, rows in rounds are as good as one by one, numbers that are not finite
//! change nothing, memory is bounded.
#![cfg(test)]

use super::{SNAPSHOT_VERSION, Scored, Task, build, names, task};

fn rows(task: Task, count: u32) -> Vec<(f64, f64)> {
    let mut seed = 42u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..count)
        .map(|_| {
            let p = next();
            match task {
                Task::Classification => (f64::from(u8::from(next() < p)), p),
                Task::Regression => (10.0 * p - 5.0 + next(), 10.0 * p - 5.0),
            }
        })
        .collect()
}

#[test]
fn restore_continues_bit_for_bit() {
    for name in names() {
        let rows = rows(task(&name).unwrap(), 25_000);
        let (mut whole, mut cut) = (build(&name, 0.5).unwrap(), build(&name, 0.5).unwrap());
        assert_eq!((whole.value(), whole.rows()), (None, 0), "{name} before any row");
        for (i, (y, p)) in rows.iter().enumerate() {
            if i % 9_001 == 0 {
                let bytes = cut.snapshot();
                cut = build(&name, 0.5).unwrap();
                cut.restore(SNAPSHOT_VERSION, &bytes).unwrap();
            }
            whole.observe(*y, *p);
            cut.observe(*y, *p);
        }
        assert_eq!(whole.value().unwrap().to_bits(), cut.value().unwrap().to_bits(), "{name}");
        assert_eq!(whole.snapshot(), cut.snapshot(), "{name}");
        assert!(whole.restore(SNAPSHOT_VERSION + 1, &cut.snapshot()).is_err() && whole.restore(SNAPSHOT_VERSION, b"{").is_err());
        assert!(whole.bytes() < 1 << 20, "{name} is bounded");
    }
}

#[test]
fn rounds_of_any_length_are_as_one_row_after_another() {
    for name in names() {
        let mut rows = rows(task(&name).unwrap(), 12_000);
        // Bare classes, as the baselines give them.
        rows.iter_mut().step_by(7).for_each(|(_, p)| *p = f64::from(u8::from(*p > 0.3)));
        let (mut single, mut rounds, mut scored) = (build(&name, 0.5).unwrap(), build(&name, 0.5).unwrap(), Scored::default());
        rows.iter().for_each(|(y, p)| single.observe(*y, *p));
        let (mut rest, mut length) = (&rows[..], 0);
        while !rest.is_empty() {
            length = (length * 5 + 3) % 301;
            let (some, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            scored.replace(some.iter().copied());
            rounds.add_all(&mut scored, 0..some.len() / 3);
            rounds.add_all(&mut scored, some.len() / 3..some.len());
        }
        assert_eq!(single.snapshot(), rounds.snapshot(), "{name}");
    }
}

#[test]
fn numbers_that_are_not_finite_change_nothing() {
    for name in names() {
        let mut metric = build(&name, 0.5).unwrap();
        for (y, p) in rows(task(&name).unwrap(), 100) {
            metric.observe(y, p);
        }
        let before = metric.snapshot();
        for (y, p) in [(f64::NAN, 0.5), (1.0, f64::INFINITY), (f64::NEG_INFINITY, f64::NAN)] {
            metric.observe(y, p);
        }
        assert_eq!(metric.snapshot(), before, "{name}");
    }
}

#[test]
fn overflow_is_no_value_and_survives_a_snapshot() {
    for name in ["rmse", "fading_rmse", "r2", "mae"] {
        let mut metric = build(name, 0.5).unwrap();
        metric.observe(1e308, -1e308);
        metric.observe(-1e308, 1e308);
        assert_eq!(metric.value(), None, "{name}");
        let bytes = metric.snapshot();
        metric.restore(SNAPSHOT_VERSION, &bytes).unwrap();
        assert_eq!(metric.snapshot(), bytes, "{name}");
    }
}

#[test]
fn values_are_what_the_definitions_say() {
    let classes = [(1.0, 0.8), (0.0, 0.6), (1.0, 0.4), (0.0, 0.4)];
    let value = |name: &str, rows: &[(f64, f64)]| {
        let mut metric = build(name, 0.5).unwrap();
        rows.iter().for_each(|(y, p)| metric.observe(*y, *p));
        metric.value().unwrap()
    };
    assert_eq!(value("accuracy", &classes), 0.5);
    assert_eq!(value("roc_auc", &classes), 2.5 / 4.0);
    let expected = -(0.8f64.ln() + 0.4f64.ln() + 0.4f64.ln() + 0.6f64.ln()) / 4.0;
    assert!((value("log_loss", &classes) - expected).abs() < 1e-15);
    assert!((value("log_loss", &[(1.0, 0.0)]) - 15.0 * 10f64.ln()).abs() < 1e-12);
    let numbers = [(1.0, 2.0), (3.0, 3.0), (5.0, 4.0)];
    assert_eq!((value("mae", &numbers), value("r2", &numbers)), (2.0 / 3.0, 0.75));
    assert!((value("rmse", &numbers) - (2.0f64 / 3.0).sqrt()).abs() < 1e-15);
    let fading = (0.999 * 0.999 + 1.0) / (0.999 * 0.999 + 0.999 + 1.0);
    assert!((value("fading_mae", &numbers) - fading).abs() < 1e-15);
}

#[test]
fn wrong_names_are_explained() {
    assert!(build("acuracy", 0.5).unwrap_err().contains("did you mean `accuracy`"));
    assert!(build("fading_roc_auc", 0.5).unwrap_err().contains("no fading form"));
    assert!(build("zzz", 0.5).unwrap_err().contains("fading_rmse"));
}
