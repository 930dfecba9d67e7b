//! Laws that every row of the registry keeps: silent while nothing changes, loud after a shift, restoring continues bit for bit, bounded memory.
#![cfg(test)]

use super::{Bins, Built, Direction, REGISTRY, Sample, Sequential, build};
use crate::config::declaration::Detector;
use crate::metrics::SNAPSHOT_VERSION;

/// One declaration or more for every row of the registry.
fn declared() -> Vec<Detector> {
    vec![
        Detector::Adwin { delta: 0.002, keep: false },
        Detector::Adwin { delta: 0.002, keep: true },
        Detector::Psi { threshold: 0.2, bins: 10 },
    ]
}

/// A seeded stream of numbers in [0, 1).
pub(super) fn uniform(mut seed: u64) -> impl FnMut() -> f64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn sequential() -> Vec<Box<dyn Sequential>> {
    let built = declared().into_iter().filter_map(|declared| match build(&declared) {
        Ok((_, Built::Sequential(detector))) => Some(detector),
        _ => None,
    });
    built.collect()
}

#[test]
fn every_row_is_covered_and_builds() {
    let names: Vec<&str> = declared().iter().map(|declared| build(declared).unwrap().0).collect();
    assert!(REGISTRY.iter().all(|entry| names.contains(&entry.name)));
    assert!(REGISTRY.is_sorted_by_key(|entry| entry.name));
}

#[test]
fn sequential_detectors_are_silent_on_a_stationary_stream_and_name_a_shift() {
    for mut detector in sequential() {
        let mut next = uniform(5);
        for i in 0..20_000 {
            assert_eq!(detector.update(f64::from(u8::from(next() < 0.2))), None, "{detector:?} at {i}");
        }
        let up = (0..2_000).find_map(|_| detector.update(f64::from(u8::from(next() < 0.5)))).unwrap();
        assert_eq!(up.direction, Direction::Increase);
        assert!(up.value > up.threshold && up.threshold > 0.2 && up.rows > 0 && up.reference_rows > 10_000, "{up:?}");
        for _ in 0..5_000 {
            detector.update(f64::from(u8::from(next() < 0.5)));
        }
        let down = (0..2_000).find_map(|_| detector.update(f64::from(u8::from(next() < 0.1)))).unwrap();
        assert_eq!(down.direction, Direction::Decrease);
        assert!(down.value < down.threshold, "{down:?}");
    }
}

#[test]
fn sequential_detectors_continue_bit_for_bit_and_ignore_what_is_not_finite() {
    for at in 0..sequential().len() {
        let (mut whole, mut cut) = (sequential().remove(at), sequential().remove(at));
        let mut next = uniform(9);
        let mut alarms = 0;
        for i in 0..40_000 {
            if i % 7_001 == 0 {
                let bytes = cut.snapshot();
                cut = sequential().remove(at);
                cut.restore(SNAPSHOT_VERSION, &bytes).unwrap();
                assert_eq!(cut.update(f64::NAN), None);
                assert_eq!(cut.snapshot(), bytes);
            }
            let x = next() * if i / 5_000 % 2 == 0 { 1.0 } else { 1.4 };
            let change = whole.update(x);
            assert_eq!(change, cut.update(x));
            alarms += usize::from(change.is_some());
        }
        assert!(alarms >= 7 && whole.bytes() < 1 << 14);
        assert_eq!(whole.snapshot(), cut.snapshot());
        assert!(whole.restore(SNAPSHOT_VERSION + 1, &cut.snapshot()).is_err() && whole.restore(SNAPSHOT_VERSION, b"[]").is_err());
    }
}

#[test]
fn comparisons_are_small_for_the_same_and_alarm_for_another_distribution() {
    for declared in declared() {
        let Ok((name, Built::Comparison(test))) = build(&declared) else { continue };
        let mut next = uniform(3);
        let mut sample = Sample::default();
        (0..10_000).for_each(|i| sample.push(Some(next()).filter(|_| i % 50 != 0)));
        let bins = Bins::freeze(&[sample], test.bins());
        let mut window = |scale: f64, shift: f64| {
            let mut counts = vec![0u64; bins.cells()];
            (0..5_000).for_each(|i| counts[usize::from(bins.cell(0, Some(shift + scale * next()).filter(|_| i % 50 != 0)))] += 1);
            (test.value(bins.reference(0), &counts).unwrap(), bins.direction(0, &counts))
        };
        assert!(window(1.0, 0.0).0 < test.threshold() / 4.0, "{name}");
        let (up, direction) = window(1.0, 0.3);
        assert!(up > test.threshold() && direction == Direction::Increase, "{name}");
        let (down, direction) = window(1.0, -0.3);
        assert!(down > test.threshold() && direction == Direction::Decrease, "{name}");
        assert_eq!(test.value(bins.reference(0), bins.reference(0)), Some(0.0), "{name}");
        assert_eq!(test.value(bins.reference(0), &vec![0; bins.cells()]), None, "{name}");
    }
}
