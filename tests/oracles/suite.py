"""Runs the oracles, two at a time, and ends with `N passed, N failed`.

suite.py --binary PATH --root FOLDER [--only NAME] [--perturb] [--keep FOLDER]
"""

import argparse
import concurrent.futures
import importlib
import os
import pathlib
import sys
import tempfile
import time
import traceback

from check import Check
from engine import Engine

# Longest first, so that two processes end together.
MODULES = ("learners", "windows", "probes", "labels", "monitors", "expressions", "joins")


def oracles(only):
    """Module and function name of every oracle: the functions that a module lists in ORACLES."""
    found = [(module, function.__name__) for module in MODULES for function in importlib.import_module(module).ORACLES]
    return [(module, function) for module, function in found if not only or only in f"{module}.{function}"]


def noticed(columns, function):
    """Columns that an oracle compares: of the module, or by function."""
    return columns[function] if isinstance(columns, dict) else columns


def one(module, function, binary, root, work, perturb):
    """Runs one oracle; its verdict as (passed, text)."""
    start = time.monotonic()
    loaded = importlib.import_module(module)
    check = Check(f"{module}.{function}")
    engine = Engine(binary, root, pathlib.Path(work), noticed(loaded.PERTURBED, function) if perturb else None)
    try:
        getattr(loaded, function)(engine, check)
        if not check.values:
            check.fault("nothing was compared")
    except Exception:
        check.fault(traceback.format_exc(limit=-3).replace("\n", "\n         "))
    return not check.faults, f"{check.line()}  [{time.monotonic() - start:.0f} s]"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the engine")
    parser.add_argument("--root", required=True, help="the repository")
    parser.add_argument("--only", default="", help="only oracles whose name contains this")
    parser.add_argument(
        "--perturb", action="store_true", help="make one value of every output slightly wrong: an oracle passes if it notices"
    )
    parser.add_argument("--keep", help="keep pipelines, inputs and outputs in this folder")
    options = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        work = options.keep or scratch
        tasks = [
            pool.submit(one, module, function, options.binary, options.root, work, options.perturb)
            for module, function in oracles(options.only)
        ]
        for task in concurrent.futures.as_completed(tasks):
            good, text = task.result()
            good = good != options.perturb
            passed, failed = passed + good, failed + (not good)
            print(text, flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or passed == 0)


if __name__ == "__main__":
    main()
