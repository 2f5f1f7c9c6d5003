"""Where the engine puts the tokens of a request until they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import queue

from chatjax import types


class Cancelled:
  """The event that wakes a waiting reader after `cancel`."""


@dataclasses.dataclass(frozen=True)
class Started:
  """The event of a prefill that begins."""

  num_cached: int


@dataclasses.dataclass(frozen=True)
class Prompt:
  """The event of a prompt that was scored."""

  tokens: tuple[types.PromptToken, ...]


Event = (
  tuple[int, Sequence[types.Token]]
  | tuple[int, types.FinishReason]
  | Exception
  | Cancelled
  | Started
  | Prompt
  | types.Drafted
)


class Mailbox:
  """A sink that only queues, so that the engine never waits for a reader.

  One reader, which either blocks (`get`) or awaits (`aget`).

  Args:
    forward: takes the events of a mailbox that is not read by itself.
  """

  def __init__(self, forward: Callable[[Event], None] | None = None):
    self._forward = forward
    self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()
    self._waker: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

  def started(self, num_cached: int) -> None:
    self.put(Started(num_cached))

  def prompt(self, tokens: Sequence[types.PromptToken]) -> None:
    self.put(Prompt(tuple(tokens)))

  def drafted(self, drafted: types.Drafted) -> None:
    self.put(drafted)

  def tokens(self, choice: int, tokens: Sequence[types.Token]) -> None:
    self.put((choice, tuple(tokens)))

  def finish(self, choice: int, reason: types.FinishReason) -> None:
    self.put((choice, reason))

  def error(self, error: Exception) -> None:
    self.put(error)

  def put(self, event: Event) -> None:
    if self._forward is not None:
      self._forward(event)
      return
    self._queue.put(event)
    if self._waker is not None:
      loop, wake = self._waker
      # A closed loop means that nobody reads any more.
      with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(wake.set)

  def get(self) -> Event:
    return self._queue.get()

  async def aget(self) -> Event:
    loop = asyncio.get_running_loop()
    if self._waker is None or self._waker[0] is not loop:
      self._waker = (loop, asyncio.Event())
    wake = self._waker[1]
    while True:
      # Cleared before the look, so that no put can fall between the two.
      wake.clear()
      try:
        return self._queue.get_nowait()
      except queue.Empty:
        await wake.wait()
