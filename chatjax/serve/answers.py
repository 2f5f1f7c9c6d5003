"""HTTP responses: our objects and OpenAI's error shape."""

from __future__ import annotations

from collections.abc import Mapping
import http

import pydantic
from starlette import responses

from chatjax import types
from chatjax.protocol import errors

RETRY_AFTER_S = '1'


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


def http_error(status: int, path: str) -> types.RequestError:
  """The words for what the framework refuses by itself."""
  codes = {404: 'not_found', 405: 'method_not_allowed'}
  phrase = http.HTTPStatus(status).phrase
  return types.RequestError(
    f'{phrase}: {errors.shorten(path)}.',
    code=codes.get(status, 'http_error'),
    status=status,
  )
