//! What a plan asks about files and generators, answered from the disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::config::declaration::Format;
use crate::data::DeclaredSchema;
use crate::error::{Error, Result};
use crate::plan::{Files, GeneratorShape};
use crate::sources;

/// The disk; relative paths start at the working directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn expand(&self, pattern: &str) -> Result<Vec<String>> {
        sources::expand(pattern, Path::new(""))
    }

    fn read_schema(&self, path: &str, format: Format) -> Result<DeclaredSchema> {
        sources::read_schema(path, format)
    }

    fn sha256(&self, path: &str) -> Result<String> {
        let mut file = File::open(path).map_err(|error| Error::io("read", Path::new(path), &error))?;
        let mut hasher = Sha256::new();
        let mut block = vec![0u8; 1 << 20];
        loop {
            let read = file.read(&mut block).map_err(|error| Error::io("read", Path::new(path), &error))?;
            if read == 0 {
                return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hasher.update(&block[..read]);
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(|error| Error::io("read", Path::new(path), &error))
    }

    fn generator(&self, name: &str) -> Option<GeneratorShape> {
        let schema = sources::generator_schema(name)?;
        let event_time = sources::generator_event_time(name)?.to_string();
        Some(GeneratorShape { schema, event_time })
    }

    fn generator_names(&self) -> Vec<String> {
        sources::generator_names().into_iter().map(str::to_string).collect()
    }
}
