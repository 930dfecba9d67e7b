#!/usr/bin/env bash
# The oracles: everything the engine computes, against independent implementations from PyPI.
#
#   tests/oracles/run.sh [BINARY] [OPTION...]      see `suite.py --help` for the options
#
# BINARY is the engine to test: by default that of `cargo build`. Needs Python 3.11 or newer with venv; the packages of requirements.txt are
# installed once, under ~/.cache/tidemill-oracles. The last line says `N passed, N failed`; the exit status is 1 if anything failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${CARGO_TARGET_DIR:-$root/target}/debug/tidemill
if [[ $# -gt 0 && $1 != -* ]]; then
    binary=$1
    shift
fi
if [[ ! -x $binary ]]; then
    echo "oracles: there is no engine at $binary: run \`cargo build\` first, or name another one" >&2
    exit 2
fi

home=${XDG_CACHE_HOME:-$HOME/.cache}/tidemill-oracles
mkdir -p "$home"
exec 9> "$home/lock"
flock 9
if ! cmp -s "$here/requirements.txt" "$home/venv/requirements.txt"; then
    rm -rf "$home/venv"
    "${PYTHON:-python3}" -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$home/venv/requirements.txt"
fi
flock -u 9

export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
exec "$home/venv/bin/python" "$here/suite.py" --binary "$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")" --root "$root" "$@"
