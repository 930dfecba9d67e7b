//! `[models.NAME]`: keys of all kinds of models; those of the linear learners are in `linear`.

use std::collections::BTreeMap;

use super::{label, linear};
use crate::config::check;
use crate::config::codes;
use crate::config::declaration::{Lookup, Model, ModelKind, NullPolicy, Spanned};
use crate::config::names;
use crate::config::reference::Role;
use crate::config::table::{Table, is_table};
use crate::config::value::{Bound, Node};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Logistic,
    Regression,
    Candle,
}

const CANDLE_KEYS: [&str; 3] = ["artifact", "device", "batch_rows"];

/// A model of any kind.
pub(super) fn read(table: &Table<'_>) -> Option<Model> {
    const LINEAR: &str = "use \"logistic_regression\" or \"linear_regression\"";
    let kind = table.need("kind", "\"logistic_regression\"").and_then(|node| {
        node.choice(
            &[("logistic_regression", Kind::Logistic), ("linear_regression", Kind::Regression), ("candle", Kind::Candle)],
            &[
                ("hoeffding_tree", LINEAR),
                ("adaptive_random_forest", LINEAR),
                ("passive_aggressive", LINEAR),
                ("perceptron", LINEAR),
                ("naive_bayes", LINEAR),
                ("half_space_trees", LINEAR),
                ("kmeans", LINEAR),
                ("onnx", "use kind = \"candle\" with a network in safetensors and JSON"),
            ],
        )
    });
    let kind = kind.map(|kind| kind.value);
    let read_kind = match kind {
        Some(Kind::Logistic | Kind::Regression) => {
            table.foreign(&CANDLE_KEYS, "it is a key of models of kind = \"candle\"");
            linear::read(table, kind == Some(Kind::Logistic)).map(ModelKind::Linear)
        }
        Some(Kind::Candle) => {
            table.foreign(&linear::KEYS, "it is a key of the linear models; a network is used as it is");
            read_candle(table)
        }
        None => {
            table.ignore(&CANDLE_KEYS);
            table.ignore(&linear::KEYS);
            None
        }
    };
    table.later("fallback", "leave it out: a row that cannot be predicted carries its reason in `degraded`");
    let from = table.text("from", "\"flights\"");
    table.cx.refer(Role::ModelFrom, from.as_ref());
    let filter = table.text("where", "\"distance > 0\"");
    let lookup = read_lookups(table);
    const FEATURES: &str = "[\"here.*\", \"distance\"]";
    let features = match kind {
        Some(Kind::Logistic | Kind::Regression) => table.need("features", FEATURES),
        _ => table.get("features", FEATURES),
    };
    let features = features.map_or(Some(Vec::new()), |node| read_features(&node));
    let derive = super::derive(table, "{ busy = \"here.late_1h / here.landed_1h\" }");
    let label = label::read(table);
    if matches!(kind, Some(Kind::Logistic | Kind::Regression)) {
        check::learning(table);
    }
    let nulls = table.get("nulls", "\"mean\"").map_or(Some(NullPolicy::Mean), |node| read_nulls(&node, true));
    let threshold = if kind == Some(Kind::Regression) {
        table.foreign(&["threshold"], "a threshold decides between classes; a regression has none");
        0.5
    } else {
        table.number("threshold", "0.5", Bound::Share).unwrap_or(0.5)
    };
    Some(Model { kind: read_kind?, from, filter, lookup, features: features?, derive, label, nulls: nulls?, threshold })
}

fn read_features(node: &Node<'_>) -> Option<Vec<Spanned<String>>> {
    let texts = node.texts()?;
    if texts.is_empty() {
        return node.fail(
            codes::EMPTY,
            "`features` is empty",
            "nothing here",
            "name at least one column or feature: features = [\"distance\"]",
        );
    }
    Some(texts)
}

fn read_lookups(table: &Table<'_>) -> BTreeMap<String, Lookup> {
    const EXAMPLE: &str = "{ here = { view = \"airport\", key = \"origin\" } }";
    let mut lookups = BTreeMap::new();
    let Some(map) = table.get("lookup", EXAMPLE).and_then(|node| node.table("`lookup`")) else { return lookups };
    for (alias, node) in map.all("{ view = \"airport\", key = \"origin\" }") {
        names::check_component(table.cx, &alias);
        let Some(entry) = node.table(format!("`lookup.{}`", alias.value)) else { continue };
        let view = entry.need_text("view", "\"airport\"");
        table.cx.refer(Role::LookupView, view.as_ref());
        let key = entry.need("key", "\"origin\"").and_then(|node| node.texts());
        entry.finish();
        if let (Some(view), Some(key)) = (view, key) {
            lookups.insert(alias.value, Lookup { view, key });
        }
    }
    lookups
}

/// `"mean"`, `"skip"`, `{ constant = 0 }`, or a table from inputs to one of these (S10.1).
fn read_nulls(node: &Node<'_>, per_input: bool) -> Option<NullPolicy> {
    if !is_table(node.value) {
        let choice = node.choice(&[("mean", NullPolicy::Mean), ("skip", NullPolicy::Skip)], &[])?;
        return Some(choice.value);
    }
    let table = node.table(format!("`{}`", node.key))?;
    let is_constant =
        table.peek("constant", "").is_some_and(|inner| !is_table(inner.value) && !matches!(inner.value, toml::de::DeValue::String(_)));
    if is_constant || !per_input {
        let constant = table.need("constant", "0").and_then(|node| node.number(Bound::Finite));
        table.finish();
        return constant.map(NullPolicy::Constant);
    }
    let mut policies = BTreeMap::new();
    for (input, node) in table.all("\"mean\"") {
        if let Some(value) = read_nulls(&node, false) {
            policies.insert(input.value, Spanned { value, span: input.span });
        }
    }
    Some(NullPolicy::PerInput(policies))
}

fn read_candle(table: &Table<'_>) -> Option<ModelKind> {
    let artifact = table.need_text("artifact", "\"models/delay\"");
    let artifact_node = table.peek("artifact", "\"models/delay\"");
    let built = match (&artifact, &artifact_node) {
        (Some(text), Some(node)) if text.value.starts_with("registry:") => {
            node.not_built("the model registry", "give a path: artifact = \"models/delay\", a folder with model.safetensors and model.json")
        }
        (Some(text), Some(node)) if text.value.ends_with(".onnx") => {
            node.not_built("ONNX", "give a network in safetensors with its JSON: artifact = \"models/delay\"")
        }
        _ => Some(()),
    };
    let device = match table.get("device", "\"auto\"") {
        Some(node) => read_device(&node),
        None => Some(Spanned { value: "auto".to_string(), span: table.span.clone() }),
    };
    let batch_rows = table
        .whole("batch_rows", "256", 1, 65_536)
        .and_then(|rows| Some(Spanned { value: usize::try_from(rows.value).ok()?, span: rows.span }));
    built?;
    Some(ModelKind::Candle { artifact: artifact?, device: device?, batch_rows })
}

fn read_device(node: &Node<'_>) -> Option<Spanned<String>> {
    let text = node.text()?;
    let numbered = text.value.strip_prefix("cuda:").is_some_and(|number| number.parse::<u16>().is_ok());
    if numbered || text.value == "auto" || text.value == "cpu" {
        return Some(text);
    }
    let help = match text.value.as_str() {
        "cuda" | "gpu" => "name the GPU by its number: \"cuda:0\"",
        _ => "write \"auto\", \"cpu\" or \"cuda:0\"",
    };
    node.fail(codes::UNKNOWN_CHOICE, format!("unknown device `{}`", text.value), "", help)
}
