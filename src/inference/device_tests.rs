//! The device thread: order, readiness, wake-ups, errors and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::device::DeviceThread;
use super::laws::{network, rows};
use super::network::Network;
use super::tile::{Predicted, Rows};
use crate::error::Result;
use crate::time::Busy;

fn small() -> Network {
    network(5, 8, &json!({ "kind": "tanh" }), Some("sigmoid")).load(16)
}

fn asked(count: usize) -> Rows {
    let (x, valid) = rows(5, count);
    Rows { x, valid, count }
}

fn soon<T>(mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "nothing happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn answer(device: &mut DeviceThread) -> Result<Predicted> {
    soon(|| device.poll().transpose())
}

#[test]
fn epochs_come_out_in_order_with_the_bits_of_a_direct_question_and_a_wake_up_each() {
    let network = small();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let mut device = DeviceThread::start(network.clone(), "models.m", Busy::default(), move || {
        let _ = count.fetch_add(1, Ordering::SeqCst);
    })
    .expect("threads");
    soon(|| device.ready().then_some(()));
    assert_eq!(woken.load(Ordering::SeqCst), 1);
    for (first, second) in [(1, 40), (16, 33), (100, 2)] {
        device.submit(asked(first)).expect("room");
        device.submit(asked(second)).expect("room");
        for size in [first, second] {
            let (x, valid) = rows(5, size);
            let direct = network.predict(&x, &valid, size).expect("an answer");
            let answered = answer(&mut device).expect("an answer");
            assert_eq!(
                answered.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                direct.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            );
        }
    }
    soon(|| (woken.load(Ordering::SeqCst) == 7).then_some(()));
    assert!(device.poll().expect("no error").is_none());
}

#[test]
fn there_is_room_for_two_epochs_before_the_device_is_warm_and_no_more() {
    let mut device = DeviceThread::start(small(), "models.m", Busy::default(), || {}).expect("threads");
    device.submit(asked(50)).expect("room");
    device.submit(asked(50)).expect("room");
    assert!(!device.ready());
    assert_eq!(answer(&mut device).expect("an answer").values.len(), 50);
    soon(|| device.ready().then_some(()));
    assert_eq!(answer(&mut device).expect("an answer").values.len(), 50);
}

#[test]
fn an_error_and_a_panic_come_out_in_place_of_an_answer() {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = woken.clone();
    let mut device = DeviceThread::start(small(), "models.m", Busy::default(), move || {
        let _ = count.fetch_add(1, Ordering::SeqCst);
    })
    .expect("threads");
    device.submit(Rows { x: vec![1.0], valid: vec![1], count: 3 }).expect("room");
    let error = answer(&mut device).expect_err("the rows are not whole");
    assert!(error.cause.contains("1 values and 1 words for 3 rows of 5 inputs"), "{error}");
    soon(|| (woken.load(Ordering::SeqCst) >= 1).then_some(()));
    soon(|| device.poll().err());
    let armed = Arc::new(AtomicUsize::new(0));
    let count = armed.clone();
    let wake = move || assert!(count.fetch_add(1, Ordering::SeqCst) != 0, "a wake-up that fails");
    let mut device = DeviceThread::start(small(), "models.m", Busy::default(), wake).expect("threads");
    let error = answer(&mut device).expect_err("the thread panicked");
    assert!(error.cause.contains("`models.m device` panicked"), "{error}");
}

#[test]
fn dropping_it_ends_both_threads_in_the_middle_of_an_epoch() {
    let start = Instant::now();
    let (inside, outside) = crossbeam_channel::bounded::<()>(0);
    let mut device = DeviceThread::start(small(), "models.m", Busy::default(), move || {
        let _ = &inside;
    })
    .expect("threads");
    device.submit(asked(200_000)).expect("room");
    drop(device);
    // Disconnected: the wake-up callback is gone, so no thread holds it any more.
    assert_eq!(outside.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    assert!(start.elapsed() < Duration::from_secs(5));
}
