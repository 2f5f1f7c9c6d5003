"""The folder of a run: what is in it, and how it outlives a kill.

manifest.json          what it came of; complete once all is there
results.partial.jsonl  records as they came, each on the disk before it counts
results.jsonl          the same in the order of the task, at the end
report.md, report.html, report_*.svg
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import errno
import fcntl
import json
import os
import pathlib
from typing import Any
from typing import Self

from chatjax import types
from chatjax.store import manifest as manifest_lib

RESULTS, PARTIAL = 'results.jsonl', 'results.partial.jsonl'
_LOCK = '.lock'

Record = Mapping[str, Any]


class FolderError(types.ChatjaxError):
  """A folder that a run cannot use: says why, and what to do."""


class Folder:
  """One run's folder, held for writing: one process at a time.

  Args:
    path: is made if it is not there.
    manifest: of the run, before it has begun.

  Raises:
    FolderError: it holds another run, somebody works in it, or it cannot be
      written.
  """

  def __init__(self, path: pathlib.Path, manifest: manifest_lib.Manifest):
    self.path = path
    self.manifest = manifest
    self._is_finished = False
    try:
      path.mkdir(parents=True, exist_ok=True)
      self._lock = open(path / _LOCK, 'ab')  # noqa: SIM115 - held until close
    except OSError as error:
      raise _cannot(path, error) from None
    self._file = None
    try:
      self._take()
      self._check()
    except BaseException:
      self.close()
      raise

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *unused_error: object) -> None:
    self.close()

  def close(self) -> None:
    if self._file is not None:
      self._file.close()
    self._lock.close()

  def done(self) -> dict[str, Record]:
    """The records that are there already, by their keys."""
    found = {}
    # What a finished run left beside its results is no part of them.
    names = (RESULTS,) if self._is_finished else (RESULTS, PARTIAL)
    for name in names:
      for record in records(self.path / name):
        found[record['key']] = record
    return found

  def add(self, record: Record) -> None:
    """Appends a record; on return it is on the disk."""
    try:
      if self._file is None:
        self._file = self._open()
      file = self._file.fileno()
      good = os.fstat(file).st_size
      try:
        manifest_lib.write_all(file, encode(record))
        os.fsync(file)
      except BaseException:  # Ctrl-C too
        # Undone: the next record must not go on where this line was torn.
        os.ftruncate(file, good)
        raise
    except OSError as error:
      raise _cannot(self.path, error) from None

  def finish(
    self, ordered: Iterable[Record], reports: Mapping[str, str]
  ) -> None:
    """Writes what stays.

    Args:
      ordered: all records, in the order of the task.
      reports: name -> text of further files.
    """
    ordered = list(ordered)
    errors = sum('error' in record for record in ordered)
    counts = {'items': len(ordered), 'errors': errors}
    try:
      data = b''.join(map(encode, ordered))
      manifest_lib.write_durably(self.path / RESULTS, data)
      for name, text in reports.items():
        manifest_lib.write_durably(self.path / name, text.encode())
      written = {
        name: manifest_lib.digest_file(self.path / name)
        for name in (RESULTS, *reports)
      }
      self.manifest.finish(results=written, counts=counts).write(self.path)
      (self.path / PARTIAL).unlink(missing_ok=True)
    except OSError as error:
      raise _cannot(self.path, error) from None

  def _take(self) -> None:
    try:
      fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in (errno.EAGAIN, errno.EACCES):
        raise _cannot(self.path, error) from None
      raise FolderError(
        f'{self.path} is being written by another process; wait for it, or'
        ' choose another --output.'
      ) from None

  def _check(self) -> None:
    """Goes on only in a folder of the same run, as that run left it."""
    name = self.path / manifest_lib.NAME
    if not name.exists():
      if (self.path / RESULTS).exists() or (self.path / PARTIAL).exists():
        raise FolderError(
          f'{self.path} has results without a {manifest_lib.NAME}; choose'
          ' another --output.'
        )
      try:
        self.manifest.write(self.path)
      except OSError as error:
        raise _cannot(self.path, error) from None
      return
    there = manifest_lib.read(self.path)
    differing = there.differences(self.manifest)
    if differing:
      raise FolderError(
        f'{self.path} holds another run, which differs in'
        f' {", ".join(differing)}; choose another --output.'
      )
    if there.is_complete and (self.path / RESULTS).exists():
      _check_results(self.path, there)
      self._is_finished = True

  def _open(self):
    """The file of records, without a line that a kill has torn."""
    file = open(self.path / PARTIAL, 'ab', buffering=0)  # noqa: SIM115
    data = (self.path / PARTIAL).read_bytes()
    file.truncate(data.rfind(b'\n') + 1)
    file.seek(0, os.SEEK_END)
    manifest_lib.sync_folder(self.path)
    return file


def encode(record: Record) -> bytes:
  """One line: of the same record always the same bytes."""
  return json.dumps(record, sort_keys=True).encode() + b'\n'


def records(path: pathlib.Path) -> list[Record]:
  """The whole records of a file; a torn or damaged line is none."""
  try:
    lines = path.read_bytes().split(b'\n')
  except FileNotFoundError:
    return []
  except OSError as error:
    raise _cannot(path, error, 'read') from None
  found = []
  for line in lines[:-1]:
    try:
      found.append(json.loads(line))
    except ValueError:
      continue  # its item is asked again
  return found


def read(
  path: pathlib.Path,
) -> tuple[manifest_lib.Manifest, list[Record]]:
  """A finished run.

  Raises:
    FolderError: it is unfinished or was changed.
    manifest.ManifestError: it is no run at all.
  """
  manifest = manifest_lib.read(path)
  if manifest.kind != 'eval':
    raise FolderError(
      f'{path} is of the kind {manifest.kind!r}; an evaluation is wanted.'
    )
  if not manifest.is_complete:
    raise FolderError(
      f'{path} is unfinished; give the same chatjax eval command to finish it.'
    )
  _check_results(path, manifest)
  return manifest, records(path / RESULTS)


def _check_results(path: pathlib.Path, manifest: manifest_lib.Manifest) -> None:
  """Raises FolderError if the results are not those of the manifest."""
  try:
    found = manifest_lib.digest_file(path / RESULTS)
  except OSError as error:
    raise _cannot(path, error, 'read') from None
  if found != manifest.results[RESULTS]:
    raise FolderError(
      f'{path / RESULTS} was changed since it was made: its sha256 is'
      f' {found["sha256"]}, not {manifest.results[RESULTS]["sha256"]}.'
      ' Put it back, or remove it to have everything asked again.'
    )


def _cannot(
  path: pathlib.Path, error: OSError, what: str = 'written'
) -> FolderError:
  return FolderError(
    f'{path} cannot be {what}: {error.strerror or error}. Nothing that was'
    ' told as done is lost; the same command goes on once that is mended.'
  )
