"""Monitors against River (ADWIN), scikit-learn (metrics) and numpy (PSI, fading metrics), all computed from the predictions that were emitted."""

import numpy as np
import pyarrow as pa
from river import drift
from sklearn import metrics

from windows import START

PERTURBED = {"adwin": {"key"}, "quality": {"value"}, "psi": {"value"}}
HALF_HOUR = 1_800_000


def data(count, seed):
    """Two changes of the truth; inputs that drift, have nulls, ties and a constant. NaN stands for null."""
    chance = np.random.default_rng(seed)
    n = np.arange(count)
    x = {
        "a": chance.normal(size=count) + np.where(n > count * 0.6, 1.0, 0.0),
        "b": np.round(chance.exponential(3, count)),
        "c": np.full(count, 2.5),
        "d": chance.normal(size=count) * 100,
    }
    x["b"][(chance.random(count) < np.where(n > count // 2, 0.2, 0.05))] = np.nan
    x["c"][count - 700 :: 9] = 3.5
    signal = x["a"] + 0.01 * x["d"]
    signal = np.where((n > count * 0.35) & (n < count * 0.7), -signal, signal) + chance.normal(size=count) * 0.7
    return {
        "id": n,
        "ts": pa.array(START + np.cumsum(chance.integers(0, 4000, count)), pa.timestamp("ms")),
        **x,
        "yes": np.where(chance.random(count) < 0.1, np.nan, signal > 0.3),
        "amount": np.where(chance.random(count) < 0.1, np.nan, 5 * signal + 100),
    }


CLASSES = ["accuracy", "fading_accuracy", "log_loss", "fading_log_loss", "roc_auc"]
AMOUNTS = ["mae", "fading_mae", "rmse", "fading_rmse", "r2", "fading_r2"]
DELTAS = [0.002, 0.05, 0.4]


def pipeline():
    """A classifier, a regression, and monitors of each kind."""
    text = 'epoch = { max_rows = 777 }\n[sources.x]\nkind = "file"\npath = "${IN}/x.parquet"\nevent_time = "ts"\nkey = "id"\n'
    for name, kind, label, extra in (("m", "logistic", "yes", "threshold = 0.4"), ("r", "linear", "amount", "")):
        text += f'[models.{name}]\nkind = "{kind}_regression"\nfrom = "x"\nfeatures = ["a", "b", "c", "d"]\nlabel = "{label}"\n{extra}\noptimizer = {{ kind = "sgd", lr = 0.02 }}\nlearn = "record"\n'
        text += f'[sinks.{name}]\nkind = "file"\nfrom = "models.{name}"\npath = "${{OUT}}/{name}.ndjson"\n'
    monitors = [("classes", ["models.m"], f"metrics = {CLASSES}"), ("amounts", ["models.r"], f"metrics = {AMOUNTS}")]
    monitors += [
        (f"adwin_{model}_{n}", [f"models.{model}"], f'detectors = {{ adwin = {{ on = "error", delta = {delta} }} }}')
        for model in "mr"
        for n, delta in enumerate(DELTAS)
    ]
    monitors += [
        (
            "psi_rows",
            ["models.m", "models.m.inputs"],
            "detectors = { psi = { threshold = 0.2 } }\nreference = { rows = 3000 }\nwindow = { rows = 2000 }\nmin_rows = 1000",
        )
    ]
    monitors += [
        (
            "psi_time",
            ["models.r", "models.r.inputs"],
            'detectors = { psi = { threshold = 0.1, bins = 7 } }\nreference = { rows = 1501 }\nwindow = "2h"\nmin_rows = 100',
        )
    ]
    for name, watch, what in monitors:
        window = "" if "window" in what else 'window = "1h"\n'
        text += f'[monitors.{name}]\nwatch = {watch}\nevery = "30m"\n{what}\n{window}[sinks.{name}]\nkind = "file"\nfrom = "monitors.{name}"\npath = "${{OUT}}/{name}.ndjson"\n'
    return text


def start(engine, check, seed):
    """Runs the pipeline; its outcome, the input, and per model the labelled rows as (row, label, prediction)."""
    columns = data(24_000, seed)
    table = pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True) for name, values in columns.items()}
    )
    outcome = engine.run(check.name, pipeline(), {"x.parquet": table}, 2)
    times = np.array(columns["ts"].cast(pa.int64()))
    predictions = {
        "m": np.array([row["probability"] for row in outcome.lines("m")]),
        "r": np.array([row["prediction"] for row in outcome.lines("r")]),
    }
    labelled = {}
    for model, label in (("m", "yes"), ("r", "amount")):
        rows = np.flatnonzero(~np.isnan(columns[label]))
        labelled[model] = rows, columns[label][rows], predictions[model][rows]
    return outcome, columns, times, predictions, labelled


def adwin(engine, check):
    """Alarms at the same rows as River's, for misclassification and for the absolute error."""
    outcome, _, _, _, labelled = start(engine, check, 41)
    for model in "mr":
        rows, y, p = labelled[model]
        errors = ((p >= 0.4) != (y >= 0.5)).astype(float) if model == "m" else np.abs(y - p)
        for n, delta in enumerate(DELTAS):
            detector, alarms = drift.ADWIN(delta=delta), []
            for row, error in zip(rows, errors):
                detector.update(float(error))
                if detector.drift_detected:
                    alarms.append(str(row))
            check.equal(f"alarms of {model} with delta {delta}", [row["key"] for row in outcome.lines(f"adwin_{model}_{n}")], alarms)
            if len(alarms) < 2:
                check.fault(f"{len(alarms)} alarms of {model} with delta {delta} prove little")


