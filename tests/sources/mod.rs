//! The sources of the crate as text that rules can be checked on.

use std::fs;
use std::path::Path;

/// One file under `src/`.
pub struct File {
    /// Path below `src/`, with `/`.
    pub path: String,
    /// Path of its module below the crate.
    pub module: Vec<String>,
    /// As it is.
    pub text: String,
    /// The same, with comments, strings and `#[cfg(test)]` items blanked; offsets and lines are those of `text`, byte for byte.
    pub code: String,
    /// It is compiled for tests only.
    pub is_test: bool,
}

impl File {
    /// Its folder below `src/`; empty at the top.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Its name without folder and extension.
    pub fn stem(&self) -> &str {
        self.path.rsplit('/').next().unwrap().trim_end_matches(".rs")
    }

    /// Where the files of its submodules are, below `src/`.
    fn children(&self) -> String {
        match self.stem() {
            "mod" | "lib" | "main" => self.folder().to_string(),
            _ => self.path.trim_end_matches(".rs").to_string(),
        }
    }
}

/// Every file under `src/`, sorted by path.
pub fn all(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    collect(&root.join("src"), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut tests: Vec<String> = Vec::new();
    for file in &mut files {
        let names = blank_tests(&mut file.code);
        let folder = file.children();
        tests.extend(names.iter().map(|name| if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") }));
        file.is_test = file.code.trim_start().starts_with("#![cfg(test)]");
    }
    for file in &mut files {
        file.is_test |= tests.iter().any(|test| file.path == format!("{test}.rs") || file.path.starts_with(&format!("{test}/")));
    }
    files
}

fn collect(folder: &Path, below: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.path().is_dir() {
            collect(&entry.path(), &path, files);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            let module =
                path.trim_end_matches(".rs").split('/').filter(|part| !["mod", "lib"].contains(part)).map(str::to_string).collect();
            files.push(File { code: blank(&text), path, module, text, is_test: false });
        }
    }
}

/// Replaces bytes `from..to` by spaces; line ends stay.
fn wipe(code: &mut [u8], from: usize, to: usize) {
    let to = to.min(code.len());
    code[from..to].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// Blanks comments and the contents of strings and character literals.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let find = |from: usize, what: &[u8]| (from..bytes.len()).find(|at| bytes[*at..].starts_with(what)).unwrap_or(bytes.len());
    let is_word = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(at, b"*/") + 2,
            b'r' if !(at > 0 && is_word(at - 1) && bytes[at - 1] != b'b') && raw_fence(&bytes[at + 1..]).is_some() => {
                let fence = raw_fence(&bytes[at + 1..]).unwrap();
                let close = [b"\"".as_slice(), &vec![b'#'; fence]].concat();
                find(at + fence + 2, &close) + close.len()
            }
            b'"' => closing(bytes, at + 1, b'"'),
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => closing(bytes, at + 1, b'\''),
            // A character, not a lifetime: a quote follows one character later.
            b'\'' => match text[at + 1..].chars().next() {
                Some(letter) if bytes.get(at + 1 + letter.len_utf8()) == Some(&b'\'') => at + 2 + letter.len_utf8(),
                _ => at + 1,
            },
            _ => {
                at += 1;
                continue;
            }
        };
        wipe(&mut code, at, end);
        at = end;
    }
    String::from_utf8(code).unwrap()
}

/// Number of `#` of a raw string whose `r` stands before `rest`.
fn raw_fence(rest: &[u8]) -> Option<usize> {
    let fence = rest.iter().take_while(|byte| **byte == b'#').count();
    (rest.get(fence) == Some(&b'"')).then_some(fence)
}

/// Behind the closing `quote` of a literal whose contents begin at `from`.
fn closing(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Blanks every item behind `#[cfg(test)]`, and returns the names of modules in files of their own among them.
fn blank_tests(code: &mut String) -> Vec<String> {
    const MARK: &str = "#[cfg(test)]";
    let mut bytes = std::mem::take(code).into_bytes();
    let mut names = Vec::new();
    while let Some(start) = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes()) {
        let mut depth = 0i32;
        let mut end = start + MARK.len();
        while end < bytes.len() {
            let byte = bytes[end];
            end += 1;
            depth += i32::from(b"([{".contains(&byte)) - i32::from(b")]}".contains(&byte));
            if depth == 0 && (byte == b';' || byte == b'}') {
                break;
            }
        }
        let item = words(&String::from_utf8_lossy(&bytes[start + MARK.len()..end]));
        if bytes[end - 1] == b';' {
            names.extend(item.iter().position(|word| word == "mod").and_then(|at| item.get(at + 1)).cloned());
        }
        wipe(&mut bytes, start, end);
    }
    *code = String::from_utf8(bytes).unwrap();
    names
}

/// The identifiers and keywords of `code`, in order.
pub fn words(code: &str) -> Vec<String> {
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty()).map(str::to_string).collect()
}

/// Whether `word` stands in `code` as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    let part = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(word).any(|(at, _)| !part(code[..at].chars().next_back()) && !part(code[at + word.len()..].chars().next()))
}

/// `code` without its `use` and `mod …;` items.
pub fn statements_without_uses(code: &str) -> String {
    let mut kept = String::new();
    for item in code.split_inclusive(';') {
        for line in item.lines() {
            let first = words(line).into_iter().find(|word| word != "pub" && word != "crate");
            if first.is_some_and(|word| word == "use" || word == "mod") && item.ends_with(';') {
                break;
            }
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Every path in `code` that begins with `crate`, `super` or `self`, braces expanded, from the crate's root.
pub fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                continue;
            }
            let base = match root {
                "crate::" => Vec::new(),
                "super::" => module[..module.len().saturating_sub(1)].to_vec(),
                _ => module.to_vec(),
            };
            let mut rest = &code[at + root.len()..];
            tree(&mut rest, base, &mut found);
        }
    }
    found
}

/// Reads a path or a tree of paths in braces; `rest` stands behind it afterwards.
fn tree(rest: &mut &str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    loop {
        *rest = rest.trim_start();
        if let Some(inner) = rest.strip_prefix('{') {
            *rest = inner;
            loop {
                tree(rest, path.clone(), found);
                // Behind one branch: `as NAME`, then a comma or the end.
                let Some(next) = rest.find([',', '}']) else { return };
                let more = rest.as_bytes()[next] == b',';
                *rest = &rest[next + 1..];
                if !more {
                    return;
                }
            }
        }
        let length = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
        let word = &rest[..length];
        *rest = &rest[length..];
        match word {
            "" => {}
            "super" => {
                path.pop();
            }
            "self" => {}
            word => path.push(word.to_string()),
        }
        match rest.strip_prefix("::") {
            Some(behind) if length > 0 => *rest = behind,
            _ => break,
        }
    }
    found.push(path);
}
