//! Every mention of a component by another, noted while reading, so that it is judged even where its component has other errors.

use super::declaration::Spanned;

/// In which place a component is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `from` of a stream.
    StreamFrom,
    /// `join[].table` of a stream.
    JoinTable,
    /// `from` of a view.
    ViewFrom,
    /// `from` of a model.
    ModelFrom,
    /// `lookup.*.view` of a model.
    LookupView,
    /// `label.stream` of a model.
    LabelStream,
    /// `watch` of a monitor.
    Watch,
    /// `from` of a sink.
    SinkFrom,
    /// `input.*` of a test.
    TestInput,
    /// `expect.*` of a test.
    TestExpect,
}

/// One mention.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    /// Who mentions, e.g. `streams.flights`, or `tests`.
    pub by: String,
    /// Where.
    pub role: Role,
    /// What.
    pub name: Spanned<String>,
}
