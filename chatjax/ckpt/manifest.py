"""What a folder of converted parameters is called and says of itself.

Told apart from the parameters, so that asking what is there needs no jax.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

from chatjax.ckpt import home as home_lib

# Raised whenever the meaning of stored parameters changes.
FORMAT_VERSION = 1
_MANIFEST = 'chatjax.json'
_PARAMS = 'params'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
  """What parameters were made of.

  Attributes:
    source: name of the weight file.
    sha256: of the weight file.
  """

  source: str
  sha256: str
  dtype: str

  def folder(self, checkpoints: pathlib.Path) -> pathlib.Path:
    """Where such parameters are kept."""
    stem = pathlib.PurePath(self.source).stem
    return checkpoints / (
      f'{stem}-{self.dtype}-v{FORMAT_VERSION}-{self.sha256[:12]}'
    )

  def is_complete(self, folder: pathlib.Path) -> bool:
    """Whether the folder holds exactly such parameters."""
    found = home_lib.read_json(folder / _MANIFEST)
    return found == self._record() and params(folder).is_dir()

  def write(self, folder: pathlib.Path) -> None:
    """Comes last: a folder with a manifest is whole."""
    text = json.dumps(self._record(), indent=2)
    (folder / _MANIFEST).write_text(text, encoding='utf-8')

  def _record(self) -> dict[str, Any]:
    return {'format': FORMAT_VERSION, **dataclasses.asdict(self)}


def params(folder: pathlib.Path) -> pathlib.Path:
  """Where in the folder the parameters themselves lie."""
  return folder / _PARAMS
