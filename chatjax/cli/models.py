"""`chatjax models`: what can be run, and what of it is on this machine."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax import config as config_lib
from chatjax.ckpt import fetch
from chatjax.ckpt import home as home_lib
from chatjax.ckpt import manifest as manifest_lib
from chatjax.cli import flagset
from chatjax.models import registry

USAGE = 'chatjax models'


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  flagset.refuse(arguments)
  home = home_lib.home()
  rows = [('ID', 'TITLE', 'SIZE', 'LICENCE', 'FETCHED', 'CONVERTED')]
  rows += [_row(entry, home) for entry in registry.REGISTRY.values()]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    cells = [f'{x:{width}}' for x, width in zip(row, widths, strict=True)]
    print('  '.join(cells).rstrip())
  print(f'\nKept in {home} (CHATJAX_HOME chooses another folder).')
  return 0


def _row(entry: registry.Entry, home: pathlib.Path) -> tuple[str, ...]:
  source = entry.source
  weights = home / 'weights' / source.filename
  is_fetched = weights.is_file() and weights.stat().st_size == source.size
  return (
    entry.id,
    entry.title,
    f'{source.size / 1e6:.0f} MB',
    source.licence.id,
    'yes' if is_fetched else 'no',
    ', '.join(_converted(source, home)) or 'no',
  )


def _converted(source: fetch.Source, home: pathlib.Path) -> list[str]:
  """The forms of the weights of which a whole checkpoint is there."""
  found = []
  for storage in config_lib.STORAGES:
    manifest = manifest_lib.Manifest(
      source=source.filename, sha256=source.sha256, dtype=storage
    )
    if manifest.is_complete(manifest.folder(home / 'checkpoints')):
      found.append(storage)
  return found
