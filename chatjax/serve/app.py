"""The HTTP interface of one model."""

from __future__ import annotations

from collections.abc import Sequence
import logging

import fastapi
from starlette import concurrency
from starlette import exceptions
from starlette import requests
from starlette import responses
from starlette import routing
from starlette import types as asgi

from chatjax import types
from chatjax.batch import jobs as jobs_lib
from chatjax.batch import shelf as shelf_lib
from chatjax.chat import session as session_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters
from chatjax.protocol import response
from chatjax.serve import answers
from chatjax.serve import batches
from chatjax.serve import completions as completions_lib
from chatjax.serve import files
from chatjax.serve import gate as gate_lib
from chatjax.serve import guard
from chatjax.serve import journal as journal_lib
from chatjax.serve import metrics as metrics_lib
from chatjax.serve import page
from chatjax.serve import quota as quota_lib
from chatjax.serve import service as service_lib
from chatjax.serve import stored
from chatjax.serve import text_completions
from chatjax.serve import timeouts as timeouts_lib
from chatjax.serve import tools as tools_lib

_log = logging.getLogger(__name__)
READ = ['GET', 'HEAD']


def create_app(
  session: session_lib.Session,
  *,
  limits: limits_lib.Limits | None = None,
  timeouts: timeouts_lib.Timeouts | None = None,
  gate: gate_lib.Gate | None = None,
  api_keys: Sequence[str] = (),
  max_per_key: int = 0,
  allowed_hosts: Sequence[str] | None = None,
  shelf: shelf_lib.Shelf | None = None,
  jobs: jobs_lib.Jobs | None = None,
) -> fastapi.FastAPI:
  """Builds the application.

  Args:
    session: the model that is served.
    limits: how big a request may be.
    timeouts: how long it may take.
    gate: whoever closes it refuses new requests.
    api_keys: one of them is asked of every caller, those of /metrics
      included, but on /health, /ready and the files of the chat page; without
      any the server is open.
    max_per_key: choices that one key may have running or waiting; 0 is no
      bound.
    allowed_hosts: names accepted in the Host header; None is any. Set it on
      a loopback address, where a foreign page could otherwise reach the
      server under its own name (DNS rebinding).
    shelf: files for batches; None has no such endpoints.
    jobs: the batches; None has no such endpoints.
  """
  gate = gate or gate_lib.Gate()
  app = fastapi.FastAPI(
    title='chatjax',
    openapi_url=None,
    redirect_slashes=False,
  )
  # The last one added is asked first.
  app.add_middleware(gate_lib.GateGuard, gate=gate)
  if api_keys:
    app.add_middleware(guard.KeyGuard, api_keys=api_keys)
  if allowed_hosts is not None:
    app.add_middleware(guard.HostGuard, allowed_hosts=allowed_hosts)
  limits = limits or limits_lib.Limits()
  metrics = metrics_lib.Metrics(session)
  service = service_lib.Service(
    session=session,
    limits=limits,
    timeouts=timeouts or timeouts_lib.Timeouts(),
    gate=gate,
    quota=quota_lib.Quota(max_per_key),
    journal=journal_lib.Journal(session.engine, metrics.observe),
  )
  chats = completions_lib.Completions(service)
  app.post('/v1/chat/completions')(chats.create)
  texts = text_completions.TextCompletions(service)
  app.post('/v1/completions')(texts.create)
  stored.add_routes(app, session.keeper, limits)
  if shelf is not None and jobs is not None:
    files.add_routes(app, shelf, limits)
    batches.add_routes(app, jobs, limits)
  page.add_routes(app)
  _add_models(app, session)
  _add_tools(app, session, limits)
  _add_states(app, session, gate, metrics)
  _add_error_handlers(app)
  return app


