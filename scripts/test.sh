#!/usr/bin/env bash
# Installs what the tests need, then runs them. Real models are fetched once.
#   bash scripts/test.sh          the suite, at most 20 minutes on two cores
#   bash scripts/test.sh --all    everything
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
make_venv dev
"$BIN/ruff" check .
"$BIN/ruff" format --check .

# pytest ends with 5 if it finds no test. With arguments, such as a folder, one
# of the two runs may well find none, but not both.
fast=0 real=0
"$BIN/python" -m pytest -n 2 --dist loadfile -m 'not real_model' "$@" || fast=$?
case $fast,$* in
  5,--all) exit 5 ;;
  0,* | 5,?*) ;;
  *) exit "$fast" ;;
esac
# Real models run as the product runs them: one device, a process of their own.
CHATJAX_TEST_DEVICES=1 "$BIN/python" -m pytest -m real_model "$@" || real=$?
case $real,$fast,$* in
  5,0,--all) exit 5 ;;
  5,0,?*) exit 0 ;;
  *) exit "$real" ;;
esac
