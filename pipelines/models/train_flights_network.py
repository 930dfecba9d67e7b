#!/usr/bin/env python3
"""Trains the small network of flights-tour.toml from a snapshot of `models.late.rows` and writes it as Tidemill reads it.

    cargo run --release -- run pipelines/flights.toml              # writes out/flights/training
    python3 -m venv venv && venv/bin/pip install numpy pyarrow
    venv/bin/python pipelines/models/train_flights_network.py out/flights/training

The snapshot holds the feature rows as they were served, each with its label: no row knows more than was known at its departure. Trained on the flights
before `--until` (1 April 2001) and measured on those from then on. The result is `model.safetensors` and `model.json` in `--to`
(pipelines/models/delay-mlp): n inputs -> 32 -> 16 -> 1, relu, relu, sigmoid; inputs standardised, a null counts as its input's mean.

Deterministic: one seed, one thread, float64 while training, rows in the order (event time, key). The same numpy on the same kind of machine writes the
same bytes.
"""

import os

for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import datetime
import hashlib
import json
import pathlib
import struct

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

# Columns of a snapshot that are not inputs (S13.1), beside the key and the times.
NOT_INPUTS = {"label", "prediction", "probability"}


def read_snapshot(path: pathlib.Path, key: str, time: str):
    """Inputs (names as in a pipeline, matrix with NaN for null), labels 0/1, event times; rows by (time, key)."""
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        raise SystemExit(f"error: no Parquet file under {path}\nhelp: run pipelines/flights.toml first; it writes out/flights/training")
    rows = pa.concat_tables([pq.ParquetFile(part).read() for part in parts])
    for needed in (key, time, "label"):
        if needed not in rows.column_names:
            raise SystemExit(f"error: {path} has no column `{needed}`\nhelp: it must be a snapshot of models.M.rows with its default columns")
    rows = rows.filter(pa.compute.is_valid(rows["label"])).sort_by([(time, "ascending"), (key, "ascending")])
    columns = [field.name for field in rows.schema if pa.types.is_floating(field.type) and field.name not in NOT_INPUTS]
    # `view.feature` is `view__feature` as a column (S13.1); inputs stand in byte order of their names (S10.1).
    names = sorted(((column.replace("__", ".", 1), column) for column in columns), key=lambda pair: pair[0].encode())
    x = np.column_stack([rows[column].to_numpy(zero_copy_only=False).astype(np.float64) for _, column in names])
    y = rows["label"].cast(pa.float64()).to_numpy()
    times = rows[time].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return [name for name, _ in names], x, y, times


def forward(layers, x):
    """Activations of every layer; the last one is the probability."""
    seen = [x]
    for index, (weight, bias) in enumerate(layers):
        z = seen[-1] @ weight.T + bias
        last = index == len(layers) - 1
        seen.append(1.0 / (1.0 + np.exp(-np.clip(z, -60.0, 60.0))) if last else np.maximum(z, 0.0))
    return seen


