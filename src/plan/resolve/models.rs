//! Models: the rows they predict, the views they read, derived columns, inputs and label (S8.4, S9.1, S10.1).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow::datatypes::{DataType, Schema};

use super::artefact::Network;
use super::{ModelPlaces, Resolver, same_key_type, suggestion, type_name};
use crate::config::declaration::{Label, Linear, Lookup, Model, ModelKind, Spanned};
use crate::data::{CellType, timestamp_type};
use crate::diagnostic::Diagnostic;
use crate::expressions::{self, Expression, Scope, ScopeColumn};
use crate::ids::ComponentId;
use crate::models::LinearSpec;
use crate::plan::{InputPlan, LinearPlan, LookupPlan, ModelKindPlan, ModelPlan, RowColumn, codes};

/// The columns of a model's feature row and what they are called.
pub(super) struct Row {
    /// Where each column is.
    pub(super) columns: Vec<RowColumn>,
    /// Names and types for expressions, in the same order.
    pub(super) scope: Scope,
}

/// A model's lookups while they are found.
#[derive(Default)]
struct Aliases {
    /// Alias, view, and the key as declared; `None`: the columns named as the entity.
    found: BTreeMap<String, (usize, Option<Lookup>, Range<usize>)>,
    /// Aliases whose view failed elsewhere.
    quiet: BTreeSet<String>,
}

