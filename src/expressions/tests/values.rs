//! What expressions compute: three-valued logic, arithmetic, comparisons, conversions, texts and times.

use arrow::datatypes::DataType;

use super::*;
use crate::data::timestamp_type;

#[test]
fn logic_has_three_values() {
    check(&[
        ("late and true", "true | false | null | true"),
        ("late and false", "false | false | false | false"),
        ("late or true", "true | true | true | true"),
        ("late or false", "true | false | null | true"),
        ("late and null", "null | false | null | null"),
        ("late or null", "true | null | null | true"),
        ("not late", "false | true | null | false"),
        ("late is null", "false | false | true | false"),
        ("late is not null", "true | true | false | true"),
        ("late is true", "true | false | false | true"),
        ("late is not true", "false | true | true | false"),
        ("late is false", "false | true | false | false"),
        ("late is not false", "true | false | true | true"),
        ("late is unknown", "false | false | true | false"),
        ("late is not unknown", "true | true | false | true"),
        ("null = null", "null | null | null | null"),
        ("n = null", "null | null | null | null"),
        ("n is distinct from null", "true | true | false | true"),
        ("n is not distinct from 10", "true | false | false | false"),
        ("not late = true", "false | true | null | false"),
    ]);
}

#[test]
fn integers_are_exact_and_their_failures_are_those_of_rows() {
    check(&[
        ("n + 1", "11 | 1 | null | !arithmetic overflow in 9223372036854775807 + 1"),
        ("n * 2", "20 | 0 | null | !arithmetic overflow in 9223372036854775807 * 2"),
        ("-n - 2", "-12 | -2 | null | !arithmetic overflow in -9223372036854775807 - 2"),
        ("10 / n", "1 | !division by zero | null | 0"),
        ("10 % n", "0 | !division by zero | null | 10"),
        ("n / n", "1 | !division by zero | null | 1"),
        ("-7 / 2", "-3 | -3 | -3 | -3"),
        ("-7 % 2", "-1 | -1 | -1 | -1"),
        ("Delay * Delay", "1 | 0 | null | !arithmetic overflow in 2147483647 * 2147483647"),
        ("Delay + 1", "2 | 1 | null | 2147483648"),
        ("-Delay", "-1 | 0 | null | -2147483647"),
        ("-9223372036854775808", "-9223372036854775808 | -9223372036854775808 | -9223372036854775808 | -9223372036854775808"),
        ("n & 6", "2 | 0 | null | 6"),
        ("n | 1", "11 | 1 | null | 9223372036854775807"),
        ("10 / nullif(n, 0)", "1 | null | null | 0"),
        ("case when n <> 0 then 10 / n else 0 end", "1 | 0 | 0 | 0"),
        ("n <> 0 and 10 / n > 0", "true | false | null | false"),
        ("late or 10 / n > 0", "true | !division by zero | null | true"),
    ]);
}

#[test]
fn floats_follow_ieee_and_zero_has_one_sign_in_comparisons() {
    check(&[
        ("delay / 0", "inf | NaN | null | NaN"),
        ("delay % 7", "6.0 | -0.0 | null | NaN"),
        ("delay >= 0", "true | true | null | true"),
        ("delay = 0", "false | true | null | false"),
        ("delay in (0)", "false | true | null | false"),
        ("delay in (0, 1, 2, 3, 4, 5)", "false | true | null | false"),
        ("delay not in (1, 2, 3, 4, 20)", "false | true | null | true"),
        ("case delay when 0 then 1 else 2 end", "2 | 1 | 2 | 2"),
        ("delay = 0 or delay = 1 or delay = 2 or delay = 3 or delay = 4", "false | true | null | false"),
        ("delay <> -0.0 and delay <> 1 and delay <> 2 and delay <> 3 and delay <> 4", "true | false | null | true"),
        ("nullif(delay, 0)", "20.0 | null | null | NaN"),
        ("1.5e3 + .5", "1500.5 | 1500.5 | 1500.5 | 1500.5"),
        ("round(7.25, 1)", "7.3 | 7.3 | 7.3 | 7.3"),
        ("sqrt(-delay)", "!cannot take square root of a negative number | 0.0 | null | NaN"),
    ]);
}

