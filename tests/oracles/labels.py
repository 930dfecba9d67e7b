"""Labels that arrive later (S10.5), against River's `simulate_qa`: questions and answers in the order of their times, answers first at equal times."""

import datetime

import numpy as np
from river import evaluate, linear_model, metrics, optim, preprocessing, stream

from windows import START

PERTURBED = {"probability", "x0", "value"}
HOUR = 3_600_000
COUNT, WIDTH, WITHIN = 6000, 5, HOUR


def data(seed):
    """Questions in order of time, with a label each and the delay of its answer in ms; some come too late to count."""
    chance = np.random.default_rng(seed)
    t = START + np.cumsum(np.where(chance.random(COUNT) < 0.2, 0, chance.integers(1, 200, COUNT) * 100))
    x = chance.normal(size=(COUNT, WIDTH)) * [1, 10, 0.1, 100, 3] + 2
    truth = ((x - 2) / [1, 10, 0.1, 100, 3]) @ chance.normal(size=WIDTH)
    y = truth + chance.normal(size=COUNT) * 0.5 > 0
    delay = np.where(chance.random(COUNT) < 0.1, 0, chance.integers(0, 40_000, COUNT) * 100)
    return [
        {"x": {f"x{j}": float(row[j]) for j in range(WIDTH)}, "t": int(time), "y": bool(label), "delay": int(wait)}
        for row, time, label, wait in zip(x, t, y, delay)
    ]


def pipeline(answers):
    """The questions are predicted, the answers learned."""
    inputs = ", ".join(f'x{j} = "float64"' for j in range(WIDTH))
    return f"""epoch = {{ max_rows = 300 }}
[sources.questions]
kind = "file"
path = "${{IN}}/questions.ndjson"
schema = {{ id = "int64", ts = "timestamp_ms", {inputs} }}
event_time = "ts"
key = "id"
[sources.{answers}]
kind = "file"
path = "${{IN}}/answers.ndjson"
schema = {{ id = "int64", ts = "timestamp_ms", y = "bool" }}
event_time = "ts"
key = "id"
[models.m]
kind = "logistic_regression"
from = "questions"
features = ["x0", "x1", "x2", "x3", "x4"]
label = {{ stream = "{answers}", on = "id", value = "y", within = "{WITHIN}ms" }}
optimizer = {{ kind = "sgd", lr = 0.05 }}
intercept_init = 0.1
learn = "record"
[monitors.quality]
watch = ["models.m"]
metrics = ["log_loss", "accuracy"]
window = "1h"
every = "1h"
[sinks.predictions]
kind = "file"
from = "models.m"
path = "${{OUT}}/predictions.ndjson"
[sinks.rows]
kind = "file"
from = "models.m.rows"
path = "${{OUT}}/rows.ndjson"
[sinks.quality]
kind = "file"
from = "monitors.quality"
path = "${{OUT}}/quality.ndjson"
"""


def model():
    """The same in River. The intercept begins beside 0, because River takes a probability of exactly 0.5 for false and the engine for true."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(0.05), intercept_init=0.1)


def delayed(engine, check):
    """Every prediction, the row that was learned with it, and River's progressive validation."""
    rows = data(31)
    questions = [{"id": n, "ts": row["t"], **row["x"]} for n, row in enumerate(rows)]
    known = sorted(((row["t"] + row["delay"], n) for n, row in enumerate(rows)))
    told = [{"id": n, "ts": t, "y": rows[n]["y"]} for t, n in known]
    outcome = engine.run(check.name, pipeline("answers"), {"questions.ndjson": questions, "answers.ndjson": told}, 2)

    moment = lambda x: datetime.datetime.fromtimestamp(x["t"] / 1000, datetime.timezone.utc)
    dataset = lambda: (({**row["x"], "t": row["t"], "n": n}, row["y"]) for n, row in enumerate(rows))
    delay = lambda x, y: datetime.timedelta(milliseconds=rows[x["n"]]["delay"])
    river, predicted, learned = model(), {}, []
    for n, x, y in stream.simulate_qa(dataset(), moment, delay):
        inputs = {name: value for name, value in x.items() if name not in ("t", "n")}
        if y is None:
            predicted[n] = river.predict_proba_one(inputs)[True]
        elif rows[n]["delay"] <= WITHIN:
            river.learn_one(inputs, y)
            learned.append(n)
    got = outcome.lines("predictions")
    check.equal("questions", [row["id"] for row in got], list(range(COUNT)))
    check.close("probability", [row["probability"] for row in got], [predicted[n] for n in range(COUNT)], 1e-9)
    served = outcome.lines("rows")
    check.equal("rows that were learned", sorted(row["id"] for row in served), sorted(learned))
    check.equal("labels", [row["label"] for row in served], [rows[row["id"]]["y"] for row in served])
    check.equal("inputs as served", [row["x0"] for row in served], [rows[row["id"]]["x"]["x0"] for row in served])
    check.equal("class as served", [row["prediction"] for row in served], [predicted[row["id"]] >= 0.5 for row in served])


def progressive(engine, check):
    """Log loss and accuracy at the end of every hour as River's `progressive_val_score` has them, where all labels come within time."""
    rows = [row for row in data(32) if row["delay"] < WITHIN]
    questions = [{"id": n, "ts": row["t"], **row["x"]} for n, row in enumerate(rows)]
    known = sorted(((row["t"] + row["delay"], n) for n, row in enumerate(rows)))
    told = [{"id": n, "ts": t, "y": rows[n]["y"]} for t, n in known]
    outcome = engine.run(check.name, pipeline("answers"), {"questions.ndjson": questions, "answers.ndjson": told}, 1)
    order = {tuple(row["x"].values()): row for row in rows}
    moment = lambda x: datetime.datetime.fromtimestamp(order[tuple(x.values())]["t"] / 1000, datetime.timezone.utc)
    delay = lambda x, y: datetime.timedelta(milliseconds=order[tuple(x.values())]["delay"])
    ends = np.array([t for t, _ in known]) // HOUR
    for name, metric in (("log_loss", metrics.LogLoss()), ("accuracy", metrics.Accuracy())):
        steps = evaluate.iter_progressive_val_score(((row["x"], row["y"]) for row in rows), model(), metric, moment, delay)
        scores = [step[type(metric).__name__].get() for step in steps]
        wanted = [scores[np.searchsorted(ends, end, side="right") - 1] for end in np.unique(ends)]
        check.close(name, [row["value"] for row in outcome.lines("quality") if row["statistic"] == name], wanted, 1e-9)


ORACLES = [delayed, progressive]
