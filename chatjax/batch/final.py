"""`results.jsonl` and `errors.jsonl`: what a run comes to."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
import os
import pathlib
from typing import BinaryIO
import uuid

from chatjax.batch import parts
from chatjax.store import manifest as manifest_lib

RESULTS, ERRORS = 'results.jsonl', 'errors.jsonl'


@dataclasses.dataclass(frozen=True)
class Counts:
  """Requests that are answered and on disk."""

  completed: int = 0
  failed: int = 0

  def __add__(self, other: Counts) -> Counts:
    return Counts(self.completed + other.completed, self.failed + other.failed)

  @property
  def total(self) -> int:
    return self.completed + self.failed


NONE = Counts()


class Files:
  """`results.jsonl` and `errors.jsonl` in the making.

  Attributes:
    counts: of what was added.
  """

  def __init__(self, files: Mapping[str, BinaryIO]):
    self.counts = NONE
    self._files = files
    self._sums = {name: hashlib.sha256() for name in files}
    self._sizes = dict.fromkeys(files, 0)

  def add(self, record: parts.Record) -> None:
    name = ERRORS if record.is_error else RESULTS
    data = record.data + b'\n'
    self._files[name].write(data)
    self._sums[name].update(data)
    self._sizes[name] += len(data)
    self.counts += Counts(not record.is_error, record.is_error)

  @property
  def digests(self) -> dict[str, dict[str, object]]:
    """As a manifest tells them."""
    return {
      name: {'sha256': self._sums[name].hexdigest(), 'bytes': size}
      for name, size in self._sizes.items()
    }


@contextlib.contextmanager
def writing(folder: pathlib.Path) -> Iterator[Files]:
  """The files of a folder, in their place once the block is left."""
  fresh = {
    name: folder / f'.{name}.{uuid.uuid4().hex}' for name in (RESULTS, ERRORS)
  }
  try:
    with contextlib.ExitStack() as stack:
      files = {
        name: stack.enter_context(open(path, 'wb'))
        for name, path in fresh.items()
      }
      yield Files(files)
      for file in files.values():
        file.flush()
        os.fsync(file.fileno())
    for name, path in fresh.items():
      os.replace(path, folder / name)
  finally:
    for path in fresh.values():
      path.unlink(missing_ok=True)
  manifest_lib.sync_folder(folder)