#[test]
fn decimals_stay_decimals_until_they_meet_a_float() {
    check(&[
        ("price * 2", "20.50 | 0.20 | null | -0.02"),
        ("price + n", "20.25 | 0.10 | null | 9223372036854775806.99"),
        ("price > 0.1", "true | false | null | false"),
        ("price = 0.1", "false | true | null | false"),
        ("price * 0.5", "5.125 | 0.05 | null | -0.005"),
        ("price / 0", "!division by zero | !division by zero | null | !division by zero"),
        ("round(price, 1) * 2 > 3.5", "true | false | null | false"),
        ("cast(price as double)", "10.25 | 0.1 | null | -0.01"),
        ("cast(n as decimal(25,2))", "10.00 | 0.00 | null | 9223372036854775807.00"),
    ]);
    assert_eq!(compile("round(price, 1)", &scope()).unwrap().data_type(), &DataType::Decimal128(10, 1));
}

#[test]
fn conversions_meet_in_the_wider_type_and_constants_take_the_others() {
    check(&[
        ("Delay = n", "false | true | null | false"),
        ("n > '5'", "true | false | null | true"),
        ("n in (1, 2.0, 10)", "true | false | null | false"),
        ("n between 1 and '20'", "true | false | null | false"),
        ("n not in (10, null)", "false | null | null | null"),
        ("delay between 0 and 30", "true | true | null | false"),
        ("delay not between 0 and 30", "false | false | null | true"),
        ("cast(late as int)", "1 | 0 | null | 1"),
        ("cast(delay as bigint)", "20 | 0 | null | !can't cast value NaN to type Int64"),
        ("try_cast(origin as int)", "null | null | null | null"),
        ("try_cast('x' as int)", "null | null | null | null"),
        ("cast('12' as int) + 1", "13 | 13 | 13 | 13"),
        ("n::varchar", "10 | 0 | null | 9223372036854775807"),
        ("case when late then 1 else 2.5 end", "1.0 | 2.5 | 2.5 | 1.0"),
        ("case when delay > 10 then 'late' when delay <= 10 then 'ok' end", "late | ok | null | late"),
        ("case origin when 'BOS' then 1 when 'LGA' then 2 else 0 end", "1 | 2 | 0 | 0"),
        ("coalesce(delay, n, 0)", "20.0 | -0.0 | 0.0 | NaN"),
        ("greatest(n, 5)", "10 | 5 | 5 | 9223372036854775807"),
    ]);
    let kind = |sql: &str| compile(sql, &scope()).unwrap().data_type().clone();
    assert_eq!(kind("Delay + Delay"), DataType::Int32);
    assert_eq!(kind("Delay + 1"), DataType::Int64);
    assert_eq!(kind("n + 1.0"), DataType::Float64);
    assert_eq!(kind("cast(n as smallint)"), DataType::Int32);
    assert_eq!(kind("date_part('hour', at)"), DataType::Int32);
    assert_eq!(kind("at::timestamp"), timestamp_type());
    assert!(!compile("flight_id + 1", &scope()).unwrap().nullable());
    assert!(compile("n + 1", &scope()).unwrap().nullable());
}

#[test]
fn texts() {
    check(&[
        ("origin || '-' || n", "BOS-10 | LGA-0 | null | -9223372036854775807"),
        ("origin like 'B%'", "true | false | null | false"),
        ("origin not like 'B%'", "false | true | null | true"),
        ("origin ilike 'b_s'", "true | false | null | false"),
        ("origin ~ '^[AL]'", "false | true | null | false"),
        ("origin !~* 'b'", "false | true | null | true"),
        ("origin in ('BOS', 'LGA')", "true | true | null | false"),
        ("'BOS' in (origin, airports.iata)", "true | false | null | null"),
        ("upper(lower(origin))", "BOS | LGA | null | "),
        ("length(origin)", "3 | 3 | null | 0"),
        ("substring(origin from 2 for 1)", "O | G | null | "),
        ("position('O' in origin)", "2 | 0 | null | 0"),
        ("trim(both 'B' from origin)", "OS | LGA | null | "),
        ("regexp_replace(origin, '[A-Z]', 'x')", "xOS | xGA | null | "),
        ("concat(origin, '-', n)", "BOS-10 | LGA-0 | - | -9223372036854775807"),
        ("'it''s'", "it's | it's | it's | it's"),
    ]);
}

