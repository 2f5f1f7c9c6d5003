"""Which characters of a choice's stream a reader gets to see."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from chatjax.text import stop as stop_lib


class Shown:
  """Content through the stop strings, and where in the stream it stood.

  Attributes:
    decided: of all characters before this one it is known whether they show.
  """

  def __init__(self, stops: Iterable[str], *, keeps_stop: bool):
    self.decided = 0
    self._stops = stop_lib.StopMatcher(stops, keeps_stop=keeps_stop)
    # Spans [start, stop) of the stream: content that the matcher still holds,
    # and what was let out.
    self._held: collections.deque[tuple[int, int]] = collections.deque()
    self._out: collections.deque[tuple[int, int]] = collections.deque()

  @property
  def is_stopped(self) -> bool:
    """Whether a stop string was seen: nothing shows any more."""
    return self._stops.is_stopped

  def add(self, text: str, start: int, *, may_stop: bool) -> str:
    """Takes content that stands at `start`; returns what shows now."""
    self._held.append((start, start + len(text)))
    return self._let_out(self._stops.feed(text)[0] if may_stop else text)

  def flush(self) -> str:
    """What was held back, now that no more follows."""
    return self._let_out(self._stops.flush())

  def where(self, positions: Iterable[int]) -> list[bool]:
    """Which of these ascending positions show; forgets those before them."""
    shown = []
    for position in positions:
      while self._out and self._out[0][1] <= position:
        self._out.popleft()
      shown.append(bool(self._out) and self._out[0][0] <= position)
    return shown

  def _let_out(self, visible: str) -> str:
    left = len(visible)
    while left:
      start, stop = self._held.popleft()
      end = min(start + left, stop)
      self._out.append((start, end))
      self.decided = end
      left -= end - start
      if end < stop:
        self._held.appendleft((end, stop))
    return visible
