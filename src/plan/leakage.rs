//! Leakage (S10.6): a model may not read, before it predicts, what its own label is made of.
//!
//! **The label's columns** are the columns of sources that the label's value comes from, through derived columns and joins. The event time of
//! the predicted rows is never one of them: it is known when they are.
//!
//! **Label of the row itself** (`label = "delay > 15"`). Its columns count as known at the record's event time, but not before it is predicted. An
//! input is refused if it comes from one of them with the *current record* included:
//! directly, through `derive` or the key of a lookup; or through a view, by what it aggregates, a `filter`, a `where` (the view's or its
//! stream's), the key of a join or its entity, when the view is fed from the same source and has `include_current = true`. A view fed by any stream of the
//! record's own source has seen the record when the model reads it (S8.4: updates before probes), so only `include_current = false` shuts it
//! out. Table columns that the value reads count too, when the record's own lookup brings them.
//!
//! **Label from another stream** (`label = { stream = "arrivals", value = "delay > 15", … }`). Its columns are known only when that stream brings them, so they
//! reach inputs only through a view fed by it. Refused is every other way, with or without the current record:
//!
//! 1. where labels and rows are of one source (two streams over one file): columns read directly, and views fed by a stream that is not the
//!    label's or derived from it; and in a view fed by the label's stream the current record, as above;
//! 2. where they are of two sources: columns of the *rows'* source that have the name of a column that the value reads. `delay` of a departure and
//!    `delay` of its arrival describe one record, matched by `on`; a source of rows that carries the outcome was written after the fact. A value that
//!    really is another quantity gets a name of its own by a `derive` in the label's stream; where both sources read one file or topic, no name helps.
//!
//! A view fed by the label's source when that is not the rows' source is the intended way and always allowed.
//!
//! Which rows are predicted may not depend on the label's columns either, but that changes no input: it is a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::codes;
use super::lineage::{Components, Lineage, Origin};
use super::resolve::ModelPlaces;
use super::{LabelPlan, ModelPlan, SourceKindPlan, SourcePlan, StreamIndex, StreamPlan, TablePlan, ViewPlan};
use crate::diagnostic::Diagnostic;
use crate::ids::ComponentId;

/// Every leak of every model, one report per way and place in the file.
pub(super) fn check(
    sources: &[SourcePlan],
    streams: &[StreamPlan],
    tables: &[TablePlan],
    views: &[ViewPlan],
    models: &[ModelPlan],
    places: &BTreeMap<String, ModelPlaces>,
) -> Vec<Diagnostic> {
    let components = Components { sources, tables, streams, views, models };
    let lineage = Lineage::of(components);
    let mut found = Vec::new();
    for (index, model) in models.iter().enumerate() {
        if let (Some(label), Some(places)) = (&model.label, places.get(model.id.name())) {
            let rule = Rule::new(components, model, label, &lineage, index);
            found.extend(leaks(model, &rule, &lineage, index, places));
            found.extend(chosen_by_label(components, model, &rule, &lineage, places));
        }
    }
    found
}

/// What one model may not read.
struct Rule<'a> {
    components: Components<'a>,
    label: &'a LabelPlan,
    /// The label's columns.
    forbidden: BTreeSet<(ComponentId, String)>,
    /// Source of the predicted rows.
    row_source: ComponentId,
    /// Columns of the rows' source that carry a name of the label's value.
    same_names: BTreeSet<String>,
    /// Whether the sources of rows and labels read the same file or topic.
    one_origin: bool,
}

