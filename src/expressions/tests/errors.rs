//! What is refused when compiling: code, place and help.

use super::*;

/// SQL, code, the text that is pointed at, and a part of message or help.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("", "X001", "", "empty"),
    ("delay >", "X001", "", "found the end"),
    ("delay > > 1", "X001", ">", "expected an expression"),
    ("delay 5", "X001", "5", "unexpected `5`"),
    ("delay;", "X001", ";", "semicolon"),
    ("(delay > 1", "X001", "(", "never closed"),
    ("delay) > 1", "X001", ")", "closes nothing"),
    ("origin = 'BOS", "X001", "'BOS", "single quote"),
    ("dela > 1", "X002", "dela", "did you mean `delay`?"),
    ("DELAY > 1", "X002", "DELAY", "names are case-sensitive: did you mean `delay`?"),
    ("1 + Origin", "X002", "Origin", "did you mean `origin`?"),
    ("city = 'x'", "X002", "city", "did you mean `airports.city`?"),
    ("airports.cty = 'x'", "X002", "airports.cty", "did you mean `airports.city`?"),
    ("origin = \"BOS\"", "X002", "\"BOS\"", "single quotes: 'BOS'"),
    ("zzzzzz > 1", "X002", "zzzzzz", "the columns here are flight_id, delay"),
    ("sqr(delay)", "X004", "sqr", "did you mean `sqrt`?"),
    ("hour(at)", "X004", "hour", "date_part('hour', …)"),
    ("now()", "X005", "now", "S9.2"),
    ("at < now() - interval '1 day'", "X005", "now", "S9.2"),
    ("random()", "X005", "random", "S9.2"),
    ("uuid()", "X005", "uuid", "S9.2"),
    ("current_date", "X005", "current_date", "S9.2"),
    ("current_timestamp", "X005", "current_timestamp", "S9.2"),
    ("localtime", "X005", "localtime", "S9.2"),
    ("today()", "X005", "today", "S9.2"),
    ("origin > 5", "X006", "origin > 5", "cast(… as double)"),
    ("origin + 1", "X006", "origin + 1", "`||` joins texts"),
    ("late = 1", "X006", "late = 1", "a condition needs no comparison"),
    ("late + 1", "X006", "late + 1", "cast(… as int)"),
    ("late and n", "X006", "n", "`and` needs a condition, but this is int64"),
    ("not n", "X006", "n", "`not` needs a condition"),
    ("at > 5", "X006", "at > 5", "timestamp cannot be compared with int64"),
    ("at + 5", "X006", "at + 5", "interval '1 day'"),
    ("abs(origin) + 1", "X006", "abs(origin)", "`abs` does not take (string)"),
    ("date_part('hour', origin)", "X006", "date_part('hour', origin)", "it takes a time"),
    ("substr(origin)", "X006", "substr(origin)", "substr"),
    ("case when late then 1 else 'x' end", "X006", "'x'", "both int64 and string"),
    ("coalesce(origin, 5)", "X006", "5", "both string and int64"),
    ("case when n then 1 end", "X006", "n", "`when` needs a condition"),
    ("n like 'x'", "X006", "n", "`like` needs text"),
    ("-origin", "X006", "-origin", "`-` does not go before string"),
    ("at - left_at > interval '1 month'", "X006", "interval '1 month'", "no fixed length"),
    ("at - left_at", "X007", "at - left_at", "date_part('epoch', …)"),
    ("interval '1 hour'", "X007", "interval '1 hour'", "interval"),
    ("(select 1)", "X008", "select 1", "no subqueries"),
    ("n in (select 1)", "X008", "n in (select 1", "not supported"),
    ("array[1]", "X008", "[", "no arrays"),
    ("n ^ 2", "X008", "n ^ 2", "power(a, b)"),
    ("$1", "X008", "$1", "constants are"),
    ("cast(origin as foo)", "X008", "cast(origin as foo)", "unknown type `foo`"),
    ("abs(distinct n)", "X008", "abs(distinct n)", "takes arguments only"),
    ("1 / 0", "X010", "1 / 0", "division by zero"),
    ("n + 5 % 0", "X010", "5 % 0", "division by zero"),
    ("9223372036854775807 + 1", "X010", "9223372036854775807 + 1", "beyond the range of int64"),
    ("cast(2147483647 as int) + cast(1 as int)", "X010", "cast(2147483647 as int) + cast(1 as int)", "int32"),
    ("9223372036854775808", "X010", "9223372036854775808", "exponent"),
    ("n > 'x'", "X010", "'x'", "cannot be read as int64"),
    ("at > 'noon'", "X010", "'noon'", "cannot be read as timestamp"),
    ("date '2001-13-01' < day", "X010", "date '2001-13-01'", "cannot be read as date"),
    ("at + interval 'foo'", "X010", "interval 'foo'", "'15 minutes'"),
    ("date_part('foo', at)", "X010", "date_part('foo', at)", "not supported"),
    ("date_trunc('foo', at)", "X010", "date_trunc('foo', at)", "granularity"),
    ("date_trunc(origin, at)", "X010", "date_trunc(origin, at)", "is a constant"),
    ("origin ~ '('", "X010", "'('", "unclosed group"),
    ("regexp_like(origin, '[')", "X010", "regexp_like(origin, '[')", "unclosed character class"),
    ("at at time zone 'Mars/Base' > at", "X010", "'Mars/Base'", "unknown time zone"),
    ("cast('x' as int)", "X010", "'x'", "cannot be read as int32"),
    ("avg(delay) > 1", "X011", "avg", "[features.*]"),
    ("count(*)", "X011", "count", "[features.*]"),
];

#[test]
fn every_mistake_has_code_place_and_help() {
    let mut wrong = Vec::new();
    for (sql, code, place, text) in CASES {
        let error = refused(sql);
        let pointed = &sql[error.span.clone()];
        let said = format!("{} / {}", error.message, error.help);
        if error.code != *code || pointed != *place || !said.contains(text) {
            wrong.push(format!("{sql}: {} [{pointed}] {said}", error.code));
        }
        let first = error.message.chars().next().unwrap();
        assert!(!first.is_uppercase() && !error.message.ends_with('.') && !error.message.contains('\n'), "{}", error.message);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn places_are_bytes_in_any_line() {
    let sql = "origin = 'Zürich' and\n  'é' = origin and\n\tdela > 1";
    let error = refused(sql);
    assert_eq!((&sql[error.span.clone()], error.span.start), ("dela", sql.find("dela").unwrap()));
    let sql = "(n + (\n 'é' || sqr(n)))";
    assert_eq!(&sql[refused(sql).span], "sqr");
}

#[test]
fn ambiguous_names_list_their_candidates() {
    let mut columns = scope().columns;
    columns.push(ScopeColumn::new("carriers.city", arrow::datatypes::DataType::Utf8, true));
    let error = compile("city = 'x'", &Scope::new(columns)).unwrap_err();
    assert_eq!((error.code, error.help.as_str()), ("X003", "write `airports.city` or `carriers.city`"));
}
