//! Schema files: the subset of JSON Schema (draft 2020-12) that describes flat and nested records.
//!
//! Understood: `type` (one, or one with `"null"`), `properties`, `required`, `additionalProperties` (outermost object), `items`, `format`
//! (`date-time`, `date`), `minimum`, `maximum`, `enum` (strings), and `x-tidemill-type` for types JSON Schema cannot say (`int32`, `float32`,
//! `decimal(10,2)`, `bytes`, `timestamp_s` …). Annotations (`title`, `description`, …) are skipped; every other keyword is an error, because a rule
//! that is not enforced must not look as if it were. A column may be null if its type says so or if it is not `required`.

use std::fs;

use serde_json::value::RawValue;

use super::position::{Object, line_column};
use super::types;
use crate::config::codes;
use crate::config::names;
use crate::config::value::Node;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit};
use crate::diagnostic::{Diagnostic, nearest};

const KEYWORDS: [&str; 10] =
    ["type", "properties", "required", "additionalProperties", "items", "format", "minimum", "maximum", "enum", "x-tidemill-type"];
const ANNOTATIONS: [&str; 9] =
    ["$schema", "$id", "$comment", "title", "description", "examples", "default", "deprecated", "contentEncoding"];
const TYPES: [&str; 6] = ["integer", "number", "string", "boolean", "array", "object"];

/// Reads the schema file `path` that `node` names.
pub(super) fn read(node: &Node<'_>, path: &str) -> Option<DeclaredSchema> {
    let full = node.cx.base.join(path);
    let text = match fs::read_to_string(&full) {
        Ok(text) => text,
        Err(error) => {
            let shown = std::path::absolute(&full).unwrap_or(full);
            let message = format!("cannot read the schema file {}: {}", shown.display(), reason(&error));
            let help = "relative paths start at the working directory; types can also stand right here: { id = \"int64\" }";
            return node.fail(codes::SCHEMA_FILE, message, "", help);
        }
    };
    let reader = Reader { node, path, text: &text };
    let root: &RawValue = match serde_json::from_str(&text) {
        Ok(root) => root,
        Err(error) => {
            let message = format!("{path}:{}:{}: not JSON: {}", error.line(), error.column(), plain(&error));
            return node.fail(codes::SCHEMA_JSON, message, "", "schema files are JSON Schema; see schemas/ for examples");
        }
    };
    let before = node.cx.errors();
    let schema = reader.root(root);
    schema.filter(|_| node.cx.errors() == before)
}

fn reason(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file",
        std::io::ErrorKind::PermissionDenied => "no permission to read it",
        std::io::ErrorKind::InvalidData => "it is not UTF-8",
        std::io::ErrorKind::IsADirectory => "it is a folder",
        _ => "reading failed",
    }
}

/// serde_json's message without its own position.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_string())
}

struct Reader<'n, 'a, 't> {
    node: &'n Node<'a>,
    path: &'n str,
    text: &'t str,
}

