"""Server-sent events: the chunks of one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import json
import logging
import secrets
from typing import Protocol

from fastapi import sse
import pydantic
from starlette import concurrency
from starlette import responses
from starlette import types as asgi

from chatjax import types
from chatjax.protocol import errors

_log = logging.getLogger(__name__)
DONE = sse.format_sse_event(data_str='[DONE]')
KEEP_ALIVE = b': keep-alive\n\n'
_SIZE_STEP = 128  # bytes

# Keeps the whole of a stream; blocks; says why it could not.
Keep = Callable[[Sequence[types.Delta]], str | None]


class Named(Protocol):
  """What is the same in all of an answer."""

  id: str


class Running(Protocol):
  """What a stream asks of a request; see `generation.Generation`."""

  num_cached: int
  drafted: types.Drafted

  @property
  def meta(self) -> Named: ...

  async def __anext__(self) -> types.Delta: ...


class Chunks(Protocol):
  """What makes deltas the chunks of an interface; see `build.ChunkBuilder`."""

  def start(self) -> Iterator[pydantic.BaseModel]: ...

  def add(self, delta: types.Delta) -> Iterator[pydantic.BaseModel]: ...

  def end(
    self, num_cached: int, drafted: types.Drafted
  ) -> Iterator[pydantic.BaseModel]: ...


class EventStream(responses.StreamingResponse):
  """A stream that ends for its readers' sake, too.

  Args:
    running: the request.
    first: its first delta.
    chunks: makes chunks of deltas.
    keep: is given all deltas before the last event; a comment says why, if the
      answer could not be kept.
    keep_alive_s: silence after which a comment goes out; None is never.
    pads: whether chunks are padded, so that their sizes say less of the text.
    write_s: how long a reader may leave an event lying before it is cut off;
      None is for ever. (What the model makes meanwhile waits here: `n` times
      `max_tokens` tokens at most.)
    on_end: called once, however it ends: with the code of an error if the
      server cut it off.
  """

  media_type = 'text/event-stream'

  def __init__(
    self,
    running: Running,
    first: types.Delta | None,
    chunks: Chunks,
    *,
    keep: Keep | None,
    keep_alive_s: float | None,
    pads: bool,
    write_s: float | None,
    on_end: Callable[..., None],
  ):
    event = _padded_event if pads else _event
    super().__init__(
      _events(running, first, chunks, event, keep_alive_s, keep),
      headers={'Cache-Control': 'no-cache'},
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
  running: Running,
  first: types.Delta | None,
  chunks: Chunks,
  event: Callable[[pydantic.BaseModel], bytes],
  keep_alive_s: float | None,
  keep: Keep | None,
) -> AsyncIterator[bytes]:
  """`first` was awaited before the status line went out."""
  for chunk in chunks.start():
    yield event(chunk)
  deltas = [first] if first else []
  try:
    for chunk in chunks.add(first) if first else ():
      yield event(chunk)
    pulse = _Pulse(keep_alive_s)
    async for delta in _with_pulse(running, pulse):
      if delta is None:
        yield KEEP_ALIVE
        continue
      if keep is not None:
        deltas.append(delta)
      for chunk in chunks.add(delta):
        pulse.beat()
        yield event(chunk)
  except types.ChatjaxError as error:
    # The status is out already: the error is an event, and no [DONE].
    if not isinstance(error, types.RequestError):
      _log.error('%s ended early: %s', running.meta.id, error)
    body = errors.body(errors.as_request_error(error))
    yield sse.format_sse_event(data_str=json.dumps(body))
    return
  if keep is not None:
    fault = await concurrency.run_in_threadpool(keep, deltas)
    if fault is not None:
      yield f': not stored: {" ".join(fault.split())}\n\n'.encode()
  for chunk in chunks.end(running.num_cached, running.drafted):
    yield event(chunk)
  yield DONE


class _Pulse:
  """When the reader will have waited long enough.

  What is silent is the wire: deltas of a call that is being written, or of
  text that is held back, are not heard there.
  """

  def __init__(self, every_s: float | None):
    self._every_s = every_s
    self._at = self.beat()

  def beat(self) -> float | None:
    """Something goes out now."""
    now = asyncio.get_running_loop().time()
    self._at = None if self._every_s is None else now + self._every_s
    return self._at

  @property
  def is_due(self) -> bool:
    now = asyncio.get_running_loop().time()
    return self._at is not None and now >= self._at

  def until(self) -> asyncio.Timeout:
    return asyncio.timeout_at(self._at)


async def _with_pulse(
  running: Running, pulse: _Pulse
) -> AsyncIterator[types.Delta | None]:
  """The deltas, and None whenever the reader has waited."""
  while True:
    if pulse.is_due:
      pulse.beat()
      yield None
    try:
      async with pulse.until():
        delta = await anext(running, None)
    except TimeoutError:
      continue
    if delta is None:
      return
    yield delta


def _event(chunk: pydantic.BaseModel) -> bytes:
  text = chunk.model_dump_json(exclude_unset=True)
  return sse.format_sse_event(data_str=text)


def _padded_event(chunk: pydantic.BaseModel) -> bytes:
  """An event of one of few sizes: OpenAI's `obfuscation` field fills it up."""
  fields = chunk.model_dump(mode='json', exclude_unset=True)
  if fields['choices']:
    fields['obfuscation'] = ''
    room = -len(json.dumps(fields)) % _SIZE_STEP
    fields['obfuscation'] = secrets.token_hex(_SIZE_STEP)[:room]
  return sse.format_sse_event(data_str=json.dumps(fields))
