//! Join conditions (S8.2): `origin = iata`, one equality between something of the stream and the key of the table.

use arrow::datatypes::DataType;
use sqlparser::ast::{BinaryOperator, Expr};

use super::{Expression, ExpressionError, Frame, JOIN, Mode, Parsed, Scope, build, quote};

/// How surely a side of the equality is the table's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// It is something else.
    No,
    /// It has the key's name, but the stream has a column of that name too.
    Perhaps,
    /// It has the key's name.
    Bare,
    /// It is `table.key`.
    Qualified,
}

/// Splits the condition `sql` of a join with `table`: the side over the stream's scope, as a value of `key_type`. The other side must be the table's
/// key, written `key` or `table.key`.
pub fn parse_join(sql: &str, stream: &Scope, table: &str, table_key: &str, key_type: &DataType) -> Result<Expression, ExpressionError> {
    let parsed = Parsed::new(sql)?;
    let mut node = &parsed.ast;
    while let Expr::Nested(inner) = node {
        node = inner;
    }
    let qualified = format!("{}.{}", quote(table), quote(table_key));
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = node else {
        return Err(
            ExpressionError::new(JOIN, parsed.span(node), "a join condition is one equality").help(format!("write `column = {qualified}`"))
        );
    };
    let sides = (key(left, stream, table, table_key), key(right, stream, table, table_key));
    let value = match sides {
        (Key::No, Key::No) => {
            return Err(ExpressionError::new(
                JOIN,
                parsed.span(node),
                format!("the key of table `{table}`, `{table_key}`, is not in the condition"),
            )
            .help(format!("tables are looked up by their key: write `column = {qualified}`")));
        }
        (l, r) if l == r => {
            return Err(ExpressionError::new(JOIN, parsed.span(node), "it is not clear which side is the table's key")
                .help(format!("write `{} = {qualified}`", quote(table_key))));
        }
        (l, r) if l > r => right,
        _ => left,
    };
    build(&parsed, value, &Frame::new(stream)?, Mode::Sql, Some(key_type))
}

fn key(node: &Expr, stream: &Scope, table: &str, table_key: &str) -> Key {
    match node {
        Expr::Nested(inner) => key(inner, stream, table, table_key),
        Expr::Identifier(ident) if ident.value == table_key && stream.position(table_key).is_some() => Key::Perhaps,
        Expr::Identifier(ident) if ident.value == table_key => Key::Bare,
        Expr::CompoundIdentifier(parts) if matches!(parts.as_slice(), [t, k] if t.value == table && k.value == table_key) => Key::Qualified,
        _ => Key::No,
    }
}
