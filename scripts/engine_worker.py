"""Times chatjax in Python on requests read from stdin, one JSON job a line.

A job is `{"bodies": [...]}`: fields of chat completions that start together,
a thread each reading `Chat.stream`. The answer: `{"output_tokens": n,
"duration_s": s}`, from the start to the end of the last. Started by
scripts/bench_peers.py --http.
"""

from __future__ import annotations

from concurrent import futures
import json
import sys
import time
from typing import Any

from absl import app
from absl import flags

import chatjax

_MODEL = flags.DEFINE_string('model', None, 'Model id.', required=True)
_DTYPE = flags.DEFINE_string('dtype', 'int8', 'How the weights are kept.')
_MAX_ROWS = flags.DEFINE_integer('max_rows', 8, 'Answers at once.')


def answer(chat: chatjax.Chat, bodies: list[dict[str, Any]]) -> dict[str, Any]:
  """Streams all answers at once and counts their tokens."""

  def count_tokens(body: dict[str, Any]) -> int:
    chunks = list(chat.stream(**body, stream_options={'include_usage': True}))
    return chunks[-1].usage.completion_tokens

  with futures.ThreadPoolExecutor(len(bodies)) as pool:
    begin_s = time.perf_counter()
    counts = list(pool.map(count_tokens, bodies))
    duration_s = time.perf_counter() - begin_s
  return {'output_tokens': sum(counts), 'duration_s': duration_s}


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unexpected arguments {argv[1:]}; use flags.')
  with chatjax.load(
    _MODEL.value, dtype=_DTYPE.value, max_rows=_MAX_ROWS.value
  ) as chat:
    print(json.dumps({'chatjax': chatjax.__version__}), flush=True)
    for line in sys.stdin:
      job = json.loads(line)
      print(json.dumps(answer(chat, job['bodies'])), flush=True)


if __name__ == '__main__':
  app.run(main)
