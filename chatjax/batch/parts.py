"""Records on the disk: appended, each with a checksum, written in groups.

A part has one record per line:

  CHECKSUM LINE KEY KIND JSON

`KIND` is R for a result and E for an error; `JSON` is the line of
`results.jsonl` or `errors.jsonl` that it becomes. A last line that is torn
was never told to be done; a line with another checksum is damaged, and its
request is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import hashlib
import os
import pathlib
import threading
import time
from typing import BinaryIO

from chatjax.store import manifest

RESULT, ERROR = 'R', 'E'
SUFFIX = '.part'
_SUM_DIGITS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
  """One finished request.

  Attributes:
    line: its number in the file of requests.
    key: see `content.key`.
    is_error: in which file it goes.
    data: JSON, without a line's end.
  """

  line: int
  key: str
  is_error: bool
  data: bytes

  def encode(self) -> bytes:
    kind = ERROR if self.is_error else RESULT
    body = f'{self.line} {self.key} {kind} '.encode() + self.data
    return _checksum(body) + b' ' + body + b'\n'


def decode(line: bytes) -> Record | None:
  """The record of a line of a part; None if it is torn or damaged."""
  told, _, body = line.removesuffix(b'\n').partition(b' ')
  if not line.endswith(b'\n') or told != _checksum(body):
    return None
  number, key, kind, data = body.split(b' ', 3)
  return Record(
    line=int(number), key=key.decode(), is_error=kind == b'E', data=data
  )


def _checksum(body: bytes) -> bytes:
  return hashlib.sha256(body).hexdigest()[:_SUM_DIGITS].encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
  """Where a sound record lies in a part."""

  path: pathlib.Path
  offset: int
  size: int
  key: str
  is_error: bool

  def read(self) -> Record | None:
    with open(self.path, 'rb') as file:
      file.seek(self.offset)
      return decode(file.read(self.size))


def places(path: pathlib.Path) -> Iterator[tuple[int, Place] | None]:
  """(line number, place) of each record of a part; None for a damaged one.

  A torn last line is what a killed process left: it counts for nothing.
  """
  offset = 0
  with open(path, 'rb') as file:
    for line in file:
      record = decode(line)
      if record is not None:
        yield (
          record.line,
          Place(
            path=path,
            offset=offset,
            size=len(line),
            key=record.key,
            is_error=record.is_error,
          ),
        )
      elif line.endswith(b'\n'):
        yield None
      offset += len(line)


class Writer:
  """Appends records in groups; a record counts once its group is on disk.

  Args:
    done: called on the writer's thread with each record that counts.
    group_s: how long a record may wait for others.
  """

  def __init__(
    self, done: Callable[[pathlib.Path, Record], None], *, group_s: float = 0.1
  ):
    self.error: Exception | None = None
    self._done = done
    self._group_s = group_s
    self._waiting: list[tuple[pathlib.Path, Record]] = []
    self._wake = threading.Condition()
    self._is_closing = False
    self._files: dict[pathlib.Path, BinaryIO] = {}
    self._thread = threading.Thread(target=self._run, name='chatjax-batch')
    self._thread.start()

  def put(self, path: pathlib.Path, record: Record) -> None:
    """Queues a record for a part; never waits for the disk."""
    with self._wake:
      self._waiting.append((path, record))
      self._wake.notify()

  @property
  def num_waiting(self) -> int:
    """Records that were put and are not being written yet."""
    return len(self._waiting)

  def forget(self, path: pathlib.Path) -> None:
    """Closes a part that gets nothing more; for the writer's thread."""
    if file := self._files.pop(path, None):
      file.close()

  def close(self) -> None:
    """Writes what waits, and ends."""
    with self._wake:
      self._is_closing = True
      self._wake.notify()
    self._thread.join()

  def _run(self) -> None:
    try:
      while group := self._next():
        self._commit(group)
        for path, record in group:
          self._done(path, record)
    except Exception as error:  # noqa: BLE001 - the runner raises it again
      self.error = error
    finally:
      for file in self._files.values():
        file.close()

  def _next(self) -> list[tuple[pathlib.Path, Record]]:
    """What is written together; nothing at the end."""
    with self._wake:
      while not self._waiting and not self._is_closing:
        self._wake.wait()
      if not self._is_closing:
        end = time.monotonic() + self._group_s
        self._wake.wait_for(
          lambda: self._is_closing, max(0, end - time.monotonic())
        )
      group, self._waiting = self._waiting, []
      return group

  def _commit(self, group: list[tuple[pathlib.Path, Record]]) -> None:
    by_path: dict[pathlib.Path, list[bytes]] = {}
    for path, record in group:
      by_path.setdefault(path, []).append(record.encode())
    for path, encoded in by_path.items():
      file = self._open(path)
      good = os.fstat(file.fileno()).st_size
      try:
        manifest.write_all(file.fileno(), b''.join(encoded))
        os.fsync(file.fileno())
      except OSError:
        # As far as it can be undone. It would be a torn line, no more.
        os.ftruncate(file.fileno(), good)
        raise

  def _open(self, path: pathlib.Path) -> BinaryIO:
    if path not in self._files:
      self._files[path] = open(path, 'ab', buffering=0)  # noqa: SIM115
      manifest.sync_folder(path.parent)
    return self._files[path]
