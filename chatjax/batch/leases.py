"""Who works on what, agreed on through files of a folder that all can see.

A lease is a file `NAME.GENERATION` with its owner's id; whoever holds the
highest generation has it. Creating a file that must not exist is atomic on
network file systems too (by a link), so one of two takers wins, and no lease
is ever removed or renamed to be taken: an owner that comes back from the dead
finds a higher generation and does no harm.

An owner shows that it lives by a counter that it raises. Others look how long
the counter stands still *on their own clock*; clocks that differ do not
matter. On the same machine a process that is gone is seen at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import re
import socket
import threading
import time
from typing import Any
from typing import Self
import uuid

from chatjax.store import manifest

LEASE_S = 30.0
_BEATS = 6  # per lease
_NAME = re.compile(r'(.+)\.([0-9]+)')
_OWNER = re.compile(r'[0-9a-f]{32}')
_TOLD = {'host', 'boot', 'pids', 'pid', 'label', 'started', 'count'}
_FREE = b''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lease:
  """What an owner has taken.

  Attributes:
    generation: differs from those of all owners before.
  """

  name: str
  generation: int


class Leases:
  """The leases of a folder, by one owner; used in a `with` block.

  Args:
    folder: that all owners share; it has to be there.
    label: how others are told of this owner.
    lease_s: how long the counter of an owner may stand still.
  """

  def __init__(
    self, folder: pathlib.Path, *, label: str, lease_s: float = LEASE_S
  ):
    self.owner_id = uuid.uuid4().hex
    self.lease_s = lease_s
    self._folder = folder
    self._told = {**_place(), 'pid': os.getpid(), 'label': label}
    self._told['started'] = _started(os.getpid())
    # Owner -> (its counter, when it was first seen so).
    self._seen: dict[str, tuple[int, float]] = {}
    self._is_closed = threading.Event()
    self._count = 0
    self._beat()
    self._thread = threading.Thread(target=self._beat_on, daemon=True)
    self._thread.start()

  def take(self, name: str) -> Lease | None:
    """Takes a lease that nobody alive holds."""
    generation, owner_id = self._holder(name)
    if owner_id is not None and not self._is_gone(owner_id):
      return None
    lease = Lease(name=name, generation=generation + 1)
    return lease if self._create(lease) else None

  def release(self, lease: Lease) -> None:
    """Gives a lease back."""
    with contextlib.suppress(FileNotFoundError):
      _replace(self._path(lease), _FREE)

  def holder(self, name: str) -> dict[str, Any] | None:
    """Who holds a lease: host, pid and label; None if nobody alive does."""
    _, owner_id = self._holder(name)
    if owner_id is None or self._is_gone(owner_id):
      return None
    return self._read_beat(owner_id)

  def names(self) -> set[str]:
    """Of all leases there ever were."""
    found = (_NAME.fullmatch(one) for one in os.listdir(self._folder))
    return {match[1] for match in found if match}

  def is_near(self, holder: dict[str, Any]) -> bool:
    """Whether a holder's death would be seen at once."""
    return _is_same_place(holder, self._told)

  def close(self) -> None:
    """Ends; leases that are still held are anybody's."""
    self._is_closed.set()
    self._thread.join()
    with contextlib.suppress(OSError):
      self._beat_path(self.owner_id).unlink()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def _path(self, lease: Lease) -> pathlib.Path:
    return self._folder / f'{lease.name}.{lease.generation}'

  def _beat_path(self, owner_id: str) -> pathlib.Path:
    return self._folder / f'beat-{owner_id}'

  def _holder(self, name: str) -> tuple[int, str | None]:
    """(the highest generation, its owner)."""
    found = (_NAME.fullmatch(one) for one in os.listdir(self._folder))
    generation = max(
      (int(match[2]) for match in found if match and match[1] == name),
      default=0,
    )
    if not generation:
      return 0, None
    path = self._path(Lease(name=name, generation=generation))
    owner_id = path.read_bytes().decode('ascii', 'replace')
    # A machine that lost its power may leave zeros, or a part of an id: whoever
    # was to have it is gone.
    return generation, owner_id if _OWNER.fullmatch(owner_id) else None

  def _create(self, lease: Lease) -> bool:
    path = self._path(lease)
    fresh = self._folder / f'.{uuid.uuid4().hex}'
    try:
      fresh.write_text(self.owner_id)
      return link_once(fresh, path)
    finally:
      fresh.unlink(missing_ok=True)

  def _is_gone(self, owner_id: str) -> bool:
    if owner_id == self.owner_id:
      return False
    told = self._read_beat(owner_id)
    if told is None:
      return True  # it has left: its counter is there before its leases
    if _is_same_place(told, self._told) and not _is_running(told):
      return True
    now = time.monotonic()
    count, since = self._seen.get(owner_id, (None, now))
    if count != told['count']:
      self._seen[owner_id] = told['count'], now
      return False
    return now - since > self.lease_s

  def _read_beat(self, owner_id: str) -> dict[str, Any] | None:
    try:
      told = json.loads(self._beat_path(owner_id).read_bytes())
    except (FileNotFoundError, ValueError):
      return None  # torn by a loss of power: its owner went with it
    is_whole = isinstance(told, dict) and told.keys() >= _TOLD
    return told if is_whole else None

  def _beat(self) -> None:
    self._count += 1
    told = {**self._told, 'count': self._count}
    _replace(self._beat_path(self.owner_id), json.dumps(told).encode())

  def _beat_on(self) -> None:
    while not self._is_closed.wait(self.lease_s / _BEATS):
      # A folder that is full or gone is told by what is to be written there.
      with contextlib.suppress(OSError):
        self._beat()


