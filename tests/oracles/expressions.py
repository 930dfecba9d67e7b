"""SQL of `derive` and `where` against DuckDB, over random rows with many nulls: three-valued logic, arithmetic, casts, strings, dates (S9).

Where the dialects differ on purpose the DuckDB spelling stands beside: `/` of integers is integer division here and `//` there, `to_char` is `strftime`.
"""

import datetime
import decimal

import duckdb
import numpy as np
import pyarrow as pa

from windows import START

PERTURBED = {f"e{n}" for n in range(200)}

# The engine's SQL, and DuckDB's where it is spelled otherwise.
EXPRESSIONS = [
    "b and c",
    "b or c",
    "not b",
    "b and not c or i > 0",
    "b is true",
    "b is not true",
    "b is not false",
    "b is unknown",
    "b = c",
    "b is distinct from c",
    "i is not distinct from j",
    "i > j",
    "i <= j",
    "i <> 3",
    "x < y",
    "s < u",
    "i = x",
    "i between j and 50",
    "i not between -5 and 5",
    "i in (1, 2, 3)",
    "i in (1, null)",
    "i not in (1, 2)",
    "i not in (1, null)",
    "s in ('ab', 'B')",
    "s is null",
    "s is not null and i is null",
    "coalesce(i, j, 0)",
    "coalesce(s, u, 'none')",
    "nullif(i, j)",
    "nullif(s, 'ab')",
    "greatest(i, j)",
    "least(x, y)",
    "case when i > 0 then 'plus' when i < 0 then 'minus' end",
    "case when b then x else y end",
    "case s when 'ab' then 1 when 'B' then 2 else 0 end",
    "case when b and null then 1 else 2 end",
    "s like 'a%'",
    "s not like '%b_'",
    "s ilike 'A%'",
    "u like '%\\_%' escape '\\'",
    "s || '-' || u",
    "s || null",
    "i + j",
    "i - j * 2",
    "-i",
    "abs(i)",
    "i % 7",
    ("i / 7", "i // 7"),
    ("i / nullif(j, 0)", "i // nullif(j, 0)"),
    "i % nullif(j, 0)",
    "x + i",
    "x * y - i",
    "x / y",
    "i * 1.5",
    "i / 7.0",
    "x % 3.5",
    "round(x)",
    "floor(x)",
    "ceil(x)",
    "trunc(x)",
    "sqrt(abs(x))",
    "exp(x / 100)",
    "ln(abs(x) + 1)",
    "log10(abs(x) + 1)",
    "log2(abs(x) + 1)",
    "power(x, 2)",
    "power(abs(x), 0.3)",
    "sin(x)",
    "cos(x)",
    "tan(x)",
    "atan(x)",
    "atan2(x, y)",
    ("signum(x)", "sign(x)::double"),
    "cbrt(x)",
    "degrees(x)",
    "cast(i as double)",
    "cast(trunc(x) as bigint)",
    "cast(i as varchar)",
    "cast(b as int)",
    "cast(i as boolean)",
    "cast(digits as bigint)",
    "try_cast(s as bigint)",
    "cast(i as decimal(18,2))",
    "cast(d as double)",
    "cast(d as varchar)",
    "cast(b as varchar)",
    "cast(day as timestamp)",
    "cast(ts as date)",
    "cast('2024-02-29' as date)",
    "i::double / 3",
    "d + d",
    "d * 2",
    "d > 100",
    "d = cast(0.50 as decimal(4,2))",
    "-d",
    "abs(d)",
    "upper(s)",
    "lower(s)",
    "length(s)",
    "concat(s, u)",
    "substr(u, 2, 3)",
    "substr(u, 3)",
    "trim(u)",
    "ltrim(u)",
    "replace(u, 'b', 'éé')",
    "starts_with(s, 'a')",
    "strpos(u, 'b')",
    "left(u, 2)",
    "right(u, 2)",
    "reverse(u)",
    "lpad(s, 6, '*')",
    "rpad(s, 6, '+')",
    "repeat(s, 3)",
    "split_part(u, '_', 2)",
    "ascii(s)",
    "position('b' in u)",
    "substring(u from 2 for 1)",
    ("octet_length(u)", "strlen(u)"),
    ("regexp_like(u, '^a.*b$')", "regexp_matches(u, '^a.*b$')"),
    *[f"date_part('{part}', ts)" for part in ("year", "quarter", "month", "week", "day", "doy", "dow", "hour", "minute", "epoch")],
    "extract(hour from ts)",
    "date_part('month', day)",
    "date_part('dow', day)",
    *[f"date_trunc('{part}', ts)" for part in ("year", "quarter", "month", "week", "day", "hour", "minute")],
    "ts + interval '90 minutes'",
    "ts - interval '1 month'",
    "ts + interval '2 days'",
    "day < date '2024-02-29'",
    "ts >= timestamp '2024-03-01 00:00:00'",
    "ts between timestamp '2024-02-01 00:00:00' and timestamp '2024-03-01 00:00:00'",
    "ts = ts2",
    "ts < day",
    ("to_char(ts, '%Y-%m-%d %H:%M:%S')", "strftime(ts, '%Y-%m-%d %H:%M:%S')"),
    ("to_char(ts, '%j %a %b')", "strftime(ts, '%j %a %b')"),
    ("date(ts)", "ts::date"),
    *[
        (f"date_part('{part}', ts at time zone '{zone}')", f"date_part('{part}', timezone('{zone}', timezone('UTC', ts)))")
        for zone in ("Europe/Amsterdam", "America/New_York", "Asia/Kathmandu")
        for part in ("hour", "day", "minute")
    ],
]
FILTERS = [
    "b",
    "not b",
    "b or c",
    "not (b and c)",
    "i > j or s is null",
    "s not in ('ab', null)",
    "not (i in (1, 2, null))",
    "x > 0 and (case when c then i end) > 0",
    "date_part('hour', ts) < 6 and b is not false",
    "i <> j",
]
# In a model's `derive` every number is a float and what is not finite is null.
FLOATS = [
    "i / j",
    "x / j",
    "ln(x)",
    "sqrt(x)",
    "exp(x * 100)",
    "x * 1e308 * 10",
    "i % j",
    "case when i > j then 1 else 0 end",
    "coalesce(i, j) / 2",
    "1 / (i - i)",
    "power(x, 0.5)",
    "abs(i) + 0.5 * j",
]


