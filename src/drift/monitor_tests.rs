//! Laws of the engine of a monitor: where epochs are cut changes nothing, restoring continues bit for bit, memory is bounded, and rules S12.1-S12.3.
#![cfg(test)]

use super::laws::uniform;
use super::{Direction, Labels, Monitor, MonitorSpec, Rises, Row, Statistic, Watched};
use crate::config::declaration::{Detector, MonitorWindow};
use crate::metrics::SNAPSHOT_VERSION;

const HOUR: i64 = 3_600_000_000;

fn spec(window: MonitorWindow) -> MonitorSpec {
    MonitorSpec {
        name: "drift".to_string(),
        watched: vec![Watched {
            name: "late".to_string(),
            outcome: true,
            inputs: vec!["distance".to_string(), "hour".to_string()],
            classification: true,
            threshold: 0.5,
        }],
        detectors: vec![Detector::Adwin { delta: 0.002, keep: false }, Detector::Psi { threshold: 0.2, bins: 10 }],
        metrics: vec!["fading_accuracy".to_string(), "log_loss".to_string(), "roc_auc".to_string()],
        reference_rows: 500,
        window,
        every: HOUR,
        min_rows: 150,
    }
}

/// Time, prediction, inputs, validity and label of row i of 6,000, a minute apart; from row 4,000 on `distance` grows and the label turns round.
fn rows() -> Vec<(i64, f64, [f64; 2], u64, f64)> {
    let mut next = uniform(1);
    let row = |i: i64| {
        let (p, x) = (next(), next());
        let shifted = i >= 4_000;
        let y = f64::from(u8::from((next() < p) != shifted));
        (i * 60_000_000, p, [x + if shifted { 0.5 } else { 0.0 }, (i % 24) as f64], if i % 10 == 0 { 1 } else { 3 }, y)
    };
    (0..6_000).map(row).collect()
}

/// One label, of the record named after its time.
fn label(monitor: &mut Monitor, model: usize, time: i64, y: f64, p: f64, out: &mut Vec<Statistic>) {
    monitor.labels(model, &Labels { times: &[time], labels: &[y], predictions: &[p], key: &|_| format!("k{time}") }, out);
}

/// Runs the rows in epochs of `epoch` rows with this lateness, snapshotting and restoring after every `restart`-th epoch.
fn run(spec: &MonitorSpec, epoch: usize, lateness: i64, restart: usize) -> (Vec<Statistic>, Monitor) {
    let mut monitor = Monitor::new(spec).unwrap();
    let mut out = Vec::new();
    for (e, rows) in rows().chunks(epoch).enumerate() {
        for (time, p, inputs, valid, y) in rows {
            monitor.row(0, &Row { time: *time, prediction: Some(*p), inputs, valid: &[*valid] });
            label(&mut monitor, 0, *time, *y, *p, &mut out);
        }
        monitor.advance(rows.last().unwrap().0 - lateness, &mut out);
        if restart > 0 && e % restart == 0 {
            monitor = Monitor::restore(spec, SNAPSHOT_VERSION, &monitor.snapshot()).unwrap();
        }
    }
    let before = out.len();
    monitor.advance(i64::MAX, &mut out);
    assert!(out.len() > before, "the last, partial interval comes with the last watermark");
    (out, monitor)
}

/// As [`run`] without lateness, the statistics of every epoch in canonical order: all of a whole run.
fn sorted_run(spec: &MonitorSpec, epoch: usize) -> Vec<Statistic> {
    let mut monitor = Monitor::new(spec).unwrap();
    let (mut all, rows) = (Vec::new(), rows());
    for (e, chunk) in rows.chunks(epoch).enumerate() {
        let mut out = Vec::new();
        for (time, p, inputs, valid, y) in chunk {
            monitor.row(0, &Row { time: *time, prediction: Some(*p), inputs, valid: &[*valid] });
            label(&mut monitor, 0, *time, *y, *p, &mut out);
        }
        monitor.advance(chunk.last().unwrap().0, &mut out);
        if (e + 1) * epoch >= rows.len() {
            monitor.advance(i64::MAX, &mut out);
        }
        Statistic::sort(&mut out);
        all.extend(out);
    }
    all
}

/// Per-record alarms and interval statistics, each in their own order.
fn split(statistics: Vec<Statistic>) -> (Vec<Statistic>, Vec<Statistic>) {
    statistics.into_iter().partition(|statistic| statistic.window_end.is_none())
}

#[test]
fn where_epochs_are_cut_changes_nothing_and_restoring_neither() {
    for window in [MonitorWindow::Time(5 * HOUR), MonitorWindow::Rows(400)] {
        let spec = spec(window);
        let (expected, monitor) = run(&spec, 1, 0, 0);
        assert!(monitor.bytes() < 400_000, "{} bytes", monitor.bytes());
        let expected = split(expected);
        for (epoch, lateness, restart) in [(7, 0, 0), (1_000, 0, 1), (6_000, 0, 0), (50, 3 * HOUR, 3), (1, 0, 97)] {
            let (found, _) = run(&spec, epoch, lateness, restart);
            assert_eq!(split(found), expected, "{window:?}, epochs of {epoch}, lateness {lateness}");
        }
    }
}

