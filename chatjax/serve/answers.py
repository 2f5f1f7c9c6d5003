"""HTTP responses: our objects and OpenAI's error shape."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import http

import pydantic
from starlette import exceptions
from starlette import responses

from chatjax import types
from chatjax.protocol import errors

RETRY_AFTER_S = '1'
REQUEST_ID = 'X-Request-Id'  # clients quote it; so does the log


def model(value: pydantic.BaseModel) -> responses.Response:
  """A 200 with a pydantic object."""
  return responses.Response(
    value.model_dump_json(exclude_unset=True), media_type='application/json'
  )


def error(
  value: types.RequestError, headers: Mapping[str, str] | None = None
) -> responses.Response:
  """An error with its status."""
  if value.status in (429, 503):
    headers = {'Retry-After': RETRY_AFTER_S, **(headers or {})}
  return responses.JSONResponse(
    errors.body(value), status_code=value.status, headers=headers
  )


def http_error(
  error: exceptions.HTTPException,
  method: str,
  path: str,
  allowed: Sequence[str],
) -> types.RequestError:
  """OpenAI's words for what the framework refuses by itself.

  Args:
    error: the refusal.
    method: of the request.
    path: of the request.
    allowed: the methods that this path has.
  """
  codes = {404: 'not_found', 405: 'method_not_allowed'}
  # Without the quotes, which both have for the sake of escapes.
  method, path = (errors.shorten(text)[1:-1] for text in (method, path))
  told = f'Invalid URL ({method} {path})'
  if error.status_code == 405:
    told += f'; the method must be {" or ".join(allowed)}'
  elif error.status_code != 404:
    told = f'{http.HTTPStatus(error.status_code).phrase} ({method} {path})'
  return types.RequestError(
    told,
    code=codes.get(error.status_code, 'http_error'),
    status=error.status_code,
  )
