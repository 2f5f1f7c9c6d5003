"""Runs the kernels for TPUs on a CPU."""

from collections.abc import Iterator
import contextlib

from jax._src import literals
from jax.experimental.pallas import tpu as pltpu
import pytest


@contextlib.contextmanager
def kernels() -> Iterator[None]:
  """What this thread traces meanwhile is interpreted."""
  with pytest.MonkeyPatch.context() as patch:
    # jax 0.10.2 asks an index that is a literal for its shape.
    patch.setattr(literals.TypedInt, 'shape', (), raising=False)
    # Its newer interpreter (InterpretParams) cannot reshape a reference.
    with pltpu.force_tpu_interpret_mode(True):
      yield
