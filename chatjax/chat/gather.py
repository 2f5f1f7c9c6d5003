"""Runs requests to their end, many at a time, for callers that wait."""

from __future__ import annotations

import collections
from collections.abc import Sequence
import queue
from typing import Protocol

from chatjax import types
from chatjax.chat import patience

# The tokens of a request, by choice.
Tokens = tuple[tuple[types.Token, ...], ...]


class Engine(Protocol):
  """The part of an engine that is needed here."""

  @property
  def max_open(self) -> int: ...

  def submit(self, request: types.TokenRequest, sink: types.Sink) -> None: ...

  def cancel(self, request_id: str, choice: int | None = None) -> None: ...


class _Sink:
  """Keeps a request's tokens, and goes into a queue at its end."""

  def __init__(self, number: int, n: int, ended: queue.SimpleQueue[_Sink]):
    self.number = number
    self.choices: list[list[types.Token]] = [[] for _ in range(n)]
    self.failure: Exception | None = None
    self._left, self._ended = n, ended

  def started(self, num_cached: int) -> None:
    """Of no interest."""

  def prompt(self, tokens: Sequence[types.PromptToken]) -> None:
    """Of no interest."""

  def drafted(self, drafted: types.Drafted) -> None:
    """Of no interest."""

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    self.choices[choice].extend(tokens)

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self._left -= 1
    if not self._left:
      self._ended.put(self)

  def error(self, error: Exception) -> None:
    self.failure = error
    self._ended.put(self)


def run(engine: Engine, requests: Sequence[types.TokenRequest]) -> list[Tokens]:
  """All tokens of all requests, in their order.

  As many are in flight together as the engine's queue takes.

  Raises:
    types.ChatjaxError: one of them failed; the others are cancelled.
  """
  ended: queue.SimpleQueue[_Sink] = queue.SimpleQueue()
  waiting = collections.deque(enumerate(requests))
  in_flight: set[int] = set()
  done: dict[int, Tokens] = {}
  try:
    while waiting or in_flight:
      while waiting:
        number, request = waiting[0]
        sink = _Sink(number, request.n, ended)
        if not _is_taken(engine, request, sink, may_wait=bool(in_flight)):
          break
        in_flight.add(number)
        waiting.popleft()
      sink = ended.get()
      in_flight.discard(sink.number)
      if sink.failure is not None:
        raise sink.failure
      done[sink.number] = tuple(map(tuple, sink.choices))
  finally:
    for number in in_flight:
      engine.cancel(requests[number].request_id)
  return [done[number] for number in range(len(requests))]


def _is_taken(
  engine: Engine, request: types.TokenRequest, sink: _Sink, *, may_wait: bool
) -> bool:
  """Submits a request; False if the queue is full for now."""
  try:
    engine.submit(request, sink)
  except types.RequestError as error:
    if error.code == patience.OVERLOADED and may_wait:
      return False
    raise
  return True
