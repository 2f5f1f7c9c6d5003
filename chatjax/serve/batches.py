"""The endpoints of batches: /v1/batches."""

from __future__ import annotations

from typing import Any

import fastapi
from starlette import requests
from starlette import responses

from chatjax.batch import jobs as jobs_lib
from chatjax.protocol import batches
from chatjax.protocol import json_body
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import stored as stored_lib
from chatjax.serve import completions
from chatjax.serve import files

PATH = '/v1/batches'
_LIST = ('after', 'limit')


def add_routes(
  app: fastapi.FastAPI, jobs: jobs_lib.Jobs, limits: limits_lib.Limits
) -> None:
  """Adds them all; disks are asked on other threads."""

  @app.post(PATH)
  async def create(http: requests.Request) -> responses.Response:
    body = await completions.read_json(http, limits.max_body_bytes)

    def made() -> dict[str, Any]:
      fields = json_body.loads(body)
      json_body.check_keys(body)
      return jobs.create(batches.parse(fields, limits=limits))

    return await files.answer(made)

  @app.get(PATH)
  async def list_all(http: requests.Request) -> responses.Response:
    query = stored_lib.parse_query(http.query_params.multi_items(), names=_LIST)
    return await files.answer(lambda: files.paged(jobs.list(), query))

  @app.get(PATH + '/{batch_id}')
  async def retrieve(batch_id: str) -> responses.Response:
    return await files.answer(lambda: jobs.get(batch_id))

  @app.post(PATH + '/{batch_id}/cancel')
  async def cancel(batch_id: str) -> responses.Response:
    return await files.answer(lambda: jobs.cancel(batch_id))
