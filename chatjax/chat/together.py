"""Several requests of one prompt as the choices of one: one prefill for all."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import threading

from chatjax import types
from chatjax.chat import gather


class Together:
  """Takes requests one by one, each through a `Part`, then submits them.

  Each of them reads its own tokens, as choice 0, and ends by itself.
  """

  def __init__(self, engine: gather.Engine, request_id: str):
    self._engine, self._request_id = engine, request_id
    self._taken: list[tuple[types.TokenRequest, types.Sink]] = []
    self._is_submitted = threading.Event()

  def part(self) -> Part:
    """What the next request is submitted to."""
    return Part(self, len(self._taken))

  def take(self, request: types.TokenRequest, sink: types.Sink) -> None:
    assert request.n == 1, 'a part is one choice'
    self._taken.append((request, sink))

  def submit(self) -> None:
    """Hands all of them to the engine; raises `types.RequestError`."""
    requests, sinks = zip(*self._taken, strict=True)
    whole = dataclasses.replace(
      requests[0],
      request_id=self._request_id,
      n=len(requests),
      variants=requests,
    )
    self._is_submitted.set()
    self._engine.submit(whole, _Fan(sinks))

  def cancel(self, number: int) -> None:
    """Ends one of them."""
    if self._is_submitted.is_set():
      self._engine.cancel(self._request_id, number)


class Part:
  """The engine of one of the requests."""

  def __init__(self, together: Together, number: int):
    self._together, self._number = together, number

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None:
    self._together.take(request, sink)

  def cancel(self, request_id: str, choice: int | None = None) -> None:
    self._together.cancel(self._number)


class _Fan:
  """Hands each choice's events to the sink of its own request."""

  def __init__(self, sinks: Sequence[types.Sink]):
    self._sinks = sinks

  def started(self, num_cached: int) -> None:
    for sink in self._sinks:
      sink.started(num_cached)

  def prompt(self, tokens: Sequence[types.PromptToken]) -> None:
    for sink in self._sinks:
      sink.prompt(tokens)

  def drafted(self, drafted: types.Drafted) -> None:
    """Whose guesses they were is not told, and moves no token."""

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    self._sinks[choice].tokens(0, tokens)

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self._sinks[choice].finish(0, reason)

  def error(self, error: Exception) -> None:
    for sink in self._sinks:
      sink.error(error)