def _add_models(app: fastapi.FastAPI, session: session_lib.Session) -> None:
  @app.api_route('/v1/models', methods=READ)
  async def models() -> responses.Response:
    card = build.model_card(session.model_id, session.created)
    return answers.model(response.ModelList(object='list', data=[card]))

  @app.api_route('/v1/models/{model_id:path}', methods=READ)
  async def model(model_id: str) -> responses.Response:
    if model_id != session.model_id:
      raise errors.model_not_found(model_id, session.model_id)
    return answers.model(build.model_card(model_id, session.created))


def _add_tools(
  app: fastapi.FastAPI, session: session_lib.Session, limits: limits_lib.Limits
) -> None:
  """What clients ask about the model."""
  tools = tools_lib.Tools(session, limits)

  @app.post('/tokenize')
  async def tokenize(http: requests.Request) -> responses.Response:
    body = await completions_lib.read_json(http, limits.max_body_bytes)
    return answers.model(
      await concurrency.run_in_threadpool(tools.tokenize, body)
    )

  @app.post('/detokenize')
  async def detokenize(http: requests.Request) -> responses.Response:
    body = await completions_lib.read_json(http, limits.max_body_bytes)
    return answers.model(
      await concurrency.run_in_threadpool(tools.detokenize, body)
    )

  @app.api_route('/tokenizer_info', methods=READ)
  async def tokenizer_info() -> responses.Response:
    return answers.model(tools.tokenizer_info())

  @app.api_route('/version', methods=READ)
  async def version() -> responses.Response:
    return responses.JSONResponse(tools.version())

  @app.api_route('/v1/capabilities', methods=READ)
  async def capabilities() -> responses.Response:
    return responses.JSONResponse(
      parameters.capabilities(session.model_id, limits)
    )


def _add_states(
  app: fastapi.FastAPI,
  session: session_lib.Session,
  gate: gate_lib.Gate,
  metrics: metrics_lib.Metrics,
) -> None:
  """What machines ask of a server."""

  @app.api_route('/health', methods=READ)
  async def health() -> responses.Response:
    _check_alive(session)
    return responses.JSONResponse({'status': 'ok'})

  @app.api_route('/ready', methods=READ)
  async def ready() -> responses.Response:
    _check_alive(session)
    if not gate.is_open:
      raise gate_lib.draining()
    return responses.JSONResponse({'status': 'ready'})

  @app.api_route('/metrics', methods=READ)
  async def scrape(http: requests.Request) -> responses.Response:
    data, content_type = metrics.text(http.headers.get('accept', ''))
    return responses.Response(data, headers={'Content-Type': content_type})


def _check_alive(session: session_lib.Session) -> None:
  if not session.engine.is_alive:
    raise types.RequestError(
      'The engine has stopped.', code='engine_stopped', status=503
    )


def _methods(app: fastapi.FastAPI, scope: asgi.Scope) -> list[str]:
  """All that the path of a request can be asked with."""
  found = set()
  for route in app.routes:
    is_there = route.matches(scope)[0] is not routing.Match.NONE
    found |= set(route.methods or ()) if is_there else set()
  return sorted(found)


def _add_error_handlers(app: fastapi.FastAPI) -> None:
  @app.exception_handler(types.ChatjaxError)
  async def ours(http: requests.Request, error: types.ChatjaxError):
    if not isinstance(error, types.RequestError):
      _log.error('a request failed: %s', error)
    return answers.error(errors.as_request_error(error))

  @app.exception_handler(exceptions.HTTPException)
  async def framework(http: requests.Request, error: exceptions.HTTPException):
    # The framework names those of the first route alone.
    allowed = _methods(app, http.scope) if error.status_code == 405 else []
    told = answers.http_error(error, http.method, http.scope['path'], allowed)
    more = {'Allow': ', '.join(allowed)} if allowed else {}
    return answers.error(told, headers={**(error.headers or {}), **more})

  @app.exception_handler(Exception)
  async def unforeseen(http: requests.Request, error: Exception):
    # The server logs the traceback; the client learns nothing of our insides.
    return answers.error(errors.internal())
