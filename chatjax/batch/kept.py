"""Answers of an earlier run that are those of the same requests in this one.

They are found by the id of their record, which follows from custom_id, url,
body and fingerprint. Which is where is written on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
import pathlib
import sqlite3
import tempfile

from chatjax.batch import content
from chatjax.batch import parts

_HEAD = b'{"id":"'
_KIND = 'batch_req_'
_ID_BYTES = len(content.made_id(_KIND, ''))


class Kept:
  """The answers in the files of a folder; errors are left out.

  Files that end in .part have records, others are as `results.jsonl`.
  """

  def __init__(self, folder: pathlib.Path):
    self._scratch = tempfile.TemporaryDirectory(prefix='chatjax-batch-')
    self._db = sqlite3.connect(
      os.path.join(self._scratch.name, 'kept'), check_same_thread=False
    )
    self._db.execute('PRAGMA synchronous=OFF')
    self._db.execute('PRAGMA journal_mode=OFF')
    self._db.execute(
      'CREATE TABLE kept (id BLOB PRIMARY KEY, file INT, start INT, size INT)'
      ' WITHOUT ROWID'
    )
    self._files = sorted(folder.iterdir()) if folder.is_dir() else []
    for number, path in enumerate(self._files):
      self._db.executemany(
        'INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?)',
        ((name, number, *where) for name, *where in _answers(path)),
      )
    self._db.commit()

  def find(self, line: int, key: str) -> parts.Record | None:
    """The answer to the request of a key, as the record of a line."""
    name = content.made_id(_KIND, key).encode()
    found = self._db.execute(
      'SELECT file, start, size FROM kept WHERE id = ?', (name,)
    ).fetchone()
    if found is None:
      return None
    number, start, size = found
    with open(self._files[number], 'rb') as file:
      file.seek(start)
      data = _data(self._files[number], file.read(size))
    return parts.Record(line=line, key=key, is_error=False, data=data)

  def close(self) -> None:
    self._db.close()
    self._scratch.cleanup()


def _answers(path: pathlib.Path) -> Iterator[tuple[bytes, int, int]]:
  """(id, start, size) of each answer in a file."""
  start = 0
  with open(path, 'rb') as file:
    for line in file:
      data = _data(path, line)
      if data is not None and data.startswith(_HEAD):
        yield data[len(_HEAD) :][:_ID_BYTES], start, len(line)
      start += len(line)


def _data(path: pathlib.Path, line: bytes) -> bytes | None:
  """The JSON of an answer; None for what is none."""
  if path.suffix != parts.SUFFIX:
    return line.removesuffix(b'\n') if line.endswith(b'\n') else None
  record = parts.decode(line)
  return None if record is None or record.is_error else record.data
