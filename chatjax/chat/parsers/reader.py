"""How the text of a call is read: one character at a time.

A reader is a generator that is sent characters. It returns with the last
character of the call and raises `MalformedError` at the first one that no
well-formed call has there, so that ordinary text is not held back for long.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Sequence

from chatjax.chat.parsers import events

SPACE = ' \t\r\n'

Reader = Generator[None, str, None]
Emit = Callable[[events.Call], None]
# Makes the reader of what follows an opening tag.
Opener = Callable[[Emit], Reader]


class MalformedError(Exception):
  """The text is not a call."""


def space() -> Generator[None, str, str]:
  """Skips white space.

  Returns: the first character after it.
  """
  while (char := (yield)) in SPACE:
    pass
  return char


def rest(tag: str) -> Generator[None, str, None]:
  """Takes exactly this text."""
  for wanted in tag:
    if (yield) != wanted:
      raise MalformedError


def tag(text: str) -> Generator[None, str, None]:
  """Takes exactly this text, white space before it aside."""
  require((yield from space()) == text[0])
  yield from rest(text[1:])


def until(end: str) -> Generator[None, str, str]:
  """Takes any text up to and with `end`.

  Returns: the text before `end`.
  """
  # Knuth, Morris and Pratt: linear, whatever the text.
  fails = _fails(end)
  text, matched = [], 0
  while matched < len(end):
    char = yield
    text.append(char)
    while matched and char != end[matched]:
      matched = fails[matched - 1]
    matched += char == end[matched]
  return ''.join(text[: -len(end)])


def one_of(texts: Sequence[str], first: str = '') -> Generator[None, str, str]:
  """Takes one of some texts, none of which begins another.

  Args:
    texts: those that may come.
    first: what was read of it.
  """
  seen = first
  while seen not in texts:
    seen += yield
    require(any(text.startswith(seen) for text in texts))
  return seen


def require(is_well_formed: bool) -> None:
  """Raises `MalformedError` unless the text can still become a call."""
  if not is_well_formed:
    raise MalformedError


def _fails(text: str) -> list[int]:
  """For each prefix, how long a proper prefix of it ends it too."""
  fails, matched = [0], 0
  for char in text[1:]:
    while matched and char != text[matched]:
      matched = fails[matched - 1]
    matched += char == text[matched]
    fails.append(matched)
  return fails
