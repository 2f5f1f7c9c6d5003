"""Files that clients upload, and those that batches make for them.

Each is a folder `files/ID` with `about.json` and `data`; it is there once its
`about.json` is.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import json
import logging
import os
import pathlib
import re
import shutil
import time
from typing import Any
from typing import TypeVar
import uuid

from chatjax import types
from chatjax.store import manifest

_T = TypeVar('_T')
_log = logging.getLogger(__name__)

ABOUT, DATA = 'about.json', 'data'
_ID = re.compile(r'[a-z]+[-_][0-9a-f]{32}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
  """One file.

  Attributes:
    num_bytes: its size.
    created_ns: since 1970; orders them.
    expires_at: in seconds since 1970; None is never.
  """

  id: str
  filename: str
  purpose: str
  num_bytes: int
  created_ns: int
  expires_at: int | None = None

  def shown(self) -> dict[str, Any]:
    """OpenAI's object."""
    return {
      'id': self.id,
      'object': 'file',
      'bytes': self.num_bytes,
      'created_at': self.created_ns // 10**9,
      'expires_at': self.expires_at,
      'filename': self.filename,
      'purpose': self.purpose,
      'status': 'processed',
      'status_details': None,
    }


class Shelf:
  """Files by their ids. Thread-safe; its calls block."""

  def __init__(
    self, folder: pathlib.Path, *, now: Callable[[], float] = time.time
  ):
    self._folder = folder
    self._now = now

  def add(
    self,
    path: pathlib.Path,
    *,
    filename: str,
    purpose: str,
    lives_s: int | None = None,
    file_id: str | None = None,
  ) -> File:
    """Keeps a file, which is moved here.

    Args:
      path: of the file.
      filename: how clients know it.
      purpose: what it is for.
      lives_s: after which it goes; None is never.
      file_id: takes the place of the file that has it, if any does.
    """
    created_ns = time.time_ns()
    made = File(
      id=file_id or f'file-{uuid.uuid4().hex}',
      filename=filename,
      purpose=purpose,
      num_bytes=path.stat().st_size,
      created_ns=created_ns,
      expires_at=None if lives_s is None else created_ns // 10**9 + lives_s,
    )
    folder = self._folder / made.id
    manifest.make_folder(folder)
    try:
      _move(path, folder / DATA)
      about = json.dumps(dataclasses.asdict(made)).encode()
      manifest.write_durably(folder / ABOUT, about)
    except BaseException:
      shutil.rmtree(folder, ignore_errors=True)
      raise
    return made

  def get(self, file_id: str) -> File:
    """Raises `types.RequestError`: there is none (404), or it is damaged."""
    found = self._read(file_id) if _ID.fullmatch(file_id) else None
    if found is None:
      raise not_found('file', file_id)
    return found

  def path(self, file_id: str) -> pathlib.Path:
    """Where the bytes of a file are."""
    return self._folder / self.get(file_id).id / DATA

  def list(self) -> list[File]:
    """All of them, oldest first."""
    found = read_all(self._folder, _ID, self._read)
    return sorted(found, key=lambda one: (one.created_ns, one.id))

  def delete(self, file_id: str) -> None:
    """Raises `types.RequestError` (404) if there is none."""
    try:
      self.get(file_id)
    except types.RequestError as error:
      if error.code == 'not_found':
        raise
    self._remove(file_id)  # what is damaged, too

  def _read(self, file_id: str) -> File | None:
    """Raises `types.RequestError` (500) if what is said of it is damaged."""
    try:
      found = _told((self._folder / file_id / ABOUT).read_bytes())
    except FileNotFoundError:
      return None
    if found is None or found.id != file_id:
      raise types.RequestError(
        f'{ABOUT} of the file {file_id} is damaged; delete the file and upload'
        ' it again.',
        code='server_error',
        status=500,
      )
    if found.expires_at is not None and found.expires_at <= self._now():
      self._remove(file_id)
      return None
    return found

  def _remove(self, file_id: str) -> None:
    # Without that it is not there, whatever else is left.
    (self._folder / file_id / ABOUT).unlink(missing_ok=True)
    shutil.rmtree(self._folder / file_id, ignore_errors=True)


def read_all(
  folder: pathlib.Path, ids: re.Pattern[str], read: Callable[[str], _T | None]
) -> list[_T]:
  """What a folder has of a kind; what is damaged is told in the log.

  Args:
    folder: has a folder for each; it may not be there yet.
    ids: what their names look like.
    read: by its id; None if it is gone, `types.RequestError` if it is damaged.
  """
  found = []
  for name in os.listdir(folder) if folder.is_dir() else ():
    if not ids.fullmatch(name):
      continue
    try:
      one = read(name)
    except types.RequestError as error:
      _log.error('%s', error)  # the others go on
      continue
    if one is not None:
      found.append(one)
  return found


def _told(data: bytes) -> File | None:
  """What an `about.json` says; None if it is damaged."""
  try:
    found = File(**json.loads(data))
    expires_at = found.expires_at
    is_sound = found.created_ns > 0 and (expires_at is None or expires_at > 0)
  except (ValueError, TypeError):
    return None
  return found if is_sound else None


def not_found(
  what: str, given: str, param: str | None = None
) -> types.RequestError:
  """A file or a batch that there is not."""
  return types.RequestError(
    f'There is no {what} {given[:100]!r}.',
    param=param,
    code='not_found',
    status=404,
  )


def _move(path: pathlib.Path, target: pathlib.Path) -> None:
  shutil.move(path, target)
  with open(target, 'rb') as file:
    os.fsync(file.fileno())
