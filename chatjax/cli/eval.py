"""`chatjax eval`: asks a model the items of a local file and marks answers."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax.cli import eval_options
from chatjax.cli import flagset

USAGE = 'chatjax eval TASK.jsonl --output=FOLDER [flags]'
_KINDS = ('choice', 'exact', 'regex', 'json', 'code')


def define(values: flags.FlagValues) -> None:
  eval_options.define(values)
  flags.DEFINE_enum(
    'kind', None, _KINDS, 'Of the items that do not say it.',
    flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  if len(arguments) != 1:
    raise flagset.UsageError('Give one file of items, as in TASK.jsonl.')
  asked = eval_options.read(values)
  # Here, not above: asking for help must not wait for them.
  from chatjax.cli import eval_run
  from chatjax.evals import evaluate

  path = pathlib.Path(arguments[0])
  eval_run.run(asked, evaluate.read(path, kind=values['kind'].value))
  return 0
