"""The endpoints of files: /v1/files."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import logging
import pathlib
import tempfile
from typing import Any
import urllib.parse

import fastapi
from starlette import concurrency
from starlette import datastructures
from starlette import exceptions
from starlette import formparsers
from starlette import requests
from starlette import responses
from starlette import types as asgi

from chatjax import types
from chatjax.batch import shelf as shelf_lib
from chatjax.protocol import batches
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import stored as stored_lib

_log = logging.getLogger(__name__)

PATH = '/v1/files'
MAX_LIST = 10_000
_LIST = ('after', 'limit', 'order', 'purpose')
_FORM_BYTES = 2**16  # what a form has beside its file
_BLOCK = 2**20


def add_routes(
  app: fastapi.FastAPI, shelf: shelf_lib.Shelf, limits: limits_lib.Limits
) -> None:
  """Adds them all; disks are asked on other threads."""

  @app.post(PATH)
  async def create(http: requests.Request) -> responses.Response:
    try:
      made = await _upload(http, shelf, limits)
    except OSError as error:
      raise _disk_failed(error) from error
    return responses.JSONResponse(made)

  @app.get(PATH)
  async def list_all(http: requests.Request) -> responses.Response:
    query = stored_lib.parse_query(
      http.query_params.multi_items(), names=_LIST, max_limit=MAX_LIST,
      limit=MAX_LIST, order='desc',
    )  # fmt: skip

    def page() -> dict[str, Any]:
      found = [
        one.shown()
        for one in shelf.list()
        if query.purpose in (None, one.purpose)
      ]
      return paged(found if query.order == 'asc' else found[::-1], query)

    return await answer(page)

  @app.get(PATH + '/{file_id}')
  async def retrieve(file_id: str) -> responses.Response:
    return await answer(lambda: shelf.get(file_id).shown())

  @app.get(PATH + '/{file_id}/content')
  async def content(file_id: str) -> responses.Response:
    path = await concurrency.run_in_threadpool(shelf.path, file_id)
    return responses.FileResponse(path, media_type='application/octet-stream')

  @app.delete(PATH + '/{file_id}')
  async def delete(file_id: str) -> responses.Response:
    def gone() -> dict[str, Any]:
      shelf.delete(file_id)
      return {'id': file_id, 'object': 'file', 'deleted': True}

    return await answer(gone)


async def answer(make: Callable[[], dict[str, Any]]) -> responses.Response:
  """Asks the disk on another thread."""
  try:
    made = await concurrency.run_in_threadpool(make)
  except OSError as error:
    raise _disk_failed(error) from error
  return responses.JSONResponse(made)


def paged(
  shown: Sequence[dict[str, Any]], query: stored_lib.Query
) -> dict[str, Any]:
  """A page of a list, after the one that the page before ended with.

  Raises:
    types.RequestError: `after` is the id of none.
  """
  start = 0
  if query.after is not None:
    ids = [one['id'] for one in shown]
    if query.after not in ids:
      raise shelf_lib.not_found('object', query.after, 'after')
    start = ids.index(query.after) + 1
  part = shown[start : start + query.limit]
  return stored_lib.listed(part, has_more=start + len(part) < len(shown))


async def _upload(
  http: requests.Request, shelf: shelf_lib.Shelf, limits: limits_lib.Limits
) -> dict[str, Any]:
  _check_form(http)
  bound = limits.max_upload_bytes + _FORM_BYTES
  told = http.headers.get('content-length', '')
  if told.isdecimal() and int(told[:20]) > bound:
    raise _too_large(limits)
  limited = requests.Request(
    http.scope, _limited(http.receive, bound, _too_large(limits))
  )
  try:
    async with limited.form(max_files=1, max_fields=8) as form:
      upload = form.get('file')
      if not isinstance(upload, datastructures.UploadFile):
        raise errors.missing('file')
      fields = {
        name: value
        for name, value in form.multi_items()
        if isinstance(value, str)
      }
      purpose, lives_s = batches.parse_upload(fields)
      if upload.size > limits.max_upload_bytes:
        raise _too_large(limits)
      return await concurrency.run_in_threadpool(
        _keep, shelf, upload, purpose, lives_s
      )
  except (formparsers.MultiPartException, exceptions.HTTPException) as error:
    told = getattr(error, 'message', None) or getattr(error, 'detail', '')
    raise types.RequestError(
      f'The form cannot be read: {told.rstrip(".")}.', code='invalid_form'
    ) from None


def _keep(
  shelf: shelf_lib.Shelf,
  upload: datastructures.UploadFile,
  purpose: str,
  lives_s: int | None,
) -> dict[str, Any]:
  filename = (upload.filename or 'file')[: batches.MAX_FILENAME_CHARS]
  with tempfile.TemporaryDirectory(prefix='chatjax-upload-') as scratch:
    path = pathlib.Path(scratch, 'data')
    with open(path, 'wb') as file:
      while block := upload.file.read(_BLOCK):
        file.write(block)
    made = shelf.add(path, filename=filename, purpose=purpose, lives_s=lives_s)
  return made.shown()


def _check_form(http: requests.Request) -> None:
  """A browser sends forms across origins without asking; these are refused."""
  kind = http.headers.get('content-type', '').partition(';')[0]
  if kind.strip().lower() != 'multipart/form-data':
    raise types.RequestError(
      f'Content-Type is {errors.shorten(kind)}; it must be'
      ' multipart/form-data.',
      code='invalid_content_type',
    )
  origin = http.headers.get('origin')
  if origin is not None:
    host = urllib.parse.urlsplit(origin).netloc
    if host.lower() != http.headers.get('host', '').lower():
      raise types.RequestError(
        f'The page at {errors.shorten(origin)} may not upload files here.',
        code='invalid_origin',
        status=403,
      )


def _limited(
  receive: asgi.Receive, bound: int, error: types.RequestError
) -> asgi.Receive:
  """Fails once more bytes have come than are allowed."""
  left = bound

  async def counted() -> asgi.Message:
    nonlocal left
    message = await receive()
    left -= len(message.get('body', b''))
    if left < 0:
      raise error
    return message

  return counted


def _disk_failed(error: OSError) -> types.RequestError:
  """Without the path, which is for the log."""
  _log.error('the folder of batches failed: %s', error)
  return types.RequestError(
    f'The server cannot keep it ({error.strerror or type(error).__name__}).',
    code='storage_unavailable',
    status=507,
  )


def _too_large(limits: limits_lib.Limits) -> types.RequestError:
  return types.RequestError(
    f'The file is too large; at most {limits.max_upload_bytes} bytes are'
    ' allowed.',
    param='file',
    code='file_too_large',
    status=413,
  )
