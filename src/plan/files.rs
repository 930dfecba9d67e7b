//! What a plan must know about the world outside the pipeline file. The rim implements it; the plan itself does no IO.

use crate::config::declaration::Format;
use crate::data::DeclaredSchema;
use crate::error::Result;

/// Files and generators, as the plan asks for them. An error's cause and help become a diagnostic at the path that was asked for.
pub trait Files {
    /// The paths that `pattern` (one path or a glob) stands for, in byte order; none is an error.
    fn expand(&self, pattern: &str) -> Result<Vec<String>>;

    /// The schema that the file itself tells: of Parquet its own, of CSV one `string?` column per header field.
    fn read_schema(&self, path: &str, format: Format) -> Result<DeclaredSchema>;

    /// The sha256 of a whole file, in lower-case hexadecimal (S1.1).
    fn sha256(&self, path: &str) -> Result<String>;

    /// A whole small file: the JSON of an artefact.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// What the generator of this name produces; `None` if there is none.
    fn generator(&self, name: &str) -> Option<GeneratorShape>;

    /// The names of all generators, for suggestions.
    fn generator_names(&self) -> Vec<String>;
}

/// What a generator's records look like.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorShape {
    /// Its columns.
    pub schema: DeclaredSchema,
    /// Its event-time column, unless the source says otherwise.
    pub event_time: String,
}
