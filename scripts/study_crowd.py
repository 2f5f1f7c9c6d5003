"""Asks the same seeded requests alone and in a crowd, and keeps the answers.

    python scripts/study_crowd.py --gguf=FILE [--llama_server=PROGRAM] \
        [--servers=chatjax,llama.cpp] [--out=docs/study/answers.jsonl.gz]

Needs the `[dev]` extra. Every server is started once, with eight places, and
asked 200 requests three times: one at a time, one at a time again, and with
eight in flight in a shuffled order. Prompts, seeds and all fields are the same
each time. `--servers='llama.cpp without cache'` asks llama.cpp without its
prompt cache. scripts/study_report.py makes the table and the plot of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import gzip
import json
import pathlib
import random
import shutil
import sys
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging
import httpx
import peers
import study_requests

_MODEL = flags.DEFINE_string(
  'model', 'qwen2.5-coder-0.5b-instruct', 'Model id of chatjax.'
)
_GGUF = flags.DEFINE_string(
  'gguf', None, 'The same weights as a file, for llama.cpp.'
)
_SERVERS = flags.DEFINE_list(
  'servers',
  ['chatjax', 'llama.cpp'],
  'Who is asked; there is also llama.cpp without cache.',
)
_LLAMA_SERVER = flags.DEFINE_string(
  'llama_server', 'llama-server', 'A program on the PATH, or its path.'
)
_REQUESTS = flags.DEFINE_integer(
  'requests', 200, 'How many.', lower_bound=1, upper_bound=200
)
_MAX_TOKENS = flags.DEFINE_integer(
  'max_tokens', 32, 'Tokens of an answer at most.', lower_bound=1
)
_OUT = flags.DEFINE_string(
  'out', 'docs/study/answers.jsonl.gz', 'Where the answers go.'
)

_TIMEOUT_S = 900


def record(answer: Mapping[str, Any]) -> dict[str, Any]:
  """What is kept of an answer."""
  (choice,) = answer['choices']
  entries = choice['logprobs']['content']
  return {
    'text': choice['message']['content'],
    'tokens': [entry['token'] for entry in entries],
    'logprobs': [entry['logprob'] for entry in entries],
    'finish_reason': choice['finish_reason'],
    'system_fingerprint': answer.get('system_fingerprint'),
  }


def ask(
  url: str,
  extra: Mapping[str, Any],
  asked: Sequence[study_requests.Request],
  in_flight: int,
  max_tokens: int,
) -> tuple[list[dict[str, Any]], float]:
  """Answers by the requests' order, and the seconds that all took."""
  with (
    httpx.Client(timeout=_TIMEOUT_S) as client,
    futures.ThreadPoolExecutor(in_flight) as pool,
  ):

    def one(request: study_requests.Request) -> dict[str, Any]:
      answer = client.post(
        f'{url}/v1/chat/completions', json=request.body(max_tokens) | extra
      )
      answer.raise_for_status()
      return record(answer.json())

    start = time.perf_counter()
    answers = list(pool.map(one, asked))
    return answers, time.perf_counter() - start


def _start_chatjax() -> tuple[peers.Server, dict[str, Any]]:
  port = peers.free_port()
  program = pathlib.Path(sys.executable).with_name('chatjax')
  command = [
    str(program),
    'serve',
    f'--model={_MODEL.value}',
    f'--port={port}',
    f'--max_rows={study_requests.PLACES}',
  ]
  extra = {'model': _MODEL.value}
  return peers.Server('chatjax', command, port=port, extra={}), extra


def _start_llama(**extra: Any) -> tuple[peers.Server, dict[str, Any]]:
  program = shutil.which(_LLAMA_SERVER.value)
  if program is None or not _GGUF.value:
    raise app.UsageError('llama.cpp needs --llama_server and --gguf.')
  port = peers.free_port()
  command = [
    program, '--model', _GGUF.value, '--port', str(port), '--threads', '2',
    '--threads-batch', '2', '--parallel', str(study_requests.PLACES),
    '--ctx-size', str(study_requests.PLACES * 2048),
  ]  # fmt: skip
  return peers.Server('llama.cpp', command, port=port, extra={}), extra


START = {
  'chatjax': _start_chatjax,
  'llama.cpp': _start_llama,
  # Its documentation says that the cache may move results.
  'llama.cpp without cache': lambda: _start_llama(cache_prompt=False),
}


def study(name: str, count: int, max_tokens: int) -> list[dict[str, Any]]:
  """All answers of one server, a record each."""
  server, extra = START[name]()
  rows = []
  try:
    for condition, (in_flight, order) in study_requests.CONDITIONS.items():
      asked = study_requests.requests(count)
      if order is not None:
        random.Random(order).shuffle(asked)
      answers, seconds = ask(server.url, extra, asked, in_flight, max_tokens)
      tokens = sum(len(answer['tokens']) for answer in answers)
      print(f'{name}, {condition}: {tokens} tokens in {seconds:.0f} s')
      rows += sorted(
        (
          {
            'server': name,
            'condition': condition,
            'index': request.index,
            **answer,
          }
          for request, answer in zip(asked, answers, strict=True)
        ),
        key=lambda row: row['index'],
      )
  finally:
    server.stop()
  return rows


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  logging.set_verbosity(logging.WARNING)
  if unknown := [name for name in _SERVERS.value if name not in START]:
    raise app.UsageError(f'Unknown server {unknown[0]!r}; {", ".join(START)}.')
  rows = []
  for name in _SERVERS.value:
    rows += study(name, _REQUESTS.value, _MAX_TOKENS.value)
  path = pathlib.Path(_OUT.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  lines = ''.join(f'{json.dumps(row)}\n' for row in rows)
  # No time of writing in the file: the same answers are the same bytes.
  path.write_bytes(gzip.compress(lines.encode(), mtime=0))


if __name__ == '__main__':
  app.run(main)
