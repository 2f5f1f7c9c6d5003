"""Where a benchmark writes its figures and traces."""

from __future__ import annotations

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from chatjax import types
from chatjax.cli import flagset


def checked(name: str | None) -> pathlib.Path | None:
  """The value of --json as a path; looked at before anything slow is done.

  Raises:
    flagset.UsageError: no file can be there.
  """
  if name is None:
    return None
  path = pathlib.Path(name)
  if not path.absolute().parent.is_dir():
    raise flagset.UsageError(f'--json={name}: there is no such folder.')
  if path.is_dir():
    raise flagset.UsageError(f'--json={name} is not the name of a file.')
  return path


def folder(name: str | None) -> pathlib.Path | None:
  """The value of --profile as a path; it is made if it is not there.

  Raises:
    flagset.UsageError: no folder can be there.
  """
  if name is None:
    return None
  path = pathlib.Path(name)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise flagset.UsageError(
      f'--profile={name} cannot be a folder: {error.strerror}.'
    ) from error
  return path.absolute()


def write(path: pathlib.Path, result: Mapping[str, Any]) -> None:
  try:
    path.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
  except OSError as error:
    raise types.ChatjaxError(
      f'Cannot write {str(path)!r}: {error.strerror}.'
    ) from error
