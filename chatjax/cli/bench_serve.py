"""`chatjax bench serve`: speed of an OpenAI-compatible server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import math
import os
import time
from typing import Any

from absl import flags
from rich import console as console_lib
from rich import progress as rich_progress

from chatjax import types
from chatjax.cli import bench_file
from chatjax.cli import bench_machine
from chatjax.cli import bench_serve_client
from chatjax.cli import bench_serve_figures
from chatjax.cli import bench_serve_load
from chatjax.cli import bench_serve_metrics
from chatjax.cli import bench_serve_table
from chatjax.cli import bench_serve_workload
from chatjax.cli import flagset

USAGE = 'chatjax bench serve [flags]'
_KEY_VARIABLE = 'CHATJAX_API_KEY'
_WARM_UP_SEED = 10**9  # other words: no warm-up helps a measured one


def define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    'base_url', 'http://127.0.0.1:8000', 'Where the server listens; a key for'
    f' it is taken from {_KEY_VARIABLE}.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'model', None, 'Id of a model there. Default: the first that it lists.',
    flag_values=values,
  )  # fmt: skip
  _define_workload(values)
  _define_load(values)
  flags.DEFINE_float(
    'timeout_s', 600.0, 'Seconds for one answer.', lower_bound=0.1,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'extra_body', None, 'A JSON object whose fields are added to every'
    ' request.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'weight_bytes', None, 'Bytes of weights that a decode step reads, for the'
    ' share of the bandwidth limit. Default: what the server tells.',
    lower_bound=1, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string('json', None, 'File for all figures.', flag_values=values)


def _define_workload(values: flags.FlagValues) -> None:
  flags.DEFINE_enum(
    'dataset_name', 'random', list(bench_serve_workload.WORKLOADS),
    'What is asked: random words; the same after one shared system prompt;'
    ' of many lengths; drawn in many ways.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'num_prompts', 32, 'Requests.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_integer(
    'random_input_len', 128, 'Words of a question.', lower_bound=1,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'random_output_len', 64, 'Tokens of an answer, forced.', lower_bound=1,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'random_prefix_len', 512, 'Words of the shared system prompt.',
    lower_bound=1, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer('seed', 0, 'Of words and arrivals.', flag_values=values)


def _define_load(values: flags.FlagValues) -> None:
  flags.DEFINE_float(
    'request_rate', float('inf'), 'Requests a second, as a Poisson process;'
    ' inf sends all at once.', lower_bound=0.0, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'max_concurrency', None, 'Requests under way at once; others wait, their'
    ' clocks too. Default: no bound.', lower_bound=1, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'num_warmups', 2, 'Unmeasured requests of the same kind before.',
    lower_bound=0, flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  client, load, sizes = _client(values), _load(values), _sizes(values)
  out = bench_file.checked(values['json'].value)
  prompts = bench_serve_workload.make(
    values['dataset_name'].value,
    values['num_prompts'].value,
    sizes,
    seed=values['seed'].value,
  )
  warm_ups = bench_serve_workload.make(
    values['dataset_name'].value,
    values['num_warmups'].value,
    sizes,
    seed=values['seed'].value + _WARM_UP_SEED,
  )
  measured, server = asyncio.run(_measure(client, warm_ups, prompts, load))
  result = {
    **_settings(values, client),
    **bench_serve_figures.summary(measured),
    'expected_output_tokens': sum(p.max_tokens * p.n for p in prompts),
    'server': _with_bandwidth(server, client, values['weight_bytes'].value),
  }
  print(bench_serve_table.text(result))
  if out:
    bench_file.write(out, result)
  _raise_failures(result)
  return 0


def _client(values: flags.FlagValues) -> bench_serve_client.Client:
  extra = values['extra_body'].value
  try:
    extra_body = {} if extra is None else json.loads(extra)
  except ValueError:
    extra_body = None
  if not isinstance(extra_body, dict):
    raise flagset.UsageError(
      f'--extra_body={extra} is not a JSON object, such as \'{{"top_k": 5}}\'.'
    )
  try:
    return bench_serve_client.Client(
      values['base_url'].value,
      model=values['model'].value or '',
      api_key=os.environ.get(_KEY_VARIABLE) or None,
      timeout_s=values['timeout_s'].value,
      extra_body=extra_body,
    )
  except bench_serve_client.BadUrlError as error:
    raise flagset.UsageError(f'--base_url: {error}') from error


def _load(values: flags.FlagValues) -> bench_serve_load.Load:
  rate = values['request_rate'].value
  if not rate > 0:
    raise flagset.UsageError(
      f'--request_rate={rate} is not positive; give requests a second, or inf.'
    )
  return bench_serve_load.Load(
    request_rate=rate,
    max_concurrency=values['max_concurrency'].value,
    seed=values['seed'].value,
  )


def _sizes(values: flags.FlagValues) -> bench_serve_workload.Sizes:
  return bench_serve_workload.Sizes(
    input_len=values['random_input_len'].value,
    output_len=values['random_output_len'].value,
    prefix_len=values['random_prefix_len'].value,
  )


async def _measure(
  client: bench_serve_client.Client,
  warm_ups: Sequence[bench_serve_workload.Prompt],
  prompts: Sequence[bench_serve_workload.Prompt],
  load: bench_serve_load.Load,
) -> tuple[bench_serve_load.Run, dict[str, float]]:
  """The run, and what the server says of it at /metrics."""
  if client.model:
    await client.get(bench_serve_client.MODELS)  # raises if nobody is there
  else:
    client.model = await client.first_model()
  await _try(client)
  # All at once, if so the measured ones come: that meets the same programs.
  await bench_serve_load.drive(
    client,
    warm_ups,
    bench_serve_load.Load(max_concurrency=load.max_concurrency),
  )
  before = await bench_serve_metrics.read(client)
  with _bar(len(prompts)) as advance:
    measured = await bench_serve_load.drive(
      client, prompts, load, on_answer=advance
    )
  after = await bench_serve_metrics.read(client)
  return measured, bench_serve_metrics.figures(before, after)


async def _try(client: bench_serve_client.Client) -> None:
  """One token, so that what can never work is told at once.

  Raises:
    bench_serve_client.ServerError: the server does not know the model, wants
      a key, or streams no usage.
  """
  sizes = bench_serve_workload.Sizes(input_len=1, output_len=1, prefix_len=1)
  (prompt,) = bench_serve_workload.make('random', 1, sizes, seed=0)
  answer = await client.ask(prompt)
  if answer.error is not None:
    raise bench_serve_client.ServerError(
      f'{client.model!r} at {client.base_url} does not answer'
      f' ({answer.error}); look at --model and at the server.'
    )


@contextlib.contextmanager
def _bar(count: int) -> Iterator[Callable[[], None]]:
  """A bar on a terminal's stderr; calling it moves it by one."""
  console = console_lib.Console(stderr=True)
  with rich_progress.Progress(
    *rich_progress.Progress.get_default_columns(),
    rich_progress.MofNCompleteColumn(),
    console=console,
    transient=True,
    disable=not console.is_terminal,
  ) as progress:
    task = progress.add_task('Asking', total=count)
    yield lambda: progress.advance(task)


