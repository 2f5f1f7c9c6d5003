"""Values in notations close to JSON, and the JSON made of them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
import dataclasses
import json
import re
from typing import Literal

from chatjax.chat.parsers import reader

_MAX_DEPTH = 64
_NUMBER = re.compile(r'-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?')
_WORDS = {
  'true': 'true', 'True': 'true',
  'false': 'false', 'False': 'false',
  'null': 'null', 'None': 'null',
}  # fmt: skip
_CLOSERS = {'[': ']', '(': ')'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notation:
  """How values are written.

  Attributes:
    quotes: first characters of strings.
    string: reads a string whose first character is given; returns it decoded.
    keys: whether the keys of an object are bare words, strings, or either.
  """

  quotes: str
  string: Callable[[str], Generator[None, str, str]]
  keys: Literal['string', 'either']


def members(
  notation: Notation,
  *,
  sign: str,
  end: str,
  keys: Literal['bare', 'string', 'either'],
  depth: int = 0,
) -> Generator[None, str, str]:
  """Reads `key sign value, ...` up to and with `end`.

  Returns: JSON of the object.
  """
  found: dict[str, str] = {}
  char = yield from reader.space()
  while char != end:
    if char in notation.quotes:
      reader.require(keys != 'bare')
      key = yield from notation.string(char)
      char = yield from reader.space()
    else:
      reader.require(keys != 'string')
      key, char = yield from _word(char)
    reader.require(char == sign and key not in found)
    char = yield from reader.space()
    found[key], char = yield from _value(notation, char, depth)
    if char == ',':
      char = yield from reader.space()
    else:
      reader.require(char == end)
  items = (f'{quoted(key)}: {value}' for key, value in found.items())
  return '{' + ', '.join(items) + '}'


def is_word(text: str) -> bool:
  """Whether a key can stand without quotes."""
  return bool(text) and all(_is_word_char(char) for char in text)


def quoted(text: str) -> str:
  """JSON of a string, readable where it can be."""
  try:
    text.encode()
  except UnicodeEncodeError:
    # Escaped halves of a character; two of them are one in JSON.
    return json.dumps(text)
  return json.dumps(text, ensure_ascii=False)


def _value(
  notation: Notation, char: str, depth: int
) -> Generator[None, str, tuple[str, str]]:
  """Reads a value; returns its JSON and the first character after it."""
  reader.require(depth < _MAX_DEPTH)
  if char in notation.quotes:
    text = quoted((yield from notation.string(char)))
  elif char in _CLOSERS:
    text = yield from _items(notation, _CLOSERS[char], depth + 1)
  elif char == '{':
    text = yield from members(
      notation, sign=':', end='}', keys=notation.keys, depth=depth + 1
    )
  else:
    word, char = yield from _word(char)
    is_number = _NUMBER.fullmatch(word) is not None
    reader.require(is_number or word in _WORDS)
    return word if is_number else _WORDS[word], char
  return text, (yield from reader.space())


def _items(
  notation: Notation, end: str, depth: int
) -> Generator[None, str, str]:
  found = []
  char = yield from reader.space()
  while char != end:
    text, char = yield from _value(notation, char, depth)
    found.append(text)
    if char == ',':
      char = yield from reader.space()
    else:
      reader.require(char == end)
  return '[' + ', '.join(found) + ']'


def _word(char: str) -> Generator[None, str, tuple[str, str]]:
  """Reads a name or a number; returns it and what follows."""
  word = []
  while _is_word_char(char):
    word.append(char)
    char = yield
  reader.require(bool(word))
  if char in reader.SPACE:
    char = yield from reader.space()
  return ''.join(word), char


def _is_word_char(char: str) -> bool:
  return char.isalnum() or char in '_-+.$'
