"""One request that is being answered: from its start to its last byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import pydantic
from starlette import concurrency
from starlette import requests
from starlette import responses

from chatjax import types
from chatjax.chat import generation
from chatjax.chat import texts as texts_lib
from chatjax.protocol import errors
from chatjax.serve import answers
from chatjax.serve import gate as gate_lib
from chatjax.serve import journal as journal_lib
from chatjax.serve import quota as quota_lib
from chatjax.serve import sse
from chatjax.serve import timeouts as timeouts_lib

_T = TypeVar('_T')
CLIENT_LEFT = 499  # nobody reads it
OK = 200


class Visit:
  """A request, and what has to be done when it ends.

  Args:
    running: all of it.
    parts: what runs for it in the engine, with the entry of each.
    gate: where it is let in.
    share: of its key's quota, given back at the end.
    request: what was asked.
    user, safety_identifier: who asked.
  """

  def __init__(
    self,
    running: generation.Generation | texts_lib.Texts,
    parts: Sequence[tuple[generation.Generation, journal_lib.Entry]],
    gate: gate_lib.Gate,
    share: quota_lib.Share,
    *,
    request: types.Request,
    user: str | None,
    safety_identifier: str | None = None,
  ):
    self.running = running
    self.request = request
    self._parts = parts
    self._gate = gate
    self._share = share
    self._asker = {'user': user, 'safety_identifier': safety_identifier}
    gate.enter(running)

  def end(self, status: int = OK, code: str | None = None) -> None:
    """Stops the model, if it still runs, and writes the visit down."""
    self.running.cancel()
    self._gate.leave(self.running)
    self._share.give_back()
    for part, entry in self._parts:
      failed = part.failure and errors.as_request_error(part.failure).code
      entry.close(
        journal_lib.Visit(
          model=part.meta.model,
          status=status,
          outcome=journal_lib.outcome(part),
          code=failed or code,
          n=part.meta.n,
          is_stream=self.request.stream,
          num_generated=part.num_generated,
          **self._asker,
        )
      )


async def answer(
  http: requests.Request,
  visit: Visit,
  timeouts: timeouts_lib.Timeouts,
  *,
  whole: Callable[[Any], pydantic.BaseModel],
  chunks: sse.Chunks,
  keep: sse.Keep | None = None,
) -> responses.Response:
  """Answers, or raises `types.ChatjaxError`.

  Args:
    http: who asks.
    visit: what is asked.
    timeouts: how long it may take.
    whole: makes the answer of what all of it comes to.
    chunks: makes those of a stream.
    keep: see `sse.EventStream`.
  """
  running, status = visit.running, CLIENT_LEFT
  try:
    if not visit.request.stream:
      result = await _while_connected(http, running.aresult())
      status = OK
      # Building a long answer, or keeping one, must not hold up streams.
      return answers.model(await concurrency.run_in_threadpool(whole, result))
    # The first output decides the status: an early failure is not a 200.
    first = await _while_connected(http, anext(running, None))
    status = None  # the stream goes on
    return sse.EventStream(
      running,
      first,
      chunks,
      keep=keep,
      keep_alive_s=timeouts.keep_alive_s,
      pads=visit.request.include_obfuscation,
      write_s=timeouts.write_s,
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
