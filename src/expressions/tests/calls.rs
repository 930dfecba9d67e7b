//! Aggregate calls, join conditions, mentioned names, quoting, the list of functions.

use arrow::datatypes::DataType;

use super::*;

#[test]
fn aggregates_are_read_with_all_their_parts() {
    let call = |sql: &str| parse_aggregate(sql, &scope()).expect(sql);
    let plain = call("count(*)");
    assert_eq!((plain.function.as_str(), plain.star, plain.argument.is_none(), plain.filter.is_none()), ("count", true, true, true));
    let sql = "COUNT(distinct origin) filter (where delay > 15)";
    let counted = call(sql);
    assert_eq!((counted.function.as_str(), counted.distinct), ("count", true));
    assert_eq!(counted.argument.unwrap().as_column(), Some(4));
    let filter = counted.filter.unwrap();
    assert_eq!((filter.data_type(), filter.inputs()), (&DataType::Boolean, &[1][..]));
    let spans = (counted.function_span, counted.argument_span.unwrap(), counted.filter_span.unwrap());
    assert_eq!((&sql[spans.0], &sql[spans.1], &sql[spans.2]), ("COUNT", "origin", "delay > 15"));
    assert_eq!(call("approx_quantile(delay, 0.95)").parameters, [Parameter::Number(0.95)]);
    assert_eq!(call("foo(delay, -2, 'x')").parameters, [Parameter::Number(-2.0), Parameter::Text("x".into())]);
    assert_eq!(call("ewm_avg(delay, '1h')").parameters, [Parameter::Text("1h".into())]);
    let idle = call("time_since_last()");
    assert!(idle.argument.is_none() && !idle.star);
    let sum = call("sum(case when late then n + 1 else 0 end)").argument.unwrap();
    assert_eq!((sum.data_type(), sum.inputs()), (&DataType::Int64, &[3, 6][..]));
    for name in ["sum", "avg", "min", "max", "var_pop", "var_samp", "stddev_pop", "stddev_samp", "first", "last", "approx_distinct", "lag"]
    {
        assert_eq!(call(&format!("{name}(delay)")).function, name);
    }
}

#[test]
fn malformed_aggregates_say_why() {
    for (sql, code, place) in [
        ("avg(delay) * 2", "X011", "avg(delay) * 2"),
        ("avg", "X011", "avg"),
        ("delay > 1", "X011", "delay > 1"),
        ("avg(dela)", "X002", "dela"),
        ("avg(delay) filter (where n)", "X007", "n"),
        ("avg(delay) over ()", "X011", "avg(delay)"),
        ("avg(delay order by n)", "X011", "avg(delay order by n)"),
        ("ewm_sum(delay, n)", "X011", "n"),
        ("avg(avg(delay))", "X011", "avg"),
        ("count(*) filter (where delay > )", "X001", ")"),
    ] {
        let error = parse_aggregate(sql, &scope()).expect_err(sql);
        assert_eq!((error.code, &sql[error.span.clone()]), (code, place), "{sql}: {error}");
    }
}

#[test]
fn joins_give_the_streams_side() {
    let text = DataType::Utf8;
    let join = |sql: &str| parse_join(sql, &scope(), "airports", "iata", &text);
    for sql in ["origin = iata", "iata = origin", "origin = airports.iata", "airports.iata = origin", "(origin = iata)"] {
        assert_eq!(join(sql).expect(sql).as_column(), Some(4), "{sql}");
    }
    assert_eq!(join("upper(origin) = iata").unwrap().inputs(), [4]);
    let same = parse_join("flight_id = planes.flight_id", &scope(), "planes", "flight_id", &DataType::Int64).unwrap();
    assert_eq!(same.as_column(), Some(0));
    let widened = parse_join("Delay = id", &scope(), "planes", "id", &DataType::Int64).unwrap();
    assert_eq!(widened.data_type(), &DataType::Int64);
    for (sql, code) in [
        ("origin > iata", "X012"),
        ("origin", "X012"),
        ("origin = city", "X012"),
        ("iata = iata", "X012"),
        ("n = iata", "X007"),
        ("orgin = iata", "X002"),
    ] {
        assert_eq!(join(sql).expect_err(sql).code, code, "{sql}");
    }
    assert_eq!(
        parse_join("flight_id = flight_id", &scope(), "planes", "flight_id", &DataType::Int64).unwrap_err().help,
        "write `flight_id = planes.flight_id`"
    );
}

#[test]
fn mentioned_names_come_once_in_order() {
    assert_eq!(mentioned("b.x + a > 1 and a in (c, \"d e\") or upper(f) like 'x'").unwrap(), ["b.x", "a", "c", "d e", "f"]);
    assert_eq!(mentioned("avg(delay) filter (where origin = 'x')").unwrap(), ["delay", "origin"]);
    assert_eq!(mentioned("case x when y then z else cast(w as int) end").unwrap(), ["x", "y", "z", "w"]);
    assert_eq!(mentioned("count(*)").unwrap(), [""; 0]);
    assert_eq!(mentioned("a >").unwrap_err().code, "X001");
}

#[test]
fn quoted_names_are_read_back() {
    for (name, sql) in [
        ("delay", "delay"),
        ("airports.city", "airports.city"),
        ("my col", "\"my col\""),
        ("a\"b", "\"a\"\"b\""),
        ("t.my col", "t.\"my col\""),
        ("case", "\"case\""),
        ("null", "\"null\""),
        ("1st", "\"1st\""),
        ("current_date", "\"current_date\""),
        ("", "\"\""),
        ("a.", "\"a.\""),
        ("user", "user"),
        ("date", "date"),
        ("größe", "größe"),
    ] {
        assert_eq!(quote(name), sql, "{name}");
        let scope = Scope::new(vec![ScopeColumn::new("other", DataType::Int64, true), ScopeColumn::new(name, DataType::Int64, true)]);
        for sql in [sql.to_string(), format!("coalesce({sql}, 1) > 0 and {sql} is not null")] {
            let expression = compile(&sql, &scope).unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(expression.inputs(), [1], "{sql}");
        }
    }
}

#[test]
fn every_listed_function_is_found_and_none_is_volatile() {
    let names = function_names();
    for name in ["abs", "cast", "coalesce", "date", "date_part", "exp", "greatest", "pow", "regexp_like", "substr", "upper"] {
        assert!(names.contains(&name), "{name}");
    }
    for name in ["now", "random", "uuid", "current_date", "version", "arrow_cast", "avg", "finite"] {
        assert!(!names.contains(&name), "{name}");
    }
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
}
