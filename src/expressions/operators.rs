//! Operators: which types each takes, and how operands of different types meet.
//!
//! Only text *constants* are read as another type (`departed_at > '2001-03-01'`); a text column compared with a number is a mistake that SQL would only show at run time.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_expr::expr::Case;
use datafusion_expr::{BinaryExpr, Expr, Operator, lit};
use sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value};

use super::{CONSTANT, Converted, Converter, ExpressionError, Mode, TYPE, UNSUPPORTED, balanced, is_text, literal_as, number, type_name};
use crate::data::timestamp_type;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// Types that can be compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Boolean,
    Number,
    Text,
    Instant,
    Span,
    Bytes,
    Null,
    Other,
}

fn class(data_type: &DataType) -> Class {
    match data_type {
        DataType::Boolean => Class::Boolean,
        DataType::Null => Class::Null,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => Class::Instant,
        DataType::Duration(_) | DataType::Interval(_) => Class::Span,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Class::Bytes,
        other if is_text(other) => Class::Text,
        other if other.is_numeric() => Class::Number,
        _ => Class::Other,
    }
}

impl Converter<'_> {
    /// A chain of `and`, or of `or`, as a balanced tree.
    pub fn logical_chain(&self, node: &ast::Expr, operands: &[&ast::Expr]) -> Converted {
        let and = matches!(node, ast::Expr::BinaryOp { op: BinaryOperator::And, .. });
        let place = if and { "`and`" } else { "`or`" };
        let level = operands.iter().map(|operand| self.condition(operand, place)).collect::<Result<Vec<_>, _>>()?;
        balanced(level, and).ok_or_else(|| self.error(UNSUPPORTED, node, "an empty condition"))
    }

    /// An operator between two operands, `and` and `or` apart.
    pub fn binary(&self, node: &ast::Expr, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Converted {
        let op = match op {
            BinaryOperator::Eq => Operator::Eq,
            BinaryOperator::NotEq => Operator::NotEq,
            BinaryOperator::Lt => Operator::Lt,
            BinaryOperator::LtEq => Operator::LtEq,
            BinaryOperator::Gt => Operator::Gt,
            BinaryOperator::GtEq => Operator::GtEq,
            BinaryOperator::Plus => Operator::Plus,
            BinaryOperator::Minus => Operator::Minus,
            BinaryOperator::Multiply => Operator::Multiply,
            BinaryOperator::Divide => Operator::Divide,
            BinaryOperator::Modulo => Operator::Modulo,
            BinaryOperator::StringConcat => Operator::StringConcat,
            BinaryOperator::BitwiseAnd => Operator::BitwiseAnd,
            BinaryOperator::BitwiseOr => Operator::BitwiseOr,
            BinaryOperator::PGRegexMatch => Operator::RegexMatch,
            BinaryOperator::PGRegexIMatch => Operator::RegexIMatch,
            BinaryOperator::PGRegexNotMatch => Operator::RegexNotMatch,
            BinaryOperator::PGRegexNotIMatch => Operator::RegexNotIMatch,
            other => return Err(self.no_operator(node, &other.to_string())),
        };
        match op {
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                self.arithmetic(node, left, op, right)
            }
            Operator::StringConcat => self.concat(node, left, right),
            Operator::BitwiseAnd | Operator::BitwiseOr => {
                let (a, b) = (self.expr(left)?, self.expr(right)?);
                if !self.type_of(&a).is_integer() || !self.type_of(&b).is_integer() {
                    return Err(self.mismatch(node, op, &a, &b).help("bits are those of integers"));
                }
                Ok(joined(a, op, b))
            }
            Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
                let place = format!("`{op}`");
                let (a, b) = (self.text(left, &place)?, self.text(right, &place)?);
                if let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = &b {
                    self.check_pattern(right, pattern)?;
                }
                Ok(joined(a, op, b))
            }
            _ => self.compare(node, left, op, right),
        }
    }

    fn no_operator(&self, node: &ast::Expr, op: &str) -> ExpressionError {
        let help = match op {
            "^" | "**" => "write power(a, b)",
            "DIV" | "//" => "`/` between integers drops the remainder; write floor(a / b) for other numbers",
            "<=>" => "write `is not distinct from`",
            "XOR" => "write `a <> b` between conditions",
            "->" | "->>" | "#>" | "#>>" => "declare the fields you need in the source's schema",
            _ => "operators are + - * / % || = <> < <= > >= and or not like ilike between in is ~",
        };
        self.error(UNSUPPORTED, node, format!("there is no operator `{}`", op.to_lowercase())).help(help)
    }

    fn mismatch(&self, node: &ast::Expr, op: Operator, left: &Expr, right: &Expr) -> ExpressionError {
        let (left, right) = (type_name(&self.type_of(left)), type_name(&self.type_of(right)));
        self.error(TYPE, node, format!("`{op}` does not go between {left} and {right}"))
    }

    /// `left op right` for comparisons.
    pub fn compare(&self, _: &ast::Expr, left: &ast::Expr, op: Operator, right: &ast::Expr) -> Converted {
        let (a, b) = self.aligned((left, self.expr(left)?), (right, self.expr(right)?))?;
        if matches!(op, Operator::Eq | Operator::NotEq) && [&a, &b].iter().any(|operand| self.type_of(operand).is_floating()) {
            // The simplifier gathers equalities with constants into sets, which are compared by bits.
            let (left, right) = (is_zero(&a), is_zero(&b));
            return Ok(joined(if right { self.one_zeroed(a) } else { a }, op, if left { self.one_zeroed(b) } else { b }));
        }
        Ok(joined(a, op, b))
    }

    /// Two operands that are to be compared, with constants read as the other's type.
    pub fn aligned(&self, left: (&ast::Expr, Expr), right: (&ast::Expr, Expr)) -> Result<(Expr, Expr), ExpressionError> {
        let (a, b) = (self.type_of(&left.1), self.type_of(&right.1));
        let (from, to) = (class(&a), class(&b));
        if from == Class::Null || to == Class::Null {
            return Ok((left.1, right.1));
        }
        if from == Class::Text && to != Class::Text && is_constant(&left.1) {
            return Ok((self.constant_as(left, &b)?, right.1));
        }
        if to == Class::Text && from != Class::Text && is_constant(&right.1) {
            let constant = self.constant_as(right, &a)?;
            return Ok((left.1, constant));
        }
        if from != to {
            let span = self.parsed.span(left.0).start..self.parsed.span(right.0).end;
            return Err(ExpressionError::new(TYPE, span, format!("{} cannot be compared with {}", type_name(&a), type_name(&b)))
                .help(comparison_help(from, to)));
        }
        match from {
            Class::Instant if a != b => Ok((self.instant(left.1), self.instant(right.1))),
            Class::Span => Ok((self.duration(left, &b)?, self.duration(right, &a)?)),
            _ => Ok((left.1, right.1)),
        }
    }

    /// Operands of which the result is one (`case`, `coalesce`, `greatest`): of one kind, with constants read as the others' type.
    pub fn unified(&self, place: &str, operands: Vec<(&ast::Expr, Expr)>) -> Result<Vec<Expr>, ExpressionError> {
        let types: Vec<DataType> = operands.iter().map(|(_, expr)| self.type_of(expr)).collect();
        let fixed = |i: &usize| class(&types[*i]) != Class::Null && !(class(&types[*i]) == Class::Text && is_constant(&operands[*i].1));
        let Some(lead) = (0..types.len()).find(fixed) else { return Ok(operands.into_iter().map(|(_, expr)| expr).collect()) };
        let wanted = types[lead].clone();
        let mixed = types.iter().any(|other| class(other) == Class::Instant && *other != wanted);
        let mut result = Vec::with_capacity(operands.len());
        for ((node, expr), found) in operands.into_iter().zip(&types) {
            let kind = class(found);
            result.push(if kind == Class::Null || kind == class(&wanted) {
                if mixed { self.instant(expr) } else { expr }
            } else if kind == Class::Text && is_constant(&expr) && class(&wanted) == Class::Instant {
                self.constant_as((node, expr), &if mixed { timestamp_type() } else { wanted.clone() })?
            } else {
                return Err(self
                    .error(TYPE, node, format!("{place} cannot give both {} and {}", type_name(&wanted), type_name(found)))
                    .help("all its values are of one type; write cast(… as …) around the other"));
            });
        }
        Ok(result)
    }

    /// Null where two values are equal, else the first: `nullif(a, b)`.
    pub fn null_if(&self, first: (&ast::Expr, Expr), second: (&ast::Expr, Expr)) -> Converted {
        let value = first.1.clone();
        let (a, b) = self.aligned(first, second)?;
        let null = ScalarValue::try_new_null(&self.type_of(&value)).unwrap_or(ScalarValue::Null);
        Ok(Expr::Case(Case::new(None, vec![(Box::new(joined(a, Operator::Eq, b)), Box::new(lit(null)))], Some(Box::new(value)))))
    }

    fn constant_as(&self, (node, expr): (&ast::Expr, Expr), wanted: &DataType) -> Converted {
        let Expr::Literal(value, _) = &expr else { return Ok(expr) };
        literal_as(value, wanted).map(lit).map_err(|reason| self.error(CONSTANT, node, reason))
    }

    /// A constant interval as the duration that a difference of timestamps is, so that 25 hours are more than 1 day.
    fn duration(&self, (node, expr): (&ast::Expr, Expr), other: &DataType) -> Converted {
        let (Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), _), DataType::Duration(_)) = (&expr, other) else {
            return Ok(expr);
        };
        if value.months != 0 {
            return Err(self.error(TYPE, node, "months and years have no fixed length").help("write days: interval '30 days'"));
        }
        let micros = i64::from(value.days).checked_mul(DAY).and_then(|days| days.checked_add(value.nanoseconds / 1000));
        let micros = micros.ok_or_else(|| self.error(CONSTANT, node, "the interval is too long"))?;
        self.cast_to(
            lit(ScalarValue::DurationMicrosecond(Some(micros))),
            &DataType::Duration(TimeUnit::Microsecond),
            false,
            self.parsed.span(node),
        )
    }

    fn concat(&self, node: &ast::Expr, left: &ast::Expr, right: &ast::Expr) -> Converted {
        let mut operands = Vec::with_capacity(2);
        for operand in [left, right] {
            let expr = self.expr(operand)?;
            operands.push(match class(&self.type_of(&expr)) {
                Class::Text => expr,
                Class::Null | Class::Boolean | Class::Number | Class::Instant => {
                    self.cast_to(expr, &DataType::Utf8, false, self.parsed.span(operand))?
                }
                _ => return Err(self.error(TYPE, operand, format!("{} cannot be appended to text", type_name(&self.type_of(&expr))))),
            });
        }
        match (operands.pop(), operands.pop()) {
            (Some(b), Some(a)) => Ok(joined(a, Operator::StringConcat, b)),
            _ => Err(self.error(UNSUPPORTED, node, "`||` needs two operands")),
        }
    }

    fn arithmetic(&self, node: &ast::Expr, left: &ast::Expr, op: Operator, right: &ast::Expr) -> Converted {
        let (mut a, mut b) = (self.expr(left)?, self.expr(right)?);
        let (mut from, mut to) = (class(&self.type_of(&a)), class(&self.type_of(&b)));
        if self.mode == Mode::Float {
            for (operand, kind) in [(&mut a, &mut from), (&mut b, &mut to)] {
                if matches!(kind, Class::Number | Class::Boolean) {
                    *operand = self.constant_float(std::mem::take(operand));
                    *kind = Class::Number;
                }
            }
        }
        match (from, to) {
            (Class::Number, Class::Number) => match folded(&a, op, &b) {
                Some(Ok(value)) => Ok(lit(value)),
                Some(Err(reason)) => Err(self.error(CONSTANT, node, reason)),
                None => Ok(self.guarded(joined(a, op, b))),
            },
            (Class::Null, Class::Number | Class::Null) | (Class::Number, Class::Null) => Ok(joined(a, op, b)),
            (Class::Instant, Class::Instant) if op == Operator::Minus => {
                let same = self.type_of(&a) == self.type_of(&b);
                Ok(if same { joined(a, op, b) } else { joined(self.instant(a), op, self.instant(b)) })
            }
            (Class::Instant, Class::Span) if matches!(op, Operator::Plus | Operator::Minus) => Ok(joined(self.instant(a), op, b)),
            (Class::Span, Class::Instant) if op == Operator::Plus => Ok(joined(self.instant(b), op, a)),
            (Class::Span, Class::Span) if matches!(op, Operator::Plus | Operator::Minus) => Ok(joined(a, op, b)),
            (Class::Text, _) | (_, Class::Text) if op == Operator::Plus => {
                Err(self.mismatch(node, op, &a, &b).help("`||` joins texts; cast(… as double) reads a number from text"))
            }
            (Class::Boolean, _) | (_, Class::Boolean) => {
                Err(self.mismatch(node, op, &a, &b).help("write cast(… as int) to count a condition as 0 or 1"))
            }
            (Class::Instant, Class::Number) => Err(self.mismatch(node, op, &a, &b).help("add an interval: interval '1 day'")),
            _ => Err(self.mismatch(node, op, &a, &b)),
        }
    }

    /// `expr` as float64, a constant at once.
    fn constant_float(&self, expr: Expr) -> Expr {
        if let Expr::Literal(value, _) = &expr
            && let Ok(value) = value.cast_to(&DataType::Float64)
        {
            return lit(value);
        }
        self.float(expr)
    }

    /// An operator before its operand.
    pub fn unary(&self, node: &ast::Expr, op: UnaryOperator, operand: &ast::Expr) -> Converted {
        match op {
            UnaryOperator::Not => Ok(Expr::Not(Box::new(self.condition(operand, "`not`")?))),
            UnaryOperator::Plus | UnaryOperator::Minus => self.signed(node, op == UnaryOperator::Minus, operand),
            other => Err(self.no_operator(node, &other.to_string())),
        }
    }

    fn signed(&self, node: &ast::Expr, minus: bool, operand: &ast::Expr) -> Converted {
        if let (true, ast::Expr::Value(value)) = (minus, operand)
            && let Value::Number(text, false) = &value.value
        {
            return number(&format!("-{text}"), false).map(lit).map_err(|reason| self.error(CONSTANT, node, reason));
        }
        let expr = self.expr(operand)?;
        let found = self.type_of(&expr);
        if !found.is_numeric() && found != DataType::Null && !matches!(found, DataType::Interval(_)) {
            return Err(self.error(TYPE, node, format!("`{}` does not go before {}", if minus { "-" } else { "+" }, type_name(&found))));
        }
        if !minus {
            return Ok(expr);
        }
        match (ScalarValue::new_zero(&found), found.is_integer()) {
            (Ok(zero), true) => match folded(&lit(zero.clone()), Operator::Minus, &expr) {
                Some(Ok(value)) => Ok(lit(value)),
                Some(Err(reason)) => Err(self.error(CONSTANT, node, reason)),
                None => Ok(joined(lit(zero), Operator::Minus, expr)),
            },
            _ => Ok(Expr::Negative(Box::new(expr))),
        }
    }
}

