//! Calls of scalar functions, and the SQL forms that are calls in disguise: `extract`, `position`, `substring`, `trim`, `overlay`, `at time zone`.

use std::ops::Range;

use arrow::array::timezone::Tz;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::tree_node::{TransformedResult, TreeNodeRewriter};
use datafusion_common::{DataFusionError, ScalarValue};
use datafusion_expr::{Cast, Expr, ExprSchemable, lit};
use datafusion_optimizer::analyzer::type_coercion::TypeCoercionRewriter;
use sqlparser::ast::{
    self, CeilFloorKind, DateTimeField, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned, TrimWhereField,
};

use super::{
    AGGREGATE, CONSTANT, Converted, Converter, ExpressionError, Found, Mode, TYPE, UNKNOWN_FUNCTION, UNSUPPORTED, VOLATILE, constant, find,
    function_names, is_text, literal_as, safe_sqrt, tidy, type_name,
};
use crate::data::timestamp_type;
use crate::diagnostic::nearest;

/// Functions whose constant arguments are checked when compiling, although they would only fail on rows.
const CHECKED: [&str; 8] =
    ["date_bin", "date_part", "date_trunc", "regexp_count", "regexp_instr", "regexp_like", "regexp_replace", "to_char"];

/// Which arguments of a function are times.
fn timed(name: &str) -> &'static [usize] {
    match name {
        "date_part" | "date_trunc" => &[1],
        "date_bin" => &[1, 2],
        "to_char" => &[0],
        _ => &[],
    }
}

/// Functions of other systems that `date_part` replaces.
const PARTS: [&str; 13] =
    ["day", "dayofweek", "dayofyear", "dow", "doy", "epoch", "hour", "minute", "month", "quarter", "second", "week", "year"];

