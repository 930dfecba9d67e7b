//! What is kept about predictions once labels are known: metrics, the report with its baselines, ADWIN: `cargo bench --bench monitors`.
//!
//! Figures are times per 4,096 labelled rows, and rows a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidemill::config::declaration::{Detector, MonitorWindow};
use tidemill::drift::{Adwin, Labels, Monitor, MonitorSpec, Sequential, Watched};
use tidemill::metrics::{self, ModelReport, Scored};

/// Rows that are gone through again and again.
const ROWS: usize = 4096;

/// Labels and probabilities spread over the whole interval (splitmix64, Vigna 2015).
fn rows() -> Vec<(f64, f64)> {
    let mut seed = 3u64;
    let mut next = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..ROWS)
        .map(|_| {
            let p = next();
            (f64::from(u8::from(next() < p)), p)
        })
        .collect()
}

fn metric(c: &mut Criterion) {
    let mut group = c.benchmark_group("metric");
    group.throughput(Throughput::Elements(ROWS as u64));
    let rows = rows();
    for name in metrics::names() {
        group.bench_function(BenchmarkId::from_parameter(&name), |bencher| {
            let Ok(mut metric) = metrics::build(&name, 0.5) else { return };
            let mut scored = Scored::default();
            bencher.iter(|| {
                for some in rows.chunks(Scored::ROUND) {
                    scored.replace(some.iter().copied());
                    metric.add_all(&mut scored, 0..some.len());
                }
                black_box(metric.rows())
            });
        });
    }
    group.finish();
}

fn report(c: &mut Criterion) {
    let mut group = c.benchmark_group("report");
    group.throughput(Throughput::Elements(ROWS as u64));
    let rows = rows();
    for (name, classification) in [("model, month and three baselines", true), ("values: model, month and two baselines", false)] {
        group.bench_function(name, |bencher| {
            let mut report = ModelReport::new(classification, 0.5);
            let mut time = 0;
            bencher.iter(|| {
                for (y, p) in &rows {
                    let guess = report.predicted(false);
                    time += 1_000_000;
                    report.resolved(time, *y, Some(*p), &guess);
                }
                black_box(report.running_loss())
            });
        });
    }
    group.finish();
}

fn adwin(c: &mut Criterion) {
    let mut group = c.benchmark_group("adwin");
    group.throughput(Throughput::Elements(ROWS as u64));
    let errors: Vec<f64> = rows().iter().map(|(y, p)| f64::from(u8::from((*p >= 0.5) != (*y >= 0.5)))).collect();
    group.bench_function("update, in a window of a million and more", |bencher| {
        let mut adwin = Adwin::new(0.002, false);
        (0..1_000_000).for_each(|at| _ = adwin.update(errors[at % ROWS]));
        bencher.iter(|| errors.iter().for_each(|error| _ = black_box(adwin.update(*error))));
    });
    group.finish();
}

/// A monitor as workload W has it.
fn monitor(c: &mut Criterion) {
    let mut group = c.benchmark_group("monitor");
    group.throughput(Throughput::Elements(ROWS as u64));
    let spec = MonitorSpec {
        name: "quality".into(),
        watched: vec![Watched { name: "m".into(), outcome: true, inputs: Vec::new(), classification: true, threshold: 0.5 }],
        detectors: vec![Detector::Adwin { delta: 0.002, keep: false }],
        metrics: ["accuracy", "fading_accuracy", "log_loss", "roc_auc"].map(String::from).to_vec(),
        reference_rows: 0,
        window: MonitorWindow::Rows(20_000),
        every: 3_600_000_000,
        min_rows: 1000,
    };
    let (labels, predictions): (Vec<f64>, Vec<f64>) = rows().into_iter().unzip();
    group.bench_function("adwin and four metrics", |bencher| {
        let Ok(mut monitor) = Monitor::new(&spec) else { return };
        let (mut out, mut times) = (Vec::new(), vec![0i64; ROWS]);
        let mut time = 0;
        bencher.iter(|| {
            times.iter_mut().for_each(|slot| {
                time += 130_000;
                *slot = time;
            });
            let labels = Labels { times: &times, labels: &labels, predictions: &predictions, key: &|row| row.to_string() };
            monitor.labels(0, &labels, &mut out);
            monitor.advance(time, &mut out);
            out.clear();
        });
    });
    group.finish();
}

criterion_group!(benches, metric, report, adwin, monitor);
criterion_main!(benches);
