//! What one `[monitors.N]` is to do, resolved, and the check that it makes sense.

use crate::config::declaration::{Detector, MonitorWindow};
use crate::metrics::{self, Task};
use crate::time::{Micros, duration};

/// Most intervals in a window of event time: the counts of each are kept.
const MOST_INTERVALS: i64 = 100_000;

/// A monitor, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorSpec {
    /// Name, as in the column `monitor`.
    pub name: String,
    /// The models watched, in declared order.
    pub watched: Vec<Watched>,
    /// Detectors, in byte order of their names.
    pub detectors: Vec<Detector>,
    /// Metrics, in byte order of their names.
    pub metrics: Vec<String>,
    /// Rows of the reference: the first in canonical order, for every column.
    pub reference_rows: u64,
    /// Rows compared (S12.1): after the reference, not late.
    pub window: MonitorWindow,
    /// Length of an interval of event time, aligned to 1970 UTC.
    pub every: Micros,
    /// Fewest rows for an alarm of a comparison.
    pub min_rows: u64,
}

/// One model as a monitor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The model's name without family.
    pub name: String,
    /// Watch the prediction (a column of comparisons) and, once labels resolve, the error and the metrics.
    pub outcome: bool,
    /// Inputs watched by comparisons, in the order of the rows' cells; empty if none are.
    pub inputs: Vec<String>,
    /// Classes or values.
    pub classification: bool,
    /// Class true at p ≥ this (S12.4).
    pub threshold: f64,
}

/// The part of a monitor that a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `watch`
    Watch,
    /// `detectors`, by position in the spec.
    Detector(usize),
    /// `metrics`, by position in the spec.
    Metric(usize),
    /// `reference`
    Reference,
    /// `window`
    Window,
    /// `every`
    Every,
}

/// Why a monitor makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, in one line, for the user.
    pub reason: String,
}

impl MonitorSpec {
    /// Everything that is wrong with it; empty when it can run.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |place, reason: String| faults.push(Fault { place, reason });
        if self.watched.is_empty() {
            fault(Place::Watch, "a monitor watches at least one model".to_string());
        }
        let every = duration::format(self.every);
        if self.every <= 0 {
            fault(Place::Every, "`every` must be longer than 0".to_string());
        }
        match self.window {
            MonitorWindow::Time(window) if self.every > 0 && (window <= 0 || window % self.every != 0) => {
                let up = (window.max(1) - 1).div_euclid(self.every).saturating_add(1).saturating_mul(self.every);
                let reason = format!(
                    "`window` ({}) is not a whole number of `every` ({every}) intervals: statistics are kept per interval; {} would be",
                    duration::format(window),
                    duration::format(up)
                );
                fault(Place::Window, reason);
            }
            MonitorWindow::Time(window) if self.every > 0 && window / self.every > MOST_INTERVALS => {
                let reason =
                    format!("`window` holds {} intervals of `every` ({every}); at most {MOST_INTERVALS} are kept", window / self.every);
                fault(Place::Window, reason);
            }
            MonitorWindow::Rows(0) => fault(Place::Window, "`window` must hold at least one row".to_string()),
            _ => {}
        }
        let compares = self.detectors.iter().any(|detector| matches!(super::build(detector), Ok((_, super::Built::Comparison(_)))));
        if compares && self.reference_rows == 0 {
            fault(
                Place::Reference,
                "a comparison needs a reference of at least one row, such as `reference = { rows = 50000 }`".to_string(),
            );
        }
        let outcome = self.watched.iter().any(|watched| watched.outcome);
        for (at, detector) in self.detectors.iter().enumerate() {
            match super::build(detector) {
                Err(reason) => fault(Place::Detector(at), reason),
                Ok((name, super::Built::Sequential(_))) if !outcome => {
                    fault(
                        Place::Detector(at),
                        format!("`{name}` looks at a model's error: `watch` needs the model itself, not only its inputs"),
                    );
                }
                Ok(_) => {}
            }
        }
        for (at, name) in self.metrics.iter().enumerate() {
            match metrics::build(name, 0.5) {
                Err(reason) => fault(Place::Metric(at), reason),
                Ok(_) if !outcome => fault(Place::Metric(at), "metrics need the model itself in `watch`, not only its inputs".to_string()),
                Ok(_) => {
                    let wanted = metrics::task(name);
                    for watched in self.watched.iter().filter(|watched| watched.outcome) {
                        let (task, kind) =
                            if watched.classification { (Task::Classification, "classes") } else { (Task::Regression, "values") };
                        if wanted != Some(task) {
                            fault(Place::Metric(at), format!("`{name}` does not suit `models.{}`, which predicts {kind}", watched.name));
                        }
                    }
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MonitorSpec {
        MonitorSpec {
            name: "drift".to_string(),
            watched: vec![Watched { name: "late".to_string(), outcome: true, inputs: vec![], classification: true, threshold: 0.5 }],
            detectors: vec![Detector::Psi { threshold: 0.2, bins: 10 }],
            metrics: vec!["log_loss".to_string()],
            reference_rows: 100,
            window: MonitorWindow::Time(7 * 86_400_000_000),
            every: 86_400_000_000,
            min_rows: 10,
        }
    }

    #[test]
    fn sense_passes_and_nonsense_is_named() {
        assert_eq!(spec().validate(), []);
        let places = |spec: MonitorSpec| spec.validate().iter().map(|fault| fault.place).collect::<Vec<_>>();
        let uneven = MonitorSpec { window: MonitorWindow::Time(36 * 3_600_000_000), ..spec() };
        assert!(uneven.validate()[0].reason.contains("2d would be"), "{:?}", uneven.validate());
        assert_eq!(places(uneven), [Place::Window]);
        assert_eq!(places(MonitorSpec { every: 0, ..spec() }), [Place::Every]);
        assert_eq!(places(MonitorSpec { every: 1000, ..spec() }), [Place::Window]);
        assert_eq!(places(MonitorSpec { window: MonitorWindow::Rows(0), reference_rows: 0, ..spec() }), [Place::Window, Place::Reference]);
        let options = vec![Detector::Adwin { delta: 2.0, keep: false }, Detector::Psi { threshold: 0.0, bins: 10 }];
        assert_eq!(places(MonitorSpec { detectors: options, ..spec() }), [Place::Detector(0), Place::Detector(1)]);
        let metrics = vec!["mae".to_string(), "log_los".to_string()];
        assert_eq!(places(MonitorSpec { metrics, ..spec() }), [Place::Metric(0), Place::Metric(1)]);
        let mut inputs_only = spec();
        inputs_only.watched[0].outcome = false;
        inputs_only.detectors.push(Detector::Adwin { delta: 0.002, keep: true });
        assert_eq!(places(inputs_only), [Place::Detector(1), Place::Metric(0)]);
    }
}
