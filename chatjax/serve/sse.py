"""Server-sent events: the chunks of one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
  """A stream that stops the model when it ends, however it ends."""

  media_type = 'text/event-stream'

  def __init__(self, running: generation.Generation, first: types.Delta | None):
    super().__init__(
      _events(running, first), headers={'Cache-Control': 'no-cache'}
    )
    self._running = running

  async def __call__(
    self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send
  ) -> None:
    try:
      await super().__call__(scope, receive, send)
    finally:
      self._running.cancel()


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
    _log.error('%s ended early: %s', running.meta.id, error)
    body = errors.body(errors.as_request_error(error))
    yield sse.format_sse_event(data_str=json.dumps(body))
    return
  for chunk in chunks.end(running.num_cached):
    yield _event(chunk)
  yield DONE


def _event(chunk: pydantic.BaseModel) -> bytes:
  text = chunk.model_dump_json(exclude_unset=True)
  return sse.format_sse_event(data_str=text)
