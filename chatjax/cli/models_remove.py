"""`chatjax models remove ID`: makes room on the disk."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib
import shutil
import sys

from absl import flags

from chatjax.ckpt import home as home_lib
from chatjax.cli import flagset
from chatjax.cli import models_find
from chatjax.models import local

USAGE = 'chatjax models remove ID [--yes]'


def define(values: flags.FlagValues) -> None:
  """Adds --yes."""
  flags.DEFINE_boolean(
    'yes', False, 'Removes without asking.', flag_values=values
  )


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  home = home_lib.home()
  item = models_find.find(arguments, home, USAGE)
  # Only what chatjax itself put there: a folder that was given by its path,
  # and the hub's cache, belong to others.
  paths = [*local.converted(item, home).values(), *item.notes]
  if item.entry is not None and item.path.exists():
    paths.insert(0, item.path)
  if not paths:
    print(f'Nothing of {item.id} is kept in {home}.')
    return 0
  for path in paths:
    print(f'{_size(path) / 1e6:8.1f} MB  {path}')
  if item.entry is None:
    print(f'The weights in {item.path} stay.')
  if not values['yes'].value and not _agrees():
    print('Nothing was removed.')
    return 1
  for path in paths:
    if path.is_dir():
      shutil.rmtree(path)
    else:
      path.unlink()
  print('Removed.')
  return 0


def _size(path: pathlib.Path) -> int:
  if path.is_file():
    return path.stat().st_size
  return sum(p.stat().st_size for p in path.rglob('*') if p.is_file())


def _agrees() -> bool:
  """Asks; whoever cannot be asked has to pass --yes."""
  if sys.stdin is None or not sys.stdin.isatty():
    raise flagset.UsageError(
      'There is nobody to ask; pass --yes to remove these without asking.'
    )
  print('Remove these? [y/N] ', end='', flush=True)
  return sys.stdin.readline().strip().lower() in ('y', 'yes')
