"""`chatjax replay --record`: an answer of a batch, drawn again."""

from __future__ import annotations

import dataclasses
import pathlib

from absl import flags

from chatjax import config as config_lib
from chatjax.batch import replay as replay_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options

IDENTICAL, DIFFERENT = 0, 3


def define(values: flags.FlagValues) -> None:
  flags.DEFINE_string(
    'record', None, 'An answer of a batch in place of a stored one, as'
    ' DIR/results.jsonl#CUSTOM_ID.', flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues) -> int:
  path, mark, custom_id = values['record'].value.partition('#')
  if not (mark and custom_id):
    raise flagset.UsageError(
      f'--record={path} names no record; give DIR/results.jsonl#CUSTOM_ID.'
    )
  path = pathlib.Path(path)
  path = path / 'results.jsonl' if path.is_dir() else path
  kept = replay_lib.find(path, custom_id)
  config = options.config(values)
  if config == config_lib.Config():
    config = _as_it_ran(kept)
  elif values['model'].value is None:
    config = dataclasses.replace(config, model=kept.body['model'])
  session = loading.load(config, accept_license=values['accept_license'].value)
  try:
    report = replay_lib.replay(session, kept)
  finally:
    session.engine.close()
  print(replay_lib.describe(report))
  return IDENTICAL if report.is_identical else DIFFERENT


def _as_it_ran(kept: replay_lib.Kept) -> config_lib.Config:
  """The configuration of the batch, unless flags say another."""
  told = kept.manifest.config
  if 'engine' not in told:  # it was not run by the command
    return config_lib.Config(model=kept.body['model'])
  engine = {**told['engine']}
  engine['mesh'] = config_lib.MeshConfig(**engine['mesh'])
  try:
    return config_lib.Config(
      model=told['model'],
      output_format=told['output_format'],
      engine=config_lib.EngineConfig(**engine),
    )
  except TypeError as error:  # of a version with other fields
    raise flagset.UsageError(
      f'The configuration of {kept.asked.custom_id!r} is of another version'
      f' ({error}); say with --config or flags how to run it.'
    ) from None
