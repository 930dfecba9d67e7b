"""Every aggregate of S7.4 over every kind of window, against as-of self joins in DuckDB.

A feature row of record r sees the records p of its key that were processed before it or are r itself (canonical order: epoch, event time, offset;
S3.1) and lie in its window (S7.2): with the current record and its earlier ties, or strictly before its time (S7.3). The join says just that, so
the order of arrival is part of it. Exact sums come from DuckDB's compensated `fsum` and `favg`; variances of the column near 1e15 from values less
1e15, which is exact. Bounds are those of S7.5: sums 1e-12 · Σ|x|; variances 1e-12, or 1e-15 of the largest square (of values less 1e15), and exactly
0 where all values are equal.
"""

import datetime
import decimal
import json
import math

import duckdb
import numpy as np
import pyarrow as pa

START = 1_704_067_200_000  # 2024-01-01T00:00Z in ms
BIG = 10**15
PERTURBED = {"n_10s", "sum_a_2m", "stddev_pop_big_20m", "last_s_20m", "gap", "ewm_avg_i_30s"}

SCHEMA = """schema = { id = "int64", ts = "timestamp_ms", k = "string?", g = "int64", a = "float64?", big = "float64?", swing = "float64", i = "int64?",
  d = "decimal(18,4)?", b = "bool?", s = "string?", f = "int64?" }"""
TYPES = {"d": pa.decimal128(18, 4)}

FLOATS = ["a", "big", "swing"]


def aggregates():
    """(name, engine's SQL, DuckDB's SQL, DuckDB's SQL of the scale or None, bound or None for equality)"""
    yield "n", "count(*)", "count(p.id)", None, None
    for x in FLOATS + ["i", "d"]:
        shift = BIG if x == "big" else 0
        exact = x in ("i", "d")
        value = f"p.{x}::double" if x == "d" else f"p.{x}"
        if x == "i":
            yield f"sum_{x}", f"sum({x})", f"sum(p.{x})::bigint", None, None
        else:
            yield (
                f"sum_{x}",
                f"sum({x})",
                f"sum(p.{x})::double" if exact else f"fsum(p.{x})",
                f"fsum(abs({value}))",
                1e-15 if exact else 1e-12,
            )
        yield f"avg_{x}", f"avg({x})", f"(sum(p.{x}) / count(p.{x}))::double" if exact else f"favg(p.{x})", f"favg(abs({value}))", 1e-12
        for name in ("var_pop", "var_samp", "stddev_pop", "stddev_samp"):
            spread, centred = f"{name}({value} - {shift})", f"({value} - {shift})::double"
            variance = f"power({spread}, 2)" if name.startswith("stddev") else spread
            scale = f"case when {spread} = 0 then 0 else {variance} + 1e-3 * max({centred} * {centred}) end"
            yield f"{name}_{x}", f"{name}({x})", spread, scale, 1e-12
        for name in ("min", "max"):
            yield f"{name}_{x}", f"{name}({x})", f"{name}({value})", None, None
    for x in ("a", "i", "s", "b", "ts"):
        yield f"first_{x}", f"first({x})", f"arg_min(p.{x}, p.rk) filter (where p.{x} is not null)", None, None
        yield f"last_{x}", f"last({x})", f"arg_max(p.{x}, p.rk) filter (where p.{x} is not null)", None, None
    for x in ("a", "i", "s", "b"):
        yield f"count_{x}", f"count({x})", f"count(p.{x})", None, None
        yield f"distinct_{x}", f"count(distinct {x})", f"count(distinct p.{x})", None, None
    yield "about_s", "approx_distinct(s)", "count(distinct p.s)", None, None
    yield "sum_b", "sum(b)", "sum(p.b::int)::bigint", None, None
    yield "avg_b", "avg(b)", "avg(p.b::int)", None, 1e-12
    yield "max_b", "max(b)", "max(p.b)", None, None
    yield "min_ts", "min(ts)", "min(p.ts)", None, None
    for x in ("a", "i"):
        for q in (0, 0.5, 0.95, 1):
            values = f"list_sort(list(p.{x}) filter (where p.{x} is not null))"
            wanted = f"({values})[1 + floor({q} * (count(p.{x}) - 1))::bigint]::double"
            yield f"q{round(100 * q)}_{x}", f"approx_quantile({x}, {q})", wanted, None, 0.01 + 1e-12
    chosen = "filter (where f > 3 and (b or a < 0))"
    yield "n_f", f"count(*) {chosen}", "count(p.id) filter (where p.chosen)", None, None
    yield "sum_a_f", f"sum(a) {chosen}", "fsum(p.a) filter (where p.chosen)", "fsum(abs(p.a)) filter (where p.chosen)", 1e-12
    spread, only = "stddev_samp(p.a) filter (where p.chosen)", "filter (where p.chosen)"
    scale = f"case when {spread} = 0 then 0 else power({spread}, 2) + 1e-3 * max(p.a * p.a) {only} end"
    yield "stddev_a_f", f"stddev_samp(a) {chosen}", spread, scale, 1e-12
    yield "max_a_f", f"max(a) {chosen}", "max(p.a) filter (where p.chosen)", None, None
    yield "last_s_f", f"last(s) {chosen}", "arg_max(p.s, p.rk) filter (where p.chosen and p.s is not null)", None, None
    yield "distinct_s_f", f"count(distinct s) {chosen}", "count(distinct p.s) filter (where p.chosen)", None, None
    values = "list_sort(list(p.a) filter (where p.chosen and p.a is not null))"
    yield "median_a_f", f"approx_quantile(a, 0.5) {chosen}", f"({values})[1 + floor(0.5 * (len({values}) - 1))::bigint]", None, 0.01 + 1e-12


