"""What a grammar costs: tokens a second with and without a schema, in turn.

  python scripts/bench_grammar.py --model=qwen2.5-coder-0.5b-instruct --rows=8

All rows draw at the same temperature and of forced length; a row with a schema
writes an array of strings that never ends, so hardly a token is forced. Then:
the milliseconds in which a schema of 50 properties is compiled, when the
compiler has never seen it.
"""

from __future__ import annotations

import concurrent.futures
import statistics
import time
from typing import Any

from absl import app
from absl import flags
from absl import logging

import chatjax
from chatjax import types
from chatjax.grammar import compiler as compiler_lib
from chatjax.models import registry

_MODEL = flags.DEFINE_string('model', registry.DEFAULT, 'Registry id.')
_ROWS = flags.DEFINE_multi_integer('rows', [1, 8], 'Streams at once.')
_TOKENS = flags.DEFINE_integer('tokens', 96, 'Of every answer.')
_RUNS = flags.DEFINE_integer('runs', 5, 'Of each, in turn.')
_COMPILED = 20

_SCHEMA = {'type': 'array', 'items': {'type': 'string'}, 'minItems': 1000}
_WAYS: dict[str, dict[str, Any]] = {
  'free': {},
  'schema': {'structured_outputs': {'json': _SCHEMA}},
}


def main(argv: list[str]) -> None:
  del argv
  logging.set_verbosity(logging.WARNING)
  with chatjax.load(_MODEL.value, max_rows=max(_ROWS.value)) as model:
    for rows in _ROWS.value:
      rates: dict[str, list[float]] = {way: [] for way in _WAYS}
      for run in range(_RUNS.value + 1):
        for way, fields in _WAYS.items():
          rate = _rate(model, rows, run, fields)
          if run:  # the first warms up
            rates[way].append(rate)
      free, bound = (statistics.median(rates[way]) for way in _WAYS)
      pairs = [b / a for a, b in zip(*rates.values(), strict=True)]
      print(
        f'{rows} rows: {free:.1f} tok/s free, {bound:.1f} with a schema;'
        f' median of the pairs {statistics.median(pairs):.2f}'
      )
    print(f'schema of 50 properties: {_compile_ms(model):.1f} ms')


def _rate(model: Any, rows: int, run: int, fields: dict[str, Any]) -> float:
  """Tokens a second while all rows decode."""

  def ask(row: int) -> list[float]:
    chunks = model.stream(
      [{'role': 'user', 'content': f'List {run + 10} towns, list {row}.'}],
      seed=row, max_tokens=_TOKENS.value, ignore_eos=True,
      return_token_ids=True, speculation='off', **fields,
    )  # fmt: skip
    times = []
    for chunk in chunks:
      for choice in chunk.choices:
        times += [time.perf_counter()] * len(choice.token_ids or ())
    return times

  with concurrent.futures.ThreadPoolExecutor(rows) as pool:
    times = list(pool.map(ask, range(rows)))
  start_s, end_s = max(row[0] for row in times), min(row[-1] for row in times)
  count = sum(start_s < at_s <= end_s for row in times for at_s in row)
  return count / (end_s - start_s)


def _compile_ms(model: Any) -> float:
  """Median; every schema is another one."""
  compiler = compiler_lib.Compiler(model.session.tokenizer)
  times = []
  for number in range(_COMPILED + 1):
    names = [f'field_{number}_{i}' for i in range(50)]
    kinds = ('string', 'integer', 'number', 'boolean', 'null')
    schema = {
      'type': 'object',
      'properties': {
        name: {'type': kinds[i % len(kinds)]} for i, name in enumerate(names)
      },
      'required': names,
      'additionalProperties': False,
    }
    begin_s = time.perf_counter()
    compiler.compile(types.Grammar(kind='json_schema', source=schema))
    times.append(time.perf_counter() - begin_s)
  return 1e3 * statistics.median(times[1:])


if __name__ == '__main__':
  app.run(main)