impl Resolver<'_> {
    /// All models in byte order of their names.
    pub(super) fn resolve_models(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.models {
            let before = self.errors();
            match self.model(name, declared).filter(|_| self.errors() == before) {
                Some((model, places)) => {
                    self.models.push(model);
                    self.places.insert(name.clone(), places);
                }
                None => self.fail("models", name),
            }
        }
    }

    fn model(&mut self, name: &str, declared: &Spanned<Model>) -> Option<(ModelPlan, ModelPlaces)> {
        let model = &declared.value;
        let network = match &model.kind {
            ModelKind::Candle { artifact, batch_rows, .. } => Some(self.network(artifact, batch_rows.as_ref())?),
            ModelKind::Linear(_) => None,
        };
        let aliases = self.aliases(model, network.as_ref());
        let stream = match &model.from {
            Some(from) => self.stream(from)?,
            None => self.only_stream(name, declared, &aliases)?,
        };
        let lookups = self.lookups(&aliases, stream)?;
        let row = self.row(stream, &lookups);
        let schema = self.streams[stream].schema.clone();
        let scope = Scope::from_schema(&schema);
        let filter = self.condition(model.filter.as_ref(), &scope).unwrap_or_default();
        let label = match &model.label {
            Some(label) => self.label(label, stream).map(Some),
            None => Some(None),
        };
        let derive = self.derived(name, model, &aliases, &schema, &row)?;
        if !aliases.quiet.is_empty() {
            return None;
        }
        let before = self.errors();
        let chosen = self.inputs(name, declared, network.as_ref(), &row, &derive);
        if self.errors() > before {
            return None;
        }
        let nulls = self.nulls(&model.nulls, &chosen);
        let inputs: Vec<InputPlan> = chosen
            .iter()
            .zip(nulls)
            .map(|((input, (origin, _)), nulls)| InputPlan { name: input.clone(), origin: *origin, nulls })
            .collect();
        let label = label?;
        let (kind, classification) = self.kind(name, declared, network, &inputs, &scope)?;
        let places = ModelPlaces {
            inputs: chosen.into_iter().map(|(input, (_, span))| (input, span)).collect(),
            label: model.label.as_ref().map_or(declared.span.clone(), label_place),
        };
        let plan = ModelPlan {
            id: ComponentId::new("models", name),
            stream,
            filter,
            lookups,
            derive,
            row_scope: row.columns,
            inputs,
            label,
            threshold: model.threshold,
            classification,
            kind,
        };
        Some((plan, places))
    }

    /// Columns computed from the feature row; those that read a view which failed elsewhere are not judged.
    fn derived(&mut self, name: &str, model: &Model, aliases: &Aliases, schema: &Schema, row: &Row) -> Option<Vec<(String, Expression)>> {
        let mut derive = Vec::new();
        let mut judged = 0;
        for (column, sql) in &model.derive {
            self.check_new_column(column, sql, schema.fields(), &format!("model `{name}`"));
            let mentioned = expressions::mentioned(&sql.value).unwrap_or_default();
            if mentioned.iter().any(|name| name.split_once('.').is_some_and(|(alias, _)| aliases.quiet.contains(alias))) {
                continue;
            }
            judged += 1;
            if let Some(expression) = self.compiled(sql, expressions::compile_float(&sql.value, &row.scope)) {
                derive.push((column.clone(), expression));
            }
        }
        (derive.len() == judged).then_some(derive)
    }

    /// The declared lookups, and the views that `features`, `derive` or a network name without listing them (S8.4).
    fn aliases(&mut self, model: &Model, network: Option<&Network>) -> Aliases {
        let mut aliases = Aliases::default();
        for (alias, lookup) in &model.lookup {
            match self.view_called(&lookup.view) {
                Some(view) => {
                    aliases.found.insert(alias.clone(), (view, Some(lookup.clone()), lookup.view.span.clone()));
                }
                None => {
                    aliases.quiet.insert(alias.clone());
                }
            }
        }
        let mut named: Vec<(String, Range<usize>)> =
            model.features.iter().map(|feature| (feature.value.clone(), feature.span.clone())).collect();
        for sql in model.derive.values() {
            named.extend(expressions::mentioned(&sql.value).unwrap_or_default().into_iter().map(|name| (name, sql.span.clone())));
        }
        if let Some(network) = network {
            named.extend(network.inputs.iter().map(|input| (input.clone(), network.place.clone())));
        }
        for (name, span) in named {
            let Some((prefix, _)) = name.split_once('.') else { continue };
            if aliases.found.contains_key(prefix) || aliases.quiet.contains(prefix) {
                continue;
            }
            if let Some(view) = self.views.iter().position(|view| view.id.name() == prefix) {
                aliases.found.insert(prefix.to_string(), (view, None, span));
            } else if self.has_failed("features", prefix) {
                aliases.quiet.insert(prefix.to_string());
            }
        }
        aliases
    }

    fn view_called(&mut self, name: &Spanned<String>) -> Option<usize> {
        let found = self.views.iter().position(|view| view.id.name() == name.value);
        if found.is_none() && !self.has_failed("features", &name.value) {
            self.unknown_component("view", &name.value, &name.span);
        }
        found
    }

    /// Without `from`, a model predicts the rows of the one stream that its views read (S10.1).
    fn only_stream(&mut self, name: &str, declared: &Spanned<Model>, aliases: &Aliases) -> Option<usize> {
        let streams: BTreeSet<usize> = aliases.found.values().map(|(view, _, _)| self.views[*view].stream).collect();
        if streams.len() == 1 {
            return streams.first().copied();
        }
        if aliases.quiet.is_empty() {
            let message = match streams.is_empty() {
                true => format!("model `{name}` does not say which rows it predicts"),
                false => {
                    let names: Vec<&str> = streams.iter().map(|stream| self.streams[*stream].id.name()).collect();
                    format!("model `{name}` does not say which rows it predicts: its views read {}", names.join(" and "))
                }
            };
            let place = declared.value.features.first().map_or(declared.span.clone(), |feature| feature.span.clone());
            self.report(Diagnostic::error(codes::NO_ROWS, place, message).help("add from = \"…\", a source or stream"));
        }
        None
    }

    fn lookups(&mut self, aliases: &Aliases, stream: usize) -> Option<Vec<LookupPlan>> {
        let mut lookups = Vec::new();
        for (alias, (view, declared, place)) in &aliases.found {
            lookups.extend(self.lookup(alias, *view, declared.as_ref(), place, stream));
        }
        (lookups.len() == aliases.found.len()).then_some(lookups)
    }

    fn lookup(&mut self, alias: &str, view: usize, declared: Option<&Lookup>, place: &Range<usize>, stream: usize) -> Option<LookupPlan> {
        let schema = self.streams[stream].schema.clone();
        let owner = format!("`{}`", self.streams[stream].id.name());
        let (view_stream, entity, view_name) =
            (self.views[view].stream, self.views[view].entity.clone(), self.views[view].id.name().to_string());
        let entity_schema = self.streams[view_stream].schema.clone();
        if schema.fields().iter().any(|field| field.name().split_once('.').is_some_and(|(table, _)| table == alias)) {
            let message = format!("`{alias}` is a table joined to {owner} and a view that this model reads");
            self.report(Diagnostic::error(codes::NAME_TWICE, place.clone(), message).help("give the lookup another name"));
            return None;
        }
        let names: Vec<Spanned<String>> = match declared {
            Some(lookup) => lookup.key.clone(),
            None => {
                entity.iter().map(|column| Spanned { value: entity_schema.field(*column).name().clone(), span: place.clone() }).collect()
            }
        };
        if names.len() != entity.len() {
            let wanted: Vec<&str> = entity.iter().map(|column| entity_schema.field(*column).name().as_str()).collect();
            let message = format!("view `{view_name}` has {} entity column(s), the key of `{alias}` has {}", entity.len(), names.len());
            let help = match wanted.is_empty() {
                true => "the view has one global key: write key = []".to_string(),
                false => format!("the key needs one column for each of: {}", wanted.join(", ")),
            };
            let span = names.first().map_or(place.clone(), |name| name.span.clone());
            self.report(Diagnostic::error(codes::LOOKUP_KEY, span, message).help(help));
            return None;
        }
        let mut key = Vec::new();
        for (name, column) in names.iter().zip(&entity) {
            let wanted = entity_schema.field(*column);
            let Some(index) = schema.fields().iter().position(|field| *field.name() == name.value) else {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let (message, help) = match declared {
                    Some(_) => (format!("{owner} has no column `{}`", name.value), suggestion(&name.value, &known, "its columns are")),
                    None => (
                        format!("view `{view_name}` is read by `{}`, which {owner} does not have", name.value),
                        format!("say which columns are the key: lookup = {{ {alias} = {{ view = \"{view_name}\", key = \"…\" }} }}"),
                    ),
                };
                self.report(Diagnostic::error(codes::UNKNOWN_COLUMN, name.span.clone(), message).help(help));
                return None;
            };
            let kind = schema.field(index).data_type();
            if !same_key_type(kind, wanted.data_type()) {
                let message = format!(
                    "`{}` is {}, but the entity column `{}` of view `{view_name}` is {}",
                    name.value,
                    type_name(kind),
                    wanted.name(),
                    type_name(wanted.data_type())
                );
                self.report(
                    Diagnostic::error(codes::LOOKUP_KEY, name.span.clone(), message)
                        .help("values of different types are never the same key: cast one of them in a stream's derive"),
                );
                return None;
            }
            key.push(index);
        }
        let own = view_stream == stream && key == entity;
        Some(LookupPlan { alias: alias.to_string(), view, key, own })
    }

    /// The feature row before `derive`: the stream's columns, then those of each lookup; numeric ones are float64 (S9.1).
    fn row(&self, stream: usize, lookups: &[LookupPlan]) -> Row {
        let mut columns = Vec::new();
        let mut names = Vec::new();
        for (index, field) in self.streams[stream].schema.fields().iter().enumerate() {
            let kind = if is_number(field.data_type()) { DataType::Float64 } else { field.data_type().clone() };
            columns.push(RowColumn::Stream(index));
            names.push(ScopeColumn::new(field.name().as_str(), kind, field.is_nullable()));
        }
        for (lookup, plan) in lookups.iter().enumerate() {
            for (feature, described) in self.views[plan.view].features.iter().enumerate() {
                let kind = match described.cell {
                    CellType::Float64 | CellType::Int64 => DataType::Float64,
                    CellType::Bool => DataType::Boolean,
                    CellType::Timestamp => timestamp_type(),
                    CellType::Text => DataType::Utf8,
                };
                columns.push(RowColumn::Feature { lookup, feature });
                names.push(ScopeColumn::new(format!("{}.{}", plan.alias, described.name), kind, true));
            }
        }
        Row { columns, scope: Scope::new(names) }
    }

    fn kind(
        &mut self,
        name: &str,
        declared: &Spanned<Model>,
        network: Option<Network>,
        inputs: &[InputPlan],
        scope: &Scope,
    ) -> Option<(ModelKindPlan, bool)> {
        match (&declared.value.kind, network) {
            (ModelKind::Linear(linear), _) => {
                let plan = self.linear(name, declared, linear, inputs, scope)?;
                Some((ModelKindPlan::Linear(plan), linear.logistic))
            }
            (ModelKind::Candle { device, .. }, Some(network)) => {
                let kind = ModelKindPlan::Candle {
                    artifact: network.path,
                    device: device.value.clone(),
                    tile: network.tile,
                    sha256: network.sha256,
                };
                Some((kind, network.classification))
            }
            (ModelKind::Candle { .. }, None) => None,
        }
    }

    fn linear(
        &mut self,
        name: &str,
        declared: &Spanned<Model>,
        linear: &Linear,
        inputs: &[InputPlan],
        scope: &Scope,
    ) -> Option<LinearPlan> {
        let weight = match &linear.weight {
            Some(sql) => Some(self.compiled(sql, expressions::compile_as(&sql.value, scope, &DataType::Float64))?),
            None => None,
        };
        let initial = match &linear.initial {
            Some(folder) => Some(self.initial(folder, inputs)?),
            None => None,
        };
        let plan = LinearPlan {
            optimizer: linear.optimizer,
            standard_scaler: linear.standard_scaler,
            scaler_before: linear.scaler_before,
            learn_record: linear.learn_record,
            l1: linear.l1,
            l2: linear.l2,
            clip_gradient: linear.clip_gradient,
            intercept_lr: linear.intercept_lr,
            intercept_init: linear.intercept_init,
            weight,
            seed: linear.seed,
            initial,
        };
        if let Err(cause) = plan.spec(linear.logistic, inputs).check() {
            self.report(Diagnostic::error(codes::LEARNER, declared.span.clone(), format!("model `{name}`: {cause}")));
            return None;
        }
        self.warn_about_lag(name, declared, &plan);
        Some(plan)
    }

    /// With `learn = "epoch"` the bound of an epoch is the model's lag (S10.2).
    fn warn_about_lag(&mut self, name: &str, declared: &Spanned<Model>, plan: &LinearPlan) {
        const LONG: usize = 4096;
        let rows = self.declaration.pipeline.epoch.max_rows;
        let bounded = self.sources.len() == self.declaration.sources.len() && self.sources.iter().all(|source| source.is_bounded());
        if !plan.learn_record && bounded && rows > LONG {
            let message = format!("model `{name}` learns once an epoch: on files its predictions lag by up to {rows} rows");
            self.report(
                Diagnostic::warning(codes::LAG, declared.span.clone(), message)
                    .help("set learn = \"record\" (predict, then learn, row by row), or [pipeline] epoch = { max_rows = 1000 }"),
            );
        }
    }
}

