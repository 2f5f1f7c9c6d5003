"""How an answer is shown while it comes: plain, or as markdown."""

from __future__ import annotations

from collections.abc import Iterator
import re
import time
from typing import Protocol
from typing import Self
from typing import TextIO

from rich import console as console_lib
from rich import live as live_lib
from rich import markdown
from rich import segment

_REFRESH_S = 0.1
# What could move a terminal's cursor or change its state.
_CONTROLS = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f]')


class View(Protocol):
  """A context manager around the `write` of one answer."""

  def write(self, text: str) -> None: ...

  def __enter__(self) -> Self: ...

  def __exit__(self, *error: object) -> None: ...


def printable(text: str) -> str:
  """The text without what a terminal would obey."""
  return _CONTROLS.sub('\N{REPLACEMENT CHARACTER}', text)


class PlainView:
  """Writes at once, byte by byte what the model said if it is no terminal."""

  def __init__(self, out: TextIO):
    self._out = out
    self._is_terminal = out.isatty()
    self._last = '\n'

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    if self._last != '\n':
      self.write('\n')

  def write(self, text: str) -> None:
    self._out.write(printable(text) if self._is_terminal else text)
    self._out.flush()
    self._last = text[-1]


class MarkdownView:
  """Renders finished blocks for good and redraws only the unfinished one.

  The redrawn part is cut to the screen's height: what has scrolled off cannot
  be redrawn and would stay there twice.
  """

  def __init__(self, console: console_lib.Console):
    self._console = console
    self._live = live_lib.Live(
      console=console, auto_refresh=False, transient=True
    )
    self._tail = ''
    self._has_blocks = False
    self._drawn_s = 0.0

  def __enter__(self) -> Self:
    self._live.start()
    return self

  def __exit__(self, *error: object) -> None:
    self._live.update('')
    self._live.stop()
    if self._tail.strip():
      self._print(self._tail)

  def write(self, text: str) -> None:
    self._tail += printable(text)
    now_s = time.monotonic()
    if now_s - self._drawn_s < _REFRESH_S:
      return
    self._drawn_s = now_s
    end = finished(self._tail)
    done, self._tail = self._tail[:end], self._tail[end:]
    self._live.update(
      _Bottom(self._tail, is_first=not (self._has_blocks or done)),
      # Printing what is done draws the rest again anyway, once.
      refresh=not done,
    )
    if done:
      self._print(done)

  def _print(self, text: str) -> None:
    if self._has_blocks:
      self._console.print()
    self._console.print(markdown.Markdown(text))
    self._has_blocks = True


class _Bottom:
  """Markdown of which the last lines are shown if it is too high."""

  def __init__(self, text: str, *, is_first: bool):
    self._text = text
    self._is_first = is_first

  def __rich_console__(
    self, console: console_lib.Console, options: console_lib.ConsoleOptions
  ) -> Iterator[segment.Segment]:
    lines = console.render_lines(
      markdown.Markdown(self._text), options.update(height=None), pad=False
    )
    if not self._is_first:
      lines.insert(0, [])  # as between any two blocks
    for line in lines[-max(1, console.size.height - 2) :]:
      yield from line
      yield segment.Segment.line()


def finished(text: str) -> int:
  """How much of the text is blocks that nothing to come can change.

  That is all but the last block; a line without its end does not count, since
  what is `#` now may be `#1` and part of the paragraph before.
  """
  whole = text[: text.rfind('\n') + 1]
  starts = [
    token.map[0]
    for token in markdown.Markdown(whole).parsed
    if token.level == 0 and token.map and token.nesting >= 0
  ]
  if len(starts) < 2:
    return 0
  lines = whole.splitlines(keepends=True)
  return sum(map(len, lines[: starts[-1]]))