def _settings(
  values: flags.FlagValues, client: bench_serve_client.Client
) -> dict[str, Any]:
  names = (
    'dataset_name', 'num_prompts', 'num_warmups', 'random_input_len',
    'random_output_len', 'random_prefix_len', 'seed', 'max_concurrency',
  )  # fmt: skip
  rate = values['request_rate'].value
  return {
    'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    'base_url': client.base_url,
    'model_id': client.model,
    **{name: values[name].value for name in names},
    'request_rate': 'inf' if math.isinf(rate) else rate,
  }


def _with_bandwidth(
  figures: Mapping[str, float],
  client: bench_serve_client.Client,
  weight_bytes: int | None,
) -> dict[str, float]:
  """Adds the share of the limit, where it can be told: on this machine."""
  weight_bytes = weight_bytes or figures.get('weight_bytes')
  is_known = weight_bytes and 'decode_step_ms' in figures
  # Here, not above: it brings the whole server.
  from chatjax.serve import server as server_lib

  if not is_known or not server_lib.is_loopback(client.host):
    return dict(figures)
  read_bytes_per_s = bench_machine.read_bandwidth()
  return {
    **figures,
    'weight_bytes': weight_bytes,
    'read_bytes_per_s': read_bytes_per_s,
    'bandwidth_share': bench_serve_metrics.bandwidth_share(
      figures, weight_bytes=weight_bytes, read_bytes_per_s=read_bytes_per_s
    ),
  }


def _raise_failures(result: Mapping[str, Any]) -> None:
  failures = result['failures']
  if not failures:
    return
  reason = max(failures, key=failures.get)
  raise types.ChatjaxError(
    f'{result["failed"]} of {result["num_prompts"]} requests failed;'
    f' {failures[reason]} with: {reason}.'
  )
