"""`chatjax version`: what is installed here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
import platform

from absl import flags

from chatjax import __version__
from chatjax.cli import flagset

USAGE = 'chatjax version'
_PACKAGES = ('jax', 'jaxlib', 'flax', 'numpy')


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  flagset.refuse(arguments)
  print(f'chatjax {__version__}')
  for package in _PACKAGES:
    print(f'{package} {metadata.version(package)}')
  print(f'python {platform.python_version()} on {platform.platform()}')
  return 0
