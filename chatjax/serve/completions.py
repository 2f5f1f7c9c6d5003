"""POST /v1/chat/completions: from the body to the last byte of the answer."""

from __future__ import annotations

import functools

from starlette import concurrency
from starlette import requests
from starlette import responses

from chatjax import types
from chatjax.chat import generation
from chatjax.chat import session as session_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import request as request_lib
from chatjax.protocol import response
from chatjax.serve import answers
from chatjax.serve import guard
from chatjax.serve import quota as quota_lib
from chatjax.serve import service as service_lib
from chatjax.serve import sse
from chatjax.serve import visit as visit_lib


class Completions:
  """Answers requests of one model."""

  def __init__(self, service: service_lib.Service):
    self._service = service

  async def create(self, http: requests.Request) -> responses.Response:
    """Answers one request, or raises `types.ChatjaxError`."""
    body = await read_json(http, self._service.limits.max_body_bytes)
    entry = self._service.journal.open(session_lib.new_id())
    share = self._service.quota.share(guard.key_of(http.scope))
    try:
      # Parsing and tokenizing a long prompt must not hold up other streams.
      parsed, running = await concurrency.run_in_threadpool(
        self._start, body, entry.request_id, share
      )
    except BaseException:
      share.give_back()
      self._service.journal.discard(entry)
      raise
    answering = visit_lib.Visit(
      running,
      [(running, entry)],
      self._service.gate,
      share,
      request=parsed.request,
      user=parsed.user,
      safety_identifier=parsed.safety_identifier,
    )
    answer = await visit_lib.answer(
      http,
      answering,
      self._service.timeouts,
      whole=functools.partial(self._whole, running),
      chunks=build.ChunkBuilder(running.meta),
      keep=self._keep_of(running),
    )
    answer.headers[answers.REQUEST_ID] = entry.request_id
    return answer

  def _whole(
    self, running: generation.Generation, result: types.Completion
  ) -> response.ChatCompletion:
    answer = build.completion(running.meta, result)
    return self._service.session.keeper.keep(running, result, answer)

  def _keep_of(self, running: generation.Generation) -> sse.Keep | None:
    if not running.source.store:
      return None
    return functools.partial(
      self._service.session.keeper.keep_streamed, running
    )

  def _start(
    self, body: bytes, request_id: str, share: quota_lib.Share
  ) -> tuple[request_lib.Parsed, generation.Generation]:
    parsed = request_lib.parse_json(body, limits=self._service.limits)
    share.take(parsed.request.n)
    running = self._service.session.start(
      parsed.request,
      request_id=request_id,
      timeout_s=self._service.timeouts.answer_s,
    )
    return parsed, running


async def read_json(http: requests.Request, max_bytes: int) -> bytes:
  """The body of a request that says that it is JSON."""
  _check_content_type(http)
  return await _read_body(http, max_bytes)


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
