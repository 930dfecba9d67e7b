//! The registry of aggregate functions: one row each. A new function is its family's file and a row here.

use super::call::{FunctionParameter, Resolved};
use super::part::{Builder, Part};
use super::{FeatureSpec, Function, ViewSpec, decay, distinct, extrema, hyperloglog, moments, position, quantile};
use crate::config::declaration::Window;
use crate::data::CellType;

/// Builds the part of some features, given with their columns, that agree in group, argument and filter.
pub type BuildPart = fn(&mut Builder<'_>, &[(usize, &FeatureSpec)]) -> Box<dyn Part>;

/// A family: functions that share parts of the state.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Functions of the family share a part only if these are equal (the argument and filter aside).
    pub group: fn(&Function) -> u64,
    /// Builds a part.
    pub build: BuildPart,
}

/// Checks argument and parameters of a call.
pub type Check = fn(&'static Row, Option<CellType>, &[FunctionParameter]) -> Result<Resolved, String>;

/// One function.
#[derive(Debug)]
pub struct Row {
    /// Name in SQL; `count distinct` for `count(distinct x)`.
    pub name: &'static str,
    /// Sees what precedes the record, whatever `include_current` says.
    pub prior: bool,
    /// Ignores `windows`.
    pub own_horizon: bool,
    /// Constant state per key even if nothing is evicted.
    pub bounded: bool,
    /// Checks a call.
    pub resolve: Check,
    /// The family that computes it over a window (`None`: own horizon).
    pub family: fn(Option<&Window>) -> &'static Family,
}

impl Row {
    const fn windowed(name: &'static str, resolve: Check, family: fn(Option<&Window>) -> &'static Family) -> Self {
        Self { name, prior: false, own_horizon: false, bounded: true, resolve, family }
    }
}

/// Every function of S7.4.
pub static REGISTRY: [Row; 18] = [
    Row::windowed("count", moments::resolve_count, |_| &moments::FAMILY),
    Row { bounded: false, ..Row::windowed("count distinct", distinct::resolve, |_| &distinct::FAMILY) },
    Row::windowed("sum", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("avg", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("var_pop", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("var_samp", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("stddev_pop", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("stddev_samp", moments::resolve, |_| &moments::FAMILY),
    Row::windowed("min", extrema::resolve, |_| &extrema::FAMILY),
    Row::windowed("max", extrema::resolve, |_| &extrema::FAMILY),
    Row::windowed("first", position::resolve, |_| &position::FAMILY),
    Row::windowed("last", position::resolve, |_| &position::FAMILY),
    Row::windowed("approx_quantile", quantile::resolve, |_| &quantile::FAMILY),
    // HyperLogLog cannot forget: where records leave a window, the exact counts of `count(distinct x)` answer instead.
    Row::windowed("approx_distinct", distinct::resolve, |window| match window {
        Some(Window::Sliding(_)) => &distinct::FAMILY,
        _ => &hyperloglog::FAMILY,
    }),
    Row { own_horizon: true, ..Row::windowed("ewm_sum", decay::resolve, |_| &decay::FAMILY) },
    Row { own_horizon: true, ..Row::windowed("ewm_avg", decay::resolve, |_| &decay::FAMILY) },
    Row { own_horizon: true, prior: true, ..Row::windowed("time_since_last", position::resolve_gap, |_| &position::FAMILY) },
    Row { own_horizon: true, prior: true, ..Row::windowed("lag", position::resolve, |_| &position::FAMILY) },
];

/// Groups the features of a view into parts, in the order of their first features, and builds them.
pub(super) fn build(builder: &mut Builder<'_>, spec: &ViewSpec) -> Vec<Box<dyn Part>> {
    let key = |feature: &FeatureSpec| {
        let window = feature.window.map(|window| &spec.windows[window]);
        let family = super::call::row(feature.function.name).map(|row| (row.family)(window))?;
        Some((family, (family.name, (family.group)(&feature.function), feature.argument, feature.filter)))
    };
    let mut groups = Vec::new();
    for (column, feature) in spec.features.iter().enumerate() {
        let Some((family, key)) = key(feature) else { continue };
        match groups.iter_mut().find(|(_, known, _)| *known == key) {
            Some((_, _, members)) => members,
            None => {
                groups.push((family, key, Vec::new()));
                let last = groups.len() - 1;
                &mut groups[last].2
            }
        }
        .push((column, feature));
    }
    groups.iter().map(|(family, _, members): &(_, _, Vec<(usize, &FeatureSpec)>)| (family.build)(builder, members)).collect()
}
