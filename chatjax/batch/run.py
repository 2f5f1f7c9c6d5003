"""Runs a file of requests from its beginning, or from where it was left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Mapping
import concurrent.futures
import contextlib
import dataclasses
import pathlib
import time
from typing import Any

from chatjax import types
from chatjax.batch import answer as answer_lib
from chatjax.batch import content
from chatjax.batch import final
from chatjax.batch import folder as folder_lib
from chatjax.batch import identity
from chatjax.batch import kept as kept_lib
from chatjax.batch import leases as leases_lib
from chatjax.batch import lines
from chatjax.batch import plan as plan_lib
from chatjax.batch import shards
from chatjax.batch import source as source_lib
from chatjax.batch import worker as worker_lib
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib

_MERGE = 'merge'
_PARSERS = 2  # threads; more would only take turns
_POLL_S = 0.2
_WHO = ('host', 'boot', 'pids', 'pid', 'started')
_INPUT = 'requests.jsonl'


class BusyError(types.ChatjaxError):
  """Another process writes into the folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How a run is done.

  Attributes:
    shard: which part of the file this worker begins with.
    rows: choices that the engine decodes at once.
    config: the whole configuration, for the manifest.
    range_lines: lines that a worker takes at a time; 0 is by the file.
    lease_s: after which a silent worker on another machine is held for dead.
    priority: added to that of every request.
    force: makes a folder that holds another run this run's; what that has
      answered of the same requests with the same fingerprint is kept.
  """

  shard: shards.Shard = shards.ALL
  rows: int = 8
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  range_lines: int = 0
  lease_s: float = leases_lib.LEASE_S
  priority: int = 0
  force: bool = False


def run(
  session: session_lib.Session,
  path: pathlib.Path,
  output: pathlib.Path,
  *,
  settings: Settings | None = None,
  limits: limits_lib.Limits | None = None,
  report: worker_lib.Report = lambda progress: None,
  room: worker_lib.Room | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> manifest_lib.Manifest:
  """Answers all requests of a file; goes on where an earlier run was ended.

  Args:
    session: the model.
    path: a file in OpenAI's batch format.
    output: the folder for what comes of it.
    settings: how it is done.
    limits: how big a request may be.
    report: told how far it is, on a thread of its own.
    room: see `worker.Worker`.
    should_stop: looked at now and then; the run then raises `worker.Stopped`.

  Returns: the manifest of the whole, complete.

  Raises:
    types.ChatjaxError: one sentence that says what is wrong; the same call
      goes on afterwards.
  """
  settings, limits = settings or Settings(), limits or limits_lib.Limits()
  check_input(path)
  folder = folder_lib.Folder(output)
  folder.make()
  with (
    folder.writing(),
    leases_lib.Leases(
      folder.leases, label=settings.shard.name, lease_s=settings.lease_s
    ) as leases,
  ):
    _take_place(leases, folder, settings.shard)
    manifest = _identify(session, path, folder, leases, settings, limits)
    if manifest.is_complete:
      folder.check(manifest)
      folder.clear()
      return manifest
    with (
      source_lib.Source(
        folder.requests, limits=limits,
        range_lines=manifest.settings['range_lines'],
      ) as source,
      concurrent.futures.ThreadPoolExecutor(_PARSERS) as pool,
      contextlib.closing(
        kept_lib.Kept(identity.kept_folder(folder, manifest))
      ) as kept,
    ):  # fmt: skip
      worker = worker_lib.Worker(
        answer_lib.Asker(
          session, limits=limits, pool=pool, priority=settings.priority
        ),
        source=source,
        folder=folder,
        kept=kept,
        leases=leases,
        shard=settings.shard,
        rows=settings.rows,
        report=report,
        room=room,
        should_stop=should_stop,
      )
      report(worker.progress())
      return _to_the_end(worker, source, folder, leases, manifest)


def check_input(path: pathlib.Path) -> None:
  """Raises `source.SourceError` if no requests can be read from a file."""
  try:
    if path.exists() and not (path.is_file() or path.is_dir()):
      # It could be read only once, and a batch reads it again when it goes on.
      raise source_lib.SourceError(
        f'{path} is a pipe or a device; write the requests to a file, and give'
        ' that.'
      )
    source_lib.check_has_requests(path)
  except OSError as error:
    raise source_lib.SourceError(
      f'{path} cannot be read: {error.strerror}.'
    ) from None


def merge(output: pathlib.Path) -> manifest_lib.Manifest:
  """Puts the results of a folder together whose ranges are all finished.

  Raises:
    folder.FolderError: some are not, or the folder is not of a batch.
  """
  manifest = manifest_lib.read(output)
  if manifest.kind != identity.KIND:
    raise folder_lib.FolderError(
      f'{output} is no folder of a batch (its {manifest_lib.NAME} says'
      f' {manifest.kind!r}); give the --output of chatjax batch.'
    )
  folder = folder_lib.Folder(output)
  if manifest.is_complete:
    folder.check(manifest)
    return manifest
  folder.make()
  with (
    folder.writing(),
    source_lib.Source(
      folder.requests,
      limits=limits_lib.Limits(**manifest.settings['limits']),
      range_lines=manifest.settings['range_lines'],
    ) as source,
    leases_lib.Leases(folder.leases, label='merge') as leases,
  ):
    missing = source.num_ranges - len(folder.done())
    if missing:
      raise folder_lib.FolderError(
        f'{missing} of the {source.num_ranges} ranges of {output} are not'
        ' finished; run chatjax batch again with the same flags.'
      )
    if leases.take(_MERGE) is None:
      raise _busy(folder, leases.holder(_MERGE))
    merged = folder.merge(manifest, source)
  folder.clear()
  return merged


def _to_the_end(
  worker: worker_lib.Worker,
  source: source_lib.Source,
  folder: folder_lib.Folder,
  leases: leases_lib.Leases,
  manifest: manifest_lib.Manifest,
) -> manifest_lib.Manifest:
  while True:
    try:
      asyncio.run(worker.run())
      if lease := leases.take(_MERGE):
        try:
          merged = folder.merge(manifest, source)
        finally:
          leases.release(lease)
        folder.clear()
        return merged
    except folder_lib.Damaged:
      continue
    except (folder_lib.FolderError, FileNotFoundError):
      # Another worker may have finished, and removed what it needs no more.
      if (found := _complete(folder)) is None:
        raise
      return found
    # Or it is about to.
    time.sleep(_POLL_S)
    if (found := _complete(folder)) is not None:
      return found


def _complete(folder: folder_lib.Folder) -> manifest_lib.Manifest | None:
  found = folder.manifest()
  return found if found is not None and found.is_complete else None


def _take_place(
  leases: leases_lib.Leases, folder: folder_lib.Folder, shard: shards.Shard
) -> None:
  """Raises `BusyError` if this shard, or another split, is at work."""
  name = f'worker-{shard.name}'
  for other in sorted(leases.names()):
    of_others = other.startswith('worker-') and other != name
    if of_others and not other.endswith(f'-of-{shard.count}'):
      _until_gone(leases, folder, other)
  while leases.take(name) is None:
    _until_gone(leases, folder, name)


def _until_gone(
  leases: leases_lib.Leases, folder: folder_lib.Folder, name: str
) -> None:
  """Waits until a holder elsewhere has been silent for long enough."""
  first = None
  while (held := leases.holder(name)) is not None:
    if first is None or any(held[x] != first[x] for x in _WHO):
      first = held  # one may leave, and another take over
    if leases.is_near(held) or held['count'] > first['count'] + 1:
      raise _busy(folder, held)
    time.sleep(min(_POLL_S, leases.lease_s / 10))


def _busy(
  folder: folder_lib.Folder, held: Mapping[str, Any] | None
) -> BusyError:
  who = 'Another process'
  if held is not None:
    who = f'Process {held["pid"]} on {held["host"]} ({held["label"]})'
  return BusyError(
    f'{who} writes into {folder.root}; wait for it, stop it, or choose another'
    ' --output.'
  )


def _identify(
  session: session_lib.Session,
  path: pathlib.Path,
  folder: folder_lib.Folder,
  leases: leases_lib.Leases,
  settings: Settings,
  limits: limits_lib.Limits,
) -> manifest_lib.Manifest:
  """The folder's manifest, which is made now or says the same as this run."""
  mine = manifest_lib.make(
    identity.KIND,
    model=session.model_id,
    engine=session.engine,
    config=settings.config,
    inputs={_INPUT: manifest_lib.digest_file(path)},
    seed_rule=content.SEED_RULE,
    settings={
      'limits': dataclasses.asdict(limits),
      'range_lines': settings.range_lines,
      'output_format': session.output_format,
    },
  )
  found = folder.manifest()
  if found is not None:
    differs = found.differences(mine)
    if differs and not settings.force:
      raise identity.other_run(folder, mine, found)
    if differs or (settings.force and not folder.is_sound(found)):
      _check_alone(leases, folder, settings.shard)
      # Before anything is moved: later it does not look sound.
      keeps = identity.has_answers_for(mine, found, folder)
      kept = identity.kept_folder(folder, found) if keeps else None
      folder.start_over(path, kept=kept)
      found = None
  elif settings.force and not folder.has_copy_of(path):
    # A run that was killed before its manifest was made.
    _check_alone(leases, folder, settings.shard)
    folder.start_over(path, kept=None)
  if found is not None and found.is_complete:
    return found
  folder.adopt(path)
  data = mine.as_json().encode()
  if leases_lib.create_once(folder.root / manifest_lib.NAME, data):
    return mine
  found = folder.manifest()
  if found.differences(mine):  # another worker's, made meanwhile
    raise identity.other_run(folder, mine, found)
  return found


