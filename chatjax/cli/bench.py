"""`chatjax bench`: speed and memory of one model on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import dataclasses
import os
import platform
import statistics
import time
from typing import Any

from absl import flags

from chatjax import config as config_lib
from chatjax.cli import bench_engine
from chatjax.cli import bench_file
from chatjax.cli import bench_machine
from chatjax.cli import bench_text
from chatjax.cli import flagset
from chatjax.cli import options
from chatjax.cli import progress

USAGE = 'chatjax bench [flags]'
PREFILL_TOKENS = 512
PROMPT_TOKENS = 40


def define(values: flags.FlagValues) -> None:
  options.define(values)
  flags.DEFINE_list(
    'rows', ['1', '2', '4', '8', '16'], 'Rows that decode at once. The engine'
    ' is built for the largest; --max_rows builds it larger.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'rounds', 3, 'How often everything is measured.', lower_bound=1,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'tokens', 64, 'Tokens of every answer.', lower_bound=16,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string('json', None, 'File for all figures.', flag_values=values)
  flags.DEFINE_string(
    'profile', None, 'Folder for traces (perfetto) of decode steps; says where'
    ' their time goes.', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  rows = _rows(values['rows'].value)
  config = _config(values, max(rows))
  out = bench_file.checked(values['json'].value)
  traces = bench_file.folder(values['profile'].value)
  # Here, not above: it brings jax, and bad input is answered without.
  from chatjax.cli import bench_model

  with progress.Bars() as bars:
    model = bench_model.load(
      config,
      accept_license=values['accept_license'].value,
      report=bars.report,
    )
  with contextlib.closing(model.engine):
    bench = bench_engine.Bench(
      model.engine, model.tokenizer.encode(bench_text.TEXT)
    )
    num_tokens = values['tokens'].value
    # Once unmeasured: first runs of a program touch its memory first.
    _round(bench, rows[:1], num_tokens)
    rounds = [
      _round(bench, rows, num_tokens) for _ in range(values['rounds'].value)
    ]
    profiles = []
    if traces:
      from chatjax.cli import bench_profile

      profiler = bench_profile.Profiler(model.engine, bench, traces)
      profiles = [
        profiler.run(count, prompt_len=PROMPT_TOKENS, num_tokens=num_tokens)
        for count in rows
      ]
  result = _result(config, model, rounds, rows)
  _print(result)
  if profiles:
    result['profile'] = profiles
    limits_s = [
      result['decode'][str(one['rows'])]['bytes_per_step']
      / result['read_bytes_per_s']
      for one in profiles
    ]
    print('\n' + bench_profile.table(profiles, limits_s))
  if out:
    bench_file.write(out, result)
  return 0


def _rows(texts: Sequence[str]) -> list[int]:
  try:
    rows = sorted({int(text) for text in texts})
  except ValueError:
    rows = []
  if not rows or rows[0] < 1:
    raise flagset.UsageError(
      f'--rows={",".join(texts)} is not a list of positive numbers, such as'
      ' 1,2,4.'
    )
  return rows


def _config(values: flags.FlagValues, most_rows: int) -> config_lib.Config:
  config = options.config(values)
  max_rows = values['max_rows'].value or most_rows
  needed = PREFILL_TOKENS + values['tokens'].value
  if max_rows < most_rows:
    raise flagset.UsageError(
      f'--max_rows={max_rows} is below the {most_rows} of --rows.'
    )
  if config.engine.context < needed:
    raise flagset.UsageError(
      f'context={config.engine.context} is below the {needed} tokens that are'
      ' measured; give a larger --context.'
    )
  try:
    engine = dataclasses.replace(config.engine, max_rows=max_rows)
  except config_lib.ConfigError as error:
    raise flagset.UsageError(f'--rows: {error}') from error
  return dataclasses.replace(config, engine=engine)


def _round(
  bench: bench_engine.Bench, rows: Sequence[int], num_tokens: int
) -> dict[str, Any]:
  prefill_s = bench.first_token_s(PREFILL_TOKENS)
  return {
    'prefill_tokens_per_s': PREFILL_TOKENS / prefill_s,
    'first_token_s': bench.first_token_s(PROMPT_TOKENS),
    'decode': {
      count: bench.decode(
        count, prompt_len=PROMPT_TOKENS, num_tokens=num_tokens
      )
      for count in rows
    },
  }


def _result(config, model, rounds, rows) -> dict[str, Any]:
  """All figures. Memory is read before the bandwidth test takes its own."""
  peak_rss = bench_machine.peak_rss_bytes()
  bandwidth = bench_machine.read_bandwidth()
  decode = {}
  for count in rows:
    runs = [one['decode'][count] for one in rounds]
    context = statistics.mean(run.mean_context for run in runs)
    step_bytes = model.weight_bytes + count * model.kv_bytes(context)
    speed = _spread([run.tokens_per_s for run in runs])
    decode[str(count)] = {
      'tokens_per_s': speed,
      'bytes_per_step': step_bytes,
      'bandwidth_share': step_bytes / bandwidth * speed['median'] / count,
    }
  return {
    'model': config.model,
    'engine': dataclasses.asdict(config.engine),
    'machine': {
      'cores': os.cpu_count(),
      'system': platform.platform(),
      'load_average': os.getloadavg(),
    },
    'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    'load_s': model.load_s,
    'was_converted': model.was_converted,
    'start_s': model.start_s,
    'was_compiled': model.was_compiled,
    'peak_rss_bytes': peak_rss,
    'read_bytes_per_s': bandwidth,
    'weight_bytes': model.weight_bytes,
    'prefill_tokens_per_s': _spread(
      [one['prefill_tokens_per_s'] for one in rounds]
    ),
    'first_token_s': _spread([one['first_token_s'] for one in rounds]),
    'decode': decode,
  }


def _spread(samples: Sequence[float]) -> dict[str, float]:
  return {
    'median': statistics.median(samples),
    'min': min(samples),
    'max': max(samples),
  }


def _print(result: Mapping[str, Any]) -> None:
  engine, decode = result['engine'], result['decode']
  is_warm = lambda warm, cold: '' if warm else f' ({cold})'
  print(
    f'{result["model"]}, {engine["dtype"]}, max_rows {engine["max_rows"]},'
    f' context {engine["context"]}, {result["machine"]["cores"]} cores\n'
  )
  print(f'{"":34}{"median":>9}{"min":>9}{"max":>9}')
  name = f'prefill of {PREFILL_TOKENS} tokens, tok/s'
  _print_row(name, result['prefill_tokens_per_s'])
  name = f'first token after {PROMPT_TOKENS} tokens, s'
  _print_row(name, result['first_token_s'])
  for count, row in decode.items():
    share = f'{row["bandwidth_share"]:.0%} of the bandwidth limit'
    rows = '1 row' if count == '1' else f'{count} rows'
    _print_row(f'decode, {rows}, tok/s', row['tokens_per_s'], share)
  compiled = is_warm(result['was_compiled'], 'compilation included')
  converted = is_warm(result['was_converted'], 'conversion included')
  print(f'\nload weights      {result["load_s"]:.1f} s{converted}')
  print(f'start the engine  {result["start_s"]:.1f} s{compiled}')
  print(f'peak memory       {result["peak_rss_bytes"] / 1e6:.0f} MB resident')
  print(
    f'bandwidth limit   {result["read_bytes_per_s"] / 1e9:.1f} GB/s read by'
    f' all cores (largest of a {bench_machine.ARRAY_BYTES / 1e6:.0f} MB array,'
    f' best of {bench_machine.TRIES});\n'
    f'                  a step reads {result["weight_bytes"] / 1e6:.0f} MB of'
    ' weights, and keys and values of every row'
  )


def _print_row(name: str, spread: Mapping[str, float], note: str = '') -> None:
  cells = ''.join(f'{spread[key]:9.4g}' for key in ('median', 'min', 'max'))
  print(f'{name:34}{cells}  {note}'.rstrip())
