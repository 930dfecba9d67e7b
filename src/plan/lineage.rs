//! Lineage: from which columns of which sources and tables every column of a stream, feature and model input comes, and whether the record
//! that is being predicted is itself among the records that were read.
//!
//! A column *comes from* everything that decides its value: what its expression reads, the key by which its table was looked up, the
//! conditions under which records reach a view, the columns that group them, and the key by which the view is read. Origins are exact at the
//! level of columns: an expression comes from the columns that are left in it after constants are folded, even where its value happens not
//! to depend on them. Each origin carries the path of its shortest derivation, for people.

use std::collections::BTreeMap;

use super::{InputOrigin, LabelPlan, ModelPlan, RowColumn, SourcePlan, StreamIndex, StreamPlan, TablePlan, ViewPlan};
use crate::expressions::Expression;
use crate::ids::ComponentId;

/// A column that something comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The source or table.
    pub component: ComponentId,
    /// Its column.
    pub column: String,
    /// The stream that feeds the view through which it came; `None`: read from the record itself.
    pub fed_by: Option<StreamIndex>,
    /// Whether the value of the current record is read. Of a view's own columns: by a probe of the same source, for which a record is known
    /// to its view before it is probed (S8.4).
    pub current: bool,
}

/// Origins with the path of each, from the derived column down to the source's: `["features.airport.late (count(*))", "departures.delay"]`.
pub type Origins = BTreeMap<Origin, Vec<String>>;

/// Where everything comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lineage {
    /// Of each stream, for each column.
    pub streams: Vec<Vec<Origins>>,
    /// Of each stream, what decides which records it has: its filters and those above it.
    pub rows: Vec<Origins>,
    /// Of each view, for each feature.
    pub views: Vec<Vec<Origins>>,
    /// Of each model, for each input.
    pub models: Vec<Vec<Origins>>,
    /// Of each model, its label's value: the columns of the record that brings it.
    pub labels: Vec<Origins>,
}

/// The components whose lineage is asked for, in the order of a plan.
#[derive(Clone, Copy)]
pub struct Components<'a> {
    /// Sources.
    pub sources: &'a [SourcePlan],
    /// Tables.
    pub tables: &'a [TablePlan],
    /// Streams.
    pub streams: &'a [StreamPlan],
    /// Views.
    pub views: &'a [ViewPlan],
    /// Models.
    pub models: &'a [ModelPlan],
}

impl Lineage {
    /// The lineage of a whole plan.
    pub fn of(components: Components<'_>) -> Self {
        let mut lineage = Self::default();
        for stream in components.streams {
            lineage.stream(components, stream);
        }
        for view in components.views {
            lineage.view(components, view);
        }
        for model in components.models {
            lineage.model(components, model);
        }
        lineage
    }

    fn stream(&mut self, components: Components<'_>, stream: &StreamPlan) {
        let Some(upstream) = stream.upstream else {
            let source = &components.sources[usize::from(stream.source.0)];
            let columns = source.schema.columns.iter().map(|column| record_origin(&source.id, &column.name)).collect();
            self.streams.push(columns);
            self.rows.push(Origins::new());
            return;
        };
        let mut columns = self.streams[upstream].clone();
        let mut rows = self.rows[upstream].clone();
        for join in &stream.joins {
            let table = &components.tables[join.table];
            let step = format!("{} join {} ({})", stream.id, table.id.name(), join.key.sql());
            let key = extended(&gathered(&columns, &join.key), &step);
            for column in &table.schema.columns {
                let mut origins = record_origin(&table.id, &column.name);
                merge(&mut origins, &key);
                columns.push(origins);
            }
        }
        if let Some(filter) = &stream.filter {
            merge(&mut rows, &extended(&gathered(&columns, filter), &format!("{} where ({})", stream.id, filter.sql())));
        }
        let derived: Vec<Origins> = stream
            .derive
            .iter()
            .map(|(name, expression)| extended(&gathered(&columns, expression), &format!("{}.{name} ({})", stream.id, expression.sql())))
            .collect();
        columns.extend(derived);
        self.streams.push(columns);
        self.rows.push(rows);
    }

