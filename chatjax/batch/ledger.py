"""The batches of a server as they are written down, one folder each.

`batch.json` is OpenAI's object, `input.jsonl` its requests, `run` what
`run.run` makes, `cancel` is there once it is to end. Several servers may read
and write them.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import json
import pathlib
import re
import shutil
import time
from typing import Any
import uuid

from chatjax import types
from chatjax.batch import shelf as shelf_lib
from chatjax.ckpt import home as home_lib
from chatjax.store import manifest as manifest_lib

WINDOW_S = 24 * 3600
OPEN = ('validating', 'in_progress', 'finalizing', 'cancelling')
OURS = 'chatjax'  # the key of what clients do not see
_ID = re.compile(r'batch_[0-9a-f]{32}')
_ABOUT, _INPUT, _RUN = 'batch.json', 'input.jsonl', 'run'
_CANCEL, _LOCK = 'cancel', 'lock'


class Ledger:
  """All batches of a folder. Thread-safe; its calls block."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder

  def create(
    self, requests: pathlib.Path, own: Mapping[str, Any], **fields: Any
  ) -> dict[str, Any]:
    """A new batch.

    Args:
      requests: the file, which is copied: it may be deleted meanwhile.
      own: what clients do not see.
      **fields: of OpenAI's object.
    """
    batch_id, now_ns = f'batch_{uuid.uuid4().hex}', time.time_ns()
    made = {
      **_empty(batch_id, now_ns // 10**9),
      **fields,
      OURS: {'created_ns': now_ns, **own},
    }
    folder = self._folder / batch_id
    try:
      manifest_lib.make_folder(folder)
      manifest_lib.copy_durably(requests, self.requests(batch_id))
      self._write(made)
    except BaseException:
      shutil.rmtree(folder, ignore_errors=True)
      raise
    return made

  def requests(self, batch_id: str) -> pathlib.Path:
    """Its file of requests, until it has ended."""
    return self._folder / batch_id / _INPUT

  def run_folder(self, batch_id: str) -> pathlib.Path:
    """Where it is answered, until it has ended."""
    return self._folder / batch_id / _RUN

  def clear(self, batch_id: str) -> None:
    """Leaves the record alone of a batch that has ended."""
    shutil.rmtree(self.run_folder(batch_id), ignore_errors=True)
    self.requests(batch_id).unlink(missing_ok=True)

  def all(self) -> list[dict[str, Any]]:
    """Oldest first."""
    found = shelf_lib.read_all(self._folder, _ID, self._read)
    return sorted(found, key=lambda one: one[OURS]['created_ns'])

  def get(self, batch_id: str) -> dict[str, Any]:
    """Raises `types.RequestError`: there is none (404), or it is damaged."""
    found = self._read(batch_id) if _ID.fullmatch(batch_id) else None
    if found is None:
      raise shelf_lib.not_found('batch', batch_id)
    return found

  def cancel(self, batch_id: str) -> dict[str, Any]:
    """Has a batch end soon.

    Raises:
      types.RequestError: there is none (404), or it has ended (409).
    """
    self.get(batch_id)
    with self.locked(batch_id):
      found = self.get(batch_id)
      if found['status'] not in OPEN:
        raise types.RequestError(
          f'The batch {batch_id} is {found["status"]} already; only one that is'
          ' not at its end can be cancelled.',
          code='batch_not_cancellable',
          status=409,
        )
      if found['status'] != 'cancelling':
        found |= {'status': 'cancelling', 'cancelling_at': int(time.time())}
        self._write(found)
      (self._folder / batch_id / _CANCEL).touch()
    return found

  def end_of(self, batch: Mapping[str, Any]) -> str | None:
    """Why a batch is to end early, if it is."""
    if (self._folder / batch['id'] / _CANCEL).exists():
      return 'cancelled'
    return 'expired' if time.time() > batch['expires_at'] else None

  def step(self, batch_id: str, status: str, **changes: Any) -> dict[str, Any]:
    """Takes a batch to its next status, and notes when."""
    with self.locked(batch_id):
      return self.step_locked(batch_id, status, **changes)

  def step_locked(
    self, batch_id: str, status: str, **changes: Any
  ) -> dict[str, Any]:
    """As `step`, for whoever holds the lock."""
    batch = {**self.get(batch_id), **changes}
    batch[f'{status}_at'] = int(time.time())
    # It may have been cancelled meanwhile.
    if batch['status'] != 'cancelling' or status not in OPEN:
      batch['status'] = status
    self._write(batch)
    return batch

  def locked(self, batch_id: str) -> contextlib.AbstractContextManager[None]:
    """Against other servers, too."""
    return home_lib.lock(self._folder / batch_id / _LOCK)

  def _read(self, batch_id: str) -> dict[str, Any] | None:
    """Raises `types.RequestError` (500) if it is damaged."""
    path = self._folder / batch_id / _ABOUT
    try:
      found = json.loads(path.read_bytes())
      if found['id'] == batch_id and found[OURS]['created_ns']:
        return found
    except FileNotFoundError:
      return None
    except (ValueError, TypeError, LookupError):
      pass
    raise types.RequestError(
      f'{_ABOUT} of the batch {batch_id} is damaged; create the batch again.',
      code='server_error',
      status=500,
    )

  def _write(self, batch: Mapping[str, Any]) -> None:
    manifest_lib.write_durably(
      self._folder / batch['id'] / _ABOUT, json.dumps(batch).encode()
    )


def _empty(batch_id: str, now: int) -> dict[str, Any]:
  """OpenAI's object of a new batch."""
  times = ('cancelled', 'cancelling', 'completed', 'expired', 'failed')
  times += ('finalizing', 'in_progress')
  return {
    'id': batch_id,
    'object': 'batch',
    'completion_window': '24h',
    'created_at': now,
    'expires_at': now + WINDOW_S,
    'status': 'validating',
    'errors': None,
    'output_file_id': None,
    'error_file_id': None,
    'request_counts': {'total': 0, 'completed': 0, 'failed': 0},
    **{f'{name}_at': None for name in times},
  }
