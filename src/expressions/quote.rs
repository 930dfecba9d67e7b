//! Writing column names as SQL identifiers.

use sqlparser::ast::Expr;

use super::Parsed;

/// Words that stand between or around operands, so that they cannot name a column bare although some parse alone as identifiers.
const WORDS: [&str; 25] = [
    "all", "and", "as", "between", "case", "distinct", "div", "else", "end", "escape", "filter", "from", "ilike", "in", "interval", "is",
    "like", "not", "null", "or", "regexp", "rlike", "similar", "then", "when",
];

/// The SQL that names the column `name`: as it is where that is an identifier (`delay`, `airports.city`), else with each part in double quotes.
pub fn quote(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return quoted(name);
    }
    parts.iter().map(|part| if is_plain(part) { (*part).to_string() } else { quoted(part) }).collect::<Vec<_>>().join(".")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Whether `word` is read back as an identifier without quotes, in any place.
fn is_plain(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
        && !WORDS.contains(&word.to_ascii_lowercase().as_str())
        && Parsed::new(word).is_ok_and(|parsed| matches!(parsed.ast, Expr::Identifier(_)))
}
