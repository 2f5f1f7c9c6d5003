"""`chatjax replay FOLDER` of an evaluation: asks all its items again."""

from __future__ import annotations

import dataclasses
import pathlib

from absl import flags
from rich import console as console_lib

from chatjax import config as config_lib
from chatjax.cli import eval_run
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.evals import folder as folder_lib
from chatjax.evals import items as items_lib
from chatjax.evals import replay as replay_lib
from chatjax.store import manifest as manifest_lib

_MAX_TOLD = 10
_NOTHING = object()


def run(values: flags.FlagValues, path: pathlib.Path) -> replay_lib.Report:
  """Asks again, as the manifest says it was asked, unless flags say other."""
  manifest, records = folder_lib.read(path)
  config = options.config(values, recorded(manifest))
  console = console_lib.Console(stderr=True)
  if any(record['kind'] == items_lib.CODE for record in records):
    eval_run.warn_of_sandbox(console)
  session = loading.load(config, accept_license=values['accept_license'].value)
  # Here, not above: it brings jax, and bad input is answered without.
  from chatjax.evals import model as model_lib

  status = console.status('asking again')
  try:
    with status:
      return replay_lib.replay(
        model_lib.Model(session), manifest, records,
        progress=lambda done, total: status.update(f'asked {done} of {total}'),
      )  # fmt: skip
  finally:
    session.engine.close()


def recorded(manifest: manifest_lib.Manifest) -> list[str]:
  """The config that a manifest tells of, as overrides of the defaults."""
  config = manifest.config
  told = [f'model={config["model"]}']
  if config.get('output_format') is not None:
    told.append(f'output_format={config["output_format"]}')
  for field in dataclasses.fields(config_lib.EngineConfig):
    value = config['engine'].get(field.name, _NOTHING)
    if isinstance(value, dict):
      told += [f'engine.{field.name}.{k}={v}' for k, v in value.items()]
    elif value is not _NOTHING:
      told.append(f'engine.{field.name}={value}')
  return told


def describe(report: replay_lib.Report) -> str:
  """The verdict, and what may explain it."""
  lines = []
  if report.is_identical:
    lines.append(
      f'identical: {report.items} items, {report.tokens} tokens and their'
      ' log-probabilities, bit for bit, and the same scores.'
    )
  else:
    lines.append(f'different: {len(report.different)} of {report.items} items.')
    lines += [
      f'  {one.id}: {one.what}.' for one in report.different[:_MAX_TOLD]
    ]
    if len(report.different) > _MAX_TOLD:
      lines.append(f'  {len(report.different) - _MAX_TOLD} more.')
  lines += [
    f'fingerprint, {name}: {then} then, {now} now.'
    for name, (then, now) in report.changed_parts.items()
  ]
  return '\n'.join(lines)
