//! From a place inside a string value back to the bytes of the file, so that an error inside an expression underlines that part of it.

use std::ops::Range;

/// The bytes of `text` for the bytes `inner` of `value`, the string written at `span` (quotes included).
///
/// Exact where no escape or variable lies between the nearer end of the string and `inner`; otherwise the whole of `span`.
pub fn inside(text: &str, span: &Range<usize>, value: &str, inner: Range<usize>) -> Range<usize> {
    let Some(content) = content(text, span) else { return span.clone() };
    let raw = &text[content.clone()];
    let same_start = raw.bytes().zip(value.bytes()).take_while(|(a, b)| a == b).count();
    let same_end = raw.bytes().rev().zip(value.bytes().rev()).take_while(|(a, b)| a == b).count();
    if inner.end <= same_start {
        content.start + inner.start..content.start + inner.end
    } else if inner.start <= inner.end && inner.end <= value.len() && value.len() - inner.start <= same_end {
        content.end - (value.len() - inner.start)..content.end - (value.len() - inner.end)
    } else {
        span.clone()
    }
}

/// The bytes between the quotes.
fn content(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let raw = text.get(span.clone())?;
    let mut open = 1;
    let mut close = 1;
    if raw.starts_with("\"\"\"") || raw.starts_with("'''") {
        (open, close) = (3, 3);
        if raw[3..].starts_with("\r\n") {
            open = 5;
        } else if raw[3..].starts_with('\n') {
            open = 4;
        }
    } else if !raw.starts_with(['"', '\'']) {
        return None;
    }
    (raw.len() >= open + close).then(|| span.start + open..span.end - close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_strings_are_exact_and_escapes_fall_back() {
        let text = r#"where = "delay > 15""#;
        assert_eq!(&text[inside(text, &(8..text.len()), "delay > 15", 8..10)], "15");
        let text = "where = \"\"\"\ndelay\n> 15\"\"\"";
        assert_eq!(&text[inside(text, &(8..text.len()), "delay\n> 15", 8..10)], "15");
        let text = r#"w = "a = \"b\" and cc > 1""#;
        let value = r#"a = "b" and cc > 1"#;
        assert_eq!(&text[inside(text, &(4..text.len()), value, 0..1)], "a");
        assert_eq!(&text[inside(text, &(4..text.len()), value, 12..14)], "cc");
        assert_eq!(inside(text, &(4..text.len()), value, 4..7), 4..text.len());
    }
}
