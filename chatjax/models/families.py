"""All families, by the names that checkpoints give their architectures.

A family is what a file of `models/architectures/` calls FAMILY, or one of its
FAMILIES.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import importlib
import pkgutil

from chatjax.models import architectures
from chatjax.models import family as family_lib


def find() -> Iterator[family_lib.Family]:
  """The families of all files, in the order of these."""
  for info in pkgutil.iter_modules(architectures.__path__):
    module = importlib.import_module(f'{architectures.__name__}.{info.name}')
    families = vars(module).get('FAMILIES')
    yield from (module.FAMILY,) if families is None else families


def by_gguf() -> dict[str, family_lib.Family]:
  """Families by the architecture that GGUF files name."""
  return {
    each.gguf_architecture: each for each in find() if each.gguf_architecture
  }


def by_hub() -> dict[str, family_lib.Family]:
  """Families by the names in a config.json's `architectures`."""
  return {name: each for each in find() for name in each.architectures}


BY_GGUF: Mapping[str, family_lib.Family] = by_gguf()
BY_HUB: Mapping[str, family_lib.Family] = by_hub()
