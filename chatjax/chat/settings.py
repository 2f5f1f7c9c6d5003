"""Arrays of sampling settings, broadcast against each other."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

import numpy as np

from chatjax import types

# Fields of a request that may be arrays: none of them is part of a prompt.
NUMBERS = (
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'presence_penalty',
  'frequency_penalty',
  'repetition_penalty',
  'min_tokens',
  'seed',
)
LENGTHS = 'max_tokens', 'max_completion_tokens'


def broadcast(
  params: Mapping[str, Any], names: Collection[str]
) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
  """Spreads fields of a request that are arrays.

  Args:
    params: fields; those among `names` may be numbers or arrays of any rank.
    names: which may be arrays.

  Returns:
    The shape that all arrays have together, by numpy's rules, and the fields
    of each setting, in row-major order.

  Raises:
    types.RequestError: shapes that do not go together, or nothing in them.
  """
  # Objects: a seed of 64 bits must not become a float beside one.
  arrays = {
    name: np.asarray(_plain(params[name]), object)
    for name in names
    if params.get(name) is not None
  }
  shapes = {name: array.shape for name, array in arrays.items()}
  try:
    shape = np.broadcast_shapes(*shapes.values())
  except ValueError:
    told = ', '.join(
      f'{name} {list(shape)}' for name, shape in shapes.items() if shape
    )
    raise types.RequestError(
      f'The arrays have shapes that do not go together: {told}. Give them '
      'shapes that broadcast, as numpy does it.',
      param=next(name for name, shape in shapes.items() if shape),
    ) from None
  if 0 in shape:
    empty = next(name for name, one in shapes.items() if 0 in one)
    raise types.RequestError(
      f'{empty} is empty; give at least one value.', param=empty
    )
  flat = {
    name: np.broadcast_to(array, shape).reshape(-1)
    for name, array in arrays.items()
  }
  count = int(np.prod(shape))
  return shape, [
    {**params, **{name: values[i] for name, values in flat.items()}}
    for i in range(count)
  ]


def _plain(value: Any) -> Any:
  """Lists of Python's own numbers."""
  if isinstance(value, list | tuple):
    return [_plain(one) for one in value]
  return value if isinstance(value, int | float) else np.asarray(value).tolist()


def refuse(params: Mapping[str, Any], names: Collection[str]) -> None:
  """Raises `types.RequestError` for a field that has no meaning here."""
  for name in names:
    if name in params:
      raise types.RequestError(
        f'{name}={params[name]!r} is given; settings are one answer each, so '
        'leave it out.',
        param=name,
      )
