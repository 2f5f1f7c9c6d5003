"""From a task to a finished folder."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any

from chatjax.chat import session as session_lib
from chatjax.evals import folder as folder_lib
from chatjax.evals import items as items_lib
from chatjax.evals import model as model_lib
from chatjax.evals import plan as plan_lib
from chatjax.evals import report
from chatjax.evals import runner
from chatjax.evals import sandbox
from chatjax.evals import summary as summary_lib
from chatjax.store import manifest as manifest_lib

KIND = 'eval'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What is evaluated.

  Attributes:
    items: all of it.
    inputs: name -> {'sha256', 'bytes'} of what the items came from.
  """

  items: Sequence[items_lib.Item]
  inputs: Mapping[str, Mapping[str, Any]]


def read(path: pathlib.Path, *, kind: str | None = None) -> Task:
  """A task of a local JSONL file; see `items.read`."""
  items = items_lib.read(path, kind=kind)
  return Task(items=items, inputs={path.name: manifest_lib.digest_file(path)})


def evaluate(
  session: session_lib.Session,
  task: Task,
  plan: plan_lib.Plan,
  path: pathlib.Path,
  *,
  config: Mapping[str, Any],
  workers: int = 4,
  progress: runner.Progress = runner.silent,
) -> summary_lib.Summary:
  """Asks what is not answered yet in a folder, and writes its reports.

  Args:
    session: the model.
    task: the items.
    plan: how they are asked.
    path: of the folder; an unfinished run of the same goes on.
    config: how the model is run, for the manifest.
    workers: items at a time; moves no result.
    progress: called with (items done, items in all).

  Raises:
    types.ChatjaxError: one sentence that says what is wrong.
  """
  plan.check(task.items)
  manifest = manifest_lib.make(
    KIND,
    model=session.model_id,
    engine=session.engine,
    config=config,
    inputs=task.inputs,
    seed_rule=plan.seed_rule,
    settings=_settings(task, plan),
  )
  asked = runner.Run(items=task.items, plan=plan, workers=workers)
  with folder_lib.Folder(path, manifest) as folder:
    records = runner.run(
      model_lib.Model(session), asked, folder, progress=progress
    )
    reports = {
      'report.md': report.markdown(records, manifest),
      'report.html': report.page(records, manifest),
      **report.pictures(records, manifest),
    }
    folder.finish(records, reports)
  return summary_lib.summarize(records, seed=plan.seed)


def _settings(task: Task, plan: plan_lib.Plan) -> dict[str, Any]:
  """All that decides the results besides the model and the items."""
  settings = plan.as_settings()
  settings['kinds'] = items_lib.kinds(task.items)
  if items_lib.CODE in settings['kinds']:
    settings['sandbox'] = {
      'layers': sandbox.run('').layers,
      **dataclasses.asdict(sandbox.Limits()),
    }
  return settings
