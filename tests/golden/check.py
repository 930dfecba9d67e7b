#!/usr/bin/env python3
"""Computes what golden cases must give, by brute force and from the rules alone, and compares it with `expected/`.

    python3 tests/golden/check.py

Nothing here is shared with the engine: every feature is computed again from all records of its key (S7), epochs are cut and records judged as S2 and S4
say, and learners are written out from S10. Only the standard library is needed. Covered are the features of every case (`features.NAME` sinks, and what
models look up), and the predictions of cases whose model is a logistic regression with SGD or AdaGrad; numbers are compared to 1e-9 relative, sums and
means of integers exactly.
"""

import fractions
import glob
import json
import math
import pathlib
import re
import struct
import sys
import tomllib
from datetime import datetime, timedelta, timezone

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
INFINITY = math.inf


def micros(text):
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - EPOCH) // timedelta(microseconds=1)


def duration(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|d)", text).groups()
    return int(number) * UNITS[unit]


def names_in(schema):
    return {name: kind.rstrip("?") for name, kind in schema.items()}


# Expressions: the few forms that the cases use, in Python.


def evaluate(sql, row):
    """A number, text, truth value, or None where SQL has null."""
    python = re.sub(r"(?<![<>!=])=(?!=)", "==", sql)
    python = python.replace("<>", "!=").replace(" is null", " is None").replace("\n", " ")
    python = re.sub(r"([A-Za-z_]\w*)\.([A-Za-z_]\w*)", r"\1__\2", python)
    try:
        return eval(python, {"__builtins__": {}, "abs": abs}, row)  # noqa: S307: our own files
    except (TypeError, ZeroDivisionError):
        return None


# Sources: records in the order in which they are read, cut into epochs.


def read_source(case, source):
    """Lists of (time, partition, offset, row), one for each file; a row is None if it cannot be used."""
    pattern = source["path"].replace("${IN}", str(HERE / case / "input"))
    kinds = names_in(source["schema"])
    files = []
    for number, path in enumerate(sorted(glob.glob(pattern))):
        offset, records = 0, []
        for line in pathlib.Path(path).read_bytes().splitlines(keepends=True):
            try:
                row = json.loads(line, parse_float=lambda text: fractions.Fraction(text) if "decimal" in str(kinds) else float(text))
                row = {name: row.get(name) for name in kinds}
                for name, kind in kinds.items():
                    if kind.startswith("decimal") and row[name] is not None:
                        scale = int(kind.rstrip(")").split(",")[1])
                        digits = int(kind.split("(")[1].split(",")[0])
                        row[name] = fractions.Fraction(row[name])
                        if (row[name] * 10**scale).denominator != 1 or abs(row[name]) >= 10 ** (digits - scale):
                            raise ValueError
                records.append((micros(row[source["event_time"]]), number, offset, row))
            except ValueError:
                records.append((None, number, offset, None))
            offset += len(line)
        files.append(records)
    return files


def epochs(case, pipeline):
    """[(rows by source in canonical order, W(e))]: S2.3, S3.1, S4."""
    sources = {name: [record for file in read_source(case, source) for record in file] for name, source in pipeline["sources"].items()}
    lateness = {name: duration(source.get("lateness", "0s")) for name, source in pipeline["sources"].items()}
    at = dict.fromkeys(sources, 0)
    rows_of_epoch = pipeline["pipeline"]["epoch"]["max_rows"]
    greatest = {name: -INFINITY for name in sources}
    bound = {name: -INFINITY for name in sources}  # of the partition being read
    partition = dict.fromkeys(sources)
    watermark = -INFINITY
    out = []
    while any(at[name] < len(records) for name, records in sources.items()):
        used = {name: [] for name in sources}
        before = dict(greatest)
        for _ in range(rows_of_epoch):
            heads = [(sources[name][at[name]][0] if sources[name][at[name]][0] is not None else -INFINITY, name) for name in sources if at[name] < len(sources[name])]
            if not heads:
                break
            _, name = min(heads)
            record = sources[name][at[name]]
            at[name] += 1
            t = record[0]
            if t is None or not 0 <= t <= micros("2100-01-01T00:00:00Z"):
                continue
            if partition[name] != record[1]:
                partition[name], bound[name] = record[1], -INFINITY
            own = bound[name] - lateness[name]
            if t < max(own, before[name] - lateness[name]):
                continue
            bound[name] = max(bound[name], t)
            greatest[name] = max(greatest[name], t)
            used[name].append(record)
        # Exhausted sources hold nothing back.
        going = [greatest[name] - lateness[name] for name in sources if at[name] < len(sources[name])]
        watermark = max(watermark, min(going)) if going else max(watermark, min(greatest[name] - lateness[name] for name in sources))
        out.append(({name: sorted(records, key=lambda record: record[:3]) for name, records in used.items()}, watermark))
    return out


