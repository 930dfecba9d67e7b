"""Views read by rows of another stream (S8.4), against as-of joins in DuckDB: flights, and random streams out of order.

A probe of time t sees the updates that were processed by the end of its epoch and are not after t; at equal times updates come before probes.
"""

import math

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from windows import START

PERTURBED = {"here__landed_1h", "there__delay_24h", "everywhere__n_1h", "v__n_1m", "v__sum_5m"}


def database(**tables):
    con = duckdb.connect(config={"threads": 1})
    for name, table in tables.items():
        con.register(name, table)
    return con


def flights(engine, check):
    """Departures that look up what has landed: by origin, by destination, anywhere; one aggregate without what lands at that very minute."""
    data = engine.root / "pipelines" / "data"
    departures = pq.read_table(data / "departures.parquet").slice(100_000, 12_000)
    first, last = departures["departed_at"][0].as_py(), departures["departed_at"][-1].as_py()
    con = database(d=departures, every=pq.read_table(data / "arrivals.parquet"))
    landings = con.sql(
        f"select * from every where arrived_at > timestamp '{first:%Y-%m-%d %H:%M:%S}' - interval 1 day and arrived_at <= timestamp '{last:%Y-%m-%d %H:%M:%S}' + interval 1 day order by arrived_at, flight_id"
    ).to_arrow_table()
    calls = {
        "landed": ("count(*)", "count(a.flight_id)"),
        "delay": ("avg(delay)", "favg(a.delay)"),
        "late": ("count(*) filter (where delay > 15)", "count(a.flight_id) filter (where a.delay > 15)"),
        "spread": ("stddev_samp(delay)", "stddev_samp(a.delay)"),
        "worst": ("max(delay)", "max(a.delay)"),
        "places": ("count(distinct destination)", "count(distinct a.destination)"),
        "latest": ("last(delay)", "arg_max(a.delay, (a.arrived_at, a.flight_id))"),
    }
    views = {"by_origin": "origin", "by_destination": "destination", "anywhere": None}
    looked = {
        "here": ("by_origin", "origin", "a.origin = d.origin"),
        "there": ("by_destination", "destination", "a.destination = d.destination"),
        "everywhere": ("anywhere", None, "true"),
    }
    pipeline = """epoch = { max_rows = 500 }
[sources.departures]
kind = "file"
path = "${IN}/departures.parquet"
event_time = "departed_at"
key = "flight_id"
[sources.arrivals]
kind = "file"
path = "${IN}/arrivals.parquet"
event_time = "arrived_at"
key = "flight_id"
"""
    for view, entity in views.items():
        pipeline += f'[features.{view}]\nfrom = "arrivals"\nentity = {f"{entity!r}" if entity else "[]"}\nwindows = ["1h", "24h"]\n[features.{view}.aggregates]\n'
        pipeline += (
            "".join(f'{name} = "{call}"\n' for name, (call, _) in calls.items())
            + 'earlier = { value = "count(*)", include_current = false }\n'
        )
    columns = [f"{alias}.{name}_{window}" for alias in looked for name in [*calls, "earlier"] for window in ("1h", "24h")]
    lookup = ", ".join(f'{alias} = {{ view = "{view}", key = {f"{key!r}" if key else "[]"} }}' for alias, (view, key, _) in looked.items())
    pipeline += f"""[models.late]
kind = "logistic_regression"
from = "departures"
lookup = {{ {lookup} }}
features = ["here.landed_1h", "there.landed_1h", "everywhere.landed_1h"]
label = {{ stream = "arrivals", on = "flight_id", value = "delay > 15", within = "12h" }}
learn = "record"
[sinks.seen]
kind = "parquet"
from = "models.late"
path = "${{OUT}}/seen.parquet"
columns = {["flight_id"] + columns}
"""
    got = engine.run(check.name, pipeline, {"departures.parquet": departures, "arrivals.parquet": landings}, 2).table("seen")
    con = database(d=departures, a=landings)
    for alias, (_, _, on) in looked.items():
        for window, length in (("1h", "1 hour"), ("24h", "24 hours")):
            cells = ", ".join(f"{sql} as {name}" for name, (_, sql) in calls.items())
            wanted = (
                con.sql(f"""select d.flight_id, {cells}, count(a.flight_id) filter (where a.arrived_at < d.departed_at) as earlier
                from d left join a on {on} and a.arrived_at <= d.departed_at and a.arrived_at > d.departed_at - interval {length}
                group by d.flight_id, d.departed_at order by d.departed_at, d.flight_id""")
                .to_arrow_table()
                .to_pydict()
            )
            check.equal("order of rows", got["flight_id"], wanted["flight_id"])
            for name in [*calls, "earlier"]:
                what, column = f"{alias}.{name}_{window}", got[f"{alias}__{name}_{window}"]
                if name in ("delay", "spread"):
                    check.close(what, column, wanted[name], 1e-12, rows=wanted["flight_id"])
                else:
                    check.equal(what, column, wanted[name])


