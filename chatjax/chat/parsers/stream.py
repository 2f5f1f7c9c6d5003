"""The parser of all formats that mark calls and reasoning with tags."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
from typing import Literal

from chatjax.chat.parsers import events
from chatjax.chat.parsers import reader


@dataclasses.dataclass(frozen=True, kw_only=True)
class Markup:
  """What a format writes between its words.

  Attributes:
    openers: opening tag -> reader of the call that follows it.
    line_openers: the same, for tags that count only where a line begins.
    reasoning: the tags around reasoning; the first counts at the start of the
      output only.
    separators: what stands between calls besides white space.
    controls: control tokens that mean something.
  """

  openers: Mapping[str, reader.Opener]
  line_openers: Mapping[str, reader.Opener] = dataclasses.field(
    default_factory=dict
  )
  reasoning: tuple[str, str] | None = None
  separators: str = ''
  controls: frozenset[str] = frozenset()


class _Tags:
  """Tags and all that they begin with."""

  def __init__(self, tags: Iterable[str]):
    self.whole = frozenset(tags)
    self.prefixes = frozenset(
      tag[:i] for tag in self.whole for i in range(1, len(tag) + 1)
    )


class StreamParser:
  """A `parser.Parser`; see there.

  White space is held back before it is content: in front of a call or after
  one it is the format's own. New lines around reasoning are too.
  """

  def __init__(self, markup: Markup, *, is_reasoning: bool):
    self.is_reasoning = is_reasoning
    self._markup = markup
    self._recorder = events.Recorder()
    self._pos = 0  # characters taken
    self._match = ''  # held: what may become a tag
    self._gap: int | None = None  # held: white space from here on
    self._drop = '\n' if is_reasoning else ''  # not content if it comes next
    self._is_start = not is_reasoning
    self._is_line = True
    self._reader: reader.Reader | None = None
    self._call_start = 0
    # What may open, by whether this is the start and whether a line begins.
    self._tags = [
      [self._tags_at(is_start, is_line) for is_line in (False, True)]
      for is_start in (False, True)
    ]
    self._close = markup.reasoning[1] if markup.reasoning else ''
    self._has_calls = bool(markup.openers or markup.line_openers)

  def feed(self, text: str, is_control: bool = False) -> list[events.Event]:
    if is_control and text not in self._markup.controls:
      self._release()
      self._pos += len(text)
    else:
      for char in text:
        self._pos += 1
        self._take(char)
    return self._recorder.take()

  def finish(self) -> list[events.Event]:
    self._release()
    return self._recorder.take()

  def _tags_at(self, is_start: bool, is_line: bool) -> _Tags:
    tags = set(self._markup.openers)
    if is_line:
      tags |= set(self._markup.line_openers)
    if is_start and self._markup.reasoning:
      tags.add(self._markup.reasoning[0])
    return _Tags(tags)

  def _take(self, char: str) -> None:
    if self._reader is not None:
      self._take_call(char)
    elif self.is_reasoning:
      self._take_reasoning(char)
    else:
      self._take_content(char)

  def _take_content(self, char: str) -> None:
    self._match += char
    while self._match:
      tags = self._tags[self._is_start][self._is_line]
      if self._match in tags.prefixes:
        if self._match in tags.whole:
          self._open(self._match)
        return
      self._show_first('content')

  def _take_reasoning(self, char: str) -> None:
    self._match += char
    while self._match and not self._close.startswith(self._match):
      self._show_first('reasoning')
    if self._match == self._close:
      self.is_reasoning = False
      self._match, self._gap, self._drop = '', None, '\n'
      self._is_line = True

  def _show_first(self, kind: Literal['content', 'reasoning']) -> None:
    """Takes the first character of what is held for ordinary text."""
    char, at = self._match[0], self._pos - len(self._match)
    self._match = self._match[1:]
    if char in reader.SPACE or self._drop:
      if char in self._drop:
        return
      self._drop = ''
      if char in self._held_space():
        self._gap = at if self._gap is None else self._gap
        self._is_line |= char == '\n'
        return
    self._recorder.span(kind, at if self._gap is None else self._gap, at + 1)
    self._gap = None
    self._is_start = self._is_line = False

  def _held_space(self) -> str:
    if self.is_reasoning:
      return '\n'
    may_open = self._is_start and self._markup.reasoning is not None
    return reader.SPACE if self._has_calls or may_open else ''

  def _open(self, tag: str) -> None:
    start = self._pos - len(tag) if self._gap is None else self._gap
    self._match, self._gap = '', None
    self._is_start = False
    if self._markup.reasoning and tag == self._markup.reasoning[0]:
      self.is_reasoning = True
      self._drop = '\n'
      return
    markup = self._markup
    opener = markup.openers.get(tag) or markup.line_openers[tag]
    self._call_start = start
    self._reader = opener(self._emit)
    next(self._reader)

  def _emit(self, call: events.Call) -> None:
    """Takes a call; all text up to its last character was its own."""
    self._recorder.call(call)
    self._call_start = self._pos

  def _take_call(self, char: str) -> None:
    try:
      self._reader.send(char)
    except StopIteration:
      self._reader = None
      self._drop = reader.SPACE + self._markup.separators
      self._is_line = True
    except reader.MalformedError:
      self._reject(self._pos - 1)
      self._take_content(char)

  def _reject(self, stop: int) -> None:
    """Takes a call that is none for content."""
    self._reader = None
    self._recorder.span('content', self._call_start, stop)
    self._drop = ''
    self._is_line = False

  def _release(self) -> None:
    """Lets go of what is held: it cannot become a tag any more."""
    if self._reader is not None:
      self._reader.close()
      self._reject(self._pos)
    kind = 'reasoning' if self.is_reasoning else 'content'
    while self._match:
      self._show_first(kind)
    if self._gap is not None:
      self._recorder.span(kind, self._gap, self._pos)
      self._gap = None


def starts_in_reasoning(prompt_tail: str, tags: tuple[str, str] | None) -> bool:
  """Whether a prompt leaves the reasoning tag open."""
  return tags is not None and prompt_tail.rstrip().endswith(tags[0])