def horizons():
    """As above, of the functions with a horizon of their own."""
    for name, half in (("30s", 30e3), ("10m", 600e3)):
        for x in ("a", "i"):
            weight = f"pow(2, -epoch_ms(r.ts - p.ts) / {half})".replace("epoch_ms(r.ts - p.ts)", "(r.t - p.t)")
            total = f"fsum(p.{x} * {weight})"
            size = f"fsum(abs(p.{x}) * {weight})"
            weights = f"(fsum({weight}) filter (where p.{x} is not null))"
            yield f"ewm_sum_{x}_{name}", f"ewm_sum({x}, '{name}')", total, size, 1e-11
            yield f"ewm_avg_{x}_{name}", f"ewm_avg({x}, '{name}')", f"{total} / {weights}", f"{size} / {weights}", 1e-11


def priors():
    """As above, of the functions that see what precedes the record, whatever `include_current` says."""
    yield "gap", "time_since_last()", "(r.t - max(p.t)) / 1e3", None, 1e-15
    yield "gap_f", "time_since_last() filter (where f > 3)", "(r.t - max(p.t) filter (where p.f > 3)) / 1e3", None, 1e-15
    for x in ("a", "i", "s"):
        yield f"lag_{x}", f"lag({x})", f"arg_max(p.{x}, p.rk) filter (where p.{x} is not null)", None, None


# Suffix, the engine's window, DuckDB's condition on p.t (times in ms).
WINDOWS = [
    ("_10s", '"10s"', "p.t > r.t - 10000"),
    ("_2m", '"2m"', "p.t > r.t - 120000"),
    ("_20m", '"20m"', "p.t > r.t - 1200000"),
    ("_1m_tumbling", '{ tumbling = "1m" }', "p.t >= r.t // 60000 * 60000"),
    ("_5m_tumbling", '{ tumbling = "5m", offset = "2m" }', "p.t >= (r.t - 120000) // 300000 * 300000 + 120000"),
    ("", '"lifetime"', "true"),
]


def records(count, seed, disorder):
    """Random records in order of arrival: half of them of one key, many ties, nulls, and values of many sizes."""
    chance = np.random.default_rng(seed)
    t = START + np.cumsum(np.where(chance.random(count) < 0.4, 0, chance.integers(1, 4000, count)))
    keys = np.where(chance.random(count) < 0.5, 0, chance.zipf(1.4, count) % 60)
    rows = []
    null = lambda share: chance.random() < share
    for n in range(count):
        swing = float(chance.normal())
        rows.append(
            {
                "id": n,
                "ts": int(t[n]),
                "k": None if null(0.02) else f"k{keys[n]}",
                "g": int(chance.integers(0, 3)),
                "a": None
                if null(0.15)
                else 7.25
                if keys[n] == 3
                else 0.0
                if null(0.1)
                else float(chance.normal() * 10.0 ** chance.integers(-2, 4)),
                "big": None if null(0.05) else BIG + round(float(chance.normal() * 100), 2),
                "swing": swing * 1e15 if chance.random() < 0.02 else swing * 1e-3,
                "i": None if null(0.1) else int(chance.integers(-9, 10)) if null(0.5) else int(chance.integers(-BIG, BIG)),
                "d": None if null(0.1) else round(float(chance.normal() * 1e4), 4),
                "b": None if null(0.2) else bool(chance.random() < 0.5),
                "s": None if null(0.1) else f"word {chance.zipf(1.5) % 100} é",
                "f": None if null(0.1) else int(chance.integers(0, 10)),
            }
        )
    if disorder:
        arrival = np.argsort(t + chance.integers(0, disorder, count), kind="stable")
        rows = [rows[n] for n in arrival]
        for n, row in enumerate(rows):
            row["id"] = n
    return rows


