//! `windows = ["1h", { tumbling = "1h", offset = "15m" }, "lifetime"]` (S7.1)

use toml::de::DeValue;

use crate::config::codes;
use crate::config::declaration::{DeclaredWindow, Spanned, Window};
use crate::config::table::is_table;
use crate::config::value::Node;
use crate::diagnostic::Diagnostic;
use crate::time::{Micros, duration};

/// Windows as users write them.
pub(super) const EXAMPLE: &str = "[\"1h\", { tumbling = \"1h\" }, \"lifetime\"]";

/// A list of windows, none of them twice under one suffix.
pub(super) fn read_all(node: &Node<'_>) -> Option<Vec<Spanned<DeclaredWindow>>> {
    if !matches!(node.value, DeValue::Array(_)) {
        return node.wrong_type("a list of windows");
    }
    let read: Vec<Option<Spanned<DeclaredWindow>>> = node.entries().iter().map(read).collect();
    let windows: Vec<Spanned<DeclaredWindow>> = read.into_iter().collect::<Option<_>>()?;
    for (index, window) in windows.iter().enumerate() {
        let same =
            |earlier: &&Spanned<DeclaredWindow>| earlier.value.suffix == window.value.suffix || earlier.value.window == window.value.window;
        if let Some(earlier) = windows[..index].iter().find(same) {
            let message = if earlier.value.window == window.value.window {
                "this window is listed twice".to_string()
            } else {
                format!("two windows would give columns with the one suffix `_{}`", window.value.suffix)
            };
            node.cx.report(
                Diagnostic::error(codes::REPEATED, window.span.clone(), message).label("the second one").help("remove one of them"),
            );
        }
    }
    Some(windows)
}

fn read(node: &Node<'_>) -> Option<Spanned<DeclaredWindow>> {
    let value = if is_table(node.value) {
        read_table(node)?
    } else if matches!(node.value, DeValue::String(_)) {
        read_text(node)?
    } else {
        return node.wrong_type("windows such as \"1h\", { tumbling = \"1h\" } and \"lifetime\"");
    };
    Some(Spanned { value, span: node.span.clone() })
}

fn read_text(node: &Node<'_>) -> Option<DeclaredWindow> {
    let text = node.text()?.value;
    if text.trim() == "lifetime" {
        return Some(DeclaredWindow { window: Window::Lifetime, suffix: String::new() });
    }
    if duration::parse(&text).is_err() {
        let message = format!("`{text}` is not a window");
        let help = "a window is a duration such as \"1h\" (sliding), { tumbling = \"1h\" } or \"lifetime\"";
        return node.fail(codes::BAD_DURATION, message, "", help);
    }
    let size = node.duration(1)?.value;
    Some(DeclaredWindow { window: Window::Sliding(size), suffix: text.trim().to_string() })
}

fn read_table(node: &Node<'_>) -> Option<DeclaredWindow> {
    let table = node.table("a window")?;
    let later = [
        ("hopping", "a hopping window", "use a sliding one, \"1h\": it is exact at every record"),
        ("sliding", "a sliding window with a hop", "use the exact one: \"24h\""),
        ("rows", "a window of rows", "use a window of time: \"1h\""),
        ("session", "a session window", "use a sliding one: \"30m\""),
    ];
    for (key, name, instead) in later {
        if table.has(key) {
            return node.not_built(name, instead);
        }
    }
    let text = table.need("tumbling", "\"1h\"").and_then(|node| Some((node.text()?.value, node.duration(1)?.value)));
    let offset: Micros = table.duration("offset", "\"15m\"").map_or(0, |offset| offset.value);
    let place = table.key_span("offset");
    table.finish();
    let (text, size) = text?;
    if offset >= size {
        let help = format!(
            "the offset shifts where windows begin: write less than the length, `offset = \"{}\"`",
            duration::format(offset % size)
        );
        node.cx.report(Diagnostic::error(codes::OUT_OF_RANGE, place, "the offset is not shorter than the window").help(help));
    }
    Some(DeclaredWindow { window: Window::Tumbling { size, offset }, suffix: format!("{}_tumbling", text.trim()) })
}
