"""The HTTP interface of one model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Sequence
import logging
from typing import TypeVar

import fastapi
from starlette import concurrency
from starlette import exceptions
from starlette import requests
from starlette import responses

from chatjax import types
from chatjax.chat import generation
from chatjax.chat import session as session_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.protocol import response
from chatjax.serve import answers
from chatjax.serve import guard
from chatjax.serve import sse

_log = logging.getLogger(__name__)
_T = TypeVar('_T')
CLIENT_LEFT = 499  # nobody reads it
READ = ['GET', 'HEAD']


def create_app(
  session: session_lib.Session,
  *,
  limits: limits_lib.Limits | None = None,
  api_key: str | None = None,
  allowed_hosts: Sequence[str] | None = None,
) -> fastapi.FastAPI:
  """Builds the application.

  Args:
    session: the model that is served.
    limits: how big a request may be.
    api_key: asked of every caller but on /health; None is open.
    allowed_hosts: names accepted in the Host header; None is any. Set it on
      a loopback address, where a foreign page could otherwise reach the
      server under its own name (DNS rebinding).
  """
  limits = limits or limits_lib.Limits()
  app = fastapi.FastAPI(
    title='chatjax',
    openapi_url=None,
    redirect_slashes=False,
  )
  if api_key is not None:
    app.add_middleware(guard.KeyGuard, api_key=api_key)
  if allowed_hosts is not None:
    app.add_middleware(guard.HostGuard, allowed_hosts=allowed_hosts)
  _add_routes(app, session, limits)
  _add_error_handlers(app)
  return app


def _add_routes(
  app: fastapi.FastAPI,
  session: session_lib.Session,
  limits: limits_lib.Limits,
) -> None:
  @app.post('/v1/chat/completions')
  async def create(http: requests.Request) -> responses.Response:
    _check_content_type(http)
    body = await _read_body(http, limits.max_body_bytes)
    return await _answer(session, limits, http, body)

  @app.api_route('/v1/models', methods=READ)
  async def models() -> responses.Response:
    card = build.model_card(session.model_id, session.created)
    return answers.model(response.ModelList(object='list', data=[card]))

  @app.api_route('/v1/models/{model_id:path}', methods=READ)
  async def model(model_id: str) -> responses.Response:
    if model_id != session.model_id:
      raise errors.model_not_found(model_id, session.model_id)
    return answers.model(build.model_card(model_id, session.created))

  @app.api_route('/health', methods=READ)
  async def health() -> responses.Response:
    if session.engine.is_alive:
      return responses.JSONResponse({'status': 'ok'})
    return answers.error(
      types.RequestError(
        'The engine has stopped.', code='engine_stopped', status=503
      )
    )


def _add_error_handlers(app: fastapi.FastAPI) -> None:
  @app.exception_handler(types.ChatjaxError)
  async def ours(http: requests.Request, error: types.ChatjaxError):
    if not isinstance(error, types.RequestError):
      _log.error('a request failed: %s', error)
    return answers.error(errors.as_request_error(error))

  @app.exception_handler(exceptions.HTTPException)
  async def framework(http: requests.Request, error: exceptions.HTTPException):
    told = answers.http_error(error, http.method, http.scope['path'])
    return answers.error(told, headers=error.headers)

  @app.exception_handler(Exception)
  async def unforeseen(http: requests.Request, error: Exception):
    # The server logs the traceback; the client learns nothing of our insides.
    return answers.error(errors.internal())


def _check_content_type(http: requests.Request) -> None:
  """A browser sends JSON across origins only after asking: not text/plain."""
  kind = http.headers.get('content-type', '').partition(';')[0]
  if kind.strip().lower() != 'application/json':
    raise types.RequestError(
      f'Content-Type is {errors.shorten(kind)}; it must be application/json.',
      code='invalid_content_type',
    )


async def _read_body(http: requests.Request, max_bytes: int) -> bytes:
  """The framework's own body limit cannot answer in OpenAI's shape."""
  told = http.headers.get('content-length', '')
  body = bytearray()
  is_over = told.isdecimal() and int(told[:20]) > max_bytes
  if not is_over:
    async for chunk in http.stream():
      body += chunk
      if is_over := len(body) > max_bytes:
        break
  if is_over:
    raise types.RequestError(
      f'The body is too large; at most {max_bytes} bytes are allowed.',
      code='body_too_large',
      status=413,
    )
  return bytes(body)


async def _answer(
  session: session_lib.Session,
  limits: limits_lib.Limits,
  http: requests.Request,
  body: bytes,
) -> responses.Response:
  # Parsing and tokenizing a long prompt must not hold up other streams.
  parsed, running = await concurrency.run_in_threadpool(
    _start, session, limits, body
  )
  _log.info(
    '%s prompt_tokens=%d n=%d stream=%s user=%r',
    running.meta.id,
    len(running.meta.prompt_ids),
    running.meta.n,
    parsed.request.stream,
    parsed.user,
  )
  is_handed_over = False
  try:
    if not parsed.request.stream:
      result = await _while_connected(http, running.aresult())
      return answers.model(build.completion(running.meta, result))
    # The first output decides the status: an early failure is not a 200.
    first = await _while_connected(http, anext(running, None))
    is_handed_over = True
    return sse.EventStream(running, first)
  except requests.ClientDisconnect:
    return responses.Response(status_code=CLIENT_LEFT)
  finally:
    if not is_handed_over:
      running.cancel()


def _start(
  session: session_lib.Session, limits: limits_lib.Limits, body: bytes
) -> tuple[request_lib.Parsed, generation.Generation]:
  parsed = request_lib.parse_json(body, limits=limits)
  return parsed, session.start(parsed.request)


async def _while_connected(http: requests.Request, work: Awaitable[_T]) -> _T:
  """Awaits `work`, or raises ClientDisconnect as soon as the client leaves."""
  working = asyncio.ensure_future(work)
  leaving = asyncio.ensure_future(_until_disconnect(http))
  try:
    await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
      raise requests.ClientDisconnect
    return working.result()
  finally:
    for task in (working, leaving):
      task.cancel()
    await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_disconnect(http: requests.Request) -> None:
  while (await http.receive())['type'] != 'http.disconnect':
    pass
