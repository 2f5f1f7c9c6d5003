"""Batches of a server: they run in the background, one after the other.

They are kept in a ledger, so they outlive the server, and the next one goes on
with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import hashlib
import json
import logging
import pathlib
import shutil
import sqlite3
import threading
import time
from typing import Any
import uuid

import sqlalchemy as sa

from chatjax import types
from chatjax.batch import faults
from chatjax.batch import final
from chatjax.batch import folder as folder_lib
from chatjax.batch import ledger as ledger_lib
from chatjax.batch import run as run_lib
from chatjax.batch import shelf as shelf_lib
from chatjax.batch import worker as worker_lib
from chatjax.chat import session as session_lib
from chatjax.protocol import limits as limits_lib
from chatjax.store import manifest as manifest_lib

_log = logging.getLogger(__name__)

# Whoever waits for an answer goes before all of a batch.
PRIORITY = 1000
_OUTPUTS = {
  'output_file_id': final.RESULTS,
  'error_file_id': final.ERRORS,
}
_RETRY_S = 5.0
# Disks, databases and what they hold up: it may be better in a while.
_MAY_PASS = (types.ChatjaxError, OSError, sqlite3.Error, sa.exc.SQLAlchemyError)
_ENDS = {
  'expired': (
    'batch_expired',
    'This request could not be executed before the completion window expired.',
  ),
  'cancelled': (
    'batch_cancelled',
    'This request was not executed: the batch was cancelled.',
  ),
}


class Jobs:
  """The batches of one model. Thread-safe; its calls block.

  Args:
    folder: where batches and files are kept.
    session: the model. Batches that were made for another one wait for it.
    shelf: where files come from and go to.
    limits: how big a request may be.
    max_lines: of one batch.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    session: session_lib.Session,
    shelf: shelf_lib.Shelf,
    limits: limits_lib.Limits,
    max_lines: int,
  ):
    self._ledger = ledger_lib.Ledger(folder)
    self._session = session
    self._shelf = shelf
    self._limits = limits
    self._max_lines = max_lines
    self._lock = threading.Lock()
    self._counts: dict[str, final.Counts] = {}  # of what runs here
    self._wake = threading.Event()
    self._is_closed = threading.Event()
    self._thread: threading.Thread | None = None
    if any(one['status'] in ledger_lib.OPEN for one in self._ledger.all()):
      self._start()

  def create(self, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Queues a batch; `fields` are as `protocol.batches.parse` has them.

    Raises:
      types.RequestError: there is no such file, or it is none for batches.
    """
    file = self._shelf.get(fields['input_file_id'])
    if file.purpose != 'batch':
      raise types.RequestError(
        f'The file {file.id} has the purpose {file.purpose!r}; it must be'
        " 'batch'.",
        param='input_file_id',
      )
    made = self._ledger.create(
      self._shelf.path(file.id),
      {'output_lives_s': fields['output_lives_s']},
      endpoint=fields['endpoint'],
      input_file_id=file.id,
      metadata=fields['metadata'] or None,
      model=self._session.model_id,
    )
    self._start()
    return self.shown(made)

  def get(self, batch_id: str) -> dict[str, Any]:
    """Raises `types.RequestError` (404) if there is none."""
    return self.shown(self._ledger.get(batch_id))

  def list(self) -> list[dict[str, Any]]:
    """All of them, newest first."""
    return [self.shown(one) for one in reversed(self._ledger.all())]

  def cancel(self, batch_id: str) -> dict[str, Any]:
    """Has a batch end soon.

    Raises:
      types.RequestError: there is none (404), or it has ended (409).
    """
    found = self._ledger.cancel(batch_id)
    self._start()
    return self.shown(found)

  def close(self) -> None:
    """Stops; what is not done is done by the next server."""
    self._is_closed.set()
    self._wake.set()
    if self._thread is not None:
      self._thread.join()

  def shown(self, batch: Mapping[str, Any]) -> dict[str, Any]:
    """As clients see it."""
    shown = {
      name: value for name, value in batch.items() if name != ledger_lib.OURS
    }
    if (told := batch[ledger_lib.OURS].get('manifest')) is not None:
      shown[ledger_lib.OURS] = {'manifest': told}
    with self._lock:
      counts = self._counts.get(batch['id'])
    # A batch that has ended has its own, those without an answer included.
    if counts is not None and batch['status'] in ledger_lib.OPEN:
      shown['request_counts'] = {
        **shown['request_counts'],
        'completed': counts.completed,
        'failed': counts.failed,
      }
    return shown

  def _start(self) -> None:
    with self._lock:
      if self._thread is None:
        self._thread = threading.Thread(
          target=self._run, name='chatjax-batches', daemon=True
        )
        self._thread.start()
    self._wake.set()

  # From here on: the thread of the batches.

  def _open(self) -> Iterable[dict[str, Any]]:
    """What there is to do here. To end a batch takes no model."""
    for one in self._ledger.all():
      is_ours = one['model'] == self._session.model_id
      if one['status'] in ledger_lib.OPEN and (
        is_ours or self._ledger.end_of(one) is not None
      ):
        yield one

  def _run(self) -> None:
    while not self._is_closed.is_set() and self._session.engine.is_alive:
      self._wake.clear()
      try:
        has_ended = [self._advance(batch) for batch in self._open()]
        rest_s = 0 if any(has_ended) else self._rest_s()
      except Exception:  # noqa: BLE001 - no other thread does its work
        _log.exception('Batches wait.')
        rest_s = _RETRY_S
      if rest_s != 0:
        self._wake.wait(rest_s)

  def _rest_s(self) -> float | None:
    """Until there may be something to do; None if only a call brings it."""
    if any(self._open()):
      # Another server may have it, or the disk may be full for a while.
      return _RETRY_S
    ends = [
      x['expires_at']
      for x in self._ledger.all()
      if x['status'] in ledger_lib.OPEN
    ]
    return max(0.0, min(ends) - time.time()) + 0.1 if ends else None

  def _advance(self, batch: dict[str, Any]) -> bool:
    """Does all that can be done of a batch; whether it has ended.

    Whatever goes wrong is this batch's alone.
    """
    try:
      self._bring_to_its_end(batch)
    except _MAY_PASS as error:
      is_lost = isinstance(error, manifest_lib.ManifestError)
      if is_lost and self._ledger.end_of(batch) is not None:
        # Nothing says any more what its answers came of: it cannot wait.
        return self._fail(batch, error)
      _log.error('%s waits: %s', batch['id'], error)
      return False
    except Exception as error:  # noqa: BLE001 - told in the batch
      _log.exception('%s fails.', batch['id'])
      return self._fail(batch, error)
    finally:
      with self._lock:
        self._counts.pop(batch['id'], None)
    return True

  def _bring_to_its_end(self, batch: dict[str, Any]) -> None:
    if self._ledger.end_of(batch) is None:
      batch = self._validate(batch)
    if batch['status'] == 'failed':
      return
    if self._ledger.end_of(batch) is None:
      try:
        self._answer(batch)
      except worker_lib.Stopped:
        if self._is_closed.is_set():
          return
    self._finish(batch)

  def _fail(self, batch: Mapping[str, Any], error: Exception) -> bool:
    """Ends a batch that this server cannot do; whether that can be written."""
    told = {
      'code': 'server_error',
      'message': f'The server could not do this batch ({type(error).__name__});'
      ' its log says more.',
      'line': None,
      'param': None,
    }
    try:
      self._ledger.step(
        batch['id'], 'failed', errors={'object': 'list', 'data': [told]}
      )
    except _MAY_PASS as another:
      _log.error('%s waits: %s', batch['id'], another)
      return False
    return True

  def _validate(self, batch: dict[str, Any]) -> dict[str, Any]:
    """Looks at all lines; a batch with a wrong one fails as a whole."""
    if batch['status'] != 'validating':
      return batch
    found, count = faults.find(
      self._ledger.requests(batch['id']),
      endpoint=batch['endpoint'],
      model_id=self._session.model_id,
      limits=self._limits,
      max_lines=self._max_lines,
    )
    if found:
      return self._ledger.step(
        batch['id'], 'failed', errors={'object': 'list', 'data': found}
      )
    counts = {'total': count, 'completed': 0, 'failed': 0}
    return self._ledger.step(batch['id'], 'in_progress', request_counts=counts)

  def _answer(self, batch: Mapping[str, Any]) -> None:
    rows = self._session.engine.max_rows

    def room(num_own: int, n: int) -> bool:
      """Leaves a row for whoever comes, if there is more than one."""
      num_open = max(self._session.engine.num_open, num_own)
      return not num_open or num_open + n <= max(1, rows - 1)

    def report(progress: worker_lib.Progress) -> None:
      with self._lock:
        self._counts[batch['id']] = progress.counts

    def should_stop() -> bool:
      return self._is_closed.is_set() or self._ledger.end_of(batch) is not None

    run_lib.run(
      self._session,
      self._ledger.requests(batch['id']),
      self._ledger.run_folder(batch['id']),
      # Another fingerprint since: all of it is answered by one model.
      settings=run_lib.Settings(rows=rows, priority=PRIORITY, force=True),
      limits=self._limits,
      report=report,
      room=room,
      should_stop=should_stop,
    )

  def _finish(self, batch: dict[str, Any]) -> None:
    """Makes files of what was answered, unless another server has."""
    with self._ledger.locked(batch['id']):
      batch = self._ledger.get(batch['id'])
      if batch['status'] in ledger_lib.OPEN:
        self._finish_locked(batch)

  def _finish_locked(self, batch: dict[str, Any]) -> None:
    run_folder = self._ledger.run_folder(batch['id'])
    done = folder_lib.Folder(run_folder).manifest()
    is_complete = done is not None and done.is_complete
    status = 'completed' if is_complete else self._ledger.end_of(batch)
    if status is None:
      raise types.ChatjaxError('The batch has not ended.')
    if not is_complete and done is not None:
      run_lib.cut_short(
        run_folder,
        limits=self._limits,
        fingerprint=done.fingerprint,
        context=self._session.engine.max_context,
        code=_ENDS[status][0],
        message=_ENDS[status][1],
      )
    if is_complete:
      batch = self._ledger.step_locked(batch['id'], 'finalizing')
    made = self._make_files(batch, run_folder)
    if done is not None:
      told = json.loads(done.as_json())
      made[ledger_lib.OURS] = {**batch[ledger_lib.OURS], 'manifest': told}
    self._ledger.step_locked(batch['id'], status, **made)
    self._ledger.clear(batch['id'])

  def _make_files(
    self, batch: Mapping[str, Any], run_folder: pathlib.Path
  ) -> dict[str, Any]:
    made: dict[str, Any] = {}
    counts = {}
    for name, filename in _OUTPUTS.items():
      path = run_folder / filename
      counts[name] = _num_lines(path)
      if not counts[name]:
        continue
      copy = run_folder / f'.{filename}.{uuid.uuid4().hex}'
      shutil.copyfile(path, copy)
      file = self._shelf.add(
        copy,
        filename=f'{batch["id"]}_{filename}',
        purpose='batch_output',
        lives_s=batch[ledger_lib.OURS]['output_lives_s'],
        # If the next step fails, this one makes the same file again.
        file_id=_output_id(batch['id'], name),
      )
      made[name] = file.id
    made['request_counts'] = {
      'total': sum(counts.values()) or batch['request_counts']['total'],
      'completed': counts['output_file_id'],
      'failed': counts['error_file_id'],
    }
    return made


def _output_id(batch_id: str, name: str) -> str:
  digest = hashlib.sha256(f'{batch_id} {name}'.encode()).hexdigest()
  return f'file-{digest[:32]}'


def _num_lines(path: pathlib.Path) -> int:
  if not path.exists():
    return 0
  with open(path, 'rb') as file:
    return sum(1 for _ in file)
