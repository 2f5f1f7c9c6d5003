"""What a parser makes of a model's output."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
  """Characters of the fed stream that are for a reader's eyes.

  Attributes:
    start, stop: offsets into all that was fed, control tokens included.
  """

  kind: Literal['content', 'reasoning']
  start: int
  stop: int


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
  """One complete, well-formed call.

  Attributes:
    arguments: the JSON text as the model wrote it, where it wrote JSON; the
      plain input of a custom tool.
  """

  name: str
  arguments: str
  is_custom: bool = False


Event = Span | Call


class Recorder:
  """Collects events; spans that touch become one."""

  def __init__(self):
    self._events: list[Event] = []

  def span(
    self, kind: Literal['content', 'reasoning'], start: int, stop: int
  ) -> None:
    """Adds a span, if it holds anything. Negative offsets are the prompt's."""
    start = max(start, 0)
    if start >= stop:
      return
    if self._events:
      last = self._events[-1]
      if isinstance(last, Span) and (last.kind, last.stop) == (kind, start):
        self._events[-1] = Span(kind, last.start, stop)
        return
    self._events.append(Span(kind, start, stop))

  def call(self, call: Call) -> None:
    self._events.append(call)

  def take(self) -> list[Event]:
    """The events since the last time."""
    taken, self._events = self._events, []
    return taken
