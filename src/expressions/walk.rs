//! Walking sqlparser's tree: the one list of the kinds of nodes that expressions may have.

use sqlparser::ast::{BinaryOperator, CeilFloorKind, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::{ExpressionError, Parsed};

/// The direct operands of `node`, left to right; `None` if expressions have no such node.
pub fn children(node: &Expr) -> Option<Vec<&Expr>> {
    Some(match node {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => vec![],
        Expr::IsFalse(e)
        | Expr::IsNotFalse(e)
        | Expr::IsTrue(e)
        | Expr::IsNotTrue(e)
        | Expr::IsNull(e)
        | Expr::IsNotNull(e)
        | Expr::IsUnknown(e)
        | Expr::IsNotUnknown(e)
        | Expr::Nested(e)
        | Expr::UnaryOp { expr: e, .. }
        | Expr::Cast { expr: e, .. }
        | Expr::Extract { expr: e, .. }
        | Expr::Ceil { expr: e, field: CeilFloorKind::DateTimeField(_) }
        | Expr::Floor { expr: e, field: CeilFloorKind::DateTimeField(_) } => vec![e],
        Expr::IsDistinctFrom(a, b) | Expr::IsNotDistinctFrom(a, b) => vec![a, b],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_ref()).chain(list).collect(),
        Expr::Between { expr, low, high, .. } => vec![expr, low, high],
        Expr::Like { expr, pattern, .. } | Expr::ILike { expr, pattern, .. } => vec![expr, pattern],
        Expr::AtTimeZone { timestamp, time_zone } => vec![timestamp, time_zone],
        Expr::Position { expr, r#in } => vec![expr, r#in],
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            std::iter::once(expr).chain(substring_from).chain(substring_for).map(AsRef::as_ref).collect()
        }
        Expr::Trim { expr, trim_what, trim_characters: None, .. } => std::iter::once(expr).chain(trim_what).map(AsRef::as_ref).collect(),
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            [expr, overlay_what, overlay_from].into_iter().chain(overlay_for).map(AsRef::as_ref).collect()
        }
        Expr::Case { operand, conditions, else_result, .. } => operand
            .iter()
            .map(AsRef::as_ref)
            .chain(conditions.iter().flat_map(|when| [&when.condition, &when.result]))
            .chain(else_result.iter().map(AsRef::as_ref))
            .collect(),
        Expr::Function(function) => arguments(function)?,
        _ => return None,
    })
}

/// The arguments of a call and its filter; `None` for calls that are not `name(expression, …)`.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let mut all = Vec::new();
    match &function.args {
        FunctionArguments::None => {}
        FunctionArguments::Subquery(_) => return None,
        FunctionArguments::List(list) => {
            for argument in &list.args {
                match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => all.push(e),
                    FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
                    _ => return None,
                }
            }
        }
    }
    all.extend(function.filter.as_deref());
    Some(all)
}

/// The operands of a chain `a and b and c …` (or of `or`), left to right; `None` for anything else. Parentheses end a chain.
pub fn chain(node: &Expr) -> Option<Vec<&Expr>> {
    let Expr::BinaryOp { op, .. } = node else { return None };
    if !matches!(op, BinaryOperator::And | BinaryOperator::Or) {
        return None;
    }
    let (mut operands, mut stack) = (Vec::new(), vec![node]);
    while let Some(next) = stack.pop() {
        match next {
            Expr::BinaryOp { left, op: inner, right } if inner == op => stack.extend([right.as_ref(), left.as_ref()]),
            _ => operands.push(next),
        }
    }
    Some(operands)
}

/// How often `node` repeats its first operands in the expression it becomes, and how many of them: `coalesce(a, b)` is `case when a is not null
/// then a …`, and `x in (1, 2)` may become `x = 1 or x = 2`. Nesting multiplies.
pub fn repeats(node: &Expr) -> (usize, usize) {
    match node {
        Expr::Between { .. } => (2, 1),
        Expr::InList { list, .. } => (list.len(), 1),
        Expr::Case { operand: Some(_), conditions, .. } => (conditions.len(), 1),
        Expr::Function(call) => {
            let name = call.name.to_string().to_lowercase();
            if ["coalesce", "ifnull", "nullif", "nvl", "nvl2"].contains(&name.as_str()) { (2, usize::MAX) } else { (1, 0) }
        }
        _ => (1, 0),
    }
}

/// The names that `sql` mentions, each once, in order of appearance, without resolving them: `delay`, `airports.city`. Also reads aggregate calls.
pub fn mentioned(sql: &str) -> Result<Vec<String>, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    let (mut names, mut stack): (Vec<String>, Vec<&Expr>) = (Vec::new(), vec![&parsed.ast]);
    while let Some(node) = stack.pop() {
        let name = match node {
            Expr::Identifier(ident) => ident.value.clone(),
            Expr::CompoundIdentifier(parts) => parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join("."),
            _ => {
                stack.extend(children(node).unwrap_or_default().into_iter().rev());
                continue;
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}
