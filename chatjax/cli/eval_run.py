"""Runs a task for one or two configs, with a progress bar, and prints."""

from __future__ import annotations

import pathlib

from rich import console as console_lib
from rich import progress as rich_progress

from chatjax import config as config_lib
from chatjax.cli import eval_options
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.evals import evaluate
from chatjax.evals import items as items_lib
from chatjax.evals import plan as plan_lib
from chatjax.evals import sandbox
from chatjax.evals import summary as summary_lib

VERSUS = 'versus'


def run(asked: eval_options.Asked, task: evaluate.Task) -> None:
  """Writes the folder that was asked for, and prints the figures."""
  try:
    asked.plan.check(task.items)  # before a model is loaded
  except plan_lib.PlanError as error:
    raise flagset.UsageError(str(error)) from error
  found = _evaluate(asked, asked.config, task, asked.output)
  print(table(found))
  if asked.versus is not None:
    # Here, not above: it would make a plain run wait for it.
    from chatjax.cli import eval_compare

    second = asked.output / VERSUS
    found = _evaluate(asked, asked.versus, task, second)
    print(f'\n{asked.name}:\n{table(found)}\n')
    names = ['as given', asked.name]
    print(eval_compare.compare([asked.output, second], names, asked.output))
  print(f'\n{asked.output / "report.html"}')


def table(found: summary_lib.Summary) -> str:
  """The figures, a line each."""
  lines = []
  for metric in found.metrics:
    one = metric.estimate
    lines.append(
      f'{metric.kind + " " + metric.name:20}{100 * one.mean:6.1f} %'
      f'   {100 * one.low:.1f} to {100 * one.high:.1f} ({one.method},'
      f' {one.count} items)'
    )
  if found.errors:
    lines.append(f'refused, and counted as wrong: {found.errors}')
  if found.cut:
    lines.append(f'cut at the limit of tokens: {found.cut}')
  return '\n'.join(lines)


def _evaluate(
  asked: eval_options.Asked,
  config: config_lib.Config,
  task: evaluate.Task,
  path: pathlib.Path,
) -> summary_lib.Summary:
  console = console_lib.Console(stderr=True)
  if items_lib.CODE in items_lib.kinds(task.items):
    warn_of_sandbox(console)
  session = loading.load(config, accept_license=asked.accept_license)
  try:
    with _bar(console) as bar:
      row = bar.add_task('evaluating', total=len(task.items))
      return evaluate.evaluate(
        session, task, asked.plan, path,
        config=eval_options.recorded(config),
        workers=max(1, 2 * config.engine.max_rows // asked.plan.n),
        progress=lambda done, total: bar.update(row, completed=done),
      )  # fmt: skip
  finally:
    session.engine.close()


def _bar(console: console_lib.Console) -> rich_progress.Progress:
  return rich_progress.Progress(
    rich_progress.TextColumn('{task.description}'),
    rich_progress.BarColumn(),
    rich_progress.MofNCompleteColumn(),
    rich_progress.TimeElapsedColumn(),
    rich_progress.TimeRemainingColumn(),
    console=console,
    disable=not console.is_terminal,
  )


def warn_of_sandbox(console: console_lib.Console) -> None:
  """Says what this system cannot keep the programs of a model from."""
  layers = sandbox.run('').layers
  if missing := [name for name in sandbox.LAYERS if name not in layers]:
    console.print(
      'This system lacks layers of the sandbox, so what the model writes runs'
      f' without them: {", ".join(missing)}.'
    )