impl<'a> Rule<'a> {
    fn new(components: Components<'a>, model: &ModelPlan, label: &'a LabelPlan, lineage: &Lineage, index: usize) -> Self {
        let source_of = |stream: StreamIndex| &components.sources[usize::from(components.streams[stream].source.0)];
        let rows = source_of(model.stream);
        let row_time = rows.event_time.map(|time| rows.schema.columns[time].name.clone());
        let is_row_time = |component: &ComponentId, column: &str| *component == rows.id && row_time.as_deref() == Some(column);
        let own_row = matches!(label, LabelPlan::Column(_));
        let forbidden = lineage.labels[index]
            .keys()
            .filter(|origin| own_row || components.sources.iter().any(|source| source.id == origin.component))
            .filter(|origin| !is_row_time(&origin.component, &origin.column))
            .map(|origin| (origin.component.clone(), origin.column.clone()))
            .collect();
        let mut same_names: BTreeSet<String> = BTreeSet::new();
        let mut one_origin = false;
        if let LabelPlan::Stream { stream, value, row_key, .. } = label
            && source_of(*stream).id != rows.id
        {
            let identity = components.streams[model.stream].schema.field(*row_key).name();
            let labels = source_of(*stream);
            one_origin = same_origin(&rows.kind, &labels.kind);
            if one_origin {
                let traced = lineage.labels[index].keys().filter(|origin| origin.component == labels.id);
                same_names.extend(traced.map(|origin| origin.column.clone()));
            }
            let read = value.inputs().iter().map(|column| components.streams[*stream].schema.field(*column).name().clone());
            same_names.extend(read);
            same_names.retain(|name| name != identity && !is_row_time(&rows.id, name));
        }
        Self { components, label, forbidden, row_source: rows.id.clone(), same_names, one_origin }
    }

    fn is_label_column(&self, origin: &Origin) -> bool {
        self.forbidden.contains(&(origin.component.clone(), origin.column.clone()))
    }

    /// Whether an input may not come from `origin`.
    fn refuses(&self, origin: &Origin) -> bool {
        match self.label {
            LabelPlan::Column(_) => origin.current && self.is_label_column(origin),
            LabelPlan::Stream { stream, .. } => {
                let same_name = origin.component == self.row_source && self.same_names.contains(&origin.column);
                let one_source = self.label_source(*stream) == self.row_source;
                let through_labels = origin.fed_by.is_some_and(|feeding| self.is_below(feeding, *stream));
                same_name || (one_source && self.is_label_column(origin) && (origin.current || !through_labels))
            }
        }
    }

    fn label_source(&self, stream: StreamIndex) -> ComponentId {
        self.components.sources[usize::from(self.components.streams[stream].source.0)].id.clone()
    }

    /// Whether `stream` is `above` or derived from it.
    fn is_below(&self, stream: StreamIndex, above: StreamIndex) -> bool {
        let mut at = Some(stream);
        while let Some(here) = at {
            if here == above {
                return true;
            }
            at = self.components.streams[here].upstream;
        }
        false
    }

    /// What to do about an input that comes from `origin`.
    fn remedy(&self, origin: &Origin, path: &[String]) -> String {
        let column = &origin.column;
        let view = path.iter().find_map(|step| step.strip_prefix("features.")).and_then(|step| step.split(['.', ' ']).next());
        match (self.label, view, origin.fed_by) {
            (LabelPlan::Column(_), Some(view), Some(_)) => format!(
                "set include_current = false on features.{view} if `{column}` is known as soon as its record happens; if it is known only later, let a stream of its own bring it: \
                 label = {{ stream = \"…\", … }}, and feed features.{view} from that stream"
            ),
            (LabelPlan::Column(_), _, _) => format!("drop this input: it reads `{column}` of the record whose label is made of it"),
            (LabelPlan::Stream { stream, .. }, Some(view), Some(feeding)) if self.is_below(feeding, *stream) => {
                format!("set include_current = false on features.{view}: the record that is predicted is among those that feed it")
            }
            (LabelPlan::Stream { stream, .. }, Some(view), Some(_)) => format!(
                "feed the view from the label's stream, where `{column}` is known when it happens: [features.{view}] from = \"{}\"{}",
                self.components.streams[*stream].id.name(),
                self.other_quantity(origin)
            ),
            (LabelPlan::Stream { stream, .. }, _, _) => format!(
                "drop this input: `{column}` is known only when `{}` brings it{}",
                self.components.streams[*stream].id.name(),
                self.other_quantity(origin)
            ),
        }
    }

