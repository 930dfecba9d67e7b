//! SQL text to sqlparser's tree, bounded in length and depth, with positions as byte ranges.
//!
//! The dialect is our own: plain SQL where `user` is a column and `"` quotes identifiers.

use std::ops::Range;

use sqlparser::ast::{Expr, Ident, Spanned};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::{ExpressionError, SYNTAX, TOO_LARGE, UNSUPPORTED, chain, children, repeats, with_stack};

/// Longest SQL of one expression, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// Most words and signs of one expression.
const MAX_TOKENS: usize = 4096;
/// Deepest nesting, of parentheses and of operators; a chain of `and` or of `or` counts once.
const MAX_DEPTH: usize = 100;

/// Words with a syntax of their own in parentheses, which sqlparser reads again as a plain call when that syntax fails: nesting multiplies the time.
const RETRIED: [&str; 19] = [
    "array",
    "cast",
    "ceil",
    "convert",
    "current_date",
    "current_time",
    "current_timestamp",
    "exists",
    "extract",
    "floor",
    "interval",
    "localtime",
    "localtimestamp",
    "overlay",
    "position",
    "safe_cast",
    "substr",
    "substring",
    "try_cast",
];
/// Deepest nesting of such words.
const MAX_RETRIED: usize = 8;
/// Most nodes of an expression once its short forms are written out.
const MAX_NODES: usize = 20_000;

/// So few words and signs that any thread's stack has room for the parser.
const FEW: usize = 128;
/// SQL so short that sqlparser may recurse over it.
const SHORT: usize = 1024;

/// Plain SQL expressions.
#[derive(Debug)]
struct Plain;

impl Dialect for Plain {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_string_literal_concatenation(&self) -> bool {
        false
    }

    fn supports_subquery_as_function_arg(&self) -> bool {
        false
    }
}

/// A parsed expression and the text that it came from.
pub struct Parsed<'a> {
    /// The text.
    pub sql: &'a str,
    /// The tree: at most [`MAX_DEPTH`] deep, every node of a supported kind.
    pub ast: Expr,
    /// Levels of nesting, those of chains included.
    pub depth: usize,
    positions: Positions<'a>,
    /// Byte ranges of the tokens, blanks apart, with what a parenthesis does to the nesting.
    tokens: Vec<(Range<usize>, i32)>,
}

impl<'a> Parsed<'a> {
    /// Parses all of `sql` as one expression.
    pub fn new(sql: &'a str) -> Result<Self, ExpressionError> {
        let positions = Positions::new(sql);
        if sql.trim().is_empty() {
            return Err(
                ExpressionError::new(SYNTAX, 0..sql.len(), "the expression is empty").help("write an SQL expression, such as `delay > 15`")
            );
        }
        if sql.len() > MAX_BYTES {
            return Err(too_large(0..sql.len(), format!("the expression is longer than {MAX_BYTES} bytes")));
        }
        let tokens = Tokenizer::new(&Plain, sql).tokenize_with_location().map_err(|error| {
            let at = positions.byte(error.location);
            ExpressionError::new(SYNTAX, at..sql.len().max(at), lower(&error.message)).help(token_help(&error.message))
        })?;
        check_tokens(sql, &tokens, &positions)?;
        let written: Vec<&TokenWithSpan> = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
        let spans: Vec<Span> = written.iter().map(|token| token.span).collect();
        let ranges = written.iter().map(|token| (positions.range(token.span), nesting(&token.token))).collect();
        let read = || {
            let mut parser = Parser::new(&Plain).with_recursion_limit(4 * MAX_DEPTH).with_tokens_with_locations(tokens);
            parser.parse_expr().map(|ast| (ast, parser.next_token()))
        };
        let outcome = with_stack(spans.len() > FEW, read)
            .ok_or_else(|| too_large(0..sql.len(), "the expression is too long for this machine's memory".into()))?;
        let (ast, next) = outcome.map_err(|error| positions.syntax(error, &spans))?;
        if next.token != Token::EOF {
            let shown = next.token.to_string();
            return Err(ExpressionError::new(SYNTAX, positions.range(next.span), format!("unexpected `{shown}` after the expression"))
                .help(trailing_help(&shown)));
        }
        let mut parsed = Self { sql, ast, depth: 0, positions, tokens: ranges };
        parsed.depth = parsed.check_shape()?;
        Ok(parsed)
    }

