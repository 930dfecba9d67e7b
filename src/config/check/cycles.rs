//! Streams that read each other in a circle would never have a first record.

use std::collections::BTreeSet;

use super::Checks;
use crate::config::codes;
use crate::diagnostic::Diagnostic;

/// Reports each circle once, at its first name in byte order.
pub(super) fn check(checks: &Checks<'_, '_>) {
    let streams = &checks.declaration.streams;
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for start in streams.keys() {
        let mut path: Vec<&str> = vec![start];
        let mut at = start.as_str();
        while let Some(stream) = streams.get(at) {
            at = &stream.value.from.value;
            if checks.declares("sources", at) {
                break;
            }
            if let Some(begin) = path.iter().position(|earlier| *earlier == at) {
                let circle = &path[begin..];
                if circle.iter().all(|member| told.insert(member)) {
                    report(checks, circle);
                }
                break;
            }
            path.push(at);
        }
    }
}

fn report(checks: &Checks<'_, '_>, circle: &[&str]) {
    let Some(first) = circle.iter().min() else { return };
    let start = circle.iter().position(|member| member == first).unwrap_or(0);
    let mut shown: Vec<&str> = circle[start..].iter().chain(&circle[..start]).copied().collect();
    shown.push(first);
    let Some(stream) = checks.declaration.streams.get(*first) else { return };
    let message = if circle.len() == 1 {
        format!("the stream `{first}` reads itself")
    } else {
        format!("streams read each other in a circle: {}", shown.join(" <- "))
    };
    let diagnostic = Diagnostic::error(codes::CYCLE, stream.value.from.span.clone(), message)
        .label("reads its own rows")
        .help("every stream must lead back to a source: let one of them read a source");
    checks.fault(&format!("streams.{first}"), diagnostic);
    for member in circle {
        checks.faulty.borrow_mut().insert(format!("streams.{member}"));
    }
}
