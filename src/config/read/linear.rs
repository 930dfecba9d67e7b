//! Keys of `logistic_regression` and `linear_regression`; names and defaults follow River.

use crate::config::codes;
use crate::config::declaration::{Linear, Optimizer};
use crate::config::table::{Table, is_table};
use crate::config::value::{Bound, Node};
use crate::diagnostic::Diagnostic;

/// The keys read here, for models of other kinds.
pub(super) const KEYS: [&str; 11] =
    ["optimizer", "scaler", "learn", "l1", "l2", "clip_gradient", "intercept_lr", "intercept_init", "weight", "seed", "initial"];

#[derive(Clone, Copy)]
enum Rule {
    Sgd,
    AdaGrad,
    Ftrl,
}

const RULES: [(&str, Rule); 3] = [("sgd", Rule::Sgd), ("adagrad", Rule::AdaGrad), ("ftrl", Rule::Ftrl)];

/// A linear learner.
pub(super) fn read(table: &Table<'_>, logistic: bool) -> Option<Linear> {
    let optimizer = match table.get("optimizer", "{ kind = \"ftrl\", alpha = 0.05 }") {
        Some(node) => read_optimizer(&node),
        None => Some(Optimizer::Sgd { lr: 0.01 }),
    };
    let scaler = table.get("scaler", "\"standard\"").map_or(Some((true, false)), |node| read_scaler(&node));
    let learn_record = match table.get("learn", "\"record\"") {
        Some(node) => node.choice(&[("epoch", false), ("record", true)], &[]).map(|learn| learn.value),
        None => Some(false),
    };
    if let (Some((_, true)), Some(false)) = (scaler, learn_record) {
        let message = "a scaler with update = \"before\" needs learn = \"record\"";
        let help = "add `learn = \"record\"`, or leave `update` out: statistics then move when a row is learned";
        table.cx.report(Diagnostic::error(codes::CONTRADICTION, table.key_span("scaler"), message).help(help));
    }
    let l1 = table.number("l1", "0.0", Bound::NotNegative).unwrap_or(0.0);
    let l2 = table.number("l2", "0.0", Bound::NotNegative).unwrap_or(0.0);
    let clip_gradient = table.number("clip_gradient", "1e12", Bound::Positive).unwrap_or(1e12);
    let intercept_lr = table.number("intercept_lr", "0.01", Bound::NotNegative).unwrap_or(0.01);
    let intercept_init = table.number("intercept_init", "0.0", Bound::Finite).unwrap_or(0.0);
    let weight = table.text("weight", "\"amount\"");
    let seed = table.whole("seed", "7", 0, u64::MAX).map_or(0, |seed| seed.value);
    let initial = table.text("initial", "\"models/late\"");
    let (standard_scaler, scaler_before) = scaler?;
    Some(Linear {
        logistic,
        optimizer: optimizer?,
        standard_scaler,
        scaler_before,
        learn_record: learn_record?,
        l1,
        l2,
        clip_gradient,
        intercept_lr,
        intercept_init,
        weight,
        seed,
        initial,
    })
}

/// `"none"`, `"standard"` or `{ kind = "standard", update = "on_learn" | "before" }`: whether it scales, and whether it observes before it predicts.
fn read_scaler(node: &Node<'_>) -> Option<(bool, bool)> {
    const STANDARD: &str = "use \"standard\" or \"none\"";
    const KINDS: [(&str, bool); 2] = [("none", false), ("standard", true)];
    const LATER: [(&str, &str); 3] = [("minmax", STANDARD), ("robust", STANDARD), ("max_abs", STANDARD)];
    if !is_table(node.value) {
        return Some((node.choice(&KINDS, &LATER)?.value, false));
    }
    let table = node.table("`scaler`")?;
    let standard = table.need("kind", "\"standard\"").and_then(|node| node.choice(&KINDS, &LATER));
    let before = match table.get("update", "\"on_learn\"") {
        Some(node) => node.choice(&[("on_learn", false), ("before", true)], &[]).map(|update| update.value),
        None => Some(false),
    };
    table.finish();
    Some((standard?.value, before?))
}

/// `"ftrl"` or `{ kind = "ftrl", alpha = 0.05, … }`.
fn read_optimizer(node: &Node<'_>) -> Option<Optimizer> {
    const LATER: &str = "use \"sgd\", \"adagrad\" or \"ftrl\"";
    const NOT_YET: [(&str, &str); 5] = [("adam", LATER), ("rmsprop", LATER), ("momentum", LATER), ("nesterov", LATER), ("adadelta", LATER)];
    if !is_table(node.value) {
        return Some(match node.choice(&RULES, &NOT_YET)?.value {
            Rule::Sgd => Optimizer::Sgd { lr: 0.01 },
            Rule::AdaGrad => Optimizer::AdaGrad { lr: 0.1, eps: 1e-8 },
            Rule::Ftrl => Optimizer::Ftrl { alpha: 0.05, beta: 1.0, l1: 0.0, l2: 1.0 },
        });
    }
    let table = node.table("`optimizer`")?;
    let rule = table.need("kind", "\"ftrl\"").and_then(|node| node.choice(&RULES, &NOT_YET));
    table.later("preset", "write the values themselves: { kind = \"ftrl\", alpha = 0.5, beta = 1.0, l1 = 0.0, l2 = 0.0 }");
    let Some(rule) = rule else {
        table.ignore(&["lr", "eps", "alpha", "beta", "l1", "l2"]);
        table.finish();
        return None;
    };
    let number = |key, example, bound, default| table.number(key, example, bound).unwrap_or(default);
    let optimizer = match rule.value {
        Rule::Sgd => Optimizer::Sgd { lr: number("lr", "0.01", Bound::Positive, 0.01) },
        Rule::AdaGrad => {
            Optimizer::AdaGrad { lr: number("lr", "0.1", Bound::Positive, 0.1), eps: number("eps", "1e-8", Bound::Positive, 1e-8) }
        }
        Rule::Ftrl => Optimizer::Ftrl {
            alpha: number("alpha", "0.05", Bound::Positive, 0.05),
            beta: number("beta", "1.0", Bound::NotNegative, 1.0),
            l1: number("l1", "0.0", Bound::NotNegative, 0.0),
            l2: number("l2", "1.0", Bound::NotNegative, 1.0),
        },
    };
    let own: &[&str] = match rule.value {
        Rule::Sgd => &["lr"],
        Rule::AdaGrad => &["lr", "eps"],
        Rule::Ftrl => &["alpha", "beta", "l1", "l2"],
    };
    let why = match rule.value {
        Rule::Ftrl => "ftrl takes alpha, beta, l1 and l2",
        Rule::Sgd => "sgd takes lr; l1 and l2 of the model itself stand in its own table",
        Rule::AdaGrad => "adagrad takes lr and eps; l1 and l2 of the model itself stand in its own table",
    };
    for key in ["lr", "eps", "alpha", "beta", "l1", "l2"] {
        if !own.contains(&key) {
            table.foreign(&[key], why);
        }
    }
    table.finish();
    Some(optimizer)
}
