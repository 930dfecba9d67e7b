"""The online linear models against River 0.26.1 (SGD, AdaGrad) and against the FTRL-Proximal paper in numpy, row by row: predict, then learn (S10.2).

All models of a pipeline read the same Parquet rows. The core cases are compared over 50,000 rows, the many options over the first 8,000 of them:
predictions are made before their row is learned, so a shorter comparison is the beginning of the longer one. The scaler is that of River's
`StandardScaler | model` (S10.3). Nulls are what River does not see, so compared without penalties.

River's FTRL solves its weights one step late, so it is no oracle; `Paper` is algorithm 1 of McMahan et al., "Ad click prediction: a view from the
trenches", KDD 2013. Differences are relative to max(|p|, 1e-3).
"""

import math

import numpy as np
import pyarrow as pa
from river import linear_model, optim, preprocessing

from windows import START

WIDTH, ROWS, SHORT, BOUND = 12, 50_000, 8_000, 1e-9
PERTURBED = {"probability", "prediction"}


class Paper:
    """FTRL-Proximal per coordinate; the intercept has a rate of its own, as in River's GLM."""

    def __init__(self, case):
        o = case["optimizer"]
        self.alpha, self.beta, self.l1, self.l2 = o["alpha"], o["beta"], o["l1"], o["l2"]
        self.z, self.n, self.b = np.zeros(WIDTH), np.zeros(WIDTH), case["intercept_init"]
        self.logistic, self.rate = case["logistic"], case["intercept_lr"]

    def weights(self):
        w = -(self.z - np.sign(self.z) * self.l1) / ((self.beta + np.sqrt(self.n)) / self.alpha + self.l2)
        return np.where(np.abs(self.z) <= self.l1, 0.0, w)

    def predict(self, x):
        raw = float(self.weights() @ dense(x)) + self.b
        return 1 / (1 + math.exp(-raw)) if self.logistic else raw

    def learn(self, x, y, weight):
        w, p = self.weights(), self.predict(x)
        slope = ((p - y) if self.logistic else 2 * (p - y)) * weight
        g = slope * dense(x)
        sigma = (np.sqrt(self.n + g * g) - np.sqrt(self.n)) / self.alpha
        self.z += g - sigma * w
        self.n += g * g
        self.b -= self.rate * slope


class River:
    """River's linear models behind the same two calls."""

    def __init__(self, case):
        o = dict(case["optimizer"])
        optimizer = {"sgd": optim.SGD, "adagrad": optim.AdaGrad}[o.pop("kind")](**o)
        kind = linear_model.LogisticRegression if case["logistic"] else linear_model.LinearRegression
        names = ("l1", "l2", "clip_gradient", "intercept_lr", "intercept_init")
        self.model, self.logistic = kind(optimizer=optimizer, **{name: case[name] for name in names}), case["logistic"]

    def predict(self, x):
        return self.model.predict_proba_one(x)[True] if self.logistic else self.model.predict_one(x)

    def learn(self, x, y, weight):
        self.model.learn_one(x, bool(y) if self.logistic else y, w=weight)


def dense(x):
    """A row's dictionary as a vector; what is missing is 0."""
    out = np.zeros(WIDTH)
    for name, value in x.items():
        out[int(name[1:])] = value
    return out


def data(count):
    """Columns: a (sizes from 1e-3 to 1e3, column 3 constant), n (the same with nulls), u (all of one size), labels and weights. NaN stands for null."""
    chance = np.random.default_rng(7)
    raw = chance.normal(size=(count, WIDTH)) + 0.2
    raw[:, 3] = 1.0
    signal = raw @ chance.normal(size=WIDTH) + chance.normal(size=count)
    unlabelled = chance.random(count) < 0.1
    columns = {"id": np.arange(count), "ts": pa.array(START + np.arange(count) * 100, pa.timestamp("ms"))}
    scaled = raw * 10.0 ** chance.integers(-3, 4, WIDTH)
    holes = chance.random((count, WIDTH)) < 0.1
    for j in range(WIDTH):
        columns[f"a{j}"] = scaled[:, j]
        columns[f"n{j}"] = np.where(holes[:, j], np.nan, scaled[:, j])
        columns[f"u{j}"] = raw[:, j] * 0.4
    columns["yes"] = np.where(unlabelled, np.nan, signal > 0.5)
    columns["amount"] = np.where(unlabelled, np.nan, signal)
    columns["w"] = np.where(chance.random(count) < 0.3, chance.uniform(0, 2, count), 1.0)
    return columns


def table(columns):
    """The columns as Arrow, NaN as null."""
    return pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True) for name, values in columns.items()}
    )


def expected(case, columns, count):
    """The oracle's predictions."""
    oracle = Paper(case) if case["optimizer"]["kind"] == "ftrl" else River(case)
    scaler = None if case["scaler"] == "none" else preprocessing.StandardScaler()
    names = [f"{case['inputs']}{j}" for j in range(WIDTH)]
    rows = np.column_stack([columns[name][:count] for name in names]).tolist()
    labels, weights = columns["yes" if case["logistic"] else "amount"][:count].tolist(), columns["w"][:count].tolist()
    out = []
    for row, y, weight in zip(rows, labels, weights):
        x = {name: value for name, value in zip(names, row) if value == value}
        if case["scaler"] == "before":
            scaler.learn_one(x)
        out.append(oracle.predict(scaler.transform_one(x) if scaler else x))
        if y == y:
            if case["scaler"] == "on_learn":
                scaler.learn_one(x)
            oracle.learn(scaler.transform_one(x) if scaler else x, y, weight)
    return out