#[test]
fn in_canonical_order_the_whole_output_is_the_same_wherever_epochs_are_cut() {
    let spec = spec(MonitorWindow::Time(5 * HOUR));
    let expected = sorted_run(&spec, 1);
    assert!(expected.is_sorted_by_key(|row| row.event_time));
    for epoch in [60, 777, 6_000] {
        assert_eq!(sorted_run(&spec, epoch), expected, "epochs of {epoch}");
    }
}

#[test]
fn statistics_follow_the_rules() {
    let spec = spec(MonitorWindow::Time(5 * HOUR));
    let (alarms, intervals) = split(run(&spec, 100, 0, 0).0);
    let shift = 4_000 * 60_000_000;
    assert!(alarms.iter().all(|alarm| alarm.alarm && &*alarm.column == "error" && alarm.event_time >= shift));
    assert_eq!(alarms[0].direction, Some(Direction::Increase));
    assert_eq!(alarms[0].key.as_deref(), Some(format!("k{}", alarms[0].event_time).as_str()));
    let psi: Vec<&Statistic> = intervals.iter().filter(|row| &*row.statistic == "psi").collect();
    // 500 minutes of reference end in the ninth hour, which is the first with rows to compare; 40 rows are too few for an alarm.
    assert_eq!((psi[0].event_time, psi[0].rows, psi[0].alarm, psi[0].reference_rows), (9 * HOUR, 40, false, Some(500)));
    assert_eq!((psi[0].window_start, psi[0].window_end), (Some(4 * HOUR), Some(9 * HOUR)));
    assert_eq!(psi.iter().take(3).map(|row| &*row.column).collect::<Vec<_>>(), ["prediction", "distance", "hour"]);
    assert!(psi.iter().filter(|row| row.rows == 300).count() > 200);
    let alarmed: Vec<&&Statistic> = psi.iter().filter(|row| row.alarm).collect();
    assert!(alarmed.len() > 20 && alarmed.iter().all(|row| &*row.column == "distance" && row.event_time > shift));
    assert!(alarmed.iter().all(|row| row.direction == Some(Direction::Increase)));
    let log_loss: Vec<&Statistic> = intervals.iter().filter(|row| &*row.statistic == "log_loss").collect();
    assert_eq!(log_loss.len(), 100);
    assert_eq!((log_loss[0].rows, log_loss[0].event_time, log_loss[0].window_start), (60, HOUR, None));
    assert_eq!(intervals.iter().filter(|row| row.event_time == HOUR).count(), 3, "metrics only until the reference is complete");

    let mut rises = Rises::new(spec.every);
    alarms.iter().chain(&intervals).for_each(|row| rises.observe(row));
    let list = rises.list();
    assert_eq!(list.len() as u64, rises.total());
    assert!(!list.is_empty() && list[0].value > list[0].threshold && list[0].columns[0].0.as_ref() == "distance");
}

#[test]
fn windows_of_rows_hold_the_last_rows_of_closed_intervals() {
    let (_, intervals) = split(run(&spec(MonitorWindow::Rows(90)), 1_000, HOUR, 0).0);
    let rows: Vec<u64> = intervals.iter().filter(|row| &*row.statistic == "psi" && &*row.column == "hour").map(|row| row.rows).collect();
    assert_eq!(rows[..3], [40, 90, 90]);
    assert!(rows[1..].iter().all(|rows| *rows == 90));
}

#[test]
fn nothing_is_said_about_intervals_without_rows_and_several_models_are_told_apart() {
    let mut spec = spec(MonitorWindow::Time(HOUR));
    (spec.reference_rows, spec.min_rows) = (1, 1);
    spec.detectors.remove(0);
    spec.metrics.truncate(1);
    let mut second = spec.watched[0].clone();
    (second.name, second.inputs) = ("deep".to_string(), Vec::new());
    spec.watched.push(second);
    let mut monitor = Monitor::new(&spec).unwrap();
    let mut out = Vec::new();
    for hour in [0, 0, 0, 5_000_000] {
        for model in 0..2 {
            monitor.row(model, &Row { time: hour * HOUR, prediction: None, inputs: &[1.0, f64::INFINITY], valid: &[3] });
            label(&mut monitor, model, hour * HOUR, 1.0, f64::NAN, &mut out);
        }
    }
    monitor.advance(i64::MIN, &mut out);
    assert_eq!(out, []);
    monitor.advance(i64::MAX, &mut out);
    let columns: Vec<&str> = out.iter().map(|row| &*row.column).collect();
    assert_eq!(columns[..4], ["late.prediction", "late.distance", "late.hour", "deep.prediction"]);
    assert_eq!(out.iter().map(|row| row.rows).collect::<Vec<_>>(), [2, 2, 2, 2, 1, 1, 1, 1]);
    assert!(out.iter().all(|row| row.value == Some(0.0) && !row.alarm));
    monitor.row(9, &Row { time: 0, prediction: None, inputs: &[], valid: &[] });
}
