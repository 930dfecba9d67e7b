//! JSON with places: objects in the order of the file, each part a slice of the text, so that errors can name line and column.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of a JSON object, in order, duplicates included.
pub(super) struct Object<'t>(pub Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    members.push((Cow::Owned(name), map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Line and column, both from 1, of `part`, which must be a slice of `text`.
pub(super) fn line_column(text: &str, part: &str) -> (usize, usize) {
    let at = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_order_and_place() {
        let text = "{\n  \"b\": 1,\n  \"a\": [2]\n}";
        let object: Object<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(object.0.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(line_column(text, object.0[1].1.get()), (3, 8));
    }
}
