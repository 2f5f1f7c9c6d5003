"""POST /v1/chat/completions: from the body to the last byte of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette import concurrency
from starlette import requests
from starlette import responses

from chatjax import types
from chatjax.chat import generation
from chatjax.chat import session as session_lib
from chatjax.protocol import build
from chatjax.protocol import errors
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import request as request_lib
from chatjax.serve import answers
from chatjax.serve import gate as gate_lib
from chatjax.serve import journal as journal_lib
from chatjax.serve import sse
from chatjax.serve import timeouts as timeouts_lib

_T = TypeVar('_T')
CLIENT_LEFT = 499  # nobody reads it
OK = 200


class Completions:
  """Answers requests of one model."""

  def __init__(
    self,
    session: session_lib.Session,
    *,
    limits: limits_lib.Limits,
    timeouts: timeouts_lib.Timeouts,
    gate: gate_lib.Gate,
    journal: journal_lib.Journal,
  ):
    self._session = session
    self._limits = limits
    self._timeouts = timeouts
    self._gate = gate
    self._journal = journal

  async def create(self, http: requests.Request) -> responses.Response:
    """Answers one request, or raises `types.ChatjaxError`."""
    body = await read_json(http, self._limits.max_body_bytes)
    entry = self._journal.open()
    try:
      # Parsing and tokenizing a long prompt must not hold up other streams.
      parsed, running = await concurrency.run_in_threadpool(
        self._start, body, entry.request_id
      )
    except BaseException:
      self._journal.discard(entry)
      raise
    answer = await self._answer(http, Visit(parsed, running, self._gate, entry))
    answer.headers[answers.REQUEST_ID] = entry.request_id
    return answer

  def _start(
    self, body: bytes, request_id: str
  ) -> tuple[request_lib.Parsed, generation.Generation]:
    parsed = request_lib.parse_json(body, limits=self._limits)
    running = self._session.start(
      parsed.request,
      request_id=request_id,
      timeout_s=self._timeouts.answer_s,
    )
    return parsed, running

  async def _answer(
    self, http: requests.Request, visit: Visit
  ) -> responses.Response:
    running, status = visit.running, CLIENT_LEFT
    try:
      if not visit.is_stream:
        result = await _while_connected(http, running.aresult())
        status = OK
        return answers.model(build.completion(running.meta, result))
      # The first output decides the status: an early failure is not a 200.
      first = await _while_connected(http, anext(running, None))
      status = None  # the stream goes on
      return sse.EventStream(
        running,
        first,
        keep_alive_s=self._timeouts.keep_alive_s,
        pads=visit.pads,
        write_s=self._timeouts.write_s,
        on_end=visit.end,
      )
    except requests.ClientDisconnect:
      return responses.Response(status_code=CLIENT_LEFT)
    except types.ChatjaxError as error:
      status = errors.as_request_error(error).status
      raise
    finally:
      if status is not None:
        visit.end(status)


class Visit:
  """A request that is being answered."""

  def __init__(
    self,
    parsed: request_lib.Parsed,
    running: generation.Generation,
    gate: gate_lib.Gate,
    entry: journal_lib.Entry,
  ):
    self.running = running
    self.is_stream = parsed.request.stream
    self.pads = parsed.request.include_obfuscation
    self._parsed = parsed
    self._gate = gate
    self._entry = entry
    gate.enter(running)

  def end(self, status: int = OK, code: str | None = None) -> None:
    """Stops the model, if it still runs, and writes the visit down."""
    running = self.running
    running.cancel()
    self._gate.leave(running)
    if running.failure is not None:
      code = errors.as_request_error(running.failure).code
    self._entry.close(
      journal_lib.Visit(
        model=running.meta.model,
        status=status,
        outcome=journal_lib.outcome(running),
        code=code,
        n=running.meta.n,
        is_stream=self.is_stream,
        num_generated=running.num_generated,
        user=self._parsed.user,
        safety_identifier=self._parsed.safety_identifier,
      )
    )


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
