"""Bytes of an HTTP body -> a JSON object, stricter than `json.loads`."""

from __future__ import annotations

import json
from typing import Any

import pydantic_core

from chatjax import types
from chatjax.protocol import errors


def loads(data: bytes) -> dict[str, Any]:
  """Parses an object: UTF-8, no NaN, no lone surrogate, bounded depth.

  Raises:
    types.RequestError: with code `invalid_json`.
  """
  try:
    value = pydantic_core.from_json(data, allow_inf_nan=False)
  except ValueError as error:
    raise _invalid(f'The body is not valid JSON: {error}.') from None
  if not isinstance(value, dict):
    raise _invalid('The body must be a JSON object.')
  return value


def check_keys(data: bytes) -> None:
  """Refuses an object that gives a key twice.

  The parser above keeps the last one silently. This look is slow for each
  object: for bodies that are valid otherwise, and so have few of them.
  """
  json.loads(data, object_pairs_hook=_object)


def _invalid(message: str) -> types.RequestError:
  return types.RequestError(message, code='invalid_json')


def _object(pairs: list[tuple[str, Any]]) -> None:
  seen: set[str] = set()
  for key, _ in pairs:
    if key in seen:
      raise _invalid(f'The key {errors.shorten(key)} is given twice.')
    seen.add(key)
