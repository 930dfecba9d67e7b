#!/usr/bin/env python3
"""The online linear models against River 0.26.1 (SGD, AdaGrad) and against the FTRL-Proximal paper in numpy.

  python learners.py [--rows 50000] -- COMMAND [ARG...]

needs `pip install river==0.26.1 numpy`. COMMAND is run once per case with one more argument, the case as JSON:
  {"logistic", "optimizer": {"kind", ...}, "scaler": "none" | "on_learn" | "before", "l1", "l2", "clip_gradient", "intercept_lr",
   "intercept_init", "width"}
It reads CSV rows `y,weight,x0,x1,...` from its standard input (an empty y: no label; an empty x: null) and prints one prediction a line, made before
its row is learned, in the shortest form that reads back equal. Exit 1 if a prediction is off by more than 1e-9, relative to max(|p|, 1e-3).

River's FTRL solves its weights one step late, so it is no oracle; `Paper` is algorithm 1 of McMahan et al., KDD 2013.
"""
import argparse, json, math, subprocess, sys

import numpy as np
from river import linear_model, optim, preprocessing

WIDTH = 12


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
    for j, value in x.items():
        out[j] = value
    return out


def rows(count, logistic, nulls, scaled):
    """Random rows as dictionaries without the nulls, with label (or None) and weight. Column 3 is constant, sizes differ widely if scaled."""
    random = np.random.default_rng(7)
    size = 10.0 ** random.integers(-3, 4, WIDTH) if scaled else np.full(WIDTH, 0.4)
    truth = random.normal(size=WIDTH)
    for _ in range(count):
        u = random.normal(size=WIDTH) + 0.2
        u[3] = 1.0
        signal = float(u @ truth) + random.normal()
        y = float(signal > 0.5) if logistic else signal
        weight = float(random.uniform(0, 2)) if random.uniform() < 0.3 else 1.0
        x = {j: float(u[j] * size[j]) for j in range(WIDTH) if not (nulls and random.uniform() < 0.1)}
        yield x, (y if random.uniform() < 0.9 else None), weight


def expected(case, data):
    """The oracle's predictions."""
    oracle = Paper(case) if case["optimizer"]["kind"] == "ftrl" else River(case)
    scaler = None if case["scaler"] == "none" else preprocessing.StandardScaler()
    out = []
    for x, y, weight in data:
        if case["scaler"] == "before":
            scaler.learn_one(x)
        out.append(oracle.predict(scaler.transform_one(x) if scaler else x))
        if y is not None:
            if case["scaler"] == "on_learn":
                scaler.learn_one(x)
            oracle.learn(scaler.transform_one(x) if scaler else x, y, weight)
    return np.array(out)


def cases():
    """Name, case, and whether rows have nulls (which River then simply does not see; so without penalties)."""
    base = {"l1": 0.0, "l2": 0.0, "clip_gradient": 1e12, "intercept_lr": 0.01, "intercept_init": 0.0, "width": WIDTH}
    optimizers = [
        {"kind": "sgd", "lr": 0.01},
        {"kind": "adagrad", "lr": 0.1, "eps": 1e-8},
        {"kind": "ftrl", "alpha": 0.05, "beta": 1.0, "l1": 0.0, "l2": 1.0},
        {"kind": "ftrl", "alpha": 0.1, "beta": 0.5, "l1": 2.0, "l2": 0.1},
    ]
    for logistic in (True, False):
        for optimizer in optimizers:
            for scaler in ("none", "on_learn", "before"):
                case = {**base, "logistic": logistic, "optimizer": optimizer, "scaler": scaler}
                yield case, False
                if scaler != "none":
                    yield case, True
                if optimizer["kind"] != "ftrl":
                    yield {**case, "l2": 0.001}, False
                    if scaler == "on_learn":
                        yield {**case, "l1": 0.0001}, False
                        yield {**case, "clip_gradient": 0.3, "intercept_lr": 0.1, "intercept_init": 0.5}, False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    worst = 0.0
    for case, nulls in cases():
        data = list(rows(arguments.rows, case["logistic"], nulls, case["scaler"] != "none"))
        lines = [",".join(["" if y is None else repr(y), repr(w)] + [repr(x[j]) if j in x else "" for j in range(WIDTH)]) for x, y, w in data]
        run = subprocess.run([*arguments.command, json.dumps(case)], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
        got, wanted = np.array([float(line) for line in run.stdout.split()]), expected(case, data)
        assert len(got) == len(wanted), f"{len(got)} predictions for {len(wanted)} rows"
        difference = float(np.max(np.abs(got - wanted) / np.maximum(np.abs(wanted), 1e-3)))
        worst = max(worst, difference)
        o = case["optimizer"]
        extra = "".join(f" {k}={case[k]}" for k in ("l1", "l2") if case[k]) + (" clipped" if case["clip_gradient"] < 1 else "") + (" nulls" if nulls else "")
        if o["kind"] == "ftrl" and o["l1"]:
            extra += " sparse"
        flag = "" if difference <= 1e-9 else "  TOO FAR"
        print(f"{'logistic' if case['logistic'] else 'linear':8} {o['kind']:7} {case['scaler']:8}{extra:18} {difference:.1e}{flag}", flush=True)
    print(f"worst {worst:.1e} over {arguments.rows} rows a case")
    sys.exit(worst > 1e-9)


if __name__ == "__main__":
    main()
