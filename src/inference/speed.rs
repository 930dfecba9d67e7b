//! Rows a second of two networks on every device of this build, through the device thread as in a pipeline. It prints figures and judges none:
//! `cargo test --release --lib inference::speed -- --ignored --nocapture` (with `--features cuda` also on the GPU).

use std::time::{Duration, Instant};

use serde_json::json;

use super::device::DeviceThread;
use super::laws::{flights, network, rows};
use super::network::Network;
use super::tile::Rows;
use crate::time::Busy;

#[cfg(feature = "cuda")]
const DEVICES: [&str; 2] = ["cpu", "cuda:0"];
#[cfg(not(feature = "cuda"))]
const DEVICES: [&str; 1] = ["cpu"];

/// Rows of an epoch.
const EPOCH: usize = 8_192;

/// How long each network is asked.
const LONG: Duration = Duration::from_secs(3);

/// Rows a second with two epochs in the thread's hands.
fn rows_a_second(network: &Network) -> f64 {
    let (x, valid) = rows(network.inputs().len(), EPOCH);
    let (wake, woken) = crossbeam_channel::unbounded();
    let mut thread = DeviceThread::start(network.clone(), "models.m", Busy::default(), move || {
        let _ = wake.send(());
    })
    .expect("threads");
    woken.recv().expect("it warms up");
    let (mut asked, mut answered) = (0, 0);
    let start = Instant::now();
    while answered == 0 || start.elapsed() < LONG {
        while asked < answered + 2 {
            thread.submit(Rows { x: x.clone(), valid: valid.clone(), count: EPOCH }).expect("room");
            asked += 1;
        }
        woken.recv().expect("an answer");
        while let Some(epoch) = thread.poll().expect("an answer") {
            assert_eq!(epoch.values.len(), EPOCH);
            answered += 1;
        }
    }
    (answered * EPOCH) as f64 / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "it measures for seconds and judges nothing"]
fn rows_a_second_on_every_device() {
    for device in DEVICES {
        let wide = network(100, 1024, &json!({ "kind": "relu" }), Some("sigmoid"));
        let wide = wide.load_on(device, 256).unwrap_or_else(|reason| panic!("{reason}"));
        for (name, network) in [("delay-mlp", flights(device)), ("100-1024-1024-1", wide)] {
            eprintln!("{name} on {}, tile {}: {:.0} rows/s", network.device_kind(), network.tile(), rows_a_second(&network));
        }
    }
}
