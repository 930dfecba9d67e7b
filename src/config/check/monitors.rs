//! Monitors that would compare or measure nothing.

use crate::config::codes;
use crate::config::declaration::{Detector, Spanned};
use crate::config::table::Table;
use crate::diagnostic::Diagnostic;

/// A monitor needs a detector or a metric; errors and metrics need a model under watch, not only its inputs. `None`: could not be read.
pub(in crate::config) fn monitor(
    table: &Table<'_>,
    watch: Option<&[Spanned<String>]>,
    detectors: Option<&[Spanned<Detector>]>,
    metrics: Option<&[Spanned<String>]>,
) {
    let idle = |span: &std::ops::Range<usize>, message: String, help: String| {
        table.cx.report(Diagnostic::error(codes::IDLE_MONITOR, span.clone(), message).help(help));
    };
    if watch.is_some_and(<[_]>::is_empty) {
        let help = "name what it watches: watch = [\"models.late\", \"models.late.inputs\"]";
        return idle(&table.span, format!("{} watches nothing", table.place), help.to_string());
    }
    if ["detectors", "metrics"].iter().all(|key| !table.has(key))
        || (detectors.is_some_and(<[_]>::is_empty) && metrics.is_some_and(<[_]>::is_empty))
    {
        let help = "add detectors = { psi = { threshold = 0.2 } } or metrics = [\"log_loss\"]";
        return idle(&table.span, format!("{} has neither detectors nor metrics", table.place), help.to_string());
    }
    let Some(watch) = watch else { return };
    let Some(inputs) = watch.iter().find_map(|watched| watched.value.strip_suffix(".inputs")) else { return };
    if watch.iter().any(|watched| !watched.value.ends_with(".inputs")) {
        return;
    }
    let adwin = detectors.into_iter().flatten().find(|detector| matches!(detector.value, Detector::Adwin { .. }));
    let adwin = adwin.map(|found| (&found.span, "adwin watches the error of predictions"));
    let metric = metrics.into_iter().flatten().next().map(|metric| (&metric.span, "metrics measure predictions"));
    for (span, what) in adwin.into_iter().chain(metric) {
        let help = format!("add the model itself: watch = [\"{inputs}\", \"{inputs}.inputs\"]");
        idle(span, format!("{what}, and this monitor watches inputs only"), help);
    }
}
