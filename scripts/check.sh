#!/usr/bin/env bash
# What to run before every commit: format, lint, the fast tests.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
make_venv dev
"$BIN/ruff" format .
"$BIN/ruff" check --fix .
"$BIN/python" -m pytest -n 2 --dist loadfile -m 'not real_model' "$@"
