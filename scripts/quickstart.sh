#!/usr/bin/env bash
# From nothing to an answer: environment, default model, one streamed reply.
#   bash scripts/quickstart.sh "Write a haiku about JAX."
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
make_venv ''
if [ $# -eq 0 ]; then
  set -- 'Write a Python function that reverses a linked list.'
fi
exec "$BIN/chatjax" chat --temperature=0 "$@"
