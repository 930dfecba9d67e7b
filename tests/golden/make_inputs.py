#!/usr/bin/env python3
"""Makes the input files of the golden cases. Fixed seeds and nothing but the standard library: running it again changes no byte.

    python3 tests/golden/make_inputs.py

Every case is a folder: `pipeline.toml`, `input/` (made here), `expected/` (what a run must write). Runs set the variables IN (the case's input folder,
relative to the root of the repository, because paths are names of partitions and appear in outputs) and OUT. Each pipeline begins with what the case
is about and with one of two lines:

    # epochs: any      the bytes do not depend on where epochs are cut, so runs may put any number for `max_rows`
    # epochs: fixed    they do, by the rules (S2, S6.3, S10.2, S12.1): `max_rows` stays
"""

import json
import pathlib
import random

HERE = pathlib.Path(__file__).resolve().parent
BEGIN = 1_704_067_200  # 2024-01-01T00:00:00Z


def at(seconds):
    """Seconds after the beginning as RFC 3339 text with milliseconds where there are any."""
    millis = round(seconds * 1000)
    days, rest = divmod(millis, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, part = divmod(rest, 1000)
    month, day = (1, 1 + days) if days < 31 else (2, days - 30)
    fraction = f".{part:03}" if part else ""
    return f"2024-{month:02}-{day:02}T{hours:02}:{minutes:02}:{whole:02}{fraction}Z"


def text(case, name, content):
    """Writes a file as it is."""
    path = HERE / case / "input" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def ndjson(case, name, rows):
    """Writes rows as lines of JSON."""
    text(case, name, "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows))


def steps(rng, count, least=1, most=20):
    """Increasing whole seconds."""
    now, out = 0, []
    for _ in range(count):
        now += rng.randint(least, most)
        out.append(now)
    return out


def pick(rng, weights):
    """One of the keys of a dict of weights."""
    return rng.choices(list(weights), weights=list(weights.values()))[0]


def events(seed, count, keys, least=1, most=20, values=lambda rng: round(rng.uniform(0, 100), 2)):
    """The plain stream: id, ts, k, x, in order of time."""
    rng = random.Random(seed)
    return [{"id": i, "ts": at(t), "k": pick(rng, keys), "x": values(rng)} for i, t in enumerate(steps(rng, count, least, most))]


def ties():
    rng = random.Random(1)
    rows, now = [], 0
    for i in range(80):
        now += rng.choice([0, 0, 0, 5, 10])
        rows.append({"id": i, "ts": at(now), "k": rng.choice("ab"), "x": rng.randint(1, 9)})
    for case in ["ties", "exclude_current"]:
        ndjson(case, "x.ndjson", rows)


def nulls():
    rng = random.Random(2)
    rows = []
    for i, t in enumerate(steps(rng, 60)):
        row = {"id": i, "ts": at(t), "k": rng.choice(["a", "b", None]), "x": rng.choice([None, 1.5, -2.0, 0.0]), "flag": rng.choice([None, True, False])}
        if rng.random() < 0.2:
            del row["k"]
        if rng.random() < 0.2:
            del row["x"]
        rows.append(row)
    ndjson("nulls", "x.ndjson", rows)


def out_of_order():
    rng = random.Random(3)
    times = steps(rng, 90, 1, 6)
    order = sorted(range(90), key=lambda i: (times[i] + rng.uniform(0, 25), i))
    ndjson("out_of_order", "x.ndjson", [{"id": i, "ts": at(times[i]), "k": rng.choice("ab"), "x": rng.randint(-9, 9)} for i in order])


def late_and_future():
    rows = [
        {"id": 0, "ts": at(100), "x": 1},
        {"id": 1, "ts": at(90), "x": 2},  # exactly the bound: used
        {"id": 2, "ts": at(89.999), "x": 4},  # late
        {"id": 3, "ts": "1969-12-31T23:59:59.999Z", "x": 8},  # future: before 1970
        {"id": 4, "ts": "1970-01-01T00:00:00Z", "x": 16},  # late by decades
        {"id": 5, "ts": "2100-01-01T00:00:00.001Z", "x": 32},  # future; moves no watermark
        {"id": 6, "ts": at(91), "x": 64},  # used
        {"id": 7, "ts": at(200), "x": 128},
        {"id": 8, "ts": at(195), "x": 256},
        {"id": 9, "ts": at(150), "x": 512},  # late
        {"id": 10, "ts": at(210), "x": 1024},
    ]
    ndjson("late_and_future", "x.ndjson", rows)


def numbers():
    ndjson("negative_numbers", "x.ndjson", [dict(row, n=-row["id"] if row["id"] % 3 else row["id"] * 1000) for row in events(4, 80, {"a": 1, "b": 1}, values=lambda rng: round(rng.uniform(-1000, 10), 3))])
    rng = random.Random(5)
    rows = [{"id": i, "ts": at(t), "k": "a" if i % 4 else "b", "x": 1e15 + rng.choice([0.0, 0.125, 1.0, 3.0]), "n": 10**15 + rng.randint(-3, 3)} for i, t in enumerate(steps(rng, 100, 1, 8))]
    rows += [{"id": 100 + i, "ts": at(2000 + 30 * i), "k": "a", "x": 0.5, "n": 7} for i in range(4)]  # all that was large has left
    ndjson("large_offsets", "x.ndjson", rows)


def shapes_of_keys():
    ndjson("empty_epochs", "x.ndjson", events(6, 30, {"a": 1, "b": 1}))
    ndjson("hot_key", "x.ndjson", events(7, 200, {"hot": 180, **{f"k{i}": 1 for i in range(20)}}, 0, 3))
    ndjson("key_per_row", "x.ndjson", [dict(row, k=f"key-{row['id']}") for row in events(8, 150, {"": 1}, 0, 5)])
    rng = random.Random(9)
    rows = [{"id": i, "ts": at(t), "shop": rng.randint(1, 3), "open": rng.random() < 0.5, "city": rng.choice(["Köln", "Łódź", "", None]), "x": rng.randint(0, 50)} for i, t in enumerate(steps(rng, 90))]
    ndjson("several_entities", "x.ndjson", rows)


def windows():
    rng = random.Random(10)
    rows = [{"id": i, "ts": at(t), "k": rng.choice("ab"), "x": rng.randint(1, 100)} for i, t in enumerate(steps(rng, 80, 0, 90))]
    rows += [{"id": 80, "ts": at(7200), "k": "a", "x": 1}, {"id": 81, "ts": at(7200), "k": "b", "x": 2}, {"id": 82, "ts": at(10799.999), "k": "a", "x": 3}, {"id": 83, "ts": at(10800), "k": "a", "x": 4}]
    ndjson("tumbling", "x.ndjson", rows)
    ndjson("records_per_key", "x.ndjson", events(11, 80, {"a": 8, "b": 1}, 0, 4, lambda rng: rng.randint(1, 9)))
    ttl = [(0, "a"), (10, "b"), (50, "a"), (69, "b"), (120, "a"), (130, "b"), (189, "c"), (190, "b"), (251, "c"), (311, "c"), (372, "c"), (372, "a")]
    ndjson("lifetime_ttl", "x.ndjson", [{"id": i, "ts": at(t), "k": k, "x": 10 ** (i % 4)} for i, (t, k) in enumerate(ttl)])
    ndjson("lifetime_max_keys", "x.ndjson", events(12, 120, {f"k{i}": 1 for i in range(24)}, 0, 5, lambda rng: rng.randint(1, 9)))
    ndjson("filters", "x.ndjson", [dict(row, kind=["buy", "sell", None][row["id"] % 3]) for row in events(13, 80, {"a": 1, "b": 1})])


def functions():
    rng = random.Random(14)
    rows = [{"id": i, "ts": at(t), "k": rng.choice("ab"), "x": rng.choice([None, 1.0, 2.0, 4.0, 8.5]), "word": rng.choice(["ant", "bee", "cat", None]), "n": rng.randint(-5, 5)} for i, t in enumerate(steps(rng, 70, 0, 40))]
    ndjson("positions", "x.ndjson", rows)
    rng = random.Random(15)
    rows = [{"id": i, "ts": at(t), "k": rng.choice("ab"), "x": round(rng.lognormvariate(2, 1.5), 3) * rng.choice([1, 1, 1, -1]), "word": f"w{rng.randint(0, 30)}"} for i, t in enumerate(steps(rng, 120, 0, 20))]
    ndjson("distinct_and_quantiles", "x.ndjson", rows)
    lines = []
    rng = random.Random(16)
    for i, t in enumerate(steps(rng, 40)):
        price = rng.choice(["0.10", "0.20", "0.30", "-0.05", "9999999999.99", "12.5", "7"])
        lines.append(f'{{"id":{i},"ts":"{at(t)}","account":{rng.choice(["1.10", "1.1", "2.25"])},"price":{price}}}')
    lines.append(f'{{"id":40,"ts":"{at(2000)}","account":1.1,"price":0.125}}')  # three decimals: poison
    lines.append(f'{{"id":41,"ts":"{at(2001)}","account":1.1,"price":10000000000.00}}')  # too many digits: poison
    text("decimals", "x.ndjson", "\n".join(lines) + "\n")


def two_sources():
    rng = random.Random(17)
    seen = [{"id": i, "ts": at(5 * rng.randint(0, 60)), "place": rng.choice("xy"), "x": rng.randint(1, 9)} for i in range(60)]
    asked = [{"id": i, "ts": at(5 * rng.randint(0, 60)), "home": rng.choice("xy"), "away": rng.choice("xyz"), "y": rng.randint(0, 9)} for i in range(60)]
    order = lambda row: row["ts"]
    ndjson("two_sources", "seen.ndjson", sorted(seen, key=order))
    ndjson("two_sources", "asked.ndjson", sorted(asked, key=order))


def labels():
    asked = [{"id": i, "ts": at(60 * i), "x": [0.5, -1.0, 2.0][i % 3]} for i in range(12)]
    asked[10], asked[11] = asked[11], asked[10]  # out of order: the label of 10 is bound before its row
    told = [
        {"id": 0, "ts": at(30), "y": 1},  # after half a minute
        {"id": 0, "ts": at(31), "y": 0},  # duplicate
        {"id": 2, "ts": at(100), "y": 1},  # before its row: not within
        {"id": 1, "ts": at(60), "y": 0},  # at the row's own time
        {"id": 3, "ts": at(180 + 300), "y": 1},  # at the very end of `within`
        {"id": 4, "ts": at(240 + 300.001), "y": 1},  # just after it
        {"id": 77, "ts": at(400), "y": 1},  # of no row: orphan
        {"id": 5, "ts": at(599), "y": None},  # a label that is null
        {"id": 6, "ts": at(420), "y": 0},
        {"id": 6, "ts": at(420), "y": 1},  # duplicate at the same time
        {"id": 8, "ts": at(700), "y": 1},
        {"id": 10, "ts": at(605), "y": 1},
        {"id": 11, "ts": at(660), "y": 1},
    ]
    told.sort(key=lambda row: row["ts"])
    for case in ["labels_dropped", "labels_negative"]:
        ndjson(case, "asked.ndjson", asked)
        ndjson(case, "told.ndjson", told)
    rng = random.Random(18)
    asked = [{"id": i, "ts": at(t), "k": rng.choice("ab"), "x": round(rng.gauss(0, 1), 3)} for i, t in enumerate(steps(rng, 100, 1, 9))]
    told = sorted(({"id": row["id"], "ts": at(t + rng.randint(1, 60)), "k": row["k"], "late": row["x"] + rng.gauss(0, 0.5) > 0} for row, t in zip(asked, steps(random.Random(18), 100, 1, 9))), key=lambda row: row["ts"])
    ndjson("labels_learned", "asked.ndjson", asked)
    ndjson("labels_learned", "told.ndjson", told)


def tables():
    rows = [{"id": i, "ts": at(30 * i), "code": ["BOS", "JFK", "XXX", None][i % 4], "x": i} for i in range(24)]
    ndjson("table_join", "x.ndjson", rows)
    text("table_join", "places.csv", 'code,city,height\nJFK,"New York, Queens",4\nBOS,Boston,\nBOS,"Boston ""Logan""",6\nLGA,New York,\n')
    ndjson("table_versions", "x.ndjson", rows)
    versions = [("BOS", 0, 1), ("JFK", 31, 2), ("BOS", 240, 3), ("BOS", 240, 4), ("JFK", 600, 5), ("BOS", 120, 6)]
    ndjson("table_versions", "rates.ndjson", [{"code": code, "since": at(t), "rate": rate} for code, t, rate in versions])


def expressions():
    texts = ["12", "-3", "x", "", "9223372036854775807", "4.5", " 7", None]
    rows = [{"id": i, "ts": at(10 * i), "word": texts[i % 8], "a": [7, -7, 0, 2**62][i % 4], "b": [2, 0, -2, 5][(i // 3) % 4]} for i in range(40)]
    ndjson("expression_failures", "x.ndjson", rows)
    rng = random.Random(19)
    rows = [{"id": i, "ts": at(t), "name": rng.choice(["Ada", "bob", "ÉMILE", ""]), "x": round(rng.uniform(-5, 5), 2), "n": rng.randint(-20, 20)} for i, t in enumerate(steps(rng, 50, 600, 30000))]
    ndjson("streams_of_streams", "x.ndjson", rows)


def text_files():
    lines = ["id,ts,name,x,day", f'0,{at(0)},plain,1.5,2024-01-01', f'1,{at(1)},"with, comma",-2,2024-02-29', f'2,{at(2)},"a ""quote""",,', f'3,{at(3)},"two\nlines",1e3,2024-12-31', "", f'4,{at(4)},,0.1,', f'5,{at(5)},short', f'6,not a time,x,1,', f'7,{at(7)},x,one,', f'8,{at(8)},x,1,2023-02-29', f'9,{at(9)},x,NaN,', f"10,{at(10)},last,7,2000-01-01"]
    text("csv_input", "x.csv", "\r\n".join(lines[:4]) + "\r\n" + "\n".join(lines[4:]))
    good = f'"ts":"{at(1)}"'
    bad = [
        f'{{"id":0,{good},"n":1}}',
        "",
        f'{{"id":1,{good},"n":1',
        "[1,2]",
        f'{{"id":2,{good}}}',
        f'{{"id":3,{good},"n":null}}',
        f'{{"id":4,{good},"n":"7"}}',
        f'{{"id":5,{good},"n":2147483648}}',
        f'{{"id":6,{good},"n":1.5}}',
        f'{{"id":7,{good},"n":1,"x":1e999}}',
        f'{{"id":8,{good},"n":1,"x":NaN}}',
        f'{{"id":9,{good},"n":1,"n":2}}',
        f'{{"id":10,"n":1}}',
        f'{{"id":11,"ts":"yesterday","n":1}}',
        f'{{"id":12,{good},"n":11}}',
        f'{{"id":13,{good},"n":1,"word":"blue"}}',
        f'{{"id":14,{good},"n":1,"word":"\\ud800"}}',
        "nonsense",
        f'{{"id":15,{good},"n":1}} trailing',
        f'  {{ "n" : 10 , {good} , "id" : 16 , "other" : {{"deep":[1,{{"a":null}}]}} }}  \r',
        f'{{"id":17,{good},"n":1,"other":' + "[" * 200 + "]" * 200 + "}",
        f'{{"id":18,{good},"n":1,"other":"' + "z" * 600 + '"}',
    ]
    raw = "\n".join(bad).encode() + b'\n{"id":19,' + good.encode() + b',"n":1,"word":"\xff\xfe"}\n' + f'{{"id":20,{good},"n":1,"word":"red"}}'.encode()
    text("poison", "x.ndjson", raw)
    for name, first in [("b.ndjson", 0), ("a.ndjson", 1), ("a-1.ndjson", 2), ("c.csv", 3)]:
        ndjson("files_of_a_glob", name, [{"id": 10 * first + i, "ts": at(100 * [2, 1, 0, 9][first] + 7 * i), "k": "xy"[i % 2], "x": i} for i in range(6)])


def originals():
    one = [
        f'{{"id":0,"ts":"{at(0)}","x":1.50,"word":"1","n":4}}',
        f'{{ "n" : 0, "word":"2" ,  "x":25e-1,"id":1,"ts":"{at(10)}" }}\r',
        f'\t{{"id":2,"ts":{1000 * (BEGIN + 20)},"x":-0,"word":"zw\\u00f6lf","n":1,"other":{{"deep":[1,{{}}]}}}}',
        "",
        f'{{"id":3,"ts":"{at(30)}","x":3,"word":"3","n":2}}',
    ]
    two = [
        f'{{"word":"4.0e0","id":4,"ts":"{at(40)}","x":4,"n":1}} ',
        f'{{"id":5,"ts":"{at(50)}","x":5,"word":"5","n":5,"größe":"x"}}',
        f'{{"id":6,"ts":"{at(45)}","x":6,"word":"6","n":6}}',
        f'{{"id":7,"ts":"{at(55)}","x":7,"word":7,"n":7}}',
        f'{{"id":8,"ts":"{at(60)}","x":8,"word":"8","n":8}}',
    ]
    text("original_bytes", "asked-1.ndjson", "\n".join(one) + "\n")
    text("original_bytes", "asked-2.ndjson", "\r\n".join(two))
    told = ["y,id,note,ts", f'1,0,"first, and right",{at(30)}', f'"0.0",0,"a ""second"" label",{at(31)}', f'maybe,3,"no\nnumber",{at(60)}', f'1,3,,{at(61)}', f'"1",3,again,{at(62)}', f'0.7,5,"for the first only",{at(63)}']
    text("original_bytes", "told.csv", "\n".join(told) + "\n")


def types():
    rows = [
        {"id": 0, "ts": at(0), "b": True, "i": -2147483648, "f": 0.1, "d": 1e-7, "day": "2024-02-29", "s": "grüß \"quoted\" \\ \t \u0001 😀", "raw": "AAEC/w==", "sec": 1704067200, "us": "2024-01-01T00:00:00.000001+02:00", "list": [1, None, 3], "box": {"w": 1.5, "name": None}},
        {"id": 1, "ts": at(0.001), "b": False, "i": 2147483647, "f": 16777217, "d": -0.0, "day": "1970-01-01", "s": "", "raw": "", "sec": 0, "us": 1704067200000001, "list": [], "box": {"w": 3, "name": "n"}},
        {"id": 9007199254740993, "ts": 1704067200002, "d": 12345678901234567890, "s": "\u2028", "box": {}},
        {"id": -9223372036854775808, "ts": at(0.003), "d": 5e-324, "f": 3.4028235e38, "list": None, "box": {"w": None, "more": 1}},
        {"id": 9223372036854775807, "ts": "2024-01-01T00:00:01", "d": 1.7976931348623157e308, "list": [9223372036854775807, -1], "box": {"name": "z", "w": 0.3}},
        {"id": 1, "ts": at(2), "box": None},  # a struct without `?` is required: poison,
    ]
    ndjson("types", "x.ndjson", rows)


def learning():
    rng = random.Random(20)
    rows = []
    for i, t in enumerate(steps(rng, 150, 1, 10)):
        a, b, c = (round(rng.gauss(0, 1), 4) for _ in range(3))
        label = rng.random() < 1 / (1 + 2.718281828459045 ** -(1.5 * a - b + 0.3))
        rows.append({"id": i, "ts": at(t), "k": rng.choice("ab"), "a": a, "b": b * 100 + 50, "c": c, "y": None if rng.random() < 0.1 else label})
    for case in ["learn_record", "learn_epoch", "ftrl", "adagrad", "scaler_before"]:
        ndjson(case, "x.ndjson", rows)
    rng = random.Random(21)
    rows = []
    for i, t in enumerate(steps(rng, 120, 1, 10)):
        a, b = rng.uniform(-2, 2), rng.uniform(0, 10)
        rows.append({"id": i, "ts": at(t), "a": round(a, 3), "b": round(b, 3), "w": rng.choice([0, 0.5, 1, 3, None]), "y": round(3 * a - 0.5 * b + 1 + rng.gauss(0, 0.1), 4)})
    rows[40]["a"] = 1e300  # a gradient that cannot be: the row is predicted, not learned
    ndjson("linear_regression", "x.ndjson", rows)
    rng = random.Random(22)
    rows = [{"id": i, "ts": at(t), "mean": rng.choice([None, 1.0, 2.0, 5.0]), "fixed": rng.choice([None, 3.0, 4.0]), "needed": None if i % 5 == 3 else float(i % 7), "y": rng.random() < 0.5} for i, t in enumerate(steps(rng, 60))]
    ndjson("null_inputs", "x.ndjson", rows)


def monitors():
    rng = random.Random(23)
    rows = []
    for i, t in enumerate(steps(rng, 200, 20, 60)):
        turned = i >= 120
        a = rng.gauss(3 if turned else 0, 1)
        y = (a < 3) if turned else (a > 0)
        rows.append({"id": i, "ts": at(t), "a": round(a, 4), "b": rng.choice([None, 0.0, 1.0]), "y": y})
    ndjson("monitors", "x.ndjson", rows)


def sinks():
    rows = events(24, 40, {"a": 1, "b": 2}, 600, 4000)
    ndjson("sink_columns", "x.ndjson", rows)
    ndjson("parquet_sink", "x.ndjson", rows)
    rows = [{"id": i % 7, "ts": at(t), "x": i} for i, t in enumerate([0, 1, 2, 30, 31, 59, 60, 61, 62, 90, 91, 120, 121, 122, 180, 181, 600, 600, 600])]
    rows += [{"id": rows[-1]["id"], "ts": at(600), "x": 99}, {"id": 3, "ts": at(659.999), "x": 100}, {"id": 3, "ts": at(720), "x": 101}]
    ndjson("dedup", "x.ndjson", rows)
    ndjson("one_shard", "x.ndjson", events(25, 60, {f"k{i}": 1 for i in range(9)}))
    ndjson("chosen_rows", "x.ndjson", [dict(row, y=row["x"] > 50) for row in events(26, 60, {"a": 1, "b": 1, "c": 1})])


if __name__ == "__main__":
    for make in [ties, nulls, out_of_order, late_and_future, numbers, shapes_of_keys, windows, functions, two_sources, labels, tables, expressions, text_files, originals, types, learning, monitors, sinks]:
        make()