fn joined(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(_, _))
}

/// Whether `expr` is the constant 0, or −0.
fn is_zero(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if matches!(value.cast_to(&DataType::Float64), Ok(ScalarValue::Float64(Some(0.0)))))
}

fn comparison_help(left: Class, right: Class) -> &'static str {
    match (left, right) {
        (Class::Text, Class::Number) | (Class::Number, Class::Text) => "write cast(… as double) or cast(… as bigint) around the text",
        (Class::Text, Class::Instant) | (Class::Instant, Class::Text) => "write cast(… as timestamp) around the text",
        (Class::Number, Class::Instant) | (Class::Instant, Class::Number) => "write date_part('epoch', …) for seconds since 1970",
        (Class::Span, _) | (_, Class::Span) => "a difference of times is compared with an interval: interval '1 hour'",
        (Class::Boolean, _) | (_, Class::Boolean) => "a condition needs no comparison: `x` or `not x`",
        _ => "compare values of one kind",
    }
}

/// The exact result of integer arithmetic on two constants; `None` if they are not both integers.
fn folded(left: &Expr, op: Operator, right: &Expr) -> Option<Result<ScalarValue, &'static str>> {
    let (Expr::Literal(left, _), Expr::Literal(right, _)) = (left, right) else { return None };
    let ((a, narrow), (b, also)) = (integer(left)?, integer(right)?);
    let value = match op {
        Operator::Plus => a.checked_add(b),
        Operator::Minus => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide | Operator::Modulo if b == 0 => return Some(Err("division by zero")),
        Operator::Divide => a.checked_div(b),
        Operator::Modulo => a.checked_rem(b),
        _ => return None,
    };
    Some(if narrow && also {
        let value = value.and_then(|value| i32::try_from(value).ok());
        value.map(|value| ScalarValue::Int32(Some(value))).ok_or("the result is beyond the range of int32")
    } else {
        value.map(|value| ScalarValue::Int64(Some(value))).ok_or("the result is beyond the range of int64")
    })
}

/// The value of an integer constant, and whether it is an int32.
fn integer(value: &ScalarValue) -> Option<(i64, bool)> {
    match value {
        ScalarValue::Int64(value) => value.map(|value| (value, false)),
        ScalarValue::Int32(value) => value.map(|value| (i64::from(value), true)),
        _ => None,
    }
}
