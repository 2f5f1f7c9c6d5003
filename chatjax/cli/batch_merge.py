"""`chatjax batch merge`: the last step of a batch, where it was not taken."""

from __future__ import annotations

from collections.abc import Sequence
import pathlib

from absl import flags

from chatjax.batch import run as run_lib
from chatjax.cli import batch
from chatjax.cli import flagset

USAGE = 'chatjax batch merge DIR'


def define(values: flags.FlagValues) -> None:
  """Has no flags of its own."""
  del values


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  del values
  if len(arguments) != 1:
    raise flagset.UsageError('Give the --output folder of one batch.')
  output = pathlib.Path(arguments[0])
  return batch.tell(run_lib.merge(output), output)
