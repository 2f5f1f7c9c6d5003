"""What a folder of converted parameters is called and says of itself.

Told apart from the parameters, so that asking what is there needs no jax.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from chatjax.ckpt import errors
from chatjax.ckpt import home as home_lib

# Raised whenever the meaning of stored parameters changes.
FORMAT_VERSION = 1
NAME = 'chatjax.json'
_PARAMS = 'params'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What parameters were made of.

  Attributes:
    source: name of the weight file or folder.
    sha256: of the weight file, or of all files of the folder.
  """

  source: str
  sha256: str
  dtype: str

  def folder(self, checkpoints: pathlib.Path) -> pathlib.Path:
    """Where such parameters are kept."""
    stem = self.source.removesuffix('.gguf')
    return checkpoints / (
      f'{stem}-{self.dtype}-v{FORMAT_VERSION}-{self.sha256[:12]}'
    )

  def is_complete(self, folder: pathlib.Path) -> bool:
    """Whether the folder holds exactly such parameters."""
    found = home_lib.read_json(folder / NAME)
    return found == self.record() and params(folder).is_dir()

  def write(self, folder: pathlib.Path) -> None:
    """Comes last: a folder with a manifest is whole."""
    text = json.dumps(self.record(), indent=2)
    (folder / NAME).write_text(text, encoding='utf-8')

  def record(self) -> dict[str, Any]:
    return {'format': FORMAT_VERSION, **dataclasses.asdict(self)}


def params(folder: pathlib.Path) -> pathlib.Path:
  """Where in the folder the parameters themselves lie."""
  return folder / _PARAMS


def find(folder: pathlib.Path) -> Manifest | None:
  """What a folder of converted parameters says of itself; None if it is none.

  Raises:
    errors.FolderError: it is of another version, or not whole.
  """
  if not (folder / NAME).is_file():
    return None
  found = home_lib.read_json(folder / NAME)
  try:
    made = Manifest(
      source=found['source'], sha256=found['sha256'], dtype=found['dtype']
    )
  except (TypeError, KeyError):
    made = None
  if made is None or not made.is_complete(folder):
    raise errors.FolderError(
      f'{folder / NAME} is not that of whole parameters in format'
      f' {FORMAT_VERSION}; convert the weights again.'
    )
  return made