    /// The way out when two columns only share a name.
    fn other_quantity(&self, origin: &Origin) -> String {
        if self.one_origin || self.is_label_column(origin) {
            return String::new();
        }
        format!(
            "; if it is another quantity than the label's `{0}`, rename the label's by a stream with derive = {{ … = \"{0}\" }}",
            origin.column
        )
    }
}

/// Whether two sources read a file or topic in common.
fn same_origin(a: &SourceKindPlan, b: &SourceKindPlan) -> bool {
    match (a, b) {
        (SourceKindPlan::File { paths: a, .. }, SourceKindPlan::File { paths: b, .. }) => a.iter().any(|path| b.contains(path)),
        (SourceKindPlan::Kafka { topic: a, .. }, SourceKindPlan::Kafka { topic: b, .. }) => a == b,
        _ => false,
    }
}

/// One report per way below the input and place in `features`; inputs that share both are named together.
fn leaks(model: &ModelPlan, rule: &Rule<'_>, lineage: &Lineage, index: usize, places: &ModelPlaces) -> Vec<Diagnostic> {
    type Way = (usize, usize, Vec<String>);
    let mut ways: BTreeMap<Way, (Origin, Vec<String>)> = BTreeMap::new();
    for (input, origins) in model.inputs.iter().zip(&lineage.models[index]) {
        let place = places.inputs.get(&input.name).cloned().unwrap_or(0..0);
        for (origin, path) in origins.iter().filter(|(origin, _)| rule.refuses(origin)) {
            let below = path[1..].to_vec();
            let entry = ways.entry((place.start, place.end, below)).or_insert_with(|| (origin.clone(), Vec::new()));
            if !entry.1.contains(&input.name) {
                entry.1.push(input.name.clone());
            }
        }
    }
    ways.into_iter().map(|((start, end, below), (origin, inputs))| leak(model, rule, start..end, &below, &origin, &inputs)).collect()
}

fn leak(model: &ModelPlan, rule: &Rule<'_>, span: Range<usize>, below: &[String], origin: &Origin, inputs: &[String]) -> Diagnostic {
    let first = inputs.first().map_or("", String::as_str);
    let path = format!("{} input '{first}' <- {}", model.id, below.join(" <- "));
    let others = match inputs.len() {
        0 | 1 => String::new(),
        2 => format!(", and so does `{}`", inputs[1]),
        more => format!(", and so do {} more inputs", more - 1),
    };
    let what = match rule.label {
        LabelPlan::Column(_) => format!("the label is made of `{}`", origin.column),
        LabelPlan::Stream { stream, .. } => {
            format!("the label is made of `{}`, known only when `{}` brings it", origin.column, rule.components.streams[*stream].id.name())
        }
    };
    Diagnostic::error(codes::LEAKAGE, span, format!("the label leaks into an input: {path}"))
        .label(format!("{what}; this input sees it before the prediction{others}"))
        .help(rule.remedy(origin, below))
}

/// Rows chosen by what is not known yet make every metric of the model flattering or void.
fn chosen_by_label(
    components: Components<'_>,
    model: &ModelPlan,
    rule: &Rule<'_>,
    lineage: &Lineage,
    places: &ModelPlaces,
) -> Option<Diagnostic> {
    let mut origins = lineage.rows[model.stream].clone();
    if let Some(filter) = &model.filter {
        for column in filter.inputs() {
            for (origin, path) in &lineage.streams[model.stream][*column] {
                let step = format!("{} where ({})", model.id, filter.sql());
                origins.entry(origin.clone()).or_insert_with(|| std::iter::once(step).chain(path.iter().cloned()).collect());
            }
        }
    }
    let (origin, path) = origins.iter().find(|(origin, _)| rule.refuses(origin))?;
    let stream = components.streams[model.stream].id.name();
    Some(
        Diagnostic::warning(
            codes::CHOSEN_BY_LABEL,
            places.label.clone(),
            format!("the rows that {} predicts are chosen by its label: {}", model.id, path.join(" <- ")),
        )
        .help(format!("choose rows of `{stream}` by what is known when they are predicted: `{}` is not", origin.column)),
    )
}
