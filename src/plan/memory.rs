//! A world in memory for tests of the plan: files with contents, schemas and digests, and one generator.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::files::{Files, GeneratorShape};
use crate::config::declaration::Format;
use crate::data::{DeclaredColumn, DeclaredSchema, LogicalType, TimestampUnit};
use crate::error::{Error, Exit, Result};

/// Files by path.
#[derive(Default)]
pub struct Memory {
    files: BTreeMap<String, (Vec<u8>, DeclaredSchema)>,
}

impl Memory {
    /// Adds a file with the schema that it tells; columns as `name type`, nullable with `?`.
    pub fn with(mut self, path: &str, bytes: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().filter_map(|text| text.split_once(' ')).map(|(name, kind)| column(name, kind)).collect();
        self.files.insert(path.to_string(), (bytes.as_bytes().to_vec(), DeclaredSchema { columns, closed: false }));
        self
    }

    fn get(&self, path: &str) -> Result<&(Vec<u8>, DeclaredSchema)> {
        self.files.get(path).ok_or_else(|| Error::new(Exit::Data, format!("cannot read {path}: there is no such file"), "check the path"))
    }
}

fn column(name: &str, kind: &str) -> DeclaredColumn {
    let logical = match kind.trim_end_matches('?') {
        "int64" => LogicalType::Int64,
        "float64" => LogicalType::Float64,
        "bool" => LogicalType::Bool,
        "timestamp" => LogicalType::Timestamp(TimestampUnit::Microsecond),
        _ => LogicalType::String,
    };
    DeclaredColumn::new(name, logical, kind.ends_with('?'))
}

impl Files for Memory {
    fn expand(&self, pattern: &str) -> Result<Vec<String>> {
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        let fits = |path: &&String| if pattern.contains('*') { path.starts_with(head) && path.ends_with(tail) } else { *path == pattern };
        let found: Vec<String> = self.files.keys().filter(fits).cloned().collect();
        if found.is_empty() { Err(Error::new(Exit::Data, format!("no file matches {pattern}"), "check the path")) } else { Ok(found) }
    }

    fn read_schema(&self, path: &str, _format: Format) -> Result<DeclaredSchema> {
        self.get(path).map(|(_, schema)| schema.clone())
    }

    fn sha256(&self, path: &str) -> Result<String> {
        self.get(path).map(|(bytes, _)| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.get(path).map(|(bytes, _)| bytes.clone())
    }

    fn generator(&self, name: &str) -> Option<GeneratorShape> {
        let columns = [("event_id", "int64"), ("at", "timestamp"), ("user", "string"), ("amount", "float64"), ("fraud", "bool")];
        (name == "transactions").then(|| GeneratorShape {
            schema: DeclaredSchema { columns: columns.iter().map(|(name, kind)| column(name, kind)).collect(), closed: false },
            event_time: "at".to_string(),
        })
    }

    fn generator_names(&self) -> Vec<String> {
        vec!["transactions".to_string()]
    }
}
