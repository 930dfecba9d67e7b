//! Where the objects of checkpoints lie.

use crate::error::Result;

/// Named immutable objects. One kind of place is one file in this folder.
pub trait Store: Send + Sync {
    /// Makes an object durable, whole or not at all. One of that name that exists already is replaced: names are made of contents, so it is the same, or
    /// was damaged.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// The object's bytes; `None` if there is none of that name.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// All objects with their sizes in bytes, in byte order of names.
    fn list(&self) -> Result<Vec<(String, u64)>>;

    /// Removes an object; no effect if there is none of that name.
    fn remove(&self, name: &str) -> Result<()>;

    /// The place as users know it, for messages.
    fn place(&self) -> String;
}
