"""Keeps what users write apart from a template's own special tokens.

A rendered prompt is one string in which a template's `<|im_end|>` and a
user's look the same. So before rendering, a mark, a Unicode noncharacter that
no string of the request has, goes into the user's strings: after every
character that starts a special spelling and before every one that ends one.
No unmarked spelling can then start or end in user text, whatever a template
cuts away or puts together; the marks are taken out after special spellings
have been found.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from chatjax import types

# Around what a model thought, where that stands in its answer.
THOUGHT = ('<think>', '</think>')
_NONCHARACTERS = tuple(map(chr, range(0xFDD0, 0xFDF0)))


class Marker:
  """Marks the strings of one request.

  Attributes:
    mark: the character that was chosen.
    end: another one that no string has.
  """

  def __init__(self, spellings: Iterable[str], taken: Iterable[str]):
    """Chooses two characters.

    Args:
      spellings: of the special tokens, two characters or more.
      taken: all strings that may stand in the prompt.

    Raises:
      types.RequestError: the strings use up the noncharacters.
    """
    self.mark, self.end = _choose(taken)
    spellings = list(spellings)
    # Templates trim and split at white space, which so stays as it is.
    cores = [spelling.strip() or spelling for spelling in spellings]
    starts = {core[0] for core in cores}
    ends = {core[-1] for core in cores}
    self._table = {
      ord(c): (self.mark if c in ends else '')
      + c
      + (self.mark if c in starts else '')
      for c in starts | ends
    }
    # One string to search beats thousands; no spelling has a NUL.
    self._spellings = '\0'.join(spellings)

  def text(self, text: str) -> str:
    """A string within a larger value, such as a tool's description."""
    return text.translate(self._table)

  def whole(self, text: str) -> str:
    """A string that a template may use as a whole, such as a content.

    It gets one more mark if it could be the middle of a spelling whose start
    and end are the template's. The mark follows leading white space, which
    templates like to trim.
    """
    marked = self.text(text)
    core = text.strip()
    if core and core in self._spellings:
      space = len(text) - len(text.lstrip())
      return marked[:space] + self.mark + marked[space:]
    return marked

  def answer(self, text: str) -> str:
    """An answer of the model, for a template that looks for a thought in it.

    The tags of a thought that it begins with stay as they are; what is said of
    tags later is text.
    """
    opens, closes = THOUGHT
    start, opening, thought = text.partition(opens)
    if start.strip():
      start, opening, thought = '', '', text
    thought, closing, rest = thought.partition(closes)
    if not opening and not closing:
      return self.whole(text)
    return start + opening + self.text(thought) + closing + self.text(rest)


def map_strings(value: Any, function: Callable[[str], str]) -> Any:
  """A copy of plain JSON data with every string replaced, keys included."""
  if isinstance(value, str):
    return function(value)
  if isinstance(value, Mapping):
    return {
      map_strings(key, function): map_strings(item, function)
      for key, item in value.items()
    }
  if isinstance(value, (list, tuple)):
    return [map_strings(item, function) for item in value]
  return value


def strings_of(value: Any) -> list[str]:
  """All strings in plain JSON data, keys included."""
  found: list[str] = []
  map_strings(value, lambda text: (found.append(text), text)[1])
  return found


def _choose(taken: Iterable[str]) -> tuple[str, str]:
  texts = [text for text in taken if not text.isascii()]
  free = (c for c in _NONCHARACTERS if not any(c in text for text in texts))
  try:
    return next(free), next(free)
  except StopIteration:
    raise types.RequestError(
      'The messages use more than 30 of the 32 noncharacters U+FDD0 to U+FDEF;'
      ' leave two out.',
      param='messages',
    ) from None
