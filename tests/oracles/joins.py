"""A stream joined with file tables, against DuckDB's ASOF JOIN.

Trap: of two versions of a table at one time DuckDB takes whichever it finds first and the engine the one later in the file (S8.2), so the versions
are reduced to one per key and time before. A file table is read whole into epoch 1, so every version not after a row's time is there.
"""

import duckdb
import numpy as np
import pyarrow as pa

from windows import START

PERTURBED = {"version__rate", "fixed__rate"}


def versions(engine, check, codes, ties, seed):
    """A table with event time, in no order, and one without, of which the last version of a key counts."""
    chance, count = np.random.default_rng(seed), 4000
    clock = lambda: START + np.cumsum(np.where(chance.random(count) < ties, 0, chance.integers(1, 30, count) * 100))
    rows = [
        {"id": n, "ts": int(t), "code": None if chance.random() < 0.02 else f"c{chance.integers(0, codes + codes // 5)}"}
        for n, t in enumerate(clock())
    ]
    changes = [
        {
            "code": f"c{chance.integers(0, codes)}",
            "ts": int(t),
            "rate": None if chance.random() < 0.05 else int(chance.integers(-1000, 1000)),
        }
        for t in chance.permutation(clock())
    ]
    fixed = [{"code": f"c{chance.integers(0, codes)}", "rate": float(chance.normal())} for _ in range(200)]
    pipeline = """epoch = { max_rows = 64 }
[sources.orders]
kind = "file"
path = "${IN}/rows.ndjson"
schema = { id = "int64", ts = "timestamp_ms", code = "string?" }
event_time = "ts"
key = "id"
[tables.rates]
kind = "file"
path = "${IN}/changes.ndjson"
schema = { code = "string", ts = "timestamp_ms", rate = "int64?" }
key = "code"
event_time = "ts"
[tables.fixed]
kind = "file"
path = "${IN}/fixed.ndjson"
schema = { code = "string", rate = "float64" }
key = "code"
[streams.joined]
from = "orders"
join = [{ table = "rates", on = "rates.code = code" }, { table = "fixed", on = "code = fixed.code" }]
derive = { version__rate = "rates.rate", since = "rates.ts", fixed__rate = "fixed.rate" }
[sinks.joined]
kind = "parquet"
from = "joined"
path = "${OUT}/joined.parquet"
columns = ["id", "version__rate", "since", "fixed__rate"]
"""
    got = engine.run(check.name, pipeline, {"rows.ndjson": rows, "changes.ndjson": changes, "fixed.ndjson": fixed}, 2).table("joined")
    con = duckdb.connect(config={"threads": 1})
    for name, listed in (("s", rows), ("c", changes), ("f", fixed)):
        con.register(name, pa.Table.from_pylist([{**row, "n": n} for n, row in enumerate(listed)]))
    wanted = (
        con.sql("""with
        single as (select code, ts, max(n) as n from c group by code, ts),
        final as (select code, arg_max(rate, n) as rate from f group by code)
        select s.id, c.rate, c.ts as since, final.rate as fixed
        from s asof left join single on single.code = s.code and single.ts <= s.ts
        left join c on c.n = single.n
        left join final on final.code = s.code
        order by s.id""")
        .to_arrow_table()
        .to_pydict()
    )
    check.equal("order of rows", got["id"], wanted["id"])
    check.equal("rate", got["version__rate"], wanted["rate"])
    check.equal("since", [None if t is None else round(t.timestamp() * 1000) for t in got["since"]], wanted["since"])
    check.equal("fixed rate", got["fixed__rate"], wanted["fixed"])


def many_keys(engine, check):
    """Sixty keys, and some that no table has."""
    versions(engine, check, 60, 0.4, 21)


def many_ties(engine, check):
    """Five keys whose versions mostly share their times with others and with rows."""
    versions(engine, check, 5, 0.9, 22)


ORACLES = [many_keys, many_ties]