/// One schema object, taken apart.
#[derive(Default)]
struct Parts<'t> {
    kind: Option<&'t str>,
    nullable: bool,
    properties: Option<&'t RawValue>,
    required: Vec<String>,
    closed: Option<(bool, &'t RawValue)>,
    items: Option<&'t RawValue>,
    format: Option<String>,
    minimum: Option<(f64, &'t RawValue)>,
    maximum: Option<(f64, &'t RawValue)>,
    allowed: Option<(Vec<String>, &'t RawValue)>,
    exact: Option<(LogicalType, &'t RawValue)>,
}

impl<'t> Reader<'_, '_, 't> {
    fn fail<T>(&self, code: &'static str, at: &RawValue, message: impl std::fmt::Display, help: impl Into<String>) -> Option<T> {
        let (line, column) = line_column(self.text, at.get());
        let message = format!("{}:{line}:{column}: {message}", self.path);
        self.node.cx.report(Diagnostic::error(code, self.node.span.clone(), message).label("in this file").help(help));
        None
    }

    fn root(&self, raw: &'t RawValue) -> Option<DeclaredSchema> {
        let parts = self.parts(raw)?;
        if parts.kind != Some("object") || parts.nullable {
            let help = "a record is an object: { \"type\": \"object\", \"properties\": { … }, \"required\": [ … ] }";
            return self.fail(codes::SCHEMA_SUBSET, raw, "the schema of a record must have \"type\": \"object\"", help);
        }
        let closed = parts.closed.is_some_and(|(closed, _)| closed);
        let columns = self.columns(raw, &parts, true)?;
        Some(DeclaredSchema { columns, closed })
    }

    fn columns(&self, raw: &'t RawValue, parts: &Parts<'t>, outermost: bool) -> Option<Vec<DeclaredColumn>> {
        let Some(properties) = parts.properties else {
            let help = "list the columns: \"properties\": { \"id\": { \"type\": \"integer\" } }";
            return self.fail(codes::SCHEMA_SUBSET, raw, "an object needs \"properties\"", help);
        };
        let mut columns: Vec<DeclaredColumn> = Vec::new();
        let members = self.object(properties)?;
        for (name, member) in &members.0 {
            if outermost && name.starts_with('_') {
                names::report_reserved(self.node.cx, name, self.node.span.clone());
            }
            if columns.iter().any(|earlier| earlier.name == **name) {
                let _: Option<()> =
                    self.fail(codes::SCHEMA_SUBSET, member, format!("the column `{name}` is there twice"), "remove one of them");
            }
            if let Some(mut column) = self.column(name, member) {
                column.nullable |= !parts.required.iter().any(|required| required == name);
                columns.push(column);
            }
        }
        for required in &parts.required {
            if !members.0.iter().any(|(name, _)| name == required) {
                let help = match nearest(required, members.0.iter().map(|(name, _)| &**name)) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => "add it to \"properties\", or take it out of \"required\"".to_string(),
                };
                let _: Option<()> = self.fail(codes::SCHEMA_SUBSET, properties, format!("`{required}` is required but has no type"), help);
            }
        }
        Some(columns)
    }

    fn column(&self, name: &str, raw: &'t RawValue) -> Option<DeclaredColumn> {
        let parts = self.parts(raw)?;
        let kind = self.kind(raw, &parts)?;
        let mut column = DeclaredColumn::new(name, kind, parts.nullable);
        let numeric = matches!(
            column.kind,
            LogicalType::Int32 | LogicalType::Int64 | LogicalType::Float32 | LogicalType::Float64 | LogicalType::Decimal(..)
        );
        for (bound, at) in parts.minimum.iter().chain(&parts.maximum) {
            if !numeric {
                return self.fail(
                    codes::SCHEMA_SUBSET,
                    at,
                    format!("`{bound}` bounds a column that is not numeric"),
                    "`minimum` and `maximum` are for numbers: remove it",
                );
            }
        }
        if let (Some((least, _)), Some((most, at))) = (parts.minimum, parts.maximum)
            && least > most
        {
            return self.fail(codes::SCHEMA_SUBSET, at, "`maximum` is less than `minimum`", "no value could pass: exchange them");
        }
        column.minimum = parts.minimum.map(|(bound, _)| bound);
        column.maximum = parts.maximum.map(|(bound, _)| bound);
        if let Some((allowed, at)) = parts.allowed {
            if column.kind != LogicalType::String {
                return self.fail(
                    codes::SCHEMA_SUBSET,
                    at,
                    "`enum` is for string columns only",
                    "use `minimum` and `maximum` for numbers, or remove it",
                );
            }
            column.allowed = allowed;
        }
        if let Some((true, at)) = parts.closed {
            return self.fail(
                codes::SCHEMA_SUBSET,
                at,
                "`additionalProperties: false` works for the outermost object only",
                "remove it here",
            );
        }
        Some(column)
    }

    fn kind(&self, raw: &'t RawValue, parts: &Parts<'t>) -> Option<LogicalType> {
        if let Some((exact, at)) = &parts.exact {
            if matches!(parts.kind, Some("object" | "array")) {
                let help = "give the exact type of the entries instead, or remove it";
                return self.fail(codes::SCHEMA_SUBSET, at, "`x-tidemill-type` is for columns with one value", help);
            }
            return Some(exact.clone());
        }
        match (parts.kind, parts.format.as_deref()) {
            (Some("integer"), _) => Some(LogicalType::Int64),
            (Some("number"), _) => Some(LogicalType::Float64),
            (Some("boolean"), _) => Some(LogicalType::Bool),
            (Some("string"), Some("date-time")) => Some(LogicalType::Timestamp(TimestampUnit::Millisecond)),
            (Some("string"), Some("date")) => Some(LogicalType::Date),
            (Some("string"), _) => Some(LogicalType::String),
            (Some("object"), _) => self.columns(raw, parts, false).map(LogicalType::Struct),
            (Some("array"), _) => match parts.items {
                Some(items) => self.column("item", items).map(|item| LogicalType::List(Box::new(item))),
                None => self.fail(
                    codes::SCHEMA_SUBSET,
                    raw,
                    "an array needs \"items\"",
                    "say what its entries are: \"items\": { \"type\": \"string\" }",
                ),
            },
            _ => self.fail(
                codes::SCHEMA_SUBSET,
                raw,
                "a column needs a \"type\"",
                "write { \"type\": \"number\" } or { \"type\": [\"number\", \"null\"] }",
            ),
        }
    }

    fn parts(&self, raw: &'t RawValue) -> Option<Parts<'t>> {
        let mut parts = Parts::default();
        let before = self.node.cx.errors();
        for (name, value) in self.object(raw)?.0 {
            match &*name {
                "type" => self.read_type(value, &mut parts),
                "properties" => parts.properties = Some(value),
                "required" => parts.required = self.parse(value, "a list of names", "\"required\": [\"id\"]").unwrap_or_default(),
                "additionalProperties" => {
                    parts.closed = self.parse(value, "true or false", "\"additionalProperties\": false").map(|open: bool| (!open, value));
                }
                "items" => parts.items = Some(value),
                "format" => parts.format = self.parse(value, "a string", "\"format\": \"date-time\""),
                "minimum" => parts.minimum = self.parse(value, "a number", "\"minimum\": 0").map(|bound| (bound, value)),
                "maximum" => parts.maximum = self.parse(value, "a number", "\"maximum\": 100").map(|bound| (bound, value)),
                "enum" => {
                    parts.allowed = self.parse(value, "a list of strings", "\"enum\": [\"a\", \"b\"]").map(|allowed| (allowed, value))
                }
                "x-tidemill-type" => parts.exact = self.exact(value),
                other if ANNOTATIONS.contains(&other) => {}
                other => {
                    let help = match nearest(other, KEYWORDS) {
                        Some(keyword) => format!("did you mean `{keyword}`?"),
                        None => format!("the subset has {}; remove the rest", KEYWORDS.join(", ")),
                    };
                    let _: Option<()> = self.fail(codes::SCHEMA_SUBSET, value, format!("the keyword `{other}` is not supported"), help);
                }
            }
        }
        (self.node.cx.errors() == before).then_some(parts)
    }

    fn read_type(&self, value: &'t RawValue, parts: &mut Parts<'t>) {
        let one: Result<String, _> = serde_json::from_str(value.get());
        let names = match one {
            Ok(name) => vec![name],
            Err(_) => match self.parse(value, "a type, or one type and \"null\"", "\"type\": [\"number\", \"null\"]") {
                Some(names) => names,
                None => return,
            },
        };
        for name in names {
            match TYPES.iter().find(|known| **known == name) {
                Some(known) if parts.kind.is_none() => parts.kind = Some(known),
                Some(_) => {
                    let help = "a column has one type, with or without \"null\": [\"number\", \"null\"]";
                    let _: Option<()> = self.fail(codes::SCHEMA_SUBSET, value, "more than one type", help);
                }
                None if name == "null" => parts.nullable = true,
                None => {
                    let help = match nearest(&name, TYPES) {
                        Some(known) => format!("did you mean \"{known}\"?"),
                        None => format!("types are {}; for exact ones add \"x-tidemill-type\"", TYPES.join(", ")),
                    };
                    let _: Option<()> = self.fail(codes::UNKNOWN_TYPE, value, format!("unknown type `{name}`"), help);
                }
            }
        }
    }

    fn exact(&self, value: &'t RawValue) -> Option<(LogicalType, &'t RawValue)> {
        let text: String = self.parse(value, "a string", "\"x-tidemill-type\": \"int32\"")?;
        match types::parse(&text) {
            Ok((kind, false)) => Some((kind, value)),
            Ok((_, true)) => {
                let help = "leave `?` out and let \"type\": [\"number\", \"null\"] or \"required\" say it";
                self.fail(codes::MALFORMED_TYPE, value, "`x-tidemill-type` does not say whether a column may be null", help)
            }
            Err(fault) => self.fail(fault.code, value, fault.message, fault.help),
        }
    }

    fn object(&self, raw: &'t RawValue) -> Option<Object<'t>> {
        match serde_json::from_str(raw.get()) {
            Ok(object) => Some(object),
            Err(_) => self.fail(codes::SCHEMA_SUBSET, raw, "a JSON object belongs here", "write { \"type\": \"string\" } or the like"),
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, raw: &RawValue, wanted: &str, example: &str) -> Option<T> {
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(_) => self.fail(codes::SCHEMA_SUBSET, raw, format!("this must be {wanted}"), format!("write {example}")),
        }
    }
}
