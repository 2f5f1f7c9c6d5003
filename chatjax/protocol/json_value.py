"""Values that are the caller's own JSON: schemas, template variables."""

from __future__ import annotations

import json
from typing import Annotated
from typing import Any

import pydantic
import pydantic_core

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import strict

# Beyond it a number has no float, and no printed form that a reader takes.
_MAX_NUMBER = 10**308


def loads(text: str, what: str) -> Any:
  """Parses JSON inside a string; `what` names it in errors."""
  try:
    return pydantic_core.from_json(strict.encodable(text), allow_inf_nan=False)
  except ValueError as error:
    if isinstance(error, types.RequestError):
      raise
    raise types.RequestError(f'{what} is not valid JSON: {error}.') from None


def check(value: Any, *, max_bytes: int, max_depth: int) -> None:
  """Raises `types.RequestError` for what JSON cannot say, or not so briefly."""
  budget = max_bytes
  level = [value]
  for depth in range(max_depth + 1):
    if not level:
      break
    if depth == max_depth and any(isinstance(v, (dict, list)) for v in level):
      raise types.RequestError(
        f'it is nested too deep; at most {max_depth} levels are allowed.'
      )
    budget -= len(level)  # each value takes a byte at least
    if budget < 0:
      raise _too_big(max_bytes)
    level = [inner for one in level for inner in _inside(one)]
  if len(json.dumps(value, ensure_ascii=False).encode()) > max_bytes:
    raise _too_big(max_bytes)


def _inside(value: Any) -> list[Any]:
  if isinstance(value, dict):
    for key in value:
      if not isinstance(key, str):
        raise types.RequestError('the keys of an object must be strings.')
      strict.encodable(key)
    return list(value.values())
  if isinstance(value, list):
    return value
  if isinstance(value, str):
    strict.encodable(value)
  elif isinstance(value, (int, float)):
    if not -_MAX_NUMBER < value < _MAX_NUMBER:  # NaN is not
      raise types.RequestError(f'{errors.shorten(value)} is out of range.')
  elif value is not None:
    raise types.RequestError(
      f'a Python {type(value).__name__} has no JSON.', code='invalid_type'
    )
  return []


def _too_big(max_bytes: int) -> types.RequestError:
  return types.RequestError(
    f'it is too big; at most {max_bytes} bytes of JSON are allowed.'
  )


def _schema(value: Any, info: pydantic.ValidationInfo) -> Any:
  limits = info.context
  check(
    value, max_bytes=limits.max_schema_bytes, max_depth=limits.max_json_depth
  )
  return value


def _read_by_client(value: Any, info: pydantic.ValidationInfo) -> Any:
  limits = info.context
  check(value, max_bytes=limits.max_file_bytes, max_depth=limits.max_json_depth)
  return value


# What a client's helper read from a text, and sends back beside the text.
ReadByClient = Annotated[
  dict[Any, Any], pydantic.AfterValidator(_read_by_client)
]
# A JSON schema; which keywords it may use is for the grammar to say.
Schema = Annotated[dict[Any, Any], pydantic.AfterValidator(_schema)]