impl Converter<'_> {
    /// The nodes that are calls.
    pub fn call_node(&self, node: &ast::Expr) -> Converted {
        use ast::Expr as Sql;
        let span = self.parsed.span(node);
        match node {
            Sql::Function(function) => self.function(function, node),
            Sql::Extract { field, expr, .. } => self.call("date_part", vec![lit(field.to_string().to_lowercase()), self.expr(expr)?], span),
            Sql::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call("ceil", vec![self.expr(expr)?], span)
            }
            Sql::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call("floor", vec![self.expr(expr)?], span)
            }
            Sql::Position { expr, r#in } => self.call("strpos", vec![self.expr(r#in)?, self.expr(expr)?], span),
            Sql::Substring { expr, substring_from, substring_for, .. } => {
                let operands = std::iter::once(expr).chain(substring_from).chain(substring_for);
                self.call("substr", operands.map(|operand| self.expr(operand)).collect::<Result<_, _>>()?, span)
            }
            Sql::Trim { expr, trim_where, trim_what, trim_characters: None } => {
                let name = match trim_where {
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                    _ => "btrim",
                };
                let mut arguments = vec![self.expr(expr)?];
                if let Some(what) = trim_what {
                    arguments.push(self.expr(what)?);
                }
                self.call(name, arguments, span)
            }
            Sql::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(length) = overlay_for {
                    arguments.push(self.expr(length)?);
                }
                self.call("overlay", arguments, span)
            }
            Sql::AtTimeZone { timestamp, time_zone } => self.at_time_zone(timestamp, time_zone),
            _ => Err(self.error(UNSUPPORTED, node, format!("`{node}` is not supported here"))),
        }
    }

    /// The same instant, whose calendar is that of a zone (S4.4).
    fn at_time_zone(&self, timestamp: &ast::Expr, zone: &ast::Expr) -> Converted {
        let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = self.expr(zone)? else {
            return Err(self.error(CONSTANT, zone, "a time zone is a constant").help("write at time zone 'Europe/Amsterdam'"));
        };
        if name.parse::<Tz>().is_err() {
            return Err(self
                .error(CONSTANT, zone, format!("unknown time zone '{name}'"))
                .help("zones are written 'Europe/Amsterdam' or '+01:00'"));
        }
        let expr = self.instant(self.expr(timestamp)?);
        match self.type_of(&expr) {
            DataType::Timestamp(_, _) => {
                self.cast_to(expr, &DataType::Timestamp(TimeUnit::Microsecond, Some(name.into())), false, self.parsed.span(timestamp))
            }
            other => Err(self.error(TYPE, timestamp, format!("`at time zone` needs a timestamp, but this is {}", type_name(&other)))),
        }
    }

    fn function(&self, function: &Function, node: &ast::Expr) -> Converted {
        let span = self.parsed.span(node);
        let name_span = self.parsed.range(function.name.span());
        let name = function.name.to_string().to_lowercase();
        let (arguments, plain) = match &function.args {
            FunctionArguments::List(list) => (list.args.as_slice(), list.duplicate_treatment.is_none() && list.clauses.is_empty()),
            _ => ([].as_slice(), true),
        };
        self.check_name(&name, name_span)?;
        let extras = function.filter.is_some() || function.over.is_some() || function.null_treatment.is_some();
        if !plain || extras || !function.within_group.is_empty() || function.parameters != FunctionArguments::None {
            return Err(ExpressionError::new(UNSUPPORTED, span, format!("`{name}` takes arguments only")));
        }
        let mut operands = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) = argument else {
                return Err(ExpressionError::new(UNSUPPORTED, span, format!("`{name}` does not take `*`")));
            };
            operands.push((argument, self.expr(argument)?));
        }
        let arguments = match name.as_str() {
            "nullif" if operands.len() == 2 => {
                let second = operands.swap_remove(1);
                return self.null_if(operands.swap_remove(0), second);
            }
            "coalesce" | "greatest" | "ifnull" | "least" | "nvl" => self.unified(&format!("`{name}`"), operands)?,
            _ => operands.into_iter().map(|(_, expr)| expr).collect(),
        };
        self.call(&name, arguments, span)
    }

    fn check_name(&self, name: &str, span: Range<usize>) -> Result<(), ExpressionError> {
        match find(name) {
            _ if name == "date" => Ok(()),
            Found::Scalar(_) => Ok(()),
            Found::Volatile => Err(ExpressionError::new(VOLATILE, span, format!("`{name}` is not the same at every run"))
                .help("outputs must follow from the input alone (S9.2); use the record's own time or a column")),
            Found::Aggregate => Err(ExpressionError::new(AGGREGATE, span, format!("`{name}` is an aggregate, not a function of one row"))
                .help("declare it in the `aggregates` of a [features.*] view and read it as `view.feature`; `greatest` and `least` compare values of one row")),
            Found::Unknown => {
                let help = if PARTS.contains(&name) {
                    format!("write date_part('{}', …)", if name == "dayofweek" { "dow" } else if name == "dayofyear" { "doy" } else { name })
                } else {
                    nearest(name, function_names()).map(|near| format!("did you mean `{near}`?")).unwrap_or_else(|| "functions are those of Apache DataFusion: https://datafusion.apache.org/user-guide/sql/scalar_functions.html".into())
                };
                Err(ExpressionError::new(UNKNOWN_FUNCTION, span, format!("unknown function `{name}`")).help(help))
            }
        }
    }

    /// A call of the function `name`, checked.
    pub fn call(&self, name: &str, mut arguments: Vec<Expr>, span: Range<usize>) -> Converted {
        if let ("date", [argument]) = (name, arguments.as_slice()) {
            return self.cast_to(argument.clone(), &DataType::Date32, self.mode == Mode::Float, span);
        }
        let Found::Scalar(function) = find(name) else {
            return Err(ExpressionError::new(UNKNOWN_FUNCTION, span, format!("`{name}` takes one argument")));
        };
        let function = if self.mode == Mode::Float && name == "sqrt" { safe_sqrt() } else { function };
        let types: Vec<String> = arguments.iter().map(|argument| type_name(&self.type_of(argument))).collect();
        let refused = || {
            let syntax = function.documentation().map(|text| format!("it is used as {}", text.syntax_example)).unwrap_or_default();
            ExpressionError::new(TYPE, span.clone(), format!("`{name}` does not take ({})", types.join(", "))).help(syntax)
        };
        for position in timed(function.name()) {
            if let Some(argument) = arguments.get_mut(*position) {
                let found = self.type_of(argument);
                if let (Expr::Literal(value, _), true) = (&*argument, is_text(&found) || found.is_null()) {
                    *argument =
                        lit(literal_as(value, &timestamp_type()).map_err(|reason| ExpressionError::new(CONSTANT, span.clone(), reason))?);
                } else if !found.is_temporal() {
                    return Err(refused().help("it takes a time; write cast(… as timestamp) around text that holds one"));
                }
            }
        }
        if function.name().starts_with("date_") && !matches!(arguments.first(), None | Some(Expr::Literal(_, _))) {
            return Err(ExpressionError::new(CONSTANT, span, format!("the first argument of `{name}` is a constant"))
                .help("write date_part('hour', …), date_trunc('day', …) or date_bin(interval '15 minutes', …)"));
        }
        let expr = self.settled(function.call(arguments)).map_err(|_| refused())?;
        let found = expr.get_type(self.frame.schema.as_ref()).map_err(|_| refused())?;
        if let Expr::ScalarFunction(call) = &expr
            && call.args.iter().all(|argument| matches!(argument, Expr::Literal(_, _)))
            && let Ok(value) = constant(expr.clone())
        {
            return self.named_zone(lit(value), &found, span);
        }
        if CHECKED.contains(&function.name()) {
            self.check_constants(name, &expr, span.clone())?;
        }
        self.named_zone(expr, &found, span)
    }

    /// A result of type `found` in the engine's unit of time, and in UTC where it has no zone; null for what is not finite where the mode asks for it.
    fn named_zone(&self, expr: Expr, found: &DataType, span: Range<usize>) -> Converted {
        match found {
            DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond || zone.is_none() => {
                self.cast_to(expr, &timestamp_type(), false, span)
            }
            _ => Ok(self.guarded(expr)),
        }
    }

    /// The call with its arguments coerced and constant ones cast at once, since the type of a result may follow from the value of an argument (`round(x, 2)`).
    fn settled(&self, call: Expr) -> Result<Expr, DataFusionError> {
        let schema = self.frame.schema.as_ref();
        let Expr::ScalarFunction(mut call) = TypeCoercionRewriter::new(schema).f_up(call).data()? else {
            return Err(DataFusionError::Internal("a call was coerced to something else".into()));
        };
        for argument in &mut call.args {
            if let Expr::Cast(Cast { expr, field }) = argument
                && let Expr::Literal(value, _) = expr.as_ref()
            {
                *argument = lit(value.cast_to(field.data_type())?);
            }
        }
        Ok(Expr::ScalarFunction(call))
    }

    /// Calls the function once with its constant arguments, and with zeros or empty texts for the others: a part of a date that does not exist
    /// fails now, not on every row.
    fn check_constants(&self, name: &str, expr: &Expr, span: Range<usize>) -> Result<(), ExpressionError> {
        let Expr::ScalarFunction(call) = expr else { return Ok(()) };
        let mut tried = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            let found = self.type_of(argument);
            tried.push(match argument {
                Expr::Literal(_, _) => argument.clone(),
                _ if is_text(&found) && !timed(call.func.name()).is_empty() => return Ok(()),
                _ if is_text(&found) => lit(""),
                _ => match ScalarValue::new_zero(&found).or_else(|_| ScalarValue::try_new_null(&found)) {
                    Ok(value) => lit(value),
                    Err(_) => return Ok(()),
                },
            });
        }
        constant(call.func.call(tried))
            .map(|_| ())
            .map_err(|error| ExpressionError::new(CONSTANT, span, format!("`{name}`: {}", tidy(&error))))
    }

    /// A regular expression, which must be one.
    pub fn check_pattern(&self, node: &ast::Expr, pattern: &str) -> Result<(), ExpressionError> {
        let Found::Scalar(function) = find("regexp_like") else { return Ok(()) };
        constant(function.call(vec![lit(""), lit(pattern)])).map(|_| ()).map_err(|error| self.error(CONSTANT, node, tidy(&error)))
    }
}
