"""A stream joined with tables, against DuckDB's ASOF JOIN.

Traps: of two versions of a table at one time DuckDB takes the first one it finds and the engine the one later in the file (S8.2), so the versions are reduced
to one per key and time before; and a version is there only from the epoch on in which it was read.
"""
import duckdb
import numpy as np
import pyarrow as pa

from probes import merged
from windows import START

PERTURBED = {"version__rate", "fixed__rate"}


def versions(engine, check, table, stream, seed):
    """A table with event time, changing while the stream goes on, and one without, of which the last version of a key counts."""
    chance, count = np.random.default_rng(seed), 4000
    clock = lambda step, share: START + np.cumsum(np.where(chance.random(count) < share, 0, chance.integers(1, step, count) * 100))
    rows = [{"id": n, "ts": int(t), "code": None if chance.random() < 0.02 else f"c{chance.integers(0, 60)}"} for n, t in enumerate(clock(30, 0.3))]
    changes = [{"id": n, "ts": int(t), "code": f"c{chance.integers(0, 50)}", "rate": None if chance.random() < 0.05 else int(chance.integers(-1000, 1000))} for n, t in enumerate(clock(30, 0.5))]
    fixed = [{"code": f"c{chance.integers(0, 50)}", "rate": float(chance.normal())} for _ in range(200)]
    epochs = merged({table: changes, stream: rows}, 64)
    pipeline = f"""epoch = {{ max_rows = 64 }}
[sources.{stream}]
kind = "file"
path = "${{IN}}/rows.ndjson"
schema = {{ id = "int64", ts = "timestamp_ms", code = "string?" }}
event_time = "ts"
key = "id"
[tables.{table}]
kind = "file"
path = "${{IN}}/changes.ndjson"
schema = {{ code = "string", ts = "timestamp_ms", rate = "int64?" }}
key = "code"
event_time = "ts"
[tables.fixed]
kind = "file"
path = "${{IN}}/fixed.ndjson"
schema = {{ code = "string", rate = "float64" }}
key = "code"
[streams.joined]
from = "{stream}"
join = [{{ table = "{table}", on = "{table}.code = code" }}, {{ table = "fixed", on = "code = fixed.code" }}]
derive = {{ version__rate = "{table}.rate", since = "{table}.ts", fixed__rate = "fixed.rate" }}
[sinks.joined]
kind = "parquet"
from = "joined"
path = "${{OUT}}/joined.parquet"
columns = ["id", "version__rate", "since", "fixed__rate"]
"""
    got = engine.run(check.name, pipeline, {"rows.ndjson": rows, "changes.ndjson": changes, "fixed.ndjson": fixed}, 2).table("joined")
    con = duckdb.connect(config={"threads": 1})
    con.register("s", pa.Table.from_pylist([{**row, "epoch": epochs[stream, n]} for n, row in enumerate(rows)]))
    con.register("c", pa.Table.from_pylist([{**row, "epoch": epochs[table, n]} for n, row in enumerate(changes)]))
    con.register("f", pa.Table.from_pylist([{**row, "n": n} for n, row in enumerate(fixed)]))
    # A version of an earlier time than the row's is in an earlier epoch or the same; one of the same time may come in a later epoch, and is not there.
    wanted = con.sql("""with
        ties as (select s.id, max(c.id) as newest from s join c on c.code = s.code and c.ts = s.ts and c.epoch <= s.epoch group by s.id),
        single as (select code, ts, max(id) as newest from c group by code, ts),
        final as (select code, arg_max(rate, n) as rate from f group by code)
        select s.id, c.rate, c.ts as since, final.rate as fixed
        from s asof left join single on single.code = s.code and single.ts < s.ts
        left join ties on ties.id = s.id
        left join c on c.id = coalesce(ties.newest, single.newest)
        left join final on final.code = s.code
        order by s.id""").to_arrow_table().to_pydict()
    check.equal("order of rows", got["id"], wanted["id"])
    check.equal("rate", got["version__rate"], wanted["rate"])
    check.equal("since", [None if t is None else round(t.timestamp() * 1000) for t in got["since"]], wanted["since"])
    check.equal("fixed rate", got["fixed__rate"], wanted["fixed"])


def changes_first(engine, check):
    """Changes of the table are read before rows of the same time."""
    versions(engine, check, "changes", "orders", 21)


def rows_first(engine, check):
    """Rows are read before changes of the same time, so a change of a later epoch is not there yet."""
    versions(engine, check, "rates", "orders", 22)


ORACLES = [changes_first, rows_first]
