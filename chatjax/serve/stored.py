"""The endpoints of stored completions."""

from __future__ import annotations

from collections.abc import Callable
import logging
from typing import Any

import fastapi
from starlette import concurrency
from starlette import requests
from starlette import responses

from chatjax import types
from chatjax.chat import keeper as keeper_lib
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import stored as stored_lib
from chatjax.serve import completions as completions_lib
from chatjax.store import store as store_lib

_log = logging.getLogger(__name__)
_LIST = ('after', 'limit', 'order', 'model', 'metadata')
_MESSAGES = ('after', 'limit', 'order')
PATH = '/v1/chat/completions'


def add_routes(
  app: fastapi.FastAPI,
  keeper: keeper_lib.Keeper,
  limits: limits_lib.Limits,
) -> None:
  """Adds them all; databases are asked on other threads."""

  @app.get(PATH)
  async def list_all(http: requests.Request) -> responses.Response:
    query = _query(http, _LIST)

    def page() -> dict[str, Any]:
      found = keeper.store.list(
        after=query.after, limit=query.limit, order=query.order,
        model=query.model, metadata=query.metadata,
      )  # fmt: skip
      return stored_lib.listed(found.data, found.has_more)

    return await _answer(page)

  @app.get(PATH + '/{completion_id}')
  async def retrieve(completion_id: str) -> responses.Response:
    return await _answer(
      lambda: _found(keeper.store.get(completion_id), completion_id)
    )

  @app.post(PATH + '/{completion_id}')
  async def update(
    completion_id: str, http: requests.Request
  ) -> responses.Response:
    body = await completions_lib.read_json(http, limits.max_body_bytes)

    def changed() -> dict[str, Any]:
      fields = json_body.loads(body)
      json_body.check_keys(body)
      metadata = stored_lib.parse_update(fields, limits=limits)
      return _found(keeper.store.update(completion_id, metadata), completion_id)

    return await _answer(changed)

  @app.delete(PATH + '/{completion_id}')
  async def delete(completion_id: str) -> responses.Response:
    def gone() -> dict[str, Any]:
      _found(keeper.store.delete(completion_id) or None, completion_id)
      return stored_lib.deleted(completion_id)

    return await _answer(gone)

  @app.get(PATH + '/{completion_id}/messages')
  async def messages(
    completion_id: str, http: requests.Request
  ) -> responses.Response:
    query = _query(http, _MESSAGES)

    def page() -> dict[str, Any]:
      found = _found(keeper.store.messages(completion_id), completion_id)
      return stored_lib.messages_page(completion_id, found, query)

    return await _answer(page)


def _query(http: requests.Request, names: tuple[str, ...]) -> stored_lib.Query:
  return stored_lib.parse_query(http.query_params.multi_items(), names=names)


def _found(value: Any, completion_id: str) -> Any:
  if value is None:
    raise store_lib.not_found(completion_id)
  return value


async def _answer(make: Callable[[], dict[str, Any]]) -> responses.Response:
  try:
    made = await concurrency.run_in_threadpool(make)
  except store_lib.StoreError as error:
    _log.error('the store failed: %s', error)
    raise types.RequestError(
      'The store of completions cannot be used now; the server log says why.',
      code='store_unavailable',
      status=503,
    ) from error
  return responses.JSONResponse(made)
