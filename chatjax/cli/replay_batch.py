"""`chatjax replay --record`: an answer of a batch, drawn again."""

from __future__ import annotations

from absl import flags

from chatjax.batch import replay as replay_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.cli import replay_eval

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
  path = flagset.path(path)
  path = path / 'results.jsonl' if path.is_dir() else path
  kept = replay_lib.find(path, custom_id)
  config = options.config(values, _recorded(kept))
  session = loading.load(config, accept_license=values['accept_license'].value)
  try:
    report = replay_lib.replay(session, kept)
  finally:
    session.engine.close()
  print(replay_lib.describe(report))
  return IDENTICAL if report.is_identical else DIFFERENT


def _recorded(kept: replay_lib.Kept) -> list[str]:
  """The configuration of the batch, as overrides of the defaults."""
  if 'engine' not in kept.manifest.config:  # it was not run by the command
    return [f'model={kept.body["model"]}']
  return replay_eval.recorded(kept.manifest)