    /// The bytes that `node` covers; all of the SQL where sqlparser does not say.
    pub fn span(&self, node: &Expr) -> Range<usize> {
        match node {
            Expr::BinaryOp { .. } => {
                let (mut first, mut last) = (node, node);
                while let Expr::BinaryOp { left, .. } = first {
                    first = left;
                }
                while let Expr::BinaryOp { right, .. } = last {
                    last = right;
                }
                self.span(first).start..self.span(last).end
            }
            Expr::Nested(inner) => {
                let span = self.span(inner);
                let after = self.tokens.iter().find(|(token, _)| token.start >= span.end);
                self.token_before(span.start)..after.map_or(span.end, |(token, _)| token.end)
            }
            Expr::UnaryOp { expr, .. } => {
                let span = self.span(expr);
                self.token_before(span.start)..span.end
            }
            Expr::Interval(_) | Expr::TypedString(_) => {
                let span = self.leaves(node);
                self.token_before(span.start)..span.end
            }
            Expr::Function(_) => {
                let span = self.leaves(node);
                self.call_at(span.start, span)
            }
            Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. } => self.call_around(self.leaves(node)),
            _ => self.leaves(node),
        }
    }

    /// Start of the last token that ends at `at` or before; `at` itself if there is none.
    fn token_before(&self, at: usize) -> usize {
        self.tokens.iter().rev().find(|(token, _)| token.end <= at).map_or(at, |(token, _)| token.start)
    }

    /// The bytes from the first to the last leaf below `node`. Without recursion, because chains are deep trees.
    fn leaves(&self, node: &Expr) -> Range<usize> {
        let (mut covered, mut stack) = (None::<Range<usize>>, vec![node]);
        while let Some(next) = stack.pop() {
            let own = match next {
                Expr::Function(call) => call.name.span(),
                Expr::Case { case_token, end_token, .. } => case_token.0.span.union(&end_token.0.span),
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => {
                    next.span()
                }
                _ => Span::empty(),
            };
            if own.start.line > 0 {
                let own = self.positions.range(own);
                covered = Some(covered.map_or(own.clone(), |all| all.start.min(own.start)..all.end.max(own.end)));
            }
            stack.extend(children(next).unwrap_or_default());
        }
        covered.unwrap_or(0..self.sql.len())
    }

    /// From `start`, the name of a function, to the parenthesis that ends its arguments, or to the end of `span` if that is later.
    fn call_at(&self, start: usize, span: Range<usize>) -> Range<usize> {
        let mut depth = 0;
        for (token, step) in self.tokens.iter().filter(|(token, _)| token.start >= start) {
            depth += step;
            if *step < 0 && depth <= 0 {
                return start..token.end.max(span.end);
            }
        }
        span
    }

    /// The call whose parentheses are the nearest around `span`.
    fn call_around(&self, span: Range<usize>) -> Range<usize> {
        let mut depth = 0;
        for (i, (_, step)) in self.tokens.iter().enumerate().rev().filter(|(_, (token, _))| token.end <= span.start) {
            depth += step;
            if depth > 0 {
                return match i.checked_sub(1).and_then(|name| self.tokens.get(name)) {
                    Some((name, 0)) => self.call_at(name.start, span),
                    _ => span,
                };
            }
        }
        span
    }

    /// The bytes that a sqlparser span covers.
    pub fn range(&self, span: Span) -> Range<usize> {
        self.positions.range(span)
    }

    /// Checks depth, size and kinds of nodes, without recursion, and gives the depth.
    fn check_shape(&self) -> Result<usize, ExpressionError> {
        let (mut nodes, mut deepest) = (0usize, 0usize);
        let mut stack = vec![(&self.ast, 1usize, 1usize)];
        while let Some((node, depth, copies)) = stack.pop() {
            nodes = nodes.saturating_add(copies);
            if depth > MAX_DEPTH {
                return Err(too_large(0..self.sql.len(), format!("the expression is nested more than {MAX_DEPTH} levels deep")));
            }
            if nodes > MAX_NODES {
                return Err(too_large(0..self.sql.len(), format!("the expression has more than {MAX_NODES} parts, written out")));
            }
            deepest = deepest.max(depth);
            if let Some(operands) = chain(node) {
                deepest = deepest.max(depth + operands.len());
                stack.extend(operands.into_iter().map(|operand| (operand, depth + 1, copies)));
                continue;
            }
            let Some(below) = children(node) else {
                let span = if self.sql.len() > SHORT { 0..self.sql.len() } else { self.positions.range(node.span()) };
                return Err(ExpressionError::new(UNSUPPORTED, span.clone(), format!("`{}` is not supported here", shown(&self.sql[span])))
                    .help("expressions are computed from one row: no subqueries, arrays, maps or parameters"));
            };
            let (times, first) = repeats(node);
            let copied = |i: usize| if i < first { copies.saturating_mul(times) } else { copies };
            stack.extend(below.into_iter().enumerate().map(|(i, child)| (child, depth + 1, copied(i))));
        }
        Ok(deepest)
    }
}

/// Takes long chains apart without recursion.
impl Drop for Parsed<'_> {
    fn drop(&mut self) {
        let mut stack = vec![std::mem::replace(&mut self.ast, Expr::Identifier(Ident::new("")))];
        while let Some(node) = stack.pop() {
            match node {
                Expr::BinaryOp { left, right, .. } => stack.extend([*left, *right]),
                Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } | Expr::Cast { expr: inner, .. } => stack.push(*inner),
                _ => {}
            }
        }
    }
}

/// 1 for what opens, −1 for what closes, 0 for other tokens.
fn nesting(token: &Token) -> i32 {
    match token {
        Token::LParen => 1,
        Token::RParen => -1,
        _ => 0,
    }
}

