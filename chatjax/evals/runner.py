"""A whole run: all items asked, several at a time, none twice."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Sequence
import concurrent.futures
import contextlib
import dataclasses
import threading

from chatjax.evals import asking
from chatjax.evals import folder as folder_lib
from chatjax.evals import items as items_lib
from chatjax.evals import plan as plan_lib
from chatjax.store import manifest as manifest_lib

# (items done, items in all)
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
  """Reports to nobody."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What is asked of a model.

  Attributes:
    items: the task.
    plan: how its items are asked.
    workers: items at a time.
  """

  items: Sequence[items_lib.Item]
  plan: plan_lib.Plan
  workers: int = 4


def identity(manifest: manifest_lib.Manifest) -> str:
  """Names a model and how it is asked: part of every record's key."""
  return manifest_lib.digest(
    [manifest.model, manifest.fingerprint, manifest.settings]
  )


def run(
  model: asking.Model,
  asked: Run,
  folder: folder_lib.Folder,
  *,
  progress: Progress = silent,
) -> list[asking.Record]:
  """Asks all items that the folder has no record of.

  Returns: all records, in the order of the task.

  Raises:
    types.ChatjaxError: the engine or the disk failed. What is done is kept.
  """
  name = identity(folder.manifest)
  keys = [asking.key(item, name) for item in asked.items]
  done = folder.done()
  done = {key: done[key] for key in keys if key in done}
  left = [
    item for item, key in zip(asked.items, keys, strict=True) if key not in done
  ]
  progress(len(done), len(keys))
  stop = threading.Event()

  def ask(item: items_lib.Item) -> asking.Record | None:
    if stop.is_set():
      return None
    return asking.record(model, item, asked.plan, run=name)

  with concurrent.futures.ThreadPoolExecutor(asked.workers) as pool:
    futures = [pool.submit(ask, item) for item in left]
    try:
      for future in concurrent.futures.as_completed(futures):
        record = future.result()
        folder.add(record)
        done[record['key']] = record
        progress(len(done), len(keys))
    except BaseException:  # Ctrl-C too
      stop.set()  # nothing new is begun for a run that has failed
      pool.shutdown(cancel_futures=True)
      _keep_rest(futures, folder, done.keys())
      raise
  return [done[key] for key in keys]


def _keep_rest(
  futures: Collection[concurrent.futures.Future[asking.Record | None]],
  folder: folder_lib.Folder,
  kept: Collection[str],
) -> None:
  """Writes the answers that came while a run was ending."""
  with contextlib.suppress(folder_lib.FolderError):  # why it ends, perhaps
    for future in futures:
      if future.cancelled() or future.exception() is not None:
        continue
      record = future.result()
      if record is not None and record['key'] not in kept:
        folder.add(record)