    fn view(&mut self, components: Components<'_>, view: &ViewPlan) {
        let columns = &self.streams[view.stream];
        let mut shared = self.rows[view.stream].clone();
        if let Some(filter) = &view.filter {
            merge(&mut shared, &extended(&gathered(columns, filter), &format!("{} where ({})", view.id, filter.sql())));
        }
        for column in &view.entity {
            let name = components.streams[view.stream].schema.field(*column).name();
            merge(&mut shared, &extended(&columns[*column], &format!("{} entity ({name})", view.id)));
        }
        let mut features = Vec::new();
        for (spec, described) in view.spec.features.iter().zip(&view.features) {
            let mut origins = Origins::new();
            let step = format!("{}.{} ({})", view.id, described.aggregate, described.sql);
            let read = spec.argument.map(|argument| &view.arguments[argument]);
            let condition = spec.filter.map(|filter| &view.filters[filter]);
            for expression in read.into_iter().chain(condition) {
                merge(&mut origins, &extended(&gathered(columns, expression), &step));
            }
            merge(&mut origins, &shared);
            features.push(with_place(origins, |origin| Origin { fed_by: Some(view.stream), current: spec.include_current, ..origin }));
        }
        self.views.push(features);
    }

    fn model(&mut self, components: Components<'_>, model: &ModelPlan) {
        let row: Vec<Origins> = model.row_scope.iter().map(|column| self.row_column(components, model, column)).collect();
        let inputs = model
            .inputs
            .iter()
            .map(|input| {
                let origins = match input.origin {
                    InputOrigin::Stream(column) => self.row_column(components, model, &RowColumn::Stream(column)),
                    InputOrigin::Feature { lookup, feature } => self.row_column(components, model, &RowColumn::Feature { lookup, feature }),
                    InputOrigin::Derived(index) => {
                        let (name, expression) = &model.derive[index];
                        extended(&gathered(&row, expression), &format!("derive {name} ({})", expression.sql()))
                    }
                };
                extended(&origins, &format!("{} input '{}'", model.id, input.name))
            })
            .collect();
        self.models.push(inputs);
        let label = match &model.label {
            None => Origins::new(),
            Some(LabelPlan::Column(value)) => gathered(&self.streams[model.stream], value),
            Some(LabelPlan::Stream { stream, value, .. }) => gathered(&self.streams[*stream], value),
        };
        self.labels.push(label);
    }

    /// A column of a model's feature row. A feature fed by another source never holds the record that is predicted; `lag` and
    /// `time_since_last` see the record before it, which for a reader from another stream of the same source is the record itself (S7.4, S8.4).
    fn row_column(&self, components: Components<'_>, model: &ModelPlan, column: &RowColumn) -> Origins {
        let (lookup, feature) = match column {
            RowColumn::Stream(column) => return self.streams[model.stream][*column].clone(),
            RowColumn::Feature { lookup, feature } => (&model.lookups[*lookup], *feature),
        };
        let view = &components.views[lookup.view];
        let same_source = components.streams[view.stream].source == components.streams[model.stream].source;
        let prior = view.spec.features[feature].function.is_prior();
        let mut origins = with_place(self.views[lookup.view][feature].clone(), |origin| Origin {
            current: same_source && if prior { !lookup.own } else { origin.current },
            ..origin
        });
        for column in &lookup.key {
            let name = components.streams[model.stream].schema.field(*column).name();
            let step = format!("lookup {} key ({name})", lookup.alias);
            merge(&mut origins, &extended(&self.streams[model.stream][*column], &step));
        }
        origins
    }
}

/// A column of the record itself.
fn record_origin(component: &ComponentId, column: &str) -> Origins {
    let origin = Origin { component: component.clone(), column: column.to_string(), fed_by: None, current: true };
    Origins::from([(origin, vec![format!("{}.{column}", component.name())])])
}

/// The origins of everything that `expression` reads of `columns`.
fn gathered(columns: &[Origins], expression: &Expression) -> Origins {
    let mut origins = Origins::new();
    for column in expression.inputs() {
        merge(&mut origins, &columns[*column]);
    }
    origins
}

/// The same origins, one step further away.
fn extended(origins: &Origins, step: &str) -> Origins {
    let longer = |path: &Vec<String>| std::iter::once(step.to_string()).chain(path.iter().cloned()).collect();
    origins.iter().map(|(origin, path)| (origin.clone(), longer(path))).collect()
}

/// Adds `more`; of two paths to one origin the shorter stays, the first of two equally long ones.
fn merge(origins: &mut Origins, more: &Origins) {
    for (origin, path) in more {
        match origins.get_mut(origin) {
            Some(known) if known.len() <= path.len() => {}
            Some(known) => known.clone_from(path),
            None => {
                origins.insert(origin.clone(), path.clone());
            }
        }
    }
}

/// The same paths with every origin placed anew.
fn with_place(origins: Origins, place: impl Fn(Origin) -> Origin) -> Origins {
    let mut placed = Origins::new();
    for (origin, path) in origins {
        merge(&mut placed, &Origins::from([(place(origin), path)]));
    }
    placed
}
