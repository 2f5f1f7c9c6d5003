"""The folder of a run: what is where, and what is safe there.

requests.jsonl   the requests, copied at the start
manifest.json    what the results came of; says whether they are complete
results.jsonl    at the end, in the order of the requests
errors.jsonl     as well
work/            until then, shared by all workers
  leases/        who works on what
  parts/         RANGE.GENERATION.part: records as they are made
  done/          RANGE.RESULTS.ERRORS.part: all records of a range, in order
  kept/ORIGIN/   what earlier runs of other requests have left
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import os
import pathlib
import re
import shutil
import uuid

from chatjax import types
from chatjax.batch import final
from chatjax.batch import leases as leases_lib
from chatjax.batch import parts
from chatjax.batch import source as source_lib
from chatjax.store import manifest as manifest_lib

REQUESTS = 'requests.jsonl'
_WORK = 'work'
_PART = re.compile(r'([0-9]+)\.([0-9]+)\.part')
_DONE = re.compile(r'([0-9]+)\.([0-9]+)\.([0-9]+)\.part')


class FolderError(types.ChatjaxError):
  """A folder that cannot be worked in."""


class Damaged(types.ChatjaxError):
  """Records of a finished range that cannot be read any more."""


class Folder:
  """The files of a run."""

  def __init__(self, root: pathlib.Path):
    self.root = root
    self.leases = root / _WORK / 'leases'
    self._parts = root / _WORK / 'parts'
    self._done = root / _WORK / 'done'
    self.kept = root / _WORK / 'kept'

  @property
  def requests(self) -> pathlib.Path:
    return self.root / REQUESTS

  def make(self) -> None:
    """Makes what is missing.

    Raises:
      FolderError: it cannot be written, or holds results of something else.
    """
    is_ours = (self.root / manifest_lib.NAME).exists()
    for name in (final.RESULTS, final.ERRORS):
      if not is_ours and (self.root / name).exists():
        raise FolderError(
          f'{self.root / name} is there, and no {manifest_lib.NAME} that says'
          ' what it came of; choose another --output.'
        )
    with self.writing():
      for folder in (self.leases, self._parts, self._done):
        manifest_lib.make_folder(folder)

  @contextlib.contextmanager
  def writing(self) -> Iterator[None]:
    """Tells a full disk and a read-only folder in a sentence."""
    try:
      yield
    except OSError as error:
      raise cannot_write(self.root, error) from error

  def manifest(self) -> manifest_lib.Manifest | None:
    """What is said of the folder, if anything is."""
    if not (self.root / manifest_lib.NAME).exists():
      return None
    return manifest_lib.read(self.root)

  def adopt(self, path: pathlib.Path) -> dict[str, object]:
    """Copies the requests, unless that is done; their digest.

    Raises:
      FolderError: there are other requests already.
    """
    told = manifest_lib.digest_file(path)
    if not self.requests.exists():
      fresh = self.root / f'.{REQUESTS}.{uuid.uuid4().hex}'
      try:
        manifest_lib.copy_durably(path, fresh)
        leases_lib.link_once(fresh, self.requests)
      finally:
        fresh.unlink(missing_ok=True)
      manifest_lib.sync_folder(self.root)
    if not self.has_copy_of(path):
      raise FolderError(
        f'{self.requests} is not a copy of {path}: the folder is of other'
        ' requests, or the file was changed; choose another --output, or'
        ' --force to give up those.'
      )
    return told

  def has_copy_of(self, path: pathlib.Path) -> bool:
    """Whether the folder's requests are those of a file."""
    return self.requests.exists() and (
      manifest_lib.digest_file(self.requests) == manifest_lib.digest_file(path)
    )

  def new_part(self, index: int, generation: int) -> pathlib.Path:
    return self._parts / f'{index}.{generation}.part'

  def parts(self, index: int) -> list[pathlib.Path]:
    """The parts of a range, oldest first."""
    found = [
      (int(match[2]), name)
      for name in os.listdir(self._parts)
      if (match := _PART.fullmatch(name)) and int(match[1]) == index
    ]
    return [self._parts / name for _, name in sorted(found)]

  def places(
    self, index: int, keys: Mapping[int, str]
  ) -> tuple[dict[int, parts.Place], int]:
    """Where the records of a range are, by line; how many are damaged.

    Args:
      index: of the range.
      keys: of its requests, by line. What has another key is of another run.
    """
    found: dict[int, parts.Place] = {}
    num_damaged = 0
    for path in self.parts(index):
      # A worker that was held for dead may end the range, and drop its parts.
      with contextlib.suppress(FileNotFoundError):
        for one in parts.places(path):
          if one is None:
            num_damaged += 1
          elif keys.get(one[0]) == one[1].key:
            found.setdefault(*one)
    return found, num_damaged

  def finish(self, index: int, places: Mapping[int, parts.Place]) -> None:
    """Puts the records of a range together, in order; drops its parts."""
    failed = sum(place.is_error for place in places.values())
    name = f'{index}.{len(places) - failed}.{failed}.part'
    fresh = self._done / f'.{name}.{uuid.uuid4().hex}'
    try:
      with open(fresh, 'wb') as file:
        for line in sorted(places):
          record = places[line].read()
          if record is None:
            raise Damaged(f'{places[line].path} was changed.')
          file.write(record.encode())
        file.flush()
        os.fsync(file.fileno())
      os.replace(fresh, self._done / name)
    finally:
      fresh.unlink(missing_ok=True)
    manifest_lib.sync_folder(self._done)
    for path in self.parts(index):
      path.unlink(missing_ok=True)

  def done(self) -> dict[int, final.Counts]:
    """The finished ranges, by index."""
    return {index: _told(names[0]) for index, names in self._names().items()}

  def num_answers(self) -> int:
    """Of a run that is not complete; what is damaged does not count."""
    answered: set[int] = set()
    for path in self._parts.iterdir():
      with contextlib.suppress(FileNotFoundError):  # its range has just ended
        found = filter(None, parts.places(path))
        answered |= {line for line, place in found if not place.is_error}
    return len(answered) + sum(one.completed for one in self.done().values())

  def merge(
    self, manifest: manifest_lib.Manifest, source: source_lib.Source
  ) -> manifest_lib.Manifest:
    """Makes the results of the ranges, all of which are finished.

    Args:
      manifest: of the run, as it began.
      source: the requests, each of which has to have its record.

    Raises:
      Damaged: a range is not whole any more, and is to be run again.
    """
    names = self._names()
    for index in range(source.num_ranges):
      if index not in names:
        raise Damaged(f'Range {index} of {self.root} is run again.')
    self._check_whole(names, source)
    with final.writing(self.root) as files:
      for index in range(source.num_ranges):
        for record in self._records(index, names[index]):
          files.add(record)
    counts = files.counts
    complete = manifest.finish(
      results=files.digests,
      counts={
        'total': counts.total,
        'completed': counts.completed,
        'failed': counts.failed,
      },
    )
    complete.write(self.root)
    return complete

  def all_places(
    self, index: int, keys: Mapping[int, str]
  ) -> dict[int, parts.Place]:
    """As `places`, those of a finished range too."""
    found, _ = self.places(index, keys)
    for name in os.listdir(self._done):
      if (match := _DONE.fullmatch(name)) and int(match[1]) == index:
        for one in filter(None, parts.places(self._done / name)):
          if keys.get(one[0]) == one[1].key:
            found.setdefault(*one)
    return found

  def check(self, manifest: manifest_lib.Manifest) -> None:
    """Raises `FolderError` if results are not as their manifest says."""
    if not self.is_sound(manifest):
      raise FolderError(
        f'The results in {self.root} are not what {manifest_lib.NAME} says:'
        ' they were changed after they were made. Choose another --output, or'
        ' --force to make them again.'
      )

  def clear(self) -> None:
    """Removes what is needed only on the way."""
    shutil.rmtree(self.root / _WORK, ignore_errors=True)

  def is_sound(self, manifest: manifest_lib.Manifest) -> bool:
    """Whether the results are as their manifest says."""
    return all(
      (self.root / name).exists()
      and manifest_lib.digest_file(self.root / name) == told
      for name, told in manifest.results.items()
    )

  def kept_of(self, origin: str) -> pathlib.Path:
    """Where answers of earlier runs are that count for a run of this origin."""
    return self.kept / origin

  def start_over(
    self, requests: pathlib.Path, *, kept: pathlib.Path | None
  ) -> None:
    """Gives up a run; the manifest last, since it says that there was one.

    What is set aside stays there until a run is complete: if this is killed on
    the way, nothing else tells of it.

    Args:
      requests: the file that is next. It may be that of the folder.
      kept: where its answers are set aside for `kept.Kept`; None is nowhere.
    """
    if kept is not None:
      manifest_lib.make_folder(kept)
    old = [*self._parts.iterdir(), *self._done.iterdir()]
    for path in (self.root / final.RESULTS, self.root / final.ERRORS, *old):
      if kept is not None and path.exists() and path.name != final.ERRORS:
        os.replace(path, kept / f'{uuid.uuid4().hex}{path.suffix}')
      path.unlink(missing_ok=True)
    if kept is not None:
      manifest_lib.sync_folder(kept)
    if not self.has_copy_of(requests):
      self.requests.unlink(missing_ok=True)
    (self.root / manifest_lib.NAME).unlink(missing_ok=True)

  def _names(self) -> dict[int, list[str]]:
    """The files of each finished range, by index; the fullest first.

    There is one, unless a worker has made less of a range that others have
    finished: it may have been stopped in its midst for long.
    """
    found: dict[int, list[str]] = {}
    for name in os.listdir(self._done):
      if match := _DONE.fullmatch(name):
        found.setdefault(int(match[1]), []).append(name)
    for names in found.values():
      names.sort(key=lambda name: (-_told(name).total, name))
    return found

  def _check_whole(
    self, names: Mapping[int, list[str]], source: source_lib.Source
  ) -> None:
    """Raises `Damaged` if a range has fewer records than requests."""
    told = {i: _told(names[i][0]).total for i in range(source.num_ranges)}
    if sum(told.values()) == source.num_requests:
      return
    for index, total in told.items():
      # The file is only read for this if there is something wrong.
      wanted = sum(1 for _ in source.read(index))
      if total != wanted:
        path = self._begin_again(index, names[index])
        raise Damaged(
          f'{path} has {total} of {wanted} records; the others are run again.'
        )

  def _begin_again(self, index: int, names: list[str]) -> pathlib.Path:
    """A range is finished no more; what is sound of it is kept."""
    path = self._done / names[0]
    os.replace(path, self.new_part(index, 0))
    for name in names[1:]:
      (self._done / name).unlink()
    return path

  def _records(self, index: int, names: list[str]) -> Iterator[parts.Record]:
    """All of a finished range; if it is damaged, it is finished no more."""
    found = list(parts.places(self._done / names[0]))
    told = _told(names[0])
    is_sound = None not in found and len(found) == told.total
    for _, place in found if is_sound else ():
      if (record := place.read()) is None:
        is_sound = False
        break
      yield record
    if not is_sound:
      path = self._begin_again(index, names)
      raise Damaged(f'{path} was damaged; its requests are run again.')


def _told(name: str) -> final.Counts:
  """What the name of a finished range says of it."""
  match = _DONE.fullmatch(name)
  assert match is not None
  return final.Counts(int(match[2]), int(match[3]))


def cannot_write(root: pathlib.Path, error: OSError) -> FolderError:
  """In a sentence; what was told to be done is done."""
  return FolderError(
    f'{root} cannot be written ({error.strerror or error}); all answers that'
    ' were counted are safe. Mend that and run the same command again.'
  )