#[test]
fn times_are_utc_and_meet_texts_and_intervals() {
    check(&[
        ("at > '2001-03-04 17:05:06'", "true | false | null | false"),
        ("at = '2001-03-04T18:05:06.5+01:00'", "true | false | null | false"),
        ("at > timestamp '2001-03-01'", "true | false | null | true"),
        ("at between '2001-01-01' and '2001-03-04'", "false | false | null | true"),
        ("at in ('2001-03-04 17:05:06.5', '1970-01-01')", "true | true | null | false"),
        ("day = '2001-03-04'", "true | false | null | false"),
        ("day = at", "false | true | null | false"),
        ("date(at)", "2001-03-04 | 1970-01-01 | null | 2001-03-03"),
        ("date(at) = day", "true | true | null | true"),
        ("date_part('hour', at)", "17 | 0 | null | 17"),
        ("extract(dow from at)", "0 | 4 | null | 6"),
        ("extract(isodow from at)", "7 | 4 | null | 6"),
        ("extract(year from day)", "2001 | 1970 | null | 2001"),
        ("date_part('epoch', at)", "983725506.5 | 0.0 | null | 983639106.5"),
        ("date_trunc('hour', at)", "2001-03-04T17:00:00Z | 1970-01-01T00:00:00Z | null | 2001-03-03T17:00:00Z"),
        ("date_bin(interval '15 minutes', at)", "2001-03-04T17:00:00Z | 1970-01-01T00:00:00Z | null | 2001-03-03T17:00:00Z"),
        ("at + interval '1 hour'", "2001-03-04T18:05:06.500Z | 1970-01-01T01:00:00Z | null | 2001-03-03T18:05:06.500Z"),
        ("interval '90' minute + at", "2001-03-04T18:35:06.500Z | 1970-01-01T01:30:00Z | null | 2001-03-03T18:35:06.500Z"),
        ("at - interval '1 month'", "2001-02-04T17:05:06.500Z | 1969-12-01T00:00:00Z | null | 2001-02-03T17:05:06.500Z"),
        ("at - left_at > interval '1 day'", "true | false | null | false"),
        ("at - left_at between interval '24 hours' and interval '2 days'", "true | false | null | false"),
        ("date_part('epoch', at - left_at)", "90000.0 | 0.0 | null | -86400.0"),
        ("day - date '2001-01-01'", "62 | -11323 | null | 61"),
        ("date_part('hour', at at time zone 'America/New_York')", "12 | 19 | null | 12"),
        ("at at time zone 'America/New_York' = at", "true | true | null | true"),
        ("to_char(at, '%Y-%m-%d %H')", "2001-03-04 17 | 1970-01-01 00 | null | 2001-03-03 17"),
        ("to_timestamp('2001-01-01T00:00:00Z') < at", "true | false | null | true"),
        ("coalesce(at, '2001-01-01')", "2001-03-04T17:05:06.500Z | 1970-01-01T00:00:00Z | 2001-01-01T00:00:00Z | 2001-03-03T17:05:06.500Z"),
    ]);
    for sql in ["to_timestamp_millis(n)", "at at time zone 'Europe/Amsterdam'", "date_trunc('day', day)", "day + interval '1 day'"] {
        assert_eq!(compile(sql, &scope()).unwrap().data_type(), &timestamp_type(), "{sql}");
    }
}

#[test]
fn names_are_exact() {
    check(&[
        ("delay > 15", "true | false | null | true"),
        ("Delay > 0", "true | false | null | true"),
        ("airports.city", "Boston | New York | null | null"),
        ("\"airports.city\"", "Boston | New York | null | null"),
        ("\"airports\".city = 'Boston'", "true | false | null | null"),
        ("user = 'a'", "true | false | false | false"),
        ("\"my col\" * 2", "2 | 4 | 6 | 8"),
        ("DATE(at) IS NULL", "false | false | true | false"),
    ]);
    let scope = Scope::new(vec![
        ScopeColumn::new("x", DataType::Int64, true),
        ScopeColumn::new("y", DataType::Int64, true),
        ScopeColumn::new("x", DataType::Utf8, true),
    ]);
    assert_eq!(compile("y", &scope).unwrap().as_column(), Some(1));
    assert_eq!(compile("x", &scope).unwrap_err().code, "X003");
}