BASE = {"l1": 0.0, "l2": 0.0, "clip_gradient": 1e12, "intercept_lr": 0.01, "intercept_init": 0.0}
SGD, ADAGRAD = {"kind": "sgd", "lr": 0.01}, {"kind": "adagrad", "lr": 0.1, "eps": 1e-8}
FTRL, SPARSE = (
    {"kind": "ftrl", "alpha": 0.05, "beta": 1.0, "l1": 0.0, "l2": 1.0},
    {"kind": "ftrl", "alpha": 0.1, "beta": 0.5, "l1": 2.0, "l2": 0.1},
)


def case(logistic, optimizer, scaler, inputs, **more):
    """A model; its inputs are one of the families a, n and u."""
    return {**BASE, "logistic": logistic, "optimizer": optimizer, "scaler": scaler, "inputs": inputs, **more}


def core(logistic, optimizers):
    """What the 50,000 rows are for."""
    return [case(logistic, optimizer, "on_learn", "a") for optimizer in optimizers]


def options():
    """Every other way to declare a model."""
    for logistic in (True, False):
        for optimizer in (SGD, ADAGRAD, FTRL, SPARSE):
            yield case(logistic, optimizer, "none", "u")
            yield case(logistic, optimizer, "before", "a")
            yield case(logistic, optimizer, "on_learn", "n")
            if optimizer is SPARSE:
                yield case(logistic, optimizer, "on_learn", "a")
            elif optimizer is not FTRL:
                yield case(logistic, optimizer, "on_learn", "a", l2=0.001)
                yield case(logistic, optimizer, "on_learn", "a", l1=0.0001)
                yield case(logistic, optimizer, "on_learn", "a", clip_gradient=0.3, intercept_lr=0.1, intercept_init=0.5)
        yield case(logistic, SGD, "before", "n")


def model(name, case):
    """A model and its sink as TOML."""
    values = ", ".join(f"{key} = {value!r}".replace("'", '"') for key, value in case["optimizer"].items())
    scaler = (
        '{ kind = "standard", update = "before" }' if case["scaler"] == "before" else '"none"' if case["scaler"] == "none" else '"standard"'
    )
    inputs = ", ".join(f'"{case["inputs"]}{j}"' for j in range(WIDTH))
    return f"""[models.{name}]
kind = "{"logistic" if case["logistic"] else "linear"}_regression"
from = "x"
features = [{inputs}]
label = "{"yes" if case["logistic"] else "amount"}"
weight = "w"
optimizer = {{ {values} }}
scaler = {scaler}
learn = "record"
{"".join(f"{key} = {case[key]!r}" + chr(10) for key in BASE)}[sinks.{name}]
kind = "parquet"
from = "models.{name}"
path = "${{OUT}}/{name}.parquet"
columns = ["id", "{"probability" if case["logistic"] else "prediction"}"]
"""


def describe(case):
    """A case in words."""
    extra = (
        [key for key in ("l1", "l2") if case[key]]
        + ["clipped"] * (case["clip_gradient"] < 1)
        + ["nulls"] * (case["inputs"] == "n")
        + ["sparse"] * (case["optimizer"] is SPARSE)
    )
    return " ".join(["logistic" if case["logistic"] else "linear", case["optimizer"]["kind"], case["scaler"], *extra])


def against(engine, check, cases, count):
    """Runs all cases in one pipeline and compares the predictions of each."""
    columns = data(ROWS)
    families = {case["inputs"] for case in cases}
    used = {
        name: values[:count]
        for name, values in columns.items()
        if name in ("id", "ts", "yes", "amount", "w") or name[0] in families and name[1:].isdigit()
    }
    pipeline = 'epoch = { max_rows = 4096 }\n[sources.x]\nkind = "file"\npath = "${IN}/x.parquet"\nevent_time = "ts"\nkey = "id"\n'
    outcome = engine.run(
        check.name, pipeline + "".join(model(f"m{n}", case) for n, case in enumerate(cases)), {"x.parquet": table(used)}, 2
    )
    for n, case in enumerate(cases):
        wanted = expected(case, columns, count)
        got = outcome.table(f"m{n}")["probability" if case["logistic"] else "prediction"]
        check.close(describe(case), got, wanted, BOUND, [max(abs(p), 1e-3) for p in wanted])


def logistic(engine, check):
    """50,000 rows: SGD and AdaGrad as in River, FTRL as in the paper."""
    against(engine, check, core(True, (SGD, ADAGRAD, FTRL)), ROWS)


def linear(engine, check):
    """50,000 rows: SGD and AdaGrad as in River, FTRL as in the paper."""
    against(engine, check, core(False, (SGD, ADAGRAD, FTRL)), ROWS)


def scalers_and_penalties(engine, check):
    """All scalers, nulls, L1, L2, clipping and intercepts."""
    against(engine, check, list(options()), SHORT)


ORACLES = [logistic, linear, scalers_and_penalties]
