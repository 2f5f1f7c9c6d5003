"""Server-sent events: the chunks of one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
import json
import logging

from fastapi import sse
import pydantic
from starlette import responses
from starlette import types as asgi

from chatjax import types
from chatjax.chat import generation
from chatjax.protocol import build
from chatjax.protocol import errors

_log = logging.getLogger(__name__)
DONE = sse.format_sse_event(data_str='[DONE]')


class EventStream(responses.StreamingResponse):
  """A stream that ends for its readers' sake, too.

  Args:
    running: the request.
    first: its first delta.
    write_s: how long a reader may leave an event lying before it is cut off;
      None is for ever. (What the model makes meanwhile waits here: `n` times
      `max_tokens` tokens at most.)
    on_end: called once, however it ends: with the code of an error if the
      server cut it off.
  """

  media_type = 'text/event-stream'

  def __init__(
    self,
    running: generation.Generation,
    first: types.Delta | None,
    *,
    write_s: float | None,
    on_end: Callable[..., None],
  ):
    super().__init__(
      _events(running, first), headers={'Cache-Control': 'no-cache'}
    )
    self._write_s = write_s
    self._on_end = on_end
    self._code: str | None = None

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    try:
      await super().__call__(scope, receive, send)
    finally:
      self._on_end(code=self._code)

  async def stream_response(self, send: asgi.Send) -> None:
    async def send_in_time(message: asgi.Message) -> None:
      try:
        async with asyncio.timeout(self._write_s):
          await send(message)
      except TimeoutError:
        raise _TooSlow from None

    try:
      await super().stream_response(send_in_time)
    except _TooSlow:
      # The server closes the connection of an answer that is not complete.
      self._code = 'write_timeout'


class _TooSlow(Exception):
  """The reader does not read."""


async def _events(
  running: generation.Generation, first: types.Delta | None
) -> AsyncIterator[bytes]:
  """`first` was awaited before the status line went out."""
  chunks = build.ChunkBuilder(running.meta)
  for chunk in chunks.start():
    yield _event(chunk)
  try:
    for chunk in chunks.add(first) if first else ():
      yield _event(chunk)
    async for delta in running:
      for chunk in chunks.add(delta):
        yield _event(chunk)
  except types.ChatjaxError as error:
    # The status is out already: the error is an event, and no [DONE].
    if not isinstance(error, types.RequestError):
      _log.error('%s ended early: %s', running.meta.id, error)
    body = errors.body(errors.as_request_error(error))
    yield sse.format_sse_event(data_str=json.dumps(body))
    return
  for chunk in chunks.end(running.num_cached, running.drafted):
    yield _event(chunk)
  yield DONE


def _event(chunk: pydantic.BaseModel) -> bytes:
  text = chunk.model_dump_json(exclude_unset=True)
  return sse.format_sse_event(data_str=text)
