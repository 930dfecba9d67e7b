//! `${VAR}` and `${VAR:-default}` inside string values.
//!
//! A name is a letter or `_`, then letters, digits and `_`. The default, up to the next `}`, is used where the variable is not set or empty, as in a
//! shell. What a variable holds is not looked at again. `$${` writes `${`; every other `$` is itself.

use std::borrow::Cow;
use std::ops::Range;

/// What is wrong with one variable of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the string.
    pub at: Range<usize>,
    /// The variable's name if it is only missing; `None` if it is not written right.
    pub missing: Option<String>,
}

/// The string with its variables replaced, or every fault in it.
pub fn substitute<'s>(text: &'s str, env: &dyn Fn(&str) -> Option<String>) -> Result<Cow<'s, str>, Vec<Fault>> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let (mut out, mut faults) = (String::with_capacity(text.len()), Vec::new());
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let open = at + found;
        if text[..open].ends_with('$') && open > at {
            out.push_str(&text[at..open - 1]);
            out.push_str("${");
            at = open + 2;
            continue;
        }
        out.push_str(&text[at..open]);
        let Some(length) = text[open..].find('}') else {
            faults.push(Fault { at: open..text.len(), missing: None });
            at = text.len();
            break;
        };
        let end = open + length + 1;
        let body = &text[open + 2..end - 1];
        let (name, default) = body.split_once(":-").map_or((body, None), |(name, default)| (name, Some(default)));
        if !is_name(name) {
            faults.push(Fault { at: open..end, missing: None });
        } else {
            match (env(name), default) {
                (Some(value), None) => out.push_str(&value),
                (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
                (_, Some(default)) => out.push_str(default),
                (None, None) => faults.push(Fault { at: open..end, missing: Some(name.to_string()) }),
            }
        }
        at = end;
    }
    out.push_str(&text[at..]);
    if faults.is_empty() { Ok(Cow::Owned(out)) } else { Err(faults) }
}

fn is_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("kafka-1".to_string()),
            "EMPTY" => Some(String::new()),
            "NEST" => Some("${HOST}".to_string()),
            _ => None,
        }
    }

    #[test]
    fn variables_defaults_and_the_escape() {
        for (text, expected) in [
            ("plain $ and $1", "plain $ and $1"),
            ("${HOST}:9092", "kafka-1:9092"),
            ("${HOST:-localhost}", "kafka-1"),
            ("${PORT:-9092}", "9092"),
            ("${EMPTY:-x}|${EMPTY}|${PORT:-}", "x||"),
            ("${NEST}", "${HOST}"),
            ("$${HOST} ${HOST}", "${HOST} kafka-1"),
            ("a$$b", "a$$b"),
        ] {
            assert_eq!(substitute(text, &env).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn every_fault_is_found() {
        let faults = substitute("${A}/${1x}/${B", &env).unwrap_err();
        assert_eq!(
            faults,
            [Fault { at: 0..4, missing: Some("A".to_string()) }, Fault { at: 5..10, missing: None }, Fault { at: 11..14, missing: None }]
        );
    }
}
