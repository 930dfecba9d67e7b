//! Workload W as the benches of single components need it: its plan, and numbers to make records of.

use std::path::Path;

use tidemill::plan::{self, Plan};
use tidemill::runtime::Disk;

/// Numbers in [0, 1) from a seed (splitmix64, Vigna 2015).
pub fn uniform(mut seed: u64) -> impl FnMut() -> f64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The plan of workload W, over an input of one line.
pub fn w() -> Plan {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a folder: {error}"));
    let input = folder.path().join("w.ndjson");
    let line =
        r#"{"event_id":0,"ts":1700000000037,"user":"u000123","merchant":"m0042","amount":12.34,"country":"DE","channel":"web","label":0}"#;
    std::fs::write(&input, line).unwrap_or_else(|error| panic!("the input: {error}"));
    let place = |name: &str| Some(if name == "W_INPUT" { input.clone() } else { folder.path().join(name) }.to_string_lossy().into_owned());
    let (plan, diagnostics) = plan::check_text(include_str!("../w.toml"), Path::new("."), &place, &Disk);
    plan.unwrap_or_else(|| panic!("benches/w.toml: {diagnostics:?}"))
}
