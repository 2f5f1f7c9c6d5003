"""The one model that a `chatjax models ...` command is about."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from chatjax.cli import flagset
from chatjax.models import local
from chatjax.models import registry


def find(
  arguments: Sequence[str], home: pathlib.Path, usage: str
) -> local.Item:
  """The model that the arguments name.

  Raises:
    flagset.UsageError: not one argument, or one that names no model.
  """
  if len(arguments) != 1:
    raise flagset.UsageError(f'Give one model; usage: {usage}.')
  try:
    return local.find(arguments[0], home)
  except registry.UnknownModelError as error:
    raise flagset.UsageError(str(error)) from error
