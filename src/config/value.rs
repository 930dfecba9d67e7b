//! One value of the file, and how it is read as what a key wants: a text, a number, a duration, a choice. A reader that returns `None` has reported why.

use std::ops::Range;

use toml::de::DeValue;

use super::context::Context;
use super::declaration::Spanned;
use super::table::Table;
use super::{codes, locate, size, variables};
use crate::diagnostic::{Diagnostic, nearest};
use crate::time::{Micros, duration};

/// The numbers a key accepts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// Any finite number.
    Finite,
    /// 0 or more.
    NotNegative,
    /// More than 0.
    Positive,
    /// Between 0 and 1, neither of them.
    Share,
}

impl Bound {
    fn holds(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Self::Finite => true,
                Self::NotNegative => x >= 0.0,
                Self::Positive => x > 0.0,
                Self::Share => x > 0.0 && x < 1.0,
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Finite => "a finite number",
            Self::NotNegative => "0 or more",
            Self::Positive => "more than 0",
            Self::Share => "between 0 and 1, neither of them",
        }
    }
}

/// A value with its place and the key it belongs to.
pub(super) struct Node<'a> {
    /// Where errors go.
    pub cx: &'a Context<'a>,
    /// The key as users know it, e.g. `lateness`.
    pub key: String,
    /// What a right value looks like, as TOML; shown in help.
    pub example: &'static str,
    /// The bytes of the value.
    pub span: Range<usize>,
    /// The value.
    pub value: &'a DeValue<'a>,
}

impl<'a> Node<'a> {
    /// Reports an error at this value and gives `None`, which is what its caller then returns.
    pub fn fail<T>(&self, code: &'static str, message: impl Into<String>, label: &str, help: impl Into<String>) -> Option<T> {
        self.cx.report(Diagnostic::error(code, self.span.clone(), message).label(label).help(help));
        None
    }

    /// `write key = example`
    pub fn teach(&self) -> String {
        format!("write `{} = {}`", self.key, self.example)
    }