def records(count):
    """Random rows, of which a fifth of every column is null."""
    chance = np.random.default_rng(51)
    words = ["ab", "B", "a_b", "", " xb ", "Zürich", "a__bb", "ÀÉ b", "abab", "日本 b"]
    rows = []
    for n in range(count):
        maybe = lambda value: None if chance.random() < 0.2 else value
        instant = lambda: START + int(chance.integers(0, 366 * 86_400_000))
        rows.append(
            {
                "id": n,
                "ts": START + int(n * 366 * 86_400_000 / count) + int(chance.integers(0, 1000)),
                "ts2": maybe(instant()),
                "day": maybe(str(datetime.date(2023, 12, 1) + datetime.timedelta(int(chance.integers(0, 400))))),
                "i": maybe(int(chance.integers(-9, 10)) * (1 if chance.random() < 0.7 else 12_345_678_901)),
                "j": maybe(int(chance.integers(-5, 6))),
                "x": maybe(float(chance.normal() * 30)),
                "y": maybe(float(chance.normal() * 1e-3)),
                "b": maybe(bool(chance.random() < 0.5)),
                "c": maybe(bool(chance.random() < 0.5)),
                "s": maybe(words[chance.integers(0, 4)]),
                "u": maybe(words[chance.integers(0, len(words))]),
                "digits": maybe(str(int(chance.integers(-1000, 1000)))),
                "d": maybe(round(float(chance.normal() * 500), 2)),
                "label": bool(chance.random() < 0.5),
            }
        )
    return rows


SCHEMA = 'schema = { id = "int64", ts = "timestamp_ms", ts2 = "timestamp_ms?", day = "date?", i = "int64?", j = "int64?", x = "float64?", y = "float64?", b = "bool?", c = "bool?", s = "string?", u = "string?", digits = "string?", d = "decimal(12,2)?", label = "bool" }'


def pair(entry):
    """The engine's spelling and DuckDB's."""
    return entry if isinstance(entry, tuple) else (entry, entry)


def text(sql):
    """A TOML string."""
    return '"' + sql.replace("\\", "\\\\") + '"'