# Views.


class Aggregate:
    """One declared aggregate: name, function, argument, filter, windows."""

    def __init__(self, name, declared, view):
        value = declared if isinstance(declared, str) else declared["value"]
        options = {} if isinstance(declared, str) else declared
        call = re.fullmatch(r"(\w+)\((.*?)\)(?: filter \(where (.*)\))?", value.strip())
        self.function, argument, self.filter = call.groups()
        self.distinct = argument.startswith("distinct ")
        parts = [part.strip() for part in argument.removeprefix("distinct ").split(",")]
        if self.function == "avg" and argument.count("(") != argument.count(")"):
            parts = [argument + ")"]
        self.argument = parts[0] if parts[0] not in ("*", "") else None
        self.parameter = parts[1] if len(parts) > 1 else None
        self.include = options.get("include_current", view.get("include_current", True))
        self.own = self.function in ("ewm_sum", "ewm_avg", "time_since_last", "lag")
        self.name = name
        self.windows = [None] if self.own else options.get("windows", view.get("windows", []))

    def columns(self):
        for window in self.windows:
            if window is None or window == "lifetime":
                yield self.name, window
            elif isinstance(window, str):
                yield f"{self.name}_{window}", window
            else:
                yield f"{self.name}_{window['tumbling']}_tumbling", window

    def compute(self, window, t, records, me):
        """Over `records` [(time, turn, row)] of a key, all that were processed so far; `me` is the turn of the record itself, None for a probe."""
        if self.own:
            seen = [r for r in records if r[0] <= t and (r[0], r[1]) < (t, me)] if self.function in ("time_since_last", "lag") else [r for r in records if r[0] <= t]
        else:
            seen = [r for r in records if (r[0] <= t if self.include else r[0] < t)]
        if isinstance(window, str) and window != "lifetime":
            seen = [r for r in seen if r[0] > t - duration(window)]
        elif isinstance(window, dict):
            width, offset = duration(window["tumbling"]), duration(window.get("offset", "0s"))
            seen = [r for r in seen if r[0] >= (t - offset) // width * width + offset]
        seen.sort(key=lambda r: r[:2])
        if self.filter:
            seen = [r for r in seen if evaluate(self.filter, r[2]) is True]
        if self.function == "time_since_last":
            return (t - seen[-1][0]) / 1e6 if seen else None
        if self.argument is None:
            return len(seen)
        values = [(r[0], evaluate(self.argument, r[2])) for r in seen]
        values = [(time, value) for time, value in values if value is not None]
        if self.function.startswith("ewm_"):
            half = duration(self.parameter.strip("'"))
            weights = [(2.0 ** (-(t - time) / half), value) for time, value in values]
            total = math.fsum(weight * value for weight, value in weights)
            if not weights:
                return None
            return total if self.function == "ewm_sum" else total / math.fsum(weight for weight, _ in weights)
        return self.fold([value for _, value in values])

    def fold(self, values):
        function = self.function
        if function == "count":
            return len(set(values)) if self.distinct else len(values)
        if function == "approx_distinct":
            return About(len(set(values)), 0.05)
        if not values:
            return None
        if function == "approx_quantile":
            values.sort()
            return About(values[math.floor(float(self.parameter) * (len(values) - 1))], 0.0101)
        if function in ("first", "last", "lag"):
            return values[0 if function == "first" else -1]
        if function in ("min", "max"):
            return {"min": min, "max": max}[function](values)
        exact = [fractions.Fraction(value) for value in values]
        total = sum(exact)
        if function == "sum":
            return int(total) if all(isinstance(value, int) for value in values) else float(total)
        mean = total / len(exact)
        if function == "avg":
            return float(mean)
        samp = function.endswith("_samp")
        if samp and len(exact) < 2:
            return None
        variance = sum((value - mean) ** 2 for value in exact) / (len(exact) - samp)
        return math.sqrt(variance) if function.startswith("stddev") else float(variance)


class About(float):
    """A number with a relative error."""

    def __new__(cls, value, error):
        made = super().__new__(cls, value)
        made.error = error
        return made


class View:
    """The records of a view by key."""

    def __init__(self, declared, shards):
        self.declared, self.shards = declared, shards
        entity = declared["entity"]
        self.entity = [entity] if isinstance(entity, str) else entity
        self.aggregates = [Aggregate(name, value, declared) for name, value in declared["aggregates"].items()]
        self.keys = {}
        self.turn = 0

    def features(self, key, t, me=None):
        records = self.keys.get(key, [])
        return {column: aggregate.compute(window, t, records, me) for aggregate in self.aggregates for column, window in aggregate.columns()}

    def update(self, t, row):
        """The feature row of a record as of itself, or None if `where` does not choose it."""
        if "where" in self.declared and evaluate(self.declared["where"], row) is not True:
            return None
        key = tuple(row[column] for column in self.entity)
        if None in key:
            return self.features((None, "nothing is stored"), t, 0)
        self.turn += 1
        if key not in self.keys and "max_keys" in self.declared:
            self.make_room(key)
        records = self.keys.setdefault(key, [])
        records.append((t, self.turn, row))
        if "max_records_per_key" in self.declared:
            records.sort(key=lambda r: r[:2])
            del records[: -self.declared["max_records_per_key"]]
        return self.features(key, t, self.turn)

    def make_room(self, key):
        shard = lambda key: shard_of(key, self.shards)
        same = [other for other in self.keys if shard(other) == shard(key)]
        if len(same) >= self.declared["max_keys"] // self.shards:
            del self.keys[min(same, key=lambda other: (max(r[0] for r in self.keys[other]), key_bytes(other)))]

    def expire(self, watermark):
        """End of an epoch (S6.3)."""
        if "ttl" in self.declared:
            over = [key for key, records in self.keys.items() if watermark >= max(r[0] for r in records) + duration(self.declared["ttl"])]
            for key in over:
                del self.keys[key]


def key_bytes(key):
    (text,) = key
    return b"\x01" + struct.pack("<I", len(text.encode())) + text.encode()


def shard_of(key, shards):
    """S6.1: xxh3 of 4 to 8 bytes, written out from its definition."""
    data, mask = key_bytes(key), (1 << 64) - 1
    assert 4 <= len(data) <= 8
    first, last = struct.unpack("<I", data[:4])[0], struct.unpack("<I", data[-4:])[0]
    secret = bytes.fromhex("7c01812cf721ad1cded46de9839097db")
    flip = int.from_bytes(secret[:8], "little") ^ int.from_bytes(secret[8:], "little")
    rotate = lambda x, by: (x << by | x >> (64 - by)) & mask
    h = (last + (first << 32)) ^ flip
    h ^= rotate(h, 49) ^ rotate(h, 24)
    h = h * 0x9FB21C651E98DF25 & mask
    h ^= (h >> 35) + len(data)
    h = h * 0x9FB21C651E98DF25 & mask
    return (h ^ (h >> 28)) * shards >> 64


# Learners (S10).


class Logistic:
    """Logistic regression behind a standard scaler, as River's pipeline: SGD or AdaGrad, L2, clipped gradients."""

    def __init__(self, model):
        optimizer = model.get("optimizer", {"kind": "sgd", "lr": 0.01})
        self.kind, self.lr = optimizer["kind"], optimizer["lr"]
        self.l2, self.clip = model.get("l2", 0.0), model.get("clip_gradient", 1e12)
        self.before = isinstance(model.get("scaler"), dict) and model["scaler"].get("update") == "before"
        self.weights, self.squares, self.intercept = {}, {}, 0.0
        self.count, self.mean, self.m2 = {}, {}, {}

    def observe(self, x):
        for name, value in x.items():
            if value is None:
                continue
            count = self.count[name] = self.count.get(name, 0) + 1
            old = self.mean.get(name, 0.0)
            self.mean[name] = old + (value - old) / count
            self.m2[name] = self.m2.get(name, 0.0) + (value - old) * (value - self.mean[name])

    def scale(self, x):
        out = {}
        for name, value in x.items():
            variance = self.m2.get(name, 0.0) / self.count[name] if self.count.get(name) else 0.0
            out[name] = (value - self.mean[name]) / math.sqrt(variance) if value is not None and variance > 0 else 0.0
        return out

    def probability(self, x):
        z = self.intercept + sum(self.weights.get(name, 0.0) * value for name, value in sorted(x.items()))
        return 1 / (1 + math.exp(-z))

    def predict(self, x):
        if self.before:
            self.observe(x)
        return self.probability(self.scale(x))

    def learn(self, x, y):
        if not self.before:
            self.observe(x)
        x = self.scale(x)
        gradient = max(-self.clip, min(self.clip, self.probability(x) - y))
        for name, value in x.items():
            step = gradient * value + self.l2 * self.weights.get(name, 0.0)
            if self.kind == "adagrad":
                self.squares[name] = self.squares.get(name, 0.0) + step * step
                step /= math.sqrt(self.squares[name] + 1e-8)
            self.weights[name] = self.weights.get(name, 0.0) - self.lr * step
        self.intercept -= 0.01 * gradient


class Model:
    """Rows of a model in order. A null that the mean stands for is not observed, and is 0 behind a standard scaler; a constant is a value like others."""

    def __init__(self, declared):
        self.declared, self.learner = declared, Logistic(declared)
        self.nulls = declared.get("nulls", "mean")

    def inputs(self, row):
        """Numbers by name, None for the mean; None if the row is to be skipped."""
        out = {}
        for name, value in row.items():
            rule = self.nulls.get(name, "mean") if isinstance(self.nulls, dict) else self.nulls
            if value is None or not math.isfinite(value):
                if rule == "skip":
                    return None
                value = rule["constant"] if isinstance(rule, dict) else None
            out[name] = value
        return out

    def predict(self, row):
        x = self.inputs(row)
        return None if x is None else self.learner.predict(x)

    def learn(self, row, y):
        x = self.inputs(row)
        if x is not None:
            self.learner.learn(x, y)


# Comparing.


def same(expected, now):
    if expected is None or now is None or isinstance(expected, (str, bool)) or isinstance(now, str):
        return expected == now
    if isinstance(expected, About):
        return abs(now - expected) <= expected.error * abs(expected) + 1e-12
    if isinstance(expected, int) and isinstance(now, int):
        return expected == now
    return math.isclose(expected, now, rel_tol=1e-9, abs_tol=1e-9)


def lines(case, path):
    return [json.loads(line) for line in (HERE / case / "expected" / path).read_text().splitlines()]


def sinks(pipeline, what):
    for sink in pipeline["sinks"].values():
        if sink["from"] == what and "where" not in sink and not isinstance(sink.get("columns"), dict):
            yield sink["path"].replace("${OUT}/", "")


class Check:
    """One case."""

    def __init__(self, case):
        self.case = case
        self.pipeline = tomllib.loads((HERE / case / "pipeline.toml").read_text())
        self.compared = 0
        self.wrong = []

    def compare(self, path, expected):
        now = lines(self.case, path)
        if len(now) != len(expected):
            self.wrong.append(f"{path}: {len(now)} rows, {len(expected)} are right")
        for number, (one, other) in enumerate(zip(expected, now), 1):
            for name, value in one.items():
                if name in other:
                    self.compared += 1
                    if not same(value, other[name]):
                        self.wrong.append(f"{path} line {number} (id {other.get('id')}): {name} is {other[name]!r}, {value!r} is right")

    def streams(self, rows):
        """All streams of an epoch by name; `None` where a stream is beyond this script."""
        out = dict(rows)
        for name, stream in self.pipeline.get("streams", {}).items():
            base, made = out.get(stream["from"]), []
            if base is None or "join" in stream or set(stream) - {"from", "where", "derive"}:
                out[name] = None
                continue
            for t, partition, offset, row in base:
                if "where" in stream and evaluate(stream["where"], row) is not True:
                    continue
                row = dict(row)
                for column, sql in stream.get("derive", {}).items():
                    cast = re.fullmatch(r"cast\((\w+) as varchar\)", sql)
                    row[column] = f"{float(row[cast[1]]):.2f}" if cast else None if "cast" in sql else evaluate(sql, row)
                made.append((t, partition, offset, row))
            out[name] = made
        return out

    def run(self):
        pipeline = self.pipeline
        shards = pipeline["pipeline"].get("shards", 256)
        views = {name: View(view, shards) for name, view in pipeline.get("features", {}).items()}
        out = {name: [] for name in views}
        predictions = {name: [] for name in pipeline.get("models", {})}
        models = {name: Model(model) for name, model in pipeline.get("models", {}).items() if self.understood(model)}
        for rows, watermark in epochs(self.case, pipeline):
            streams = self.streams(rows)
            feature_rows = {}
            # Updates and probes, merged in canonical order; a tie goes to the updates (S8.4).
            things = []
            for name, view in views.items():
                stream = view.declared["from"]
                things += [(record[0], 0, record[1:3], "update", name, record) for record in streams[stream] or []]
            for name, model in models.items():
                stream = streams[model.declared["from"]] or []
                things += [(record[0], 1, record[1:3], "row", name, record) for record in stream]
            asked = {name: [] for name in models}
            for t, _, place, what, name, record in sorted(things, key=lambda thing: thing[:4]):
                if what == "update":
                    features = views[name].update(t, record[3])
                    if features is not None:
                        out[name].append({**record[3], **features})
                        feature_rows[name, record[1:3]] = features
                else:
                    row = self.feature_row(models[name], views, feature_rows, record)
                    asked[name].append((record[3], row))
            for name, model in models.items():
                predictions[name] += self.epoch_of(model, asked[name])
            for view in views.values():
                view.expire(watermark)
        for name in views:
            for path in sinks(pipeline, f"features.{name}"):
                self.compare(path, out[name])
        for name in models:
            for path in sinks(pipeline, f"models.{name}"):
                self.compare(path, predictions[name])
        return self

    def understood(self, model):
        """Label in a column, a logistic regression that is written out above."""
        if "from" not in model or isinstance(model.get("label"), dict) or "where" in model:
            return False
        optimizer = model.get("optimizer", {"kind": "sgd"})
        return model["kind"] == "linear_regression" and "lookup" in model or model["kind"] == "logistic_regression" and optimizer["kind"] in ("sgd", "adagrad")

    def feature_row(self, model, views, feature_rows, record):
        t, partition, offset, row = record
        scope = dict(row)
        lookups = model.declared.get("lookup", {})
        for name, view in views.items():
            if (name, (partition, offset)) in feature_rows and view.declared["from"] == model.declared["from"]:
                scope.update({f"{name}__{column}": value for column, value in feature_rows[name, (partition, offset)].items()})
        for name, lookup in lookups.items():
            view = views[lookup["view"]]
            features = view.features((row[lookup["key"]],), t)
            scope.update({f"{name}__{column}": value for column, value in features.items()})
        for name, sql in model.declared.get("derive", {}).items():
            scope[name] = None if "case" in sql else evaluate(sql, scope)
        return scope

    def epoch_of(self, model, rows):
        """The predictions of an epoch."""
        declared, out = model.declared, []
        learns = []
        for row, scope in rows:
            if declared["kind"] != "logistic_regression":
                out.append({name: value for name, value in scope.items()})
                continue
            x = {name.replace(".", "__"): scope[name.replace(".", "__")] for name in declared["features"]}
            p = model.predict(x)
            threshold = declared.get("threshold", 0.5)
            out.append({"id": row["id"], "probability": p, "prediction": None if p is None else p >= threshold})
            y = row[declared["label"]]
            if y is not None and declared.get("learn", "epoch") == "record":
                model.learn(x, float(y))
            elif y is not None:
                learns.append((x, float(y)))
        for x, y in learns:
            model.learn(x, y)
        return out


def main():
    failed = 0
    for folder in sorted(path.parent for path in HERE.glob("*/pipeline.toml")):
        text = (folder / "pipeline.toml").read_text()
        if not ("[features." in text or "[models." in text):
            continue
        check = Check(folder.name).run()
        if check.compared or check.wrong:
            print(f"{folder.name:26} {check.compared:6} values, {len(check.wrong)} wrong")
        else:
            print(f"{folder.name:26} not covered")
        for line in check.wrong[:5]:
            print(f"    {line}")
        failed += bool(check.wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
