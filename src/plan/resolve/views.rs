//! Views: entity, windows × aggregates, arguments and filters shared by their SQL, and the bound on state (S6, S7, DESIGN §5).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::Schema;

use super::{Resolver, type_name};
use crate::config::declaration::{Aggregate, DeclaredWindow, Features, Spanned, Window};
use crate::data::CellType;
use crate::diagnostic::Diagnostic;
use crate::expressions::{self, AggregateCall, Expression, Parameter, Scope};
use crate::features::{self, CallShape, FeatureSpec, FunctionParameter, Resolved, ViewSpec};
use crate::ids::ComponentId;
use crate::plan::{FeaturePlan, ViewPlan, codes};

/// What the aggregates of a view add up to, in the order in which they are met.
#[derive(Default)]
struct Collected {
    windows: Vec<Window>,
    arguments: Vec<(Expression, CellType)>,
    filters: Vec<Expression>,
    specs: Vec<FeatureSpec>,
    features: Vec<FeaturePlan>,
    /// Where each feature name was declared.
    names: BTreeMap<String, Range<usize>>,
    lifetime: Option<(String, Range<usize>)>,
    own_horizon: Option<(String, Range<usize>)>,
}

/// One aggregate as declared, with what it takes from its view.
struct Asked<'a> {
    view: &'a str,
    name: &'a str,
    aggregate: &'a Aggregate,
    windows: &'a [Spanned<DeclaredWindow>],
    include_current: bool,
}

impl Collected {
    fn window(&mut self, window: Window) -> usize {
        position_or_push(&mut self.windows, |known| *known == window, || window)
    }

    fn argument(&mut self, argument: Expression, cell: CellType) -> usize {
        let sql = argument.sql().to_string();
        position_or_push(&mut self.arguments, |(known, kind)| known.sql() == sql && *kind == cell, || (argument, cell))
    }

    fn filter(&mut self, filter: Expression) -> usize {
        let sql = filter.sql().to_string();
        position_or_push(&mut self.filters, |known| known.sql() == sql, || filter)
    }
}

fn position_or_push<T>(items: &mut Vec<T>, same: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    items.iter().position(same).unwrap_or_else(|| {
        items.push(make());
        items.len() - 1
    })
}

