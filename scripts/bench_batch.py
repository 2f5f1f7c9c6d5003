"""Tokens a second of a whole batch beside those of bare decoding, in turn.

  python scripts/bench_batch.py --model=qwen2.5-coder-0.5b-instruct --rows=16

Both write answers of forced length. What `chatjax bench` calls decoding begins
when all rows have their first token and ends with the first row; a batch is
timed as a whole: reading, prefill, decoding, answers on disk. With `--lines` it
also times how soon a file of so many lines is at work again after a kill.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import tempfile
import time

from absl import app
from absl import flags
from absl import logging

import chatjax
from chatjax import api
from chatjax.batch import run as run_lib
from chatjax.batch import worker as worker_lib
from chatjax.cli import bench_engine
from chatjax.cli import bench_text
from chatjax.models import registry

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_ROWS = flags.DEFINE_integer('rows', 16, 'Rows of the engine.')
_TOKENS = flags.DEFINE_integer('tokens', 768, 'Of every answer.')
_WAVES = flags.DEFINE_integer('waves', 2, 'Requests per row and batch.')
_RUNS = flags.DEFINE_integer('runs', 3, 'Of each, in turn.')
_LINES = flags.DEFINE_integer('lines', 0, 'Of a file that is resumed.')
_PROMPT_TOKENS = 40


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  with (
    chatjax.load(_MODEL.value, max_rows=_ROWS.value) as model,
    tempfile.TemporaryDirectory() as scratch,
  ):
    folder = pathlib.Path(scratch)
    if _LINES.value:
      _resume(model, folder)
    bench = bench_engine.Bench(
      model.session.engine, model.session.tokenizer.encode(bench_text.TEXT)
    )
    pairs = []
    for run in range(_RUNS.value + 1):
      decode = bench.decode(
        _ROWS.value, prompt_len=_PROMPT_TOKENS, num_tokens=_TOKENS.value
      ).tokens_per_s
      batch = _batch(model, folder, run)
      if run:  # the first warms up
        pairs.append((decode, batch))
        print(f'decode {decode:.1f} tok/s, batch {batch:.1f}', flush=True)
  share = statistics.median(batch / decode for decode, batch in pairs)
  print(
    f'{_ROWS.value} rows, answers of {_TOKENS.value} tokens: the batch has'
    f' {100 * share:.1f} % of bare decoding (median of {len(pairs)} pairs)'
  )


def _batch(model: api.Chat, folder: pathlib.Path, run: int) -> float:
  count = _ROWS.value * _WAVES.value
  path = _write(model, folder / f'{run}.jsonl', run, count)
  begin_s = time.perf_counter()
  done = run_lib.run(
    model.session, path, folder / f'{run}', settings=_settings()
  )
  passed_s = time.perf_counter() - begin_s
  assert done.counts['completed'] == count, done.counts
  return count * _TOKENS.value / passed_s


def _resume(model: api.Chat, folder: pathlib.Path) -> None:
  """From the call to the first answer's prefill."""
  path = _write(model, folder / 'many.jsonl', 10**6, _LINES.value)
  for what in ('begins', 'resumes'):
    started: list[float] = []
    begin_s = time.monotonic()

    def note(timeline, started=started, begin_s=begin_s) -> None:
      # What was cancelled at the end of the last run may be told now.
      if timeline.started is not None and timeline.started > begin_s:
        started.append(timeline.started)

    model.session.engine.listeners.append(note)
    with contextlib.suppress(worker_lib.Stopped):
      run_lib.run(
        model.session, path, folder / 'many', settings=_settings(),
        should_stop=lambda started=started: bool(started),
      )  # fmt: skip
    model.session.engine.listeners.remove(note)
    first_s = min(started) - begin_s
    print(f'{_LINES.value} lines: work {what} after {first_s:.2f} s')


def _settings() -> run_lib.Settings:
  return run_lib.Settings(rows=_ROWS.value)


def _write(
  model: api.Chat, path: pathlib.Path, run: int, count: int
) -> pathlib.Path:
  """Requests with prompts of their own, and answers that do not end."""
  with open(path, 'w') as file:
    for i in range(count):
      body = {
        'model': model.model_id,
        'messages': [
          {'role': 'user', 'content': f'{run}-{i}: tell me of a town.'}
        ],
        'max_tokens': _TOKENS.value,
        'temperature': 0,
        'ignore_eos': True,
        'speculation': 'off',
      }
      line = {
        'custom_id': f'{run}-{i}',
        'method': 'POST',
        'url': '/v1/chat/completions',
        'body': body,
      }
      file.write(json.dumps(line) + '\n')
  return path


if __name__ == '__main__':
  app.run(main)