/// Text cut to a readable length.
fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_string(),
    }
}

fn too_large(span: Range<usize>, message: String) -> ExpressionError {
    ExpressionError::new(TOO_LARGE, span, message).help("compute parts of it as columns of their own with `derive`")
}

/// Refuses token streams on which the parser or a destructor would recurse deeply or take exponential time, and those that no expression has.
fn check_tokens(sql: &str, tokens: &[TokenWithSpan], positions: &Positions<'_>) -> Result<(), ExpressionError> {
    let written: Vec<&TokenWithSpan> = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    if written.len() > MAX_TOKENS {
        return Err(too_large(0..sql.len(), format!("the expression has more than {MAX_TOKENS} words and signs")));
    }
    let mut open: Vec<(&TokenWithSpan, bool)> = Vec::new();
    let mut special = 0usize;
    let mut before = String::new();
    for token in written {
        let word = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            _ => String::new(),
        };
        match token.token {
            Token::LParen => {
                let retried = RETRIED.contains(&before.as_str());
                special += usize::from(retried);
                open.push((token, retried));
                if open.len() > MAX_DEPTH || special > MAX_RETRIED {
                    return Err(too_large(positions.range(token.span), "the expression is nested too deeply".into()));
                }
            }
            Token::RParen => match open.pop() {
                Some((_, retried)) => special -= usize::from(retried),
                None => return Err(ExpressionError::new(SYNTAX, positions.range(token.span), "this parenthesis closes nothing")),
            },
            Token::LBracket | Token::RBracket | Token::LBrace | Token::RBrace => {
                return Err(ExpressionError::new(
                    UNSUPPORTED,
                    positions.range(token.span),
                    format!("`{}` is not supported here", token.token),
                )
                .help("expressions have no arrays, maps or subscripts; fields of a struct are written `column.field`"));
            }
            Token::Word(_) if word == "interval" && before == word => {
                return Err(ExpressionError::new(SYNTAX, positions.range(token.span), "an amount is missing after `interval`")
                    .help("write interval '1 hour'"));
            }
            _ => {}
        }
        before = word;
    }
    match open.pop() {
        Some((token, _)) => Err(ExpressionError::new(SYNTAX, positions.range(token.span), "this parenthesis is never closed")),
        None => Ok(()),
    }
}

/// Byte positions of sqlparser's lines and columns.
struct Positions<'a> {
    sql: &'a str,
    lines: Vec<usize>,
}

impl<'a> Positions<'a> {
    fn new(sql: &'a str) -> Self {
        let lines = std::iter::once(0).chain(sql.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { sql, lines }
    }

    fn byte(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(0);
        let column = usize::try_from(location.column).unwrap_or(0);
        let Some(start) = line.checked_sub(1).and_then(|l| self.lines.get(l)).copied() else { return self.sql.len() };
        self.sql[start..].char_indices().nth(column.saturating_sub(1)).map_or(self.sql.len(), |(at, _)| start + at)
    }

    fn range(&self, span: Span) -> Range<usize> {
        if span.start.line == 0 {
            return 0..self.sql.len();
        }
        let start = self.byte(span.start);
        start..self.byte(span.end).max(start)
    }

    fn syntax(&self, error: ParserError, spans: &[Span]) -> ExpressionError {
        let text = match error {
            ParserError::RecursionLimitExceeded => {
                return too_large(0..self.sql.len(), format!("the expression is nested more than {MAX_DEPTH} levels deep"));
            }
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        };
        let (message, location) = match text.rsplit_once(" at Line: ") {
            Some((message, place)) => (message, parse_place(place)),
            None => (text.as_str(), None),
        };
        let span = match location.map(|location| (location, spans.iter().find(|span| span.start == location))) {
            Some((_, Some(span))) => self.range(*span),
            Some((location, None)) => self.byte(location)..self.sql.len(),
            None if message.contains("found: EOF") => self.sql.len()..self.sql.len(),
            None => 0..self.sql.len(),
        };
        let message = lower(message)
            .replace("expected: ", "expected ")
            .replace("found: eof", "found the end")
            .replace("found: EOF", "found the end")
            .replace(", found: ", ", found `");
        let message = if message.contains(", found `") { format!("{message}`") } else { message };
        ExpressionError::new(SYNTAX, span, message).help("expressions are SQL; names with unusual characters are written in double quotes")
    }
}

fn parse_place(place: &str) -> Option<Location> {
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
}

fn lower(message: &str) -> String {
    let mut chars = message.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

fn token_help(message: &str) -> &'static str {
    if message.contains("string literal") { "a text ends with a single quote; a quote inside is doubled: 'it''s'" } else { "" }
}

fn trailing_help(token: &str) -> &'static str {
    match token {
        ";" => "leave out the semicolon",
        "," => "this is one expression, not a list",
        "as" | "AS" => "the name is the key in the TOML file; leave out `as`",
        _ => "this is one SQL expression",
    }
}