impl Resolver<'_> {
    /// All views in byte order of their names.
    pub(super) fn resolve_views(&mut self) {
        let declaration = self.declaration;
        for (name, declared) in &declaration.features {
            let before = self.errors();
            match self.view(name, declared).filter(|_| self.errors() == before) {
                Some(view) => self.views.push(view),
                None => self.fail("features", name),
            }
        }
    }

    fn view(&mut self, name: &str, declared: &Spanned<Features>) -> Option<ViewPlan> {
        let view = &declared.value;
        let stream = self.stream(&view.from)?;
        let schema = self.streams[stream].schema.clone();
        let scope = Scope::from_schema(&schema);
        let filter = self.condition(view.filter.as_ref(), &scope).unwrap_or_default();
        let entity: Vec<usize> = view.entity.iter().filter_map(|column| self.entity_column(&schema, column, &view.from.value)).collect();
        let mut collected = Collected::default();
        for (aggregate_name, aggregate) in &view.aggregates {
            self.aggregate(name, view, aggregate_name, aggregate, &scope, &mut collected);
        }
        self.check_taken_names(name, stream, &entity, &collected);
        self.check_bounds(name, view, &collected);
        let lateness = self.sources[usize::from(self.streams[stream].source.0)].lateness;
        let spec = ViewSpec {
            windows: collected.windows,
            arguments: collected.arguments.iter().map(|(_, cell)| *cell).collect(),
            filters: collected.filters.len(),
            features: collected.specs,
            lateness,
            ttl: view.ttl.as_ref().map(|ttl| ttl.value),
            max_keys_per_shard: view.max_keys.as_ref().map(|keys| (keys.value / u64::from(self.declaration.pipeline.shards.max(1))).max(1)),
            max_records_per_key: view.max_records_per_key.as_ref().map(|records| records.value),
        };
        Some(ViewPlan {
            id: ComponentId::new("features", name),
            stream,
            filter,
            entity,
            arguments: collected.arguments.into_iter().map(|(expression, _)| expression).collect(),
            filters: collected.filters,
            spec: Arc::new(spec),
            features: collected.features,
        })
    }

    fn entity_column(&mut self, schema: &Schema, name: &Spanned<String>, from: &str) -> Option<usize> {
        let index = self.column(schema, name, &format!("`{from}`"))?;
        self.key_type(schema.field(index).data_type(), name, "entity").then_some(index)
    }

    fn aggregate(&mut self, view_name: &str, view: &Features, name: &str, aggregate: &Aggregate, scope: &Scope, into: &mut Collected) {
        let Some(call) = self.compiled(&aggregate.value, expressions::parse_aggregate(&aggregate.value.value, scope)) else { return };
        let parameters: Vec<FunctionParameter> = call
            .parameters
            .iter()
            .map(|parameter| match parameter {
                Parameter::Number(number) => FunctionParameter::Number(*number),
                Parameter::Text(text) => FunctionParameter::Text(text.clone()),
            })
            .collect();
        let shape = CallShape {
            function: &call.function,
            distinct: call.distinct,
            argument: call.argument.as_ref().map(Expression::data_type),
            parameters: &parameters,
        };
        let resolved = match features::resolve(&shape) {
            Ok(resolved) => resolved,
            Err(cause) => {
                let help = match &call.argument {
                    Some(argument) => format!("`{}` is {}", argument.sql(), type_name(argument.data_type())),
                    None => format!("the aggregates are {}", features::function_names().join(", ")),
                };
                let place = self.place(&aggregate.value, call.function_span.clone());
                self.report(Diagnostic::error(codes::AGGREGATE, place, cause).help(help));
                return;
            }
        };
        let windows = aggregate.windows.as_ref().unwrap_or(&view.windows);
        if windows.is_empty() && !resolved.own_horizon {
            self.report(
                Diagnostic::error(codes::NO_WINDOW, aggregate.value.span.clone(), format!("`{name}` of view `{view_name}` has no window"))
                    .help("add windows = [\"1h\", \"24h\"] to the view, or give this aggregate its own: { value = \"…\", windows = [\"1h\"] }"),
            );
            return;
        }
        let include_current = aggregate.include_current.unwrap_or(view.include_current);
        let asked = Asked { view: view_name, name, aggregate, windows, include_current };
        self.add_features(&asked, call, &resolved, into);
        if !resolved.own_horizon && !resolved.lifetime_bounded && view.max_records_per_key.is_none() {
            for window in windows.iter().filter(|window| window.value.window == Window::Lifetime) {
                self.report(
                    Diagnostic::error(
                        codes::UNBOUNDED,
                        window.span.clone(),
                        format!("`{}` over a lifetime keeps every value it has seen", aggregate.value.value),
                    )
                    .help("use a window, an approximate aggregate (approx_distinct, approx_quantile), or max_records_per_key"),
                );
            }
        }
    }

    /// One feature per window, or one for a function with its own horizon.
    fn add_features(&mut self, asked: &Asked<'_>, call: AggregateCall, resolved: &Resolved, into: &mut Collected) {
        let Asked { view, name, aggregate, windows, include_current } = *asked;
        let argument = match (call.argument, resolved.argument_cell) {
            (Some(expression), Some(cell)) => Some(into.argument(expression, cell)),
            _ => None,
        };
        let filter = call.filter.map(|filter| into.filter(filter));
        let place = &aggregate.value.span;
        let mut add = |full: String, window: Option<usize>, into: &mut Collected| {
            if let Some(first) = into.names.insert(full.clone(), place.clone()) {
                let same = first == *place;
                let message = format!("two features of view `{view}` are called `{full}`");
                let help = if same {
                    "each window may be listed once"
                } else {
                    "the window's length is part of a feature's name: rename one aggregate"
                };
                self.report(Diagnostic::error(codes::NAME_TWICE, place.clone(), message).help(help));
                return;
            }
            into.specs.push(FeatureSpec { function: resolved.function, argument, filter, window, include_current, cell: resolved.cell });
            into.features.push(FeaturePlan {
                name: full,
                aggregate: name.to_string(),
                cell: resolved.cell,
                sql: aggregate.value.value.clone(),
            });
        };
        if resolved.own_horizon {
            into.own_horizon.get_or_insert_with(|| (name.to_string(), place.clone()));
            add(name.to_string(), None, into);
            return;
        }
        for declared in windows {
            if declared.value.window == Window::Lifetime {
                into.lifetime.get_or_insert_with(|| (name.to_string(), declared.span.clone()));
            }
            let index = into.window(declared.value.window);
            let suffix = &declared.value.suffix;
            let full = if suffix.is_empty() { name.to_string() } else { format!("{name}_{suffix}") };
            add(full, Some(index), into);
        }
    }

    /// The default columns of `features.V` are key, event time, entity and features: their names must differ (S13.1).
    fn check_taken_names(&mut self, view: &str, stream: usize, entity: &[usize], collected: &Collected) {
        let plan = &self.streams[stream];
        let taken: Vec<String> = [plan.key, plan.event_time]
            .into_iter()
            .flatten()
            .chain(entity.iter().copied())
            .map(|index| plan.schema.field(index).name().clone())
            .collect();
        for (name, place) in collected.names.iter().filter(|(name, _)| taken.contains(name)) {
            let message = format!("feature `{name}` of view `{view}` has the name of a column that identifies its rows");
            self.report(Diagnostic::error(codes::NAME_TWICE, place.clone(), message).help("give the aggregate another name"));
        }
    }

    /// Windows bound themselves; what lasts for a key's lifetime needs a bound on keys, unless there is only the one global key (DESIGN §5).
    fn check_bounds(&mut self, name: &str, view: &Features, collected: &Collected) {
        if let Some(max_keys) = &view.max_keys
            && max_keys.value < u64::from(self.declaration.pipeline.shards)
        {
            let shards = self.declaration.pipeline.shards;
            let message = format!("view `{name}` may keep {} keys, but there are {shards} shards of at least one key each", max_keys.value);
            self.report(
                Diagnostic::warning(codes::FEW_KEYS, max_keys.span.clone(), message)
                    .help(format!("max_keys is split evenly over shards (S6.3): allow at least {shards}, or set [pipeline] shards")),
            );
        }
        if view.entity.is_empty() || view.ttl.is_some() || view.max_keys.is_some() {
            return;
        }
        if let Some((aggregate, place)) = &collected.lifetime {
            let message = format!("`{aggregate}` of view `{name}` lasts for the lifetime of its key, and keys are never forgotten");
            self.report(
                Diagnostic::error(codes::UNBOUNDED, place.clone(), message)
                    .label("state without a bound")
                    .help("add ttl = \"30d\" (forget keys that were silent for so long) or max_keys = 1000000 to the view"),
            );
        } else if let Some((aggregate, place)) = &collected.own_horizon {
            let message = format!("`{aggregate}` of view `{name}` keeps every key for ever");
            self.report(
                Diagnostic::warning(codes::KEPT_FOR_EVER, place.clone(), message)
                    .help("add ttl = \"30d\" or max_keys = 1000000 to the view if its keys are many"),
            );
        }
    }
}
