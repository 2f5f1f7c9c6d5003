"""`chatjax models verify ID`: whether every byte is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import pathlib

from absl import flags

from chatjax.ckpt import digest as digest_lib
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import hub
from chatjax.cli import models_find
from chatjax.models import local

USAGE = 'chatjax models verify ID'


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  home = home_lib.home()
  item = models_find.find(arguments, home, USAGE)
  wrong = []
  for path, problem in (*_weights(item, home), *_converted(item, home)):
    print(f'ok       {path}' if problem is None else f'DAMAGED  {problem}')
    if problem is not None:
      wrong.append(path)
  if wrong:
    print(f'\n{item.id}: {len(wrong)} damaged. {_advice(item, wrong)}')
    return 1
  print(f'\n{item.id}: every byte is as it should be.')
  return 0


def _advice(item: local.Item, wrong: Sequence[pathlib.Path]) -> str:
  blobs = [path.resolve() for path in wrong if path.is_symlink()]
  if blobs:  # the hub's library does not look into what it has
    names = ' '.join(map(str, blobs))
    return f'Delete {names}; the next start fetches it again.'
  return (
    'Fetch or convert again what is damaged; chatjax models remove'
    f' {item.id} makes room for it.'
  )


def _weights(
  item: local.Item, home: pathlib.Path
) -> Iterator[tuple[pathlib.Path, str | None]]:
  """Yields each file and what is wrong with it."""
  names = item.names()
  record = digest_lib.record(item.folder, names, home)
  kept = digest_lib.read(record)
  found = digest_lib.hash_files([item.folder / name for name in names])
  sound = {}
  for path, now in found.items():
    was = _expected(item, path, now, kept.get(path.name))
    problem = digest_lib.changed(path, was, now)
    if problem is None:
      sound[path.name] = now
    yield path, problem
  # A damaged file stays noted as it was when it was whole.
  digest_lib.write(record, item.folder, {**kept, **sound})


def _expected(
  item: local.Item,
  path: pathlib.Path,
  now: digest_lib.FileDigest,
  kept: digest_lib.FileDigest | None,
) -> digest_lib.FileDigest:
  """What a file should be: as published, or as it was when it was first seen.

  A file that nobody has vouched for is noted now.
  """
  known = kept or dataclasses.replace(now, tensors={})
  sha256 = hub.published_sha256(path)
  if item.entry is not None:
    sha256 = item.entry.source.sha256
    known = dataclasses.replace(known, size=item.entry.source.size)
  return dataclasses.replace(known, sha256=sha256 or known.sha256)


def _converted(
  item: local.Item, home: pathlib.Path
) -> Iterator[tuple[pathlib.Path, str | None]]:
  """Yields each converted form and what is wrong with it."""
  # Here, not above: they bring jax, and a wrong name is answered without.
  from chatjax.ckpt import orbax
  from chatjax.ckpt import stored

  forms = list(local.converted(item, home).values())
  for folder in [*forms, *([item.path] if item.is_converted else [])]:
    changed = orbax.changed(folder)
    if changed is None:
      yield (
        folder,
        (
          f'{folder} was made before such things were noted; remove it, and the'
          ' next start makes it again.'
        ),
      )
      continue
    if not changed:
      yield folder, None
      continue
    names = stored.Stored(folder).damaged()
    where = f' in parameter {", ".join(names[:5])}' if names else ''
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    yield folder, f'{changed[0]} was changed or damaged{where}{more}.'
