"""Digests of weight files, kept so that gigabytes are hashed only once.

Below the home folder, `digests/<of the path>.json` says of every file of a
model its size, time and sha256 when it was last hashed, and a checksum of each
tensor: the sha256 decides, the checksums tell where a byte has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any
import zlib

from chatjax.ckpt import errors
from chatjax.ckpt import gguf
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import safetensors

_BLOCK = 2**20
_QUICK = 2**26  # nobody waits for so few bytes
_FORMAT = 1

# (bytes done, bytes in all)
Progress = Callable[[int, int], None]
# Tensor -> (first byte, size); there need not be any.
Spans = Mapping[str, tuple[int, int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileDigest:
  """What a file was when it was hashed.

  Attributes:
    tensors: name -> CRC-32 of its bytes.
  """

  size: int
  mtime_ns: int
  sha256: str
  tensors: Mapping[str, int]

  def is_untouched(self, stat: os.stat_result) -> bool:
    return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)


def of_files(
  folder: pathlib.Path,
  names: tuple[str, ...],
  home: pathlib.Path,
  progress: Progress = lambda done, total: None,
) -> dict[str, FileDigest]:
  """Digests of a folder's files; only what was touched is hashed."""
  path = record(folder, names, home)
  known = read(path)
  stats = {name: (folder / name).stat() for name in names}
  fresh = [
    name
    for name in names
    if name not in known or not known[name].is_untouched(stats[name])
  ]
  if not fresh:
    return {name: known[name] for name in names}
  made = hash_files([folder / name for name in fresh], progress)
  found = {name: made.get(folder / name) or known[name] for name in names}
  # A home that can only be read is no reason to refuse files.
  with contextlib.suppress(OSError):
    write(path, folder, found)
  return found


def total(digests: Mapping[str, FileDigest]) -> str:
  """One sha256 for all files and their names."""
  parts = {name: digests[name].sha256 for name in sorted(digests)}
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def record(
  folder: pathlib.Path, names: tuple[str, ...], home: pathlib.Path
) -> pathlib.Path:
  """Where the digests of a model's files are kept."""
  place = folder.absolute() if len(names) != 1 else folder.absolute() / names[0]
  key = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
  return home / 'digests' / f'{key}.json'


def read(path: pathlib.Path) -> dict[str, FileDigest]:
  """The digests that `write` kept; empty if there are no sound ones."""
  kept = home_lib.read_json(path)
  try:
    if kept['format'] != _FORMAT:
      return {}
    return {
      name: FileDigest(**values) for name, values in kept['files'].items()
    }
  except (TypeError, KeyError, AttributeError):
    return {}


def write(
  path: pathlib.Path, folder: pathlib.Path, digests: Mapping[str, FileDigest]
) -> None:
  files = {name: dataclasses.asdict(one) for name, one in digests.items()}
  home_lib.write_json(
    path, {'format': _FORMAT, 'folder': str(folder.absolute()), 'files': files}
  )


def hash_files(
  paths: list[pathlib.Path], progress: Progress = lambda done, total: None
) -> dict[pathlib.Path, FileDigest]:
  """Hashes files, two at a time."""
  size = sum(path.stat().st_size for path in paths)
  done: dict[pathlib.Path, int] = {}

  def one(path: pathlib.Path) -> FileDigest:
    stat, sha256 = path.stat(), hashlib.sha256()
    sums = _Sums(spans(path))
    for block in _blocks(path):
      sha256.update(block)
      sums.update(block)
      done[path] = done.get(path, 0) + len(block)
      if size > _QUICK:
        progress(sum(list(done.values())), size)
    return FileDigest(
      size=stat.st_size, mtime_ns=stat.st_mtime_ns,
      sha256=sha256.hexdigest(), tensors=sums.values,
    )  # fmt: skip

  try:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
      return dict(zip(paths, pool.map(one, paths), strict=True))
  except OSError as error:
    raise errors.FolderError(
      f'{error.filename} cannot be read: {error.strerror}.'
    ) from error


def changed(path: pathlib.Path, was: FileDigest, now: FileDigest) -> str | None:
  """What is wrong with a file, as a sentence; None if nothing is."""
  if now.sha256 == was.sha256:
    return None
  if now.size != was.size:
    return f'{path} has {now.size} bytes, {was.size} are expected.'
  wrong = sorted(
    name for name, value in was.tensors.items()
    if now.tensors.get(name) != value
  )  # fmt: skip
  where = ''
  if was.tensors:
    more = f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''
    where = f' in tensor {", ".join(wrong[:5])}{more}'
    # Without a head no tensor can be found; without a tensor it is the head.
    where = where if wrong and now.tensors else ' in its head'
  return (
    f'{path} was changed or damaged{where}: its sha256 is {now.sha256},'
    f' {was.sha256} is expected.'
  )


class _Sums:
  """Checksums of the tensors of a file that is read from begin to end."""

  def __init__(self, where: Spans):
    self.values = {name: 0 for name in where}
    self._where = sorted(
      (low, low + n, name) for name, (low, n) in where.items()
    )
    self._next = 0
    self._at = 0

  def update(self, block: bytes) -> None:
    view, begin, end = memoryview(block), self._at, self._at + len(block)
    for i in range(self._next, len(self._where)):
      low, high, name = self._where[i]
      if low >= end:
        break
      part = view[max(low - begin, 0) : high - begin]
      self.values[name] = zlib.crc32(part, self.values[name])
      if high <= end:
        self._next = i + 1
    self._at = end


def spans(path: pathlib.Path) -> Spans:
  """Where the tensors of a file lie; nothing for a file that has none.

  A file whose head cannot be read has no tensors to tell apart.
  """
  try:
    if path.suffix == '.safetensors':
      tensors: Mapping[str, Any] = safetensors.File(path).tensors
    elif path.suffix == '.gguf':
      with gguf.GGUF.open(path) as file:
        tensors = file.tensors
    else:
      return {}
  except (errors.SafetensorsError, errors.GGUFError):
    return {}
  return {name: (info.offset, info.nbytes) for name, info in tensors.items()}


def _blocks(path: pathlib.Path) -> Iterator[bytes]:
  with open(path, 'rb') as file:
    while block := file.read(_BLOCK):
      yield block