def normal(value):
    """Times without zone and decimals without trailing zeros, so that equal values are equal."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    return value.normalize() if isinstance(value, decimal.Decimal) else value


def compare(check, what, got, wanted):
    """Floats within 1e-9, the rest exactly."""
    got, wanted = [normal(value) for value in got], [normal(value) for value in wanted]
    if any(isinstance(value, float) for value in got + wanted):
        check.close(what, got, wanted, 1e-9, [max(abs(float(value)), 1e-9) if value is not None else None for value in wanted])
    else:
        check.equal(what, got, wanted)


def sql(engine, check):
    """Streams that derive and filter, and a model that derives."""
    rows = records(2000)
    pipeline = f'[sources.r]\nkind = "file"\npath = "${{IN}}/r.ndjson"\n{SCHEMA}\nevent_time = "ts"\nkey = "id"\n[streams.derived]\nfrom = "r"\n[streams.derived.derive]\n'
    pipeline += "".join(f"e{n} = {text(pair(entry)[0])}\n" for n, entry in enumerate(EXPRESSIONS))
    pipeline += f'[sinks.derived]\nkind = "parquet"\nfrom = "derived"\npath = "${{OUT}}/derived.parquet"\ncolumns = {["id"] + [f"e{n}" for n in range(len(EXPRESSIONS))]}\n'
    for n, entry in enumerate(FILTERS):
        pipeline += f'[streams.f{n}]\nfrom = "r"\nwhere = {text(entry)}\n[sinks.f{n}]\nkind = "file"\nfrom = "f{n}"\npath = "${{OUT}}/f{n}.ndjson"\ncolumns = {{ id = "id", e{n} = "id + 1" }}\n'
    pipeline += '[sinks.quarantine]\nkind = "file"\nfrom = "quarantine"\npath = "${OUT}/quarantine.ndjson"\n'
    names = [f"e{n}" for n in range(len(FLOATS))]
    pipeline += (
        f'[models.m]\nkind = "linear_regression"\nfrom = "r"\nfeatures = {names}\nlabel = "label"\nlearn = "record"\n[models.m.derive]\n'
    )
    pipeline += (
        "".join(f"{name} = {text(entry)}\n" for name, entry in zip(names, FLOATS))
        + f'[sinks.m]\nkind = "parquet"\nfrom = "models.m"\npath = "${{OUT}}/m.parquet"\ncolumns = {["id"] + names}\n'
    )
    outcome = engine.run(check.name, pipeline, {"r.ndjson": rows}, 2)
    check.equal("quarantine", outcome.lines("quarantine"), [])

    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["ts"], columns["ts2"] = pa.array(columns["ts"], pa.timestamp("ms")), pa.array(columns["ts2"], pa.timestamp("ms"))
    columns["day"] = [day and datetime.date.fromisoformat(day) for day in columns["day"]]
    columns["d"] = pa.array(
        [None if d is None else decimal.Decimal(repr(d)).quantize(decimal.Decimal("0.01")) for d in columns["d"]], pa.decimal128(12, 2)
    )
    con = duckdb.connect(config={"threads": 1})
    con.register("raw", pa.table(columns))
    con.sql("create table r as select * replace (ts::timestamp as ts, ts2::timestamp as ts2) from raw order by id")
    got = outcome.table("derived")
    check.equal("rows", got["id"], columns["id"])
    for n, entry in enumerate(EXPRESSIONS):
        here, there = pair(entry)
        try:
            wanted = [row[0] for row in con.sql(f"select {there} from r order by id").fetchall()]
        except duckdb.Error as error:
            check.fault(f"DuckDB refuses {there}: {str(error).splitlines()[0]}")
            continue
        compare(check, here, got[f"e{n}"], wanted)
    for n, entry in enumerate(FILTERS):
        lines = outcome.lines(f"f{n}")
        wanted = [row[0] for row in con.sql(f"select id from r where {entry} order by id").fetchall()]
        check.equal(f"where {entry}", [row["id"] for row in lines], wanted)
        check.equal(f"id + 1 where {entry}", [row[f"e{n}"] for row in lines], [id + 1 for id in wanted])
    con.sql("create table f as select * replace (i::double as i, j::double as j) from r")
    derived = outcome.table("m")
    for name, entry in zip(names, FLOATS):
        guarded = {
            "ln(x)": "case when x > 0 then ln(x) end",
            "sqrt(x)": "case when x >= 0 then sqrt(x) end",
            "power(x, 0.5)": "case when x >= 0 then power(x, 0.5) end",
            "i % j": "case when j <> 0 then i % j end",
            "i / j": "i / nullif(j, 0)",
            "x / j": "x / nullif(j, 0)",
            "1 / (i - i)": "null::double",
            "exp(x * 100)": "case when x * 100 < 709.78 then exp(x * 100) end",
        }
        wanted = [
            row[0]
            for row in con.sql(
                f"select case when isfinite(v) then v end from (select id, ({guarded.get(entry, entry)})::double as v from f) order by id"
            ).fetchall()
        ]
        compare(check, f"in a model: {entry}", derived[name], wanted)


ORACLES = [sql]
