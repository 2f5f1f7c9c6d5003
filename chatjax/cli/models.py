"""`chatjax models`: what can be run, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax.ckpt import home as home_lib
from chatjax.cli import flagset
from chatjax.models import local

USAGE = 'chatjax models'
_ACTIONS = ('show', 'verify', 'remove')


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  if arguments:
    near = flagset.nearest(arguments[0], _ACTIONS)
    raise flagset.UsageError(
      f'Unexpected argument {arguments[0]!r}; chatjax models lists, and there'
      f' are chatjax models {", ".join(_ACTIONS)}.{near}'
    )
  home = home_lib.home()
  rows = [('ID', 'TITLE', 'SIZE', 'LICENCE', 'FETCHED', 'CONVERTED')]
  rows += [_row(item, home) for item in local.items(home)]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = [f'{x:{width}}' for x, width in zip(row, widths, strict=True)]
    print('  '.join(cells).rstrip())
  print(f'\nKept in {home} (CHATJAX_HOME chooses another folder).')
  print(
    '--model takes an id, the path of a GGUF file or folder, or owner/name on'
    ' the Hugging Face hub.'
  )
  return 0


def _row(item: local.Item, home: pathlib.Path) -> tuple[str, ...]:
  is_here = item.path.exists()
  if item.entry is not None:
    is_here = item.path.is_file() and (
      item.path.stat().st_size == item.entry.source.size
    )
  return (
    item.id,
    item.title,
    f'{item.size() / 1e6:.0f} MB',
    item.entry.source.licence.id if item.entry else '-',
    'yes' if is_here else 'no',
    ', '.join(local.converted(item, home)) or 'no',
  )
