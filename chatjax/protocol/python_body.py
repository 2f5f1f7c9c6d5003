"""What Python callers give -> the plain values that JSON would have."""

from __future__ import annotations

from collections.abc import Mapping
import numbers
from typing import Any

import pydantic

from chatjax import types


def plain(value: Any) -> Any:
  """Tuples, pydantic objects and foreign numbers in their plain form.

  Message objects of clients are pydantic models; numpy registers its scalars
  with `numbers`, and its bool is none of them. Anything else stays as it is,
  for the validation to judge.

  Raises:
    types.RequestError: it holds itself, or is nested beyond all measure.
  """
  try:
    return _plain(value)
  except RecursionError:
    raise types.RequestError('The request is nested too deep.') from None


def _plain(value: Any) -> Any:
  if isinstance(value, pydantic.BaseModel):
    value = value.model_dump()
  if isinstance(value, Mapping):
    return {key: _plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, bool):
    return value
  if isinstance(value, numbers.Integral):
    return int(value)
  if isinstance(value, numbers.Real):
    return float(value)
  return value
