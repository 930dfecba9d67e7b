//! Which objects of a store nobody needs any more.

use std::collections::BTreeSet;

use super::manifest::{MANIFEST, Manifest, SEGMENT, is_object};

/// Names of the objects that none of the checkpoints in `keep`, each with the name of its manifest, needs; in the order in which they are to be removed:
/// manifests first, so that no manifest is ever left without its segments. What is not named as checkpoints name their objects is somebody else's.
pub fn sweep<'a>(objects: &[(String, u64)], keep: impl IntoIterator<Item = (&'a str, &'a Manifest)>) -> Vec<String> {
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    for (name, manifest) in keep {
        needed.insert(name);
        needed.extend(manifest.segments.iter().map(String::as_str));
    }
    let unneeded = |kind: &'static str| {
        let ours = move |name: &str| is_object(name, kind) || name.strip_suffix(".tmp").is_some_and(|name| is_object(name, kind));
        let needed = &needed;
        objects.iter().map(|(name, _)| name).filter(move |name| ours(name) && !needed.contains(name.as_str()))
    };
    unneeded(MANIFEST).chain(unneeded(SEGMENT)).cloned().collect()
}