def faded(values):
    """Mean in which a value weighs 0.999 for each later one."""
    weights = 0.999 ** np.arange(len(values))[::-1]
    return float(weights @ values / weights.sum())


def quality(engine, check):
    """Metrics at the end of every half hour of event time, over all labelled rows so far; AUC over the last 10,000."""
    outcome, _, times, _, labelled = start(engine, check, 42)
    clipped = lambda p: np.clip(p, 1e-15, 1 - 1e-15)  # scikit-learn clips too, but elsewhere
    weights = lambda y: 0.999 ** np.arange(len(y))[::-1]
    formulas = {
        "accuracy": lambda y, p: metrics.accuracy_score(y >= 0.5, p >= 0.4),
        "fading_accuracy": lambda y, p: faded((y >= 0.5) == (p >= 0.4)),
        "log_loss": lambda y, p: metrics.log_loss(y, clipped(p), labels=[0, 1]),
        "fading_log_loss": lambda y, p: metrics.log_loss(y, clipped(p), labels=[0, 1], sample_weight=weights(y)),
        "roc_auc": lambda y, p: metrics.roc_auc_score(y[-10_000:], p[-10_000:]),
        "mae": metrics.mean_absolute_error,
        "fading_mae": lambda y, p: faded(np.abs(y - p)),
        "rmse": metrics.root_mean_squared_error,
        "fading_rmse": lambda y, p: faded((y - p) ** 2) ** 0.5,
        "r2": metrics.r2_score,
        "fading_r2": lambda y, p: metrics.r2_score(y, p, sample_weight=weights(y)),
    }
    for model, monitor, names in (("m", "classes", CLASSES), ("r", "amounts", AMOUNTS)):
        rows, y, p = labelled[model]
        interval = times[rows] // HALF_HOUR
        ends = np.unique(interval)
        got = outcome.lines(monitor)
        check.equal("number of statistics", [len(got)], [len(names) * len(ends)])
        for name in names:
            values = [row["value"] for row in got if row["statistic"] == name]
            wanted = [float(formulas[name](y[interval <= end], p[interval <= end])) for end in ends]
            check.close(name, values, wanted, 1e-9)


def borders(values, bins):
    """Bins at the quantiles of the reference (numpy's inverted_cdf); a value that is two borders in a row gets a bin of its own (S12.2)."""
    values = np.sort(values[~np.isnan(values)])
    marks = [values[0]] + [np.quantile(values, i / bins, method="inverted_cdf") for i in range(1, bins)] + [values[-1]]
    inner = set(marks[1:-1])
    for value in set(marks):
        if marks.count(value) > 1:
            inner |= {np.nextafter(value, -np.inf), value}
    return np.array(
        sorted(inner - ({values[0]} if marks.count(values[0]) == 1 else set()) - ({values[-1]} if marks.count(values[-1]) == 1 else set()))
    )


def psi_of(reference, window, bins):
    """Σ (w − r) ln(w / r) over bins and null, an empty cell counting 1e-4."""
    edges = borders(reference, bins)
    shares = []
    for values in (reference, window):
        present = values[~np.isnan(values)]
        counts = np.bincount(np.searchsorted(edges, present, side="left"), minlength=len(edges) + 1)
        cells = np.append(counts, len(values) - len(present))
        shares.append(np.where(cells == 0, 1e-4, cells / len(values)))
    r, w = shares
    return float(np.sum((w - r) * np.log(w / r)))


def psi(engine, check):
    """Inputs and predictions against the first rows: windows of rows and of time."""
    outcome, columns, times, predictions, _ = start(engine, check, 43)
    interval = times // HALF_HOUR
    for monitor, model, first, bins, threshold, least in (("psi_rows", "m", 3000, 10, 0.2, 1000), ("psi_time", "r", 1501, 7, 0.1, 100)):
        ends = np.unique(interval[first:])
        later = np.arange(len(times)) >= first
        for column in ("prediction", "a", "b", "c", "d"):
            values = predictions[model] if column == "prediction" else columns[column]
            got = [row for row in outcome.lines(monitor) if row["column"] == column]
            windows = [
                values[later & (interval <= end)][-2000:]
                if monitor == "psi_rows"
                else values[later & (interval <= end) & (interval > end - 4)]
                for end in ends
            ]
            wanted = [psi_of(values[:first], window, bins) for window in windows]
            check.close(f"{monitor} of {column}", [row["value"] for row in got], wanted, 1e-9, [max(abs(value), 1e-6) for value in wanted])
            check.equal(f"{monitor} rows of {column}", [row["rows"] for row in got], [len(window) for window in windows])
            check.equal(
                f"{monitor} alarms of {column}",
                [row["alarm"] for row in got],
                [len(window) >= least and value >= threshold for window, value in zip(windows, wanted)],
            )


ORACLES = [adwin, quality, psi]
