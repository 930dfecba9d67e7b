"""Runs the engine on a pipeline and its inputs, and reads what it wrote.

Nothing of the engine is imported or linked: a pipeline file and input files go in, output files come out, as for any user.
"""

import json
import os
import pathlib
import random
import shutil
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq


class Outcome:
    """The output files of one run."""

    def __init__(self, folder, perturb):
        self.folder, self.perturb = folder, perturb

    def lines(self, name):
        """The rows of an NDJSON sink, as dictionaries. Without the file: none."""
        path = self.folder / f"{name}.ndjson"
        rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return self._perturbed(rows)

    def columns(self, name):
        """The columns of an NDJSON sink, as lists by name."""
        rows = self.lines(name)
        return {column: [row[column] for row in rows] for column in (rows[0] if rows else [])}

    def table(self, name):
        """The columns of a Parquet sink, as lists by name."""
        table = pq.read_table(self.folder / f"{name}.parquet")
        rows = self._perturbed(table.to_pylist()) if self.perturb else None
        return {column: [row[column] for row in rows] for column in table.column_names} if rows else table.to_pydict()

    def _perturbed(self, rows):
        """With --perturb: one value of one row is slightly wrong, which every oracle must notice."""
        if not (self.perturb and rows):
            return rows
        chance = random.Random(len(rows))
        for _ in range(1000):
            row = chance.choice(rows)
            column = chance.choice(list(row))
            value = row[column]
            if column in self.perturb and value is not None:
                row[column] = (
                    not value
                    if isinstance(value, bool)
                    else value + 1
                    if isinstance(value, int)
                    else value * 1.02 + 1e-6
                    if isinstance(value, float)
                    else None
                )
                return rows
        return rows


class Engine:
    """The binary, and a folder for its runs."""

    def __init__(self, binary, root, work, perturb=None):
        self.binary, self.root, self.work, self.perturb = binary, pathlib.Path(root), pathlib.Path(work), perturb

    def run(self, name, pipeline, inputs, workers=1):
        """Runs `pipeline` (TOML, in which ${IN} and ${OUT} are folders) over `inputs`: file name -> rows as dictionaries (NDJSON) or an Arrow table (Parquet)."""
        name = name.replace(".", "-")
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "in").mkdir(parents=True)
        (folder / "out").mkdir()
        for file, content in inputs.items():
            if isinstance(content, pa.Table):
                pq.write_table(content, folder / "in" / file)
            else:
                (folder / "in" / file).write_text("".join(json.dumps(row, default=str) + "\n" for row in content))
        (folder / "pipeline.toml").write_text(f'[pipeline]\nname = "{name}"\n' + pipeline)
        command = [
            self.binary,
            "run",
            str(folder / "pipeline.toml"),
            "-w",
            str(workers),
            "-q",
            "--fresh",
            "--state-dir",
            str(folder / "state"),
        ]
        environment = {**os.environ, "IN": str(folder / "in"), "OUT": str(folder / "out"), "RUST_BACKTRACE": "0"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
        if run.returncode != 0:
            raise RuntimeError(f"the engine ended with {run.returncode}:\n{run.stderr[:4000]}")
        return Outcome(folder / "out", self.perturb)
