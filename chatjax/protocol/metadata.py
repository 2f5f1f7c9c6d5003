"""The caller's own notes about a request."""

from __future__ import annotations

from typing import Annotated
from typing import Any

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import strict

MAX_PAIRS = 16
MAX_KEY_CHARS = 64
MAX_VALUE_CHARS = 512


def _check(value: dict[Any, Any]) -> dict[str, str]:
  for key, text in value.items():
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY_CHARS:
      raise types.RequestError(
        f'the key {errors.shorten(key)} must be a string of 1 to '
        f'{MAX_KEY_CHARS} characters.'
      )
    strict.encodable(key)
    if not isinstance(text, str):
      raise types.RequestError(
        'it must be a string.', param=key, code='invalid_type'
      )
    if len(text) > MAX_VALUE_CHARS:
      raise types.RequestError(
        f'it has {len(text)} characters; at most {MAX_VALUE_CHARS} are '
        'allowed.',
        param=key,
      )
    strict.encodable(text)
  return value


Metadata = Annotated[
  dict[Any, Any],
  strict.at_most(MAX_PAIRS),
  pydantic.AfterValidator(_check),
]
