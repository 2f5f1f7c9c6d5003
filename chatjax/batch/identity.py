"""Which run a folder is of, and what its answers count for in another."""

from __future__ import annotations

import pathlib
from typing import Any

from chatjax.batch import folder as folder_lib
from chatjax.store import manifest as manifest_lib

KIND = 'batch'
# Runs that differ only there have the same answers to the same requests.
_MOVES_NO_ANSWER = ('inputs.', 'settings.limits', 'settings.range_lines')
_ORIGIN_DIGITS = 32
_SHOWN = 5  # differences in one sentence


def has_answers_for(
  mine: manifest_lib.Manifest,
  found: manifest_lib.Manifest,
  folder: folder_lib.Folder,
) -> bool:
  """Whether what a folder has answered counts for equal requests here."""
  differs = found.differences(mine)
  return all(
    one.startswith(_MOVES_NO_ANSWER) for one in differs
  ) and folder.is_sound(found)


def kept_folder(
  folder: folder_lib.Folder, manifest: manifest_lib.Manifest
) -> pathlib.Path:
  """Where what earlier runs have answered is, as far as it counts here."""
  return folder.kept_of(_origin(manifest))


def _origin(manifest: manifest_lib.Manifest) -> str:
  """Names all runs whose answers to the same requests are the same."""
  left_out = {name.removeprefix('settings.') for name in _MOVES_NO_ANSWER}
  told = {
    'kind': manifest.kind,
    'model': manifest.model,
    'fingerprint': manifest.fingerprint,
    'code': dict(manifest.code),
    'settings': {
      name: value
      for name, value in manifest.settings.items()
      if name not in left_out
    },
  }
  return manifest_lib.digest(told)[:_ORIGIN_DIGITS]


def other_run(
  folder: folder_lib.Folder,
  mine: manifest_lib.Manifest,
  found: manifest_lib.Manifest,
) -> folder_lib.FolderError:
  """Says how this run differs from a folder's, and what --force costs."""
  told = [
    f'{name} ({_shown(then)} there, {_shown(now)} here)'
    for name, (then, now) in found.differences(mine).items()
  ]
  more = f' and {len(told) - _SHOWN} more' if len(told) > _SHOWN else ''
  if has_answers_for(mine, found, folder):
    price = 'answers to the same requests are kept'
  else:
    price = f'that gives up {_told_answers(folder, found)}'
  return folder_lib.FolderError(
    f'{folder.root} holds another run; they differ in'
    f' {", ".join(told[:_SHOWN])}{more}. Choose another --output, or --force to'
    f' make it this one; {price}.'
  )


def _told_answers(
  folder: folder_lib.Folder, found: manifest_lib.Manifest
) -> str:
  """How many a folder has, in words."""
  if found.kind != KIND:
    return 'the results in it'
  if found.is_complete:
    count = found.counts['completed']
  else:
    count = folder.num_answers()
  return f'its {count} answer{"" if count == 1 else "s"}'


def _shown(value: Any) -> str:
  text = str(value)
  return text if len(text) <= 80 else f'{text[:77]}...'
