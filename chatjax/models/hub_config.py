"""A hub folder's config.json: which family it is of, and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
from typing import Any

from chatjax import config as config_lib
from chatjax import model_config
from chatjax.ckpt import folder as folder_lib
from chatjax.models import families
from chatjax.models import family as family_lib
from chatjax.models import source as source_lib


def load(folder: pathlib.Path) -> Mapping[str, Any]:
  """The file as it stands.

  Raises:
    folder.FolderError: it is missing or damaged.
  """
  raw = folder_lib.read_json(folder / folder_lib.CONFIG)
  if not isinstance(raw, dict):
    raise folder_lib.FolderError(
      f'{folder / folder_lib.CONFIG} is no JSON object.'
    )
  return raw


def read(
  raw: Mapping[str, Any], where: str
) -> tuple[str, family_lib.Family, model_config.ModelConfig]:
  """The architecture by its name, its family, and sizes.

  Args:
    raw: a config.json.
    where: what messages call its place.

  Raises:
    source.LoadError: a family that chatjax does not run, or sizes that cannot
      be run.
  """
  named = raw.get('architectures') or []
  if not isinstance(named, list) or any(type(x) is not str for x in named):
    raise source_lib.LoadError(
      f'{where} cannot be run: architectures is no list of names in'
      ' config.json.'
    )
  found = [name for name in named if name in families.BY_HUB]
  if not found:
    raise source_lib.LoadError(
      f'{where} holds a {", ".join(map(str, named))[:200] or "nameless"} model;'
      f' this version runs {", ".join(sorted(families.BY_HUB))}.'
    )
  family = families.BY_HUB[found[0]]
  try:
    return found[0], family, family.read_hub_config(raw)
  except config_lib.ConfigError as error:
    raise source_lib.LoadError(f'{where} cannot be run: {error}') from error