def create_once(path: pathlib.Path, data: bytes) -> bool:
  """Writes a file that must not be there; whether this call has made it."""
  fresh = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    manifest.write_durably(fresh, data)
    made = link_once(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)
  manifest.sync_folder(path.parent)
  return made


def link_once(fresh: pathlib.Path, path: pathlib.Path) -> bool:
  """Gives a file a second name, unless that is taken."""
  try:
    os.link(fresh, path)
  except FileExistsError:
    # A network file system that lost its answer tries again by itself, and
    # finds the link that it has made.
    return os.stat(fresh).st_nlink == 2
  except OSError as error:
    if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
      if os.stat(fresh).st_nlink == 2:
        return True
      raise
    return _create_exclusively(fresh, path)  # it knows no links
  return True


def _create_exclusively(fresh: pathlib.Path, path: pathlib.Path) -> bool:
  try:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
  except FileExistsError:
    return False
  with open(descriptor, 'wb') as file:
    file.write(fresh.read_bytes())
    file.flush()
    os.fsync(descriptor)
  return True


def _replace(path: pathlib.Path, data: bytes) -> None:
  fresh = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
  try:
    fresh.write_bytes(data)
    os.replace(fresh, path)
  finally:
    fresh.unlink(missing_ok=True)


def _place() -> dict[str, Any]:
  """Where process ids mean the same."""
  return {
    'host': socket.gethostname(),
    'boot': _read('/proc/sys/kernel/random/boot_id'),
    'pids': _pid_namespace(),
  }


def _is_same_place(one: dict[str, Any], other: dict[str, Any]) -> bool:
  return all(one[name] == other[name] for name in ('host', 'boot', 'pids'))


def _pid_namespace() -> int:
  try:
    return os.stat('/proc/self/ns/pid').st_ino
  except OSError:
    return 0


def _read(path: str) -> str:
  try:
    return pathlib.Path(path).read_text().strip()
  except OSError:
    return ''


def _started(pid: int) -> str | None:
  """When a process began; None if it is gone, '' where nothing tells."""
  if not os.path.exists('/proc/self/stat'):
    return ''
  try:
    # Behind its name, which may hold anything in brackets.
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  except OSError:
    return None
  state, started = fields.split()[0], fields.split()[19]
  return None if state in 'ZX' else started


def _is_running(told: dict[str, Any]) -> bool:
  if told['started'] == '':
    try:
      os.kill(told['pid'], 0)
    except ProcessLookupError:
      return False
    except PermissionError:
      return True
    return True
  return _started(told['pid']) == told['started']