def _check_alone(
  leases: leases_lib.Leases, folder: folder_lib.Folder, shard: shards.Shard
) -> None:
  for name in leases.names():
    is_other = name.startswith('worker-') and name != f'worker-{shard.name}'
    if is_other and (held := leases.holder(name)) is not None:
      raise _busy(folder, held)


def cut_short(
  output: pathlib.Path,
  *,
  limits: limits_lib.Limits,
  fingerprint: str,
  context: int,
  code: str,
  message: str,
) -> final.Counts:
  """Makes the results of a run that is not to go on.

  Args:
    output: its folder.
    limits: as it ran.
    fingerprint: as it ran.
    context: the longest answer.
    code: the error of all requests that have no answer.
    message: the same in a sentence.

  What it came of stays: the same call again makes the same.

  Returns: what there is now.

  Raises:
    BusyError: somebody is at work in it.
    manifest.ManifestError: nothing says what it is of.
  """
  folder, manifest = folder_lib.Folder(output), manifest_lib.read(output)
  folder.make()
  with contextlib.ExitStack() as stack:
    stack.enter_context(folder.writing())
    leases = stack.enter_context(
      leases_lib.Leases(folder.leases, label=shards.ALL.name)
    )
    _take_place(leases, folder, shards.ALL)
    source = stack.enter_context(
      source_lib.Source(folder.requests, limits=limits)
    )
    kept = stack.enter_context(
      contextlib.closing(kept_lib.Kept(identity.kept_folder(folder, manifest)))
    )
    files = stack.enter_context(final.writing(output))
    for index in range(source.num_ranges):
      plan = plan_lib.read(
        source, index, fingerprint=fingerprint, limits=limits, context=context
      )
      places = folder.all_places(index, plan.keys)
      others = {one.line: one for one in plan.refusals}
      for item in plan.items:
        if item.line not in places:
          others[item.line] = plan_lib.kept_answer(item, kept, source, limits)
      for line in plan.keys:
        record = places[line].read() if line in places else others.get(line)
        if record is None:
          error = lines.LineError(
            message, code=code, custom_id=plan.custom_ids[line]
          )
          record = answer_lib.refusal(line, plan.keys[line], error)
        files.add(record)
  return files.counts
