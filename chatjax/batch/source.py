"""The file of requests: looked through once, then read range by range.

What is remembered of a file does not grow with it: every `_MARK_LINES` lines
one offset, and on the disk which lines repeat an id.
"""

from __future__ import annotations

import array
from collections.abc import Iterator
import dataclasses
import hashlib
import os
import pathlib
import sqlite3
import tempfile
from typing import BinaryIO
from typing import Self

from chatjax import types
from chatjax.batch import lines
from chatjax.protocol import limits as limits_lib

_MARK_LINES = 16
_PIECE = 2**20
_MAX_RANGE = 256
_RANGES = 64  # that a file has at least, if it has the lines
_ROWS = 4096  # ids that are looked up together


class SourceError(types.ChatjaxError):
  """A file of requests that cannot be read."""


class EmptyError(SourceError):
  """A file without requests."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """One line of a file.

  Attributes:
    number: from 1, as editors count.
    data: None if it is too long to be kept.
    is_duplicate: whether an earlier line has its id.
  """

  number: int
  offset: int
  data: bytes | None
  is_duplicate: bool


def check_has_requests(path: pathlib.Path) -> None:
  """Raises `EmptyError` if all lines of a file are blank."""
  with open(path, 'rb') as file:
    # In pieces: a line may be longer than memory.
    begin = file.read(_PIECE)
    if not lines.is_blank(begin):
      return
    while piece := file.read(_PIECE):
      if piece.strip():
        return
  raise EmptyError(f'{path} has no requests: it is empty.')


class Source:
  """A file of requests.

  Attributes:
    path: of the file.
    sha256, num_bytes: of all of it.
    num_lines: blank ones included; `num_requests` without.
    range_lines: lines of a range; a worker takes a range at a time.
  """

  def __init__(
    self,
    path: pathlib.Path,
    *,
    limits: limits_lib.Limits,
    range_lines: int = 0,
  ):
    """Looks through a file.

    Args:
      path: of the file.
      limits: how long a line may be.
      range_lines: 0 chooses by the file's length.

    Raises:
      SourceError: it cannot be read, or there is nothing in it.
    """
    self.path = path
    self.num_lines = self.num_requests = self.num_bytes = 0
    self._limits = limits
    self._marks = array.array('Q')
    self._ids = _Ids()
    try:
      self.sha256 = self._scan()
      if not self.num_requests:
        raise EmptyError(f'{path} has no requests: it is empty.')
    except BaseException as error:
      self.close()
      if isinstance(error, (OSError, sqlite3.Error)):
        raise _unreadable(path, error) from None
      raise
    self.range_lines = range_lines or _range_lines(self.num_lines)

  @property
  def num_ranges(self) -> int:
    return -(-self.num_lines // self.range_lines)

  def read(self, index: int) -> Iterator[Line]:
    """The lines of a range, blank ones left out."""
    start = index * self.range_lines
    stop = min(start + self.range_lines, self.num_lines)
    repeated = self._ids.repeated(start, stop)
    mark = start // _MARK_LINES
    with open(self.path, 'rb') as file:
      file.seek(self._marks[mark])
      for number, offset, data in self._lines(file, mark * _MARK_LINES):
        if number >= stop:
          return
        if number >= start and (data is None or not lines.is_blank(data)):
          yield Line(
            number=number + 1,
            offset=offset,
            data=data,
            is_duplicate=number in repeated,
          )

  def read_at(self, offset: int) -> bytes:
    """The line that begins at an offset."""
    with open(self.path, 'rb') as file:
      file.seek(offset)
      return file.readline(lines.max_bytes(self._limits) + 1)

  def close(self) -> None:
    self._ids.close()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def _scan(self) -> str:
    sha256 = hashlib.sha256()
    with open(self.path, 'rb') as file:
      for number, offset, data in self._lines(file, 0, sha256):
        if number % _MARK_LINES == 0:
          self._marks.append(offset)
        self.num_lines += 1
        if data is None:
          self.num_requests += 1
        elif not lines.is_blank(data):
          self.num_requests += 1
          self._ids.add(number, lines.custom_id_of(data))
      self.num_bytes = file.tell()
    self._ids.flush()
    return sha256.hexdigest()

  def _lines(
    self, file: BinaryIO, number: int, sha256: hashlib._Hash | None = None
  ) -> Iterator[tuple[int, int, bytes | None]]:
    """(number from 0, offset, data) from where the file stands."""
    bound = lines.max_bytes(self._limits)
    offset = file.tell()
    while data := file.readline(bound + 1):
      begin, is_long = offset, len(data) > bound
      while True:
        offset += len(data)
        if sha256 is not None:
          sha256.update(data)
        if data.endswith(b'\n') or len(data) <= bound:
          break
        data = file.readline(bound + 1)
      yield number, begin, None if is_long else data
      number += 1


class _Ids:
  """Which lines have an id that an earlier one has: on the disk."""

  def __init__(self):
    self._folder = tempfile.TemporaryDirectory(prefix='chatjax-batch-')
    path = os.path.join(self._folder.name, 'ids')
    self._db = sqlite3.connect(path, check_same_thread=False)
    self._db.execute('PRAGMA synchronous=OFF')
    self._db.execute('PRAGMA journal_mode=OFF')
    self._db.execute(
      'CREATE TABLE ids (name BLOB PRIMARY KEY, line INT) WITHOUT ROWID'
    )
    self._db.execute('CREATE TABLE repeated (line INTEGER PRIMARY KEY)')
    self._rows: list[tuple[bytes, int]] = []

  def add(self, line: int, custom_id: str | None) -> None:
    if custom_id is None:
      return
    name = hashlib.sha256(custom_id.encode()).digest()[:16]
    self._rows.append((name, line))
    if len(self._rows) >= _ROWS:
      self.flush()

  def flush(self) -> None:
    self._db.executemany('INSERT OR IGNORE INTO ids VALUES (?, ?)', self._rows)
    self._db.executemany(
      'INSERT INTO repeated SELECT ?2 WHERE'
      ' (SELECT line FROM ids WHERE name = ?1) != ?2',
      self._rows,
    )
    self._db.commit()
    self._rows.clear()

  def repeated(self, start: int, stop: int) -> set[int]:
    found = self._db.execute(
      'SELECT line FROM repeated WHERE line >= ? AND line < ?', (start, stop)
    )
    return {line for (line,) in found}

  def close(self) -> None:
    self._db.close()
    self._folder.cleanup()


def _unreadable(
  path: pathlib.Path, error: OSError | sqlite3.Error
) -> SourceError:
  if isinstance(error, OSError):
    return SourceError(f'{path} cannot be read: {error.strerror or error}.')
  return SourceError(
    f'{tempfile.gettempdir()} has no room for an index of the ids ({error});'
    ' set TMPDIR to another folder.'
  )


def _range_lines(num_lines: int) -> int:
  """By the number of lines alone: all workers must agree."""
  lines_each = -(-num_lines // _RANGES)
  lines_each = -(-lines_each // _MARK_LINES) * _MARK_LINES
  return max(_MARK_LINES, min(_MAX_RANGE, lines_each))
