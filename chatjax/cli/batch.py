"""`chatjax batch`: answers a file of requests, and resumes by itself."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import signal
import sys
from typing import Any

from absl import flags

from chatjax import config as config_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import run as run_lib
from chatjax.batch import shards
from chatjax.cli import batch_progress
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.cli import processes
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib

USAGE = 'chatjax batch --input=FILE --output=DIR [flags]'
WITH_ERRORS = 4  # all is done, and some requests had errors of their own


def define(values: flags.FlagValues) -> None:
  options.define(values)
  options.define_processes(values)
  flags.DEFINE_string(
    'input', None, 'File of requests in OpenAI\'s batch format: one JSON object'
    ' per line with custom_id, method, url and body.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'output', None, 'Folder for results.jsonl, errors.jsonl and manifest.json.'
    ' The same command again goes on where an earlier one was ended.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_string(
    'shard', None, 'i/n: this is worker i (from 0) of n that share --output.'
    ' Default: as SLURM, Kubernetes or a TPU pod say, else 0/1.',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_float(
    'lease_s', leases_lib.LEASE_S, 'Seconds after which a silent worker on'
    ' another machine is held for dead.', lower_bound=1.0, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
    'range_lines', 0, 'Lines that a worker takes at a time; 0 chooses by the'
    ' length of the file.', lower_bound=0, flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'force', False, 'Gives up another run that is in the folder.',
    flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  config = options.config(values)
  source, output = _path(values, 'input'), _path(values, 'output')
  # Before anything slow is done, and in all processes alike.
  run_lib.check_input(source)
  shard, is_leader = _shard(values, config)
  accept = values['accept_license'].value
  if not is_leader:
    # It ends when the leading process lets it go.
    loading.load(config, accept_license=accept)
  # As Ctrl-C: what is answered is written first.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + signal.SIGTERM))
  session = loading.load(config, accept_license=accept)
  try:
    with batch_progress.Bar() as bar:
      done = run_lib.run(
        session,
        source,
        output,
        settings=run_lib.Settings(
          shard=shard,
          rows=config.engine.max_rows,
          config=_told(config),
          range_lines=values['range_lines'].value,
          lease_s=values['lease_s'].value,
          force=values['force'].value,
        ),
        limits=limits_lib.Limits(max_n=config.serve.max_n),
        report=bar.report,
      )
  finally:
    session.engine.close()
  return tell(done, output)


def tell(done: manifest_lib.Manifest, output: pathlib.Path) -> int:
  """Says what came out; returns the exit code."""
  counts = done.counts
  print(
    f'{counts["completed"]} of {counts["total"]} requests are answered in'
    f' {output / "results.jsonl"}; {counts["failed"]} errors in'
    f' {output / "errors.jsonl"}.'
  )
  return WITH_ERRORS if counts['failed'] else 0


def _told(config: config_lib.Config) -> dict[str, Any]:
  """What of the config is a batch's. The URL of a store may hold a password."""
  return {
    'model': config.model,
    'output_format': config.output_format,
    'engine': dataclasses.asdict(config.engine),
  }


def _path(values: flags.FlagValues, name: str) -> pathlib.Path:
  if not values[name].value:
    raise flagset.UsageError(f'--{name} is missing; {USAGE}.')
  return flagset.path(values[name].value)


def _shard(
  values: flags.FlagValues, config: config_lib.Config
) -> tuple[shards.Shard, bool]:
  """Which part is this process's, and whether it is to lead others.

  Processes whose mesh spans them all are one worker. Others share the file,
  each with a model of its own, and need not know one another.
  """
  told = values['shard'].value
  if config.engine.mesh.num_devices > 1:
    is_leader = processes.start(values)
    is_group = any(
      values[name].value for name in ('distributed', 'coordinator')
    )
    if told is None and is_group:
      return shards.ALL, is_leader
  else:
    is_leader, given = True, processes.given(values)
    if told is None and given is not None:
      return shards.Shard(*given), True
    if told is None and values['distributed'].value:
      return _managed(), True
  if told is not None:
    return shards.Shard.parse(told), is_leader
  return shards.detect(os.environ), is_leader


def _managed() -> shards.Shard:
  """As whoever has started the processes numbers them.

  Not knowing must be told: all of them would begin with the same part.
  """
  found = shards.told(os.environ)
  if found is None and (known := processes.detect()) is not None:
    found = shards.Shard(*known)
  if found is None:
    raise flagset.UsageError(
      '--distributed, and neither SLURM nor Kubernetes nor a TPU pod says which'
      ' process this is; give --shard=i/n, i from 0, to each of the n.'
    )
  return found
