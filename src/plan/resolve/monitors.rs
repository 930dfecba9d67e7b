//! Monitors: what they watch exists, and what their detectors and metrics need is there (S12).

use std::collections::BTreeSet;

use super::Resolver;
use crate::config::declaration::{Detector, Monitor, MonitorWindow, Spanned};
use crate::diagnostic::Diagnostic;
use crate::ids::ComponentId;
use crate::metrics;
use crate::plan::{MonitorPlan, Watch, codes};
use crate::time::Micros;

/// Interval where the configuration asks for none, because nothing is compared by interval.
const DAY: Micros = 86_400_000_000;

impl Resolver<'_> {
    /// All monitors in byte order of their names.
    pub(super) fn resolve_monitors(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.monitors {
            let before = self.errors();
            match self.monitor(name, declared).filter(|_| self.errors() == before) {
                Some(monitor) => self.monitors.push(monitor),
                None => self.fail("monitors", name),
            }
        }
    }

    fn monitor(&mut self, name: &str, declared: &Spanned<Monitor>) -> Option<MonitorPlan> {
        let monitor = &declared.value;
        let watch: Vec<Watch> = monitor.watch.iter().map(|watched| self.watched(watched)).collect::<Option<_>>()?;
        let labelled = watch.iter().any(|watched| matches!(watched, Watch::Model(model) if self.models[*model].label.is_some()));
        let mut detectors: Vec<Detector> = Vec::new();
        for detector in &monitor.detectors {
            if matches!(detector.value, Detector::Adwin { .. }) && !labelled {
                self.needs_labels(name, "adwin", &detector.span);
            }
            detectors.push(detector.value.clone());
        }
        detectors.sort_by_key(detector_name);
        let mut names = BTreeSet::new();
        for metric in &monitor.metrics {
            self.metric(name, metric, &watch, labelled);
            names.insert(metric.value.clone());
        }
        let every = monitor.every.as_ref().map_or(DAY, |every| every.value);
        let window = monitor.window.unwrap_or(MonitorWindow::Time(every));
        Some(MonitorPlan {
            id: ComponentId::new("monitors", name),
            watch,
            detectors,
            metrics: names.into_iter().collect(),
            reference_rows: monitor.reference_rows.unwrap_or(0),
            window,
            every,
            min_rows: monitor.min_rows,
        })
    }

    /// A metric must exist, suit the models it measures, and have labels.
    fn metric(&mut self, monitor: &str, metric: &Spanned<String>, watch: &[Watch], labelled: bool) {
        let unsuited = watch.iter().find_map(|watched| match (watched, metrics::task(&metric.value)) {
            (Watch::Model(model), Some(task)) => {
                let model = &self.models[*model];
                (model.classification != (task == metrics::Task::Classification)).then(|| model.id.clone())
            }
            _ => None,
        });
        if let Err(cause) = metrics::build(&metric.value, 0.5) {
            self.report(Diagnostic::error(codes::MONITOR, metric.span.clone(), cause));
        } else if !labelled {
            self.needs_labels(monitor, &metric.value, &metric.span);
        } else if let Some(model) = unsuited {
            let message = format!("`{}` does not measure the predictions of {model}", metric.value);
            let help = "accuracy, log_loss and roc_auc measure classes; mae, rmse and r2 measure values";
            self.report(Diagnostic::error(codes::MONITOR, metric.span.clone(), message).help(help));
        }
    }

    fn watched(&mut self, watched: &Spanned<String>) -> Option<Watch> {
        let name = watched.value.strip_prefix("models.").unwrap_or_default();
        let (model_name, inputs) = match name.strip_suffix(".inputs") {
            Some(model) => (model, true),
            None => (name, false),
        };
        if let Some(model) = self.models.iter().position(|model| model.id.name() == model_name) {
            return Some(if inputs { Watch::Inputs(model) } else { Watch::Model(model) });
        }
        if !self.has_failed("models", model_name) {
            self.unknown_component("model", &watched.value, &watched.span);
        }
        None
    }

    fn needs_labels(&mut self, name: &str, what: &str, span: &std::ops::Range<usize>) {
        let message = format!("`{what}` of monitor `{name}` needs the label of a watched model");
        self.report(Diagnostic::error(codes::MONITOR, span.clone(), message).help("watch `models.NAME` of a model with a label"));
    }
}

/// The key of a detector in `detectors`.
pub(in crate::plan) fn detector_name(detector: &Detector) -> &'static str {
    match detector {
        Detector::Adwin { .. } => "adwin",
        Detector::Psi { .. } => "psi",
    }
}