def train(x, y, hidden, seed, epochs, batch, rate, decay):
    """Minimises log loss with Adam (Kingma and Ba, 2015) and a falling rate."""
    random = np.random.Generator(np.random.PCG64(seed))
    sizes = [x.shape[1], *hidden, 1]
    layers = [(random.normal(0.0, np.sqrt(2.0 / n), (m, n)), np.zeros(m)) for n, m in zip(sizes, sizes[1:])]
    parameters = [array for layer in layers for array in layer]
    first, second = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    step, steps = 0, epochs * ((len(x) + batch - 1) // batch)
    for epoch in range(epochs):
        order = random.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            seen = forward(layers, x[rows])
            delta = (seen[-1] - y[rows, None]) / len(rows)
            gradients = []
            for index in reversed(range(len(layers))):
                weight, _ = layers[index]
                gradients[:0] = [delta.T @ seen[index] + decay * weight, delta.sum(axis=0)]
                if index:
                    delta = (delta @ weight) * (seen[index] > 0.0)
            step += 1
            now = rate * 0.5 * (1.0 + np.cos(np.pi * step / steps))
            for p, g, m, v in zip(parameters, gradients, first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= now * (m / (1.0 - 0.9**step)) / (np.sqrt(v / (1.0 - 0.999**step)) + 1e-8)
        print(f"pass {epoch + 1} of {epochs}: log loss {log_loss(y, forward(layers, x)[-1][:, 0]):.5f}", flush=True)
    return layers


def log_loss(y, p):
    p = np.clip(p, 1e-15, 1.0 - 1e-15)
    return float(-np.mean(y * np.log(p) + (1.0 - y) * np.log(1.0 - p)))


def roc_auc(y, p):
    """Area under the ROC curve, ties count one half."""
    _, group, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2.0)[group]
    positive = y == 1.0
    n, m = positive.sum(), (~positive).sum()
    return float((rank[positive].sum() - n * (n + 1) / 2.0) / (n * m))


def safetensors(tensors):
    """The bytes of a safetensors file: header length, header, numbers; tensors in byte order of names, no metadata."""
    header, body = {}, b""
    for name in sorted(tensors, key=str.encode):
        data = np.ascontiguousarray(tensors[name], dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def write(folder, names, mean, scale, layers, parameters, learned_rows, seed, tile):
    """Writes both files of the artefact (S10.7)."""
    tensors, described = {}, []
    for index, (weight, bias) in enumerate(layers):
        name = "out" if index == len(layers) - 1 else f"hidden{index + 1}"
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
        described.append({"kind": "linear", "name": name, "inputs": weight.shape[1], "outputs": weight.shape[0]})
        described.append({"kind": "sigmoid" if name == "out" else "relu"})
    stored = safetensors(tensors)
    description = {
        "format": "tidemill-model/1",
        "kind": "network",
        "parameters": parameters,
        "inputs": [{"name": name, "type": "float64"} for name in names],
        "output": "probability",
        "scaler": {"kind": "standard", "mean": mean.tolist(), "scale": scale.tolist()},
        "optimizer": None,
        "seed": seed,
        "epoch": 0,
        "learned_rows": learned_rows,
        "fingerprint": "",
        "sha256": hashlib.sha256(stored).hexdigest(),
        "layers": described,
        "dtype": "f32",
        "tile": tile,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(stored)
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n")
    print(f"{folder}: {len(names)} inputs, {sum(t.size for t in tensors.values())} parameters, sha256 {description['sha256']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot", type=pathlib.Path, help="folder or file written by a parquet sink of models.M.rows")
    parser.add_argument("--to", type=pathlib.Path, default=pathlib.Path(__file__).parent / "delay-mlp", help="folder of the artefact")
    parser.add_argument("--key", default="flight_id")
    parser.add_argument("--time", default="departed_at")
    parser.add_argument("--until", default="2001-04-01", help="train on rows before this day (UTC), measure on the others")
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 16])
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=1e-4, help="L2 penalty on weights")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tile", type=int, default=256)
    given = parser.parse_args()

    names, x, y, times = read_snapshot(given.snapshot, given.key, given.time)
    until = datetime.datetime.fromisoformat(given.until).replace(tzinfo=datetime.timezone.utc)
    learn = times < int(until.timestamp()) * 1_000_000
    if not learn.any():
        raise SystemExit(f"error: no row before {given.until}\nhelp: give a later day with --until")
    known = np.isfinite(x[learn])
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, x[learn], 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, x[learn] - mean, 0.0) ** 2).sum(axis=0) / count)
    filled = np.where(np.isfinite(x), x, mean)
    z = np.where(scale > 0.0, (filled - mean) / np.where(scale > 0.0, scale, 1.0), 0.0)
    print(f"{learn.sum()} rows to learn from, {(~learn).sum()} to measure on, {len(names)} inputs, label rate {y[learn].mean():.4f}")

    layers = train(z[learn], y[learn], given.hidden, given.seed, given.passes, given.batch, given.rate, given.decay)
    layers = [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in layers]
    parameters = {"until": given.until, "hidden": given.hidden, "passes": given.passes, "batch": given.batch, "rate": given.rate, "decay": given.decay}
    for label, rows in [("learned", learn), ("held_out", ~learn)]:
        if rows.any() and 0.0 < y[rows].mean() < 1.0:
            p = forward(layers, z[rows].astype(np.float32))[-1][:, 0].astype(np.float64)
            parameters[label] = {"rows": int(rows.sum()), "log_loss": round(log_loss(y[rows], p), 5), "roc_auc": round(roc_auc(y[rows], p), 5)}
            print(f"{label}: {parameters[label]}")
    write(given.to, names, mean, scale, layers, parameters, int(learn.sum()), given.seed, given.tile)


if __name__ == "__main__":
    main()
