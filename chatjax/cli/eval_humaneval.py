"""`chatjax eval humaneval`: pass@k on the 164 problems of HumanEval."""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from chatjax.ckpt import home as home_lib
from chatjax.cli import eval_options
from chatjax.cli import flagset

USAGE = 'chatjax eval humaneval --output=FOLDER [flags]'


def define(values: flags.FlagValues) -> None:
  eval_options.define(values)
  flags.DEFINE_integer(
    'limit', None, 'Asks only so many problems, the first ones.',
    lower_bound=1, flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  flagset.refuse(arguments)
  asked = eval_options.read(values)
  # Here, not above: asking for help must not wait for them.
  from chatjax.cli import eval_run
  from chatjax.evals import evaluate
  from chatjax.evals import humaneval

  source = humaneval.SOURCE
  problems = humaneval.problems(home_lib.home())[: values['limit'].value]
  task = evaluate.Task(
    items=humaneval.items(problems),
    inputs={source.filename: {'sha256': source.sha256, 'bytes': source.size}},
  )
  eval_run.run(asked, task)
  return 0