def split_late(rows, lateness):
    """Which records are used, and which are late (S4.2 of one partition)."""
    used, late, newest = [], [], -math.inf
    for row in rows:
        (late if row["ts"] < newest - lateness else used).append(row)
        newest = max(newest, row["ts"])
    return used, late


def database(rows, epoch_rows):
    """DuckDB with the records as `r`: `ord` is their place in canonical order, `rk` that in order of time."""
    columns = {name: [row[name] for row in rows] for name in rows[0] if name not in ("ts", "d")}
    columns["d"] = pa.array(
        [None if row["d"] is None else decimal.Decimal(repr(row["d"])).quantize(decimal.Decimal("0.0001")) for row in rows], TYPES["d"]
    )
    columns["t"] = [row["ts"] for row in rows]
    columns["ts"] = pa.array(columns["t"], pa.timestamp("ms"))
    columns["epoch"] = [row["id"] // epoch_rows for row in rows]
    con = duckdb.connect(config={"threads": 1})
    con.register("raw", pa.table(columns))
    con.execute("""create table r as select *, row_number() over (order by epoch, t, id) as ord, row_number() over (order by t, epoch, id) as rk,
        coalesce(f > 3 and (b or a < 0), false) as chosen from raw""")
    return con


def join(con, listed, on, order="r.ord"):
    """The values and scales of aggregates, by name, over the records p that go with each r."""
    cells = [f'{wanted} as "{name}"' for name, _, wanted, _, _ in listed] + [
        f'{scale} as "{name} scale"' for name, _, _, scale, _ in listed if scale
    ]
    return (
        con.sql(f"select r.id as id, {', '.join(cells)} from r left join r p on {on} group by r.id, r.t, r.ord order by {order}")
        .to_arrow_table()
        .to_pydict()
    )


def plain(values):
    """Instants without zone; the rest as it is."""
    return [
        v.replace(tzinfo=None) if isinstance(v, datetime.datetime) else float(v) if isinstance(v, decimal.Decimal) else v for v in values
    ]


def compare(check, got, listed, wanted, suffix):
    """The engine's columns with the oracle's."""
    for name, _, _, scale, bound in listed:
        if unbounded(name) and not suffix:
            continue
        column = plain(got[name + suffix])
        if name.startswith("stddev") and scale:
            squares = [[value if value is None else value * value for value in values] for values in (column, wanted[name])]
            check.close(name + suffix, *squares, bound, wanted[f"{name} scale"], wanted["id"])
        elif bound is None:
            check.equal(name + suffix, column, plain(wanted[name]))
        else:
            check.close(name + suffix, column, wanted[name], bound, wanted.get(f"{name} scale"), wanted["id"])


def unbounded(column):
    """Exact distinct counts are refused over a lifetime."""
    return column.startswith("distinct")


def view(name, entity, include, listed, windows):
    """A view and its sink as TOML."""
    lines = [
        f'[features.{name}]\nfrom = "x"\nentity = {entity}\ninclude_current = {include}\nttl = "90d"\nwindows = [{", ".join(w for _, w, _ in windows)}]',
        f"[features.{name}.aggregates]",
    ]
    some = ", ".join(w for _, w, _ in windows[:-1])
    lines += [
        f'{column} = {{ value = "{call}", windows = [{some}] }}' if unbounded(column) else f'{column} = "{call}"'
        for column, call, _, _, _ in listed
    ]
    return "\n".join(lines) + f'\n[sinks.{name}]\nkind = "parquet"\nfrom = "features.{name}"\npath = "${{OUT}}/{name}.parquet"\n'


def source(lateness, epoch_rows):
    """Epochs of so many rows over one source."""
    return (
        f'epoch = {{ max_rows = {epoch_rows} }}\n[sources.x]\nkind = "file"\npath = "${{IN}}/x.ndjson"\n{SCHEMA}\nevent_time = "ts"\nkey = "id"\nlateness = "{lateness}ms"\n'
        + ('[sinks.quarantine]\nkind = "file"\nfrom = "quarantine"\npath = "${OUT}/quarantine.ndjson"\n')
    )


def whole_table(engine, check, seed, disorder, lateness, epoch_rows, workers):
    """All aggregates × all windows × both values of include_current."""
    rows = records(1800, seed, disorder)
    used, late = split_late(rows, lateness)
    windowed, own, prior = list(aggregates()), list(horizons()), list(priors())
    everything = windowed + own + prior
    pipeline = (
        source(lateness, epoch_rows)
        + view("with", '"k"', "true", everything, WINDOWS)
        + view("before", '"k"', "false", everything, WINDOWS)
    )
    outcome = engine.run(check.name, pipeline, {"x.ndjson": rows}, workers)
    check.equal("late", sorted(json.loads(row["raw"])["id"] for row in outcome.lines("quarantine")), [row["id"] for row in late])
    con = database(used, epoch_rows)
    past = "p.k = r.k and p.ord <= r.ord and p.t <= r.t"
    before = "p.k = r.k and p.ord < r.ord and p.t <= r.t"
    for name, bound in (("with", past), ("before", past + " and p.t < r.t")):
        got = outcome.table(name)
        for suffix, _, window in WINDOWS:
            wanted = join(con, windowed, f"{bound} and {window}")
            check.equal("order of rows", got["id"], wanted["id"])
            compare(check, got, windowed, wanted, suffix)
        compare(check, got, own, join(con, own, bound), "")
        compare(check, got, prior, join(con, prior, before), "")


def in_order(engine, check):
    """Arrival in order of time, cut into small epochs, on one worker."""
    whole_table(engine, check, 1, 0, 0, 37, 1)


def out_of_order(engine, check):
    """Up to 40 s of disorder with 30 s of lateness, two workers: late records are in the quarantine and in no window."""
    whole_table(engine, check, 2, 40_000, 30_000, 64, 2)


def wide_disorder(engine, check):
    """Half an hour of disorder, longer than most windows, in large epochs."""
    whole_table(engine, check, 3, 1_800_000, 1_800_000, 700, 2)


def entities(engine, check):
    """Keys of two columns, of an integer, and the one global key; approx_distinct of more values than it counts exactly."""
    rows = records(4000, 4, 20_000)
    few = [entry for entry in aggregates() if entry[0] in ("n", "sum_a", "stddev_pop_a", "max_i", "first_s")]
    ids = [("ad_id", "approx_distinct(id)", "count(distinct p.id)", None, 0.08)]
    windows = [WINDOWS[1], WINDOWS[3], WINDOWS[5]]
    views = {"pair": ('["k", "g"]', "p.k = r.k and p.g = r.g"), "number": ('"g"', "p.g = r.g"), "one": ("[]", "true")}
    pipeline = source(20_000, 100) + "".join(view(name, entity, "true", few, windows) for name, (entity, _) in views.items())
    pipeline += view("many", "[]", "true", ids, [WINDOWS[5]])
    outcome = engine.run(check.name, pipeline, {"x.ndjson": rows}, 2)
    con = database(rows, 100)
    past = "p.ord <= r.ord and p.t <= r.t"
    for name, (_, on) in views.items():
        got = outcome.table(name)
        for suffix, _, window in windows:
            wanted = join(con, few, f"{on} and {past} and {window}")
            check.equal("order of rows", got["id"], wanted["id"])
            compare(check, got, few, wanted, suffix)
    got, wanted = outcome.table("many"), join(con, ids, past)
    compare(check, got, ids, wanted, "")
    spread = float(np.sqrt(np.mean((np.array(got["ad_id"]) / np.array(wanted["ad_id"]) - 1) ** 2)))
    if not 0 < spread < 2 * 0.016:
        check.fault(f"approx_distinct is off by {spread:.2%} on average, for a standard error of 1.6 %")


ORACLES = [wide_disorder, out_of_order, in_order, entities]