def merged(sources, epoch_rows):
    """Epoch by (source, position): next comes the source whose head is earliest, ties by name (S2.3)."""
    heads, epochs, taken = {name: 0 for name in sources}, {}, 0
    while any(heads[name] < len(sources[name]) for name in sources):
        name = min(
            (name for name in sources if heads[name] < len(sources[name])), key=lambda name: (sources[name][heads[name]]["ts"], name)
        )
        epochs[name, heads[name]] = taken // epoch_rows
        heads[name], taken = heads[name] + 1, taken + 1
    return epochs


def two_streams(engine, check, updates, probes, disorder, workers, seed):
    """Random updates and probes; the name of a source decides which comes first at equal times, and so the epoch."""
    chance, count = np.random.default_rng(seed), 3000
    sources = {}
    for name in (updates, probes):
        t = np.cumsum(np.where(chance.random(count) < 0.3, 0, chance.integers(1, 40, count) * 100))
        arrival = np.argsort(t + (chance.integers(0, disorder, count) if disorder else 0), kind="stable")
        keys = chance.integers(0, 12, count)
        sources[name] = [
            {"id": n, "ts": START + int(t[at]), "k": f"k{keys[at]}", "x": float(chance.normal() * 1e3), "y": bool(chance.random() < 0.5)}
            for n, at in enumerate(arrival)
        ]
    epochs = merged(sources, 50)
    schema = 'schema = { id = "int64", ts = "timestamp_ms", k = "string", x = "float64", y = "bool" }'
    pipeline = "epoch = { max_rows = 50 }\n" + "".join(
        f'[sources.{name}]\nkind = "file"\npath = "${{IN}}/{name}.ndjson"\n{schema}\nevent_time = "ts"\nkey = "id"\nlateness = "{disorder}ms"\n'
        for name in sources
    )
    calls = {
        "n": ("count(*)", "count(u.id)"),
        "sum": ("sum(x)", "fsum(u.x)"),
        "low": ("min(x)", "min(u.x)"),
        "last": ("last(x)", "arg_max(u.x, (u.t, u.epoch, u.id))"),
        "first": ("first(x)", "arg_min(u.x, (u.t, u.epoch, u.id))"),
    }
    windows = {"1m": "u.t > p.t - 60000", "5m": "u.t > p.t - 300000", "2m_tumbling": "u.t >= p.t // 120000 * 120000"}
    pipeline += f'[features.v]\nfrom = "{updates}"\nentity = "k"\nwindows = ["1m", "5m", {{ tumbling = "2m" }}]\n[features.v.aggregates]\n'
    pipeline += "".join(f'{name} = "{call}"\n' for name, (call, _) in calls.items())
    pipeline += f"""[models.m]
kind = "logistic_regression"
from = "{probes}"
features = ["v.n_1m"]
label = "y"
learn = "record"
[sinks.seen]
kind = "parquet"
from = "models.m"
path = "${{OUT}}/seen.parquet"
columns = {["id", "_epoch"] + [f"v.{name}_{window}" for name in calls for window in windows]}
"""
    got = engine.run(check.name, pipeline, {f"{name}.ndjson": rows for name, rows in sources.items()}, workers).table("seen")

    def table(name):
        used, newest = [], -math.inf
        for n, row in enumerate(sources[name]):
            if row["ts"] >= newest - disorder:
                used.append({"id": n, "t": row["ts"], "k": row["k"], "x": row["x"], "epoch": epochs[name, n]})
            newest = max(newest, row["ts"])
        return pa.Table.from_pylist(used)

    con = database(u=table(updates), p=table(probes))
    for window, condition in windows.items():
        cells = ", ".join(f"{sql} as {name}" for name, (_, sql) in calls.items())
        wanted = (
            con.sql(f"""select p.id, p.epoch + 1 as epoch, {cells}, fsum(abs(u.x)) as size from p left join u on u.k = p.k and u.epoch <= p.epoch and u.t <= p.t and {condition}
            group by p.id, p.epoch, p.t order by p.epoch, p.t, p.id""")
            .to_arrow_table()
            .to_pydict()
        )
        check.equal("order of rows", got["id"], wanted["id"])
        check.equal("epochs", got["_epoch"], wanted["epoch"])
        for name in calls:
            column = got[f"v__{name}_{window}"]
            if name == "sum":
                check.close(f"sum_{window}", column, wanted["sum"], 1e-12, wanted["size"], wanted["id"])
            else:
                check.equal(f"{name}_{window}", column, wanted[name])


def updates_first(engine, check):
    """The stream of updates is read first at equal times: every probe sees its ties."""
    two_streams(engine, check, "a", "b", 0, 2, 11)


def probes_first(engine, check):
    """The stream of probes is read first at equal times: a tie in a later epoch is not seen."""
    two_streams(engine, check, "z", "b", 0, 1, 12)


def disorder(engine, check):
    """Both streams out of order by up to two minutes."""
    two_streams(engine, check, "z", "b", 120_000, 2, 13)


ORACLES = [flights, updates_first, probes_first, disorder]
