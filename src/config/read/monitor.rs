//! `[monitors.NAME]`

use crate::config::check;
use crate::config::codes;
use crate::config::declaration::{Detector, Monitor, MonitorWindow, Spanned};
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};
use crate::config::value::{Bound, Node};
use crate::diagnostic::{Diagnostic, nearest};

/// Detectors that the documentation names and that are not built yet.
const LATER: [&str; 9] = ["ks", "chi2", "js", "wasserstein", "kswin", "page_hinkley", "ddm", "eddm", "hddm"];

/// A monitor: detectors and metrics over a model or its inputs (S12).
pub(super) fn read(table: &Table<'_>) -> Option<Monitor> {
    let watch = table.need("watch", "[\"models.late\", \"models.late.inputs\"]").and_then(|node| node.texts());
    for watched in watch.iter().flatten() {
        table.cx.refer(Role::Watch, Some(watched));
    }
    let detectors = table.get("detectors", "{ psi = { threshold = 0.2 } }").map_or(Some(Vec::new()), |node| read_detectors(&node));
    let metrics = table.get("metrics", "[\"log_loss\", \"roc_auc\"]").map_or(Some(Vec::new()), |node| node.texts());
    let reference_rows = table.get("reference", "{ rows = 50000 }").map(|node| read_reference(&node));
    let window = table.need("window", "\"7d\"").and_then(|node| read_window(&node));
    let every = table.need("every", "\"1d\"").and_then(|node| node.duration(1));
    let min_rows = table.whole("min_rows", "1000", 1, u64::MAX).map_or(1000, |rows| rows.value);
    let has_psi = detectors.iter().flatten().any(|detector| matches!(detector.value, Detector::Psi { .. }));
    if has_psi && reference_rows.is_none() {
        table.missing("reference", "psi compares with a reference: add `reference = { rows = 50000 }`, the first rows seen");
    }
    check::monitor(table, watch.as_deref(), detectors.as_deref(), metrics.as_deref());
    let reference_rows = match reference_rows {
        Some(None) => return None,
        Some(rows) => rows,
        None => None,
    };
    Some(Monitor {
        watch: watch?,
        detectors: detectors?,
        metrics: metrics?,
        reference_rows,
        window: Some(window?),
        every: Some(every?),
        min_rows,
    })
}

fn read_detectors(node: &Node<'_>) -> Option<Vec<Spanned<Detector>>> {
    let map = node.table("`detectors`")?;
    let mut detectors = Vec::new();
    for (name, node) in map.all("{ threshold = 0.2 }") {
        let text = name.value.as_str();
        let value = match text {
            "psi" => node.table("`psi`").map(|table| read_psi(&table)),
            "adwin" => node.table("`adwin`").and_then(|table| read_adwin(&table)),
            _ => {
                let diagnostic = if LATER.contains(&text) {
                    Diagnostic::error(codes::NOT_BUILT, name.span.clone(), format!("the detector `{text}` is not built yet"))
                        .label("not built yet")
                        .help("use `psi` for shifts of columns and of the prediction, `adwin` for changes of the error")
                } else {
                    let help = match nearest(text, ["psi", "adwin"]) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => "detectors are psi = { threshold = 0.2 } and adwin = { delta = 0.002 }".to_string(),
                    };
                    Diagnostic::error(codes::UNKNOWN_CHOICE, name.span.clone(), format!("unknown detector `{text}`")).help(help)
                };
                node.cx.report(diagnostic);
                None
            }
        };
        if let Some(value) = value {
            detectors.push(Spanned { value, span: name.span });
        }
    }
    Some(detectors)
}

fn read_psi(table: &Table<'_>) -> Detector {
    let threshold = table.number("threshold", "0.2", Bound::Positive).unwrap_or(0.2);
    let bins = table.whole("bins", "10", 2, 1000).and_then(|bins| usize::try_from(bins.value).ok()).unwrap_or(10);
    table.finish();
    Detector::Psi { threshold, bins }
}

fn read_adwin(table: &Table<'_>) -> Option<Detector> {
    let on = match table.get("on", "\"error\"") {
        Some(node) => node.choice(&[("error", ())], &[]).map(|_| ()),
        None => Some(()),
    };
    let delta = table.number("delta", "0.002", Bound::Share).unwrap_or(0.002);
    let keep = match table.get("on_alarm", "\"reset\"") {
        Some(node) => node.choice(&[("reset", false), ("keep", true)], &[]).map(|keep| keep.value),
        None => Some(false),
    };
    table.finish();
    on?;
    Some(Detector::Adwin { delta, keep: keep? })
}

/// `{ rows = 50000 }`: the first rows in canonical order (S12.2).
fn read_reference(node: &Node<'_>) -> Option<u64> {
    let table = node.table("`reference`")?;
    for key in ["snapshot", "window"] {
        if table.has(key) {
            return node.not_built(&format!("a reference from a {key}"), "use the first rows seen: reference = { rows = 50000 }");
        }
    }
    let rows = table.need("rows", "50000").and_then(|node| node.whole(1, u64::MAX));
    table.finish();
    rows.map(|rows| rows.value)
}

/// `"7d"` or `{ rows = 20000 }` (S12.1).
fn read_window(node: &Node<'_>) -> Option<MonitorWindow> {
    if !is_table(node.value) {
        return node.duration(1).map(|span| MonitorWindow::Time(span.value));
    }
    let table = node.table("`window`")?;
    let rows = table.need("rows", "20000").and_then(|node| node.whole(1, u64::MAX));
    table.finish();
    rows.map(|rows| MonitorWindow::Rows(rows.value))
}