    /// Reports that this is not `wanted`.
    pub fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let is = kind_of(self.value);
        let help = if matches!(self.value, DeValue::String(text) if text.contains("${")) {
            format!("variables work inside strings only, and this key takes no string; {}", self.teach())
        } else {
            self.teach()
        };
        self.fail(codes::WRONG_TYPE, format!("`{}` takes {wanted}, not {is}", self.key), is, help)
    }

    /// A text with its variables replaced; it may be empty.
    pub fn raw_text(&self) -> Option<Spanned<String>> {
        let DeValue::String(text) = self.value else {
            return self.wrong_type("a string");
        };
        match variables::substitute(text, self.cx.env) {
            Ok(value) => Some(Spanned { value: value.into_owned(), span: self.span.clone() }),
            Err(faults) => {
                for fault in faults {
                    let span = locate::inside(self.cx.text, &self.span, text, fault.at.clone());
                    self.cx.report(match fault.missing {
                        Some(name) => {
                            Diagnostic::error(codes::VARIABLE_MISSING, span, format!("the environment variable `{name}` is not set"))
                                .help(format!("set it, or give a default: `${{{name}:-default}}`"))
                        }
                        None => Diagnostic::error(codes::VARIABLE_SYNTAX, span, "this is not a variable")
                            .help("variables are `${NAME}` or `${NAME:-default}`; for the two characters themselves write `$${`"),
                    });
                }
                None
            }
        }
    }

    /// A text that is not empty.
    pub fn text(&self) -> Option<Spanned<String>> {
        let text = self.raw_text()?;
        if text.value.trim().is_empty() {
            return self.fail(codes::EMPTY, format!("`{}` is empty", self.key), "nothing here", self.teach());
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A whole number in `least..=most`.
    pub fn whole(&self, least: u64, most: u64) -> Option<Spanned<u64>> {
        let DeValue::Integer(number) = self.value else {
            return self.wrong_type("a whole number");
        };
        match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(value) if value >= i128::from(least) && value <= i128::from(most) => {
                Some(Spanned { value: u64::try_from(value).unwrap_or(most), span: self.span.clone() })
            }
            _ => {
                let range = if most >= i64::MAX as u64 { format!("{least} or more") } else { format!("from {least} to {most}") };
                self.fail(codes::OUT_OF_RANGE, format!("`{}` must be {range}", self.key), "out of range", self.teach())
            }
        }
    }

    /// A number within `bound`; whole numbers are numbers.
    pub fn number(&self, bound: Bound) -> Option<f64> {
        let number = match self.value {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|value| value as f64),
            _ => return self.wrong_type("a number"),
        };
        match number.filter(|x| bound.holds(*x)) {
            Some(number) => Some(number),
            None => self.fail(codes::OUT_OF_RANGE, format!("`{}` must be {}", self.key, bound.words()), "out of range", self.teach()),
        }
    }

    /// A duration of at least `least` microseconds.
    pub fn duration(&self, least: Micros) -> Option<Spanned<Micros>> {
        if !matches!(self.value, DeValue::String(_)) {
            return self.wrong_type("a duration in quotes, a number and a unit");
        }
        let text = self.text()?;
        match duration::parse(&text.value) {
            Err(_) => {
                let help = format!("a duration is a number and a unit (us, ms, s, m, h, d, w), such as {}", self.example);
                self.fail(codes::BAD_DURATION, format!("`{}` is not a duration", text.value), "", help)
            }
            Ok(span) if span < least => {
                let message = format!("`{}` must be longer than zero", self.key);
                self.fail(codes::OUT_OF_RANGE, message, "too short", self.teach())
            }
            Ok(value) => Some(Spanned { value, span: text.span }),
        }
    }

    /// A size in bytes, at least 1.
    pub fn size(&self) -> Option<usize> {
        let bytes = match self.value {
            DeValue::Integer(_) => self.whole(1, u64::from(u32::MAX) << 16)?.value,
            DeValue::String(_) => {
                let text = self.text()?;
                match size::parse(&text.value) {
                    Ok(0) => {
                        return self.fail(codes::OUT_OF_RANGE, format!("`{}` must be 1 or more", self.key), "out of range", self.teach());
                    }
                    Ok(bytes) => bytes,
                    Err(reason) => {
                        let help = format!("a size is a number and a unit (B, KiB, MiB, GiB, KB, MB, GB), such as {}", self.example);
                        return self.fail(codes::BAD_SIZE, reason, "", help);
                    }
                }
            }
            _ => return self.wrong_type("a size, such as \"16MiB\""),
        };
        usize::try_from(bytes).ok()
    }

    /// One of `options`; `later` lists words that are documented and not built yet, each with what to use instead.
    pub fn choice<T: Clone>(&self, options: &[(&str, T)], later: &[(&str, &str)]) -> Option<Spanned<T>> {
        let text = self.text()?;
        if let Some((_, value)) = options.iter().find(|(name, _)| *name == text.value) {
            return Some(Spanned { value: value.clone(), span: text.span });
        }
        if let Some((name, instead)) = later.iter().find(|(name, _)| *name == text.value) {
            return self.not_built(&format!("`{} = \"{name}\"`", self.key), instead);
        }
        let known: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        let help = match nearest(&text.value, known.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("write one of: {}", quoted(&known)),
        };
        let message = match self.key.as_str() {
            "kind" | "format" | "optimizer" | "scaler" => format!("unknown {} `{}`", self.key, text.value),
            key => format!("`{}` is no choice for `{key}`", text.value),
        };
        self.fail(codes::UNKNOWN_CHOICE, message, "", help)
    }

    /// Reports that `what` is documented and not built yet.
    pub fn not_built<T>(&self, what: &str, instead: &str) -> Option<T> {
        self.fail(codes::NOT_BUILT, format!("{what} is not built yet"), "not built yet", instead)
    }

    /// A table; `place` is how messages call it.
    pub fn table(&self, place: impl Into<String>) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(map) => Some(Table::new(self.cx, map, self.span.clone(), place)),
            _ => self.wrong_type("a table"),
        }
    }

    /// The entries of a list.
    pub fn list(&self) -> Option<Vec<Node<'a>>> {
        match self.value {
            DeValue::Array(_) => Some(self.entries()),
            _ => self.wrong_type("a list"),
        }
    }

    /// The entries of a list, or the value itself as the only one.
    pub fn entries(&self) -> Vec<Node<'a>> {
        match self.value {
            DeValue::Array(items) => items
                .iter()
                .map(|item| Node { cx: self.cx, key: self.key.clone(), example: self.example, span: item.span(), value: item.get_ref() })
                .collect(),
            value => vec![Node { cx: self.cx, key: self.key.clone(), example: self.example, span: self.span.clone(), value }],
        }
    }

    /// A text or a list of texts, none twice.
    pub fn texts(&self) -> Option<Vec<Spanned<String>>> {
        if !matches!(self.value, DeValue::Array(_) | DeValue::String(_)) {
            return self.wrong_type("a string or a list of strings");
        }
        let read: Vec<Option<Spanned<String>>> = self.entries().iter().map(Node::text).collect();
        let texts: Vec<Spanned<String>> = read.into_iter().collect::<Option<_>>()?;
        for (index, text) in texts.iter().enumerate() {
            if texts[..index].iter().any(|earlier| earlier.value == text.value) {
                let message = format!("`{}` is listed twice", text.value);
                self.cx.report(
                    Diagnostic::error(codes::REPEATED, text.span.clone(), message).label("the second one").help("remove one of them"),
                );
            }
        }
        Some(texts)
    }
}

/// What a value is, in words.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// `"a", "b" or "c"`-like enumeration for help lines.
pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}
