//! Paths of file sources: one file or a pattern with `*`, `?` and `[…]` in any part of the path, sorted by bytes (S2.3).

use std::path::{Path, PathBuf};

use crate::error::{Error, Exit, Result};

/// Whether a part of a path is a pattern.
fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

/// Whether `name` matches `pattern`: `*` any run, `?` any one, `[a-z]` one of, `[!a-z]` none of. As in shells, a leading dot must be spelled out.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        ['?', rest @ ..] => name.split_first().is_some_and(|(_, name)| matches(rest, name)),
        ['[', rest @ ..] => match (class(rest), name.split_first()) {
            (Some((negated, members, rest)), Some((letter, name))) => {
                let inside = members.iter().any(|(low, high)| (low..=high).contains(&letter));
                inside != negated && matches(rest, name)
            }
            (None, Some(('[', name))) => matches(rest, name),
            _ => false,
        },
        [letter, rest @ ..] => name.split_first().is_some_and(|(first, name)| first == letter && matches(rest, name)),
    }
}

/// A class of letters: whether it is negated, its ranges, and what follows it in the pattern.
type Class<'a> = (bool, Vec<(char, char)>, &'a [char]);

/// The ranges of a class behind its `[`, and what follows its `]`; `None` if it is not closed.
fn class(pattern: &[char]) -> Option<Class<'_>> {
    let (negated, mut rest) = match pattern {
        ['!' | '^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut members = Vec::new();
    loop {
        match rest {
            [']', tail @ ..] if !members.is_empty() => return Some((negated, members, tail)),
            [low, '-', high, tail @ ..] if *high != ']' => {
                members.push((*low, *high));
                rest = tail;
            }
            [letter, tail @ ..] => {
                members.push((*letter, *letter));
                rest = tail;
            }
            [] => return None,
        }
    }
}

/// The files that `path`, relative to `base` unless absolute, stands for, sorted by bytes. No match is an error (exit 65).
pub fn expand(path: &str, base: &Path) -> Result<Vec<String>> {
    let shown = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
    let exact = base.join(path);
    if exact.is_file() || !is_pattern(path) {
        if exact.is_dir() {
            let help = format!("name the files in it, such as `{}/*.ndjson`", path.trim_end_matches('/'));
            return Err(Error::new(Exit::Data, format!("{} is a folder", shown(&exact)), help));
        }
        std::fs::metadata(&exact).map_err(|error| Error::io("read", &exact, &error))?;
        return Ok(vec![name_of(&exact)?]);
    }
    let mut found: Vec<PathBuf> = vec![if path.starts_with('/') { PathBuf::from("/") } else { base.to_path_buf() }];
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let mut next = Vec::new();
        for folder in &found {
            if is_pattern(part) {
                let pattern: Vec<char> = part.chars().collect();
                let Ok(entries) = std::fs::read_dir(folder) else { continue };
                for entry in entries {
                    let entry = entry.map_err(|error| Error::io("list", folder, &error))?;
                    let Ok(name) = entry.file_name().into_string() else { continue };
                    let letters: Vec<char> = name.chars().collect();
                    if name.starts_with('.') == part.starts_with('.') && matches(&pattern, &letters) {
                        next.push(folder.join(name));
                    }
                }
            } else {
                next.push(folder.join(part));
            }
        }
        next.retain(|path| if last { path.is_file() } else { path.is_dir() });
        found = next;
    }
    let mut names = found.iter().map(|path| name_of(path)).collect::<Result<Vec<String>>>()?;
    names.sort_unstable();
    if names.is_empty() {
        let help = "check the folder and the pattern: `*` stands for any text inside one part of a path, `?` for one letter";
        return Err(Error::new(Exit::Data, format!("no file matches {}", shown(&exact)), help));
    }
    Ok(names)
}

/// A path as text.
fn name_of(path: &Path) -> Result<String> {
    let text = path.to_str().map(String::from);
    text.ok_or_else(|| Error::new(Exit::Data, format!("the path {} is not UTF-8", path.display()), "rename the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_shells() {
        let test = |pattern: &str, name: &str| matches(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>());
        assert!(
            test("*.csv", "a.csv")
                && test("*", "")
                && test("a?c", "abc")
                && test("[a-c]x", "bx")
                && test("[!a-c]x", "dx")
                && test("a**b", "ab")
        );
        assert!(test("[]]", "]") && test("[", "[") && test("day-[0-9][0-9]", "day-07") && test("[a-]", "-"));
        assert!(!test("*.csv", "a.csv.gz") && !test("a?c", "ac") && !test("[a-c]x", "dx") && !test("[!a-c]x", "ax"));
    }

    #[test]
    fn files_are_sorted_by_bytes_and_no_match_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2001/b.csv", "2001/a.csv", "2002/a.csv", "2002/a.txt", "2001/.a.csv", "plain[1].csv"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n").unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let prefix = format!("{}/", folder.path().display());
            expand(pattern, folder.path()).unwrap().into_iter().map(|path| path.strip_prefix(&prefix).unwrap().to_string()).collect()
        };
        assert_eq!(names("200?/*.csv"), ["2001/a.csv", "2001/b.csv", "2002/a.csv"]);
        assert_eq!(names("2002/[a]*"), ["2002/a.csv", "2002/a.txt"]);
        assert_eq!(names("plain[1].csv"), ["plain[1].csv"]);
        assert_eq!(names(&format!("{}/2001/a.*", folder.path().display())), ["2001/a.csv"]);
        assert_eq!(expand("*.parquet", folder.path()).unwrap_err().exit, Exit::Data);
        assert!(expand("2001", folder.path()).unwrap_err().help.contains("2001/*.ndjson"));
        assert_eq!(expand("absent.csv", folder.path()).unwrap_err().exit, Exit::Io);
    }
}
