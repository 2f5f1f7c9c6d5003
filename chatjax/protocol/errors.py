"""Errors in OpenAI's shape: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

from collections.abc import Sequence
import json
from typing import Any

from chatjax import types

MAX_SHOWN = 100
MAX_MESSAGE = 1000


def shorten(value: Any, limit: int = MAX_SHOWN) -> str:
  """Shows a caller's value without echoing megabytes or control characters."""
  if isinstance(value, (dict, list, tuple)):
    return f'a {type(value).__name__} of {len(value)} entries'
  if isinstance(value, str):
    value = value[: limit + 1]
  try:
    shown = repr(value)
  except ValueError:  # an int of more digits than Python prints
    return 'a number of thousands of digits'
  return shown if len(shown) <= limit else f'{shown[: limit - 3]}...'


def body(error: types.RequestError) -> dict[str, Any]:
  """The JSON object that tells a client of `error`."""
  return {
    'error': {
      'message': str(error)[:MAX_MESSAGE],
      'type': _type(error.status),
      'param': error.param,
      'code': error.code,
    }
  }


def as_request_error(error: types.ChatjaxError) -> types.RequestError:
  """What a client is told of any of our errors; no word of ours at 500."""
  if isinstance(error, types.RequestError):
    return error
  return internal()


def internal() -> types.RequestError:
  """A failure of ours. What failed is for the log: it may name our insides."""
  return types.RequestError(
    'The server failed; nothing is wrong with the request itself.',
    code='internal_error',
    status=500,
  )


def _type(status: int) -> str:
  if status == 429:
    return 'rate_limit_error'
  return 'server_error' if status >= 500 else 'invalid_request_error'


def unsupported(
  param: str, what: str | None = None, neutral: Sequence[Any] = ()
) -> types.RequestError:
  """A documented thing that this version does not do.

  Args:
    param: its path.
    what: how to call it, if not by its name.
    neutral: values that are accepted, since they ask for nothing.
  """
  values = ' or '.join(map(json.dumps, neutral))
  return types.RequestError(
    f'{what or repr(param)} is not supported by this version of chatjax; '
    f'leave it out{values and f" or give {values}"}.',
    param=param,
    code='unsupported_parameter',
  )


def missing(param: str) -> types.RequestError:
  """A field that has to be given."""
  return types.RequestError(
    f'Missing required parameter: {param!r}.',
    param=param,
    code='missing_required_parameter',
  )


def unknown(param: str) -> types.RequestError:
  """A field that no documented interface has."""
  return types.RequestError(
    f'Unknown parameter: {shorten(param)}.',
    param=shorten(param).strip('\'"'),
    code='unknown_parameter',
  )


def model_not_found(model: str, known: str) -> types.RequestError:
  """A model that is not served here."""
  return types.RequestError(
    f'The model {shorten(model)} does not exist here; this server has '
    f'{known!r}.',
    param='model',
    code='model_not_found',
    status=404,
  )