impl LinearPlan {
    /// What the learner needs to know, with these inputs.
    pub fn spec(&self, logistic: bool, inputs: &[InputPlan]) -> LinearSpec {
        LinearSpec {
            logistic,
            optimizer: self.optimizer,
            standard_scaler: self.standard_scaler,
            scaler_before: self.scaler_before,
            learn_record: self.learn_record,
            l1: self.l1,
            l2: self.l2,
            clip_gradient: self.clip_gradient,
            intercept_lr: self.intercept_lr,
            intercept_init: self.intercept_init,
            seed: self.seed,
            inputs: inputs.iter().map(|input| input.name.clone()).collect(),
            nulls: inputs.iter().map(|input| input.nulls).collect(),
        }
    }
}

/// Where a label's SQL stands.
fn label_place(label: &Spanned<Label>) -> Range<usize> {
    match &label.value {
        Label::Column(sql) => sql.span.clone(),
        Label::Stream { value, .. } => value.span.clone(),
    }
}

/// Types that are float64 in a feature row.
pub(super) fn is_number(kind: &DataType) -> bool {
    matches!(kind, DataType::Int32 | DataType::Int64 | DataType::UInt64 | DataType::Float32 | DataType::Float64 | DataType::Decimal128(..))
}

/// Derived columns of a model by name.
pub(super) type Derived = [(String, Expression)];
