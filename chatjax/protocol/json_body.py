"""Bytes of an HTTP body -> a JSON object, stricter than `json.loads`."""

from __future__ import annotations

import json
import math
from typing import Any

import pydantic_core

from chatjax import types
from chatjax.protocol import errors


def loads(data: bytes) -> dict[str, Any]:
  """Parses an object: UTF-8, finite numbers, no key twice, bounded depth.

  Raises:
    types.RequestError: with code `invalid_json`.
  """
  try:
    # Bounds the nesting and refuses broken UTF-8 and lone surrogates before
    # the recursive parser below, which is the one that sees duplicate keys.
    pydantic_core.from_json(data, allow_inf_nan=False)
    value = json.loads(
      data,
      object_pairs_hook=_object,
      parse_constant=_constant,
      parse_float=_float,
    )
  except types.RequestError:
    raise
  except ValueError as error:
    raise _invalid(f'The body is not valid JSON: {error}.') from None
  if not isinstance(value, dict):
    raise _invalid('The body must be a JSON object.')
  return value


def _invalid(message: str) -> types.RequestError:
  return types.RequestError(message, code='invalid_json')


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  value = dict(pairs)
  if len(value) < len(pairs):
    seen: set[str] = set()
    for key, _ in pairs:
      if key in seen:
        raise _invalid(f'The key {errors.shorten(key)} is given twice.')
      seen.add(key)
  return value


def _constant(name: str) -> None:
  raise _invalid(f'{name} is not JSON; numbers must be finite.')


def _float(text: str) -> float:
  value = float(text)
  if not math.isfinite(value):
    raise _invalid(f'The number {errors.shorten(text)} is too large.')
  return value
