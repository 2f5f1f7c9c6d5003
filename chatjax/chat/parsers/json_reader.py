"""JSON, read one character at a time."""

from __future__ import annotations

from collections.abc import Generator
import json
import re

from chatjax.chat.parsers import reader

# As deep as Python's own JSON reader safely goes.
_MAX_DEPTH = 256
_NUMBER = re.compile(r'-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?')
_WORDS = frozenset({'true', 'false', 'null'})
_WORD_CHARS = frozenset('abcdefghijklmnopqrstuvwxyzE0123456789+-.')
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset('0123456789abcdefABCDEF')


def value(first: str) -> Generator[None, str, str]:
  """Reads an object, a list or a string whose first character is known.

  Returns: its text.
  """
  reader.require(first in '{["')
  scanner, text = _Scanner(), [first]
  while not scanner.feed(text[-1]):
    text.append((yield))
  return ''.join(text)


def decode(text: str) -> str:
  """The string that a JSON string is."""
  return json.loads(text)


class _Scanner:
  """A push-down automaton that accepts one JSON value.

  `feed` takes a character and says whether the value is complete with it.
  """

  def __init__(self):
    self._stack: list[str] = []
    self._word: list[str] = []
    self._is_key = False
    self._num_hex = 0
    self._state = self._value

  def feed(self, char: str) -> bool:
    return self._state(char)

  def _value(self, char: str) -> bool:
    if char == '"':
      self._is_key = False
      self._state = self._string
    elif char in '{[':
      reader.require(len(self._stack) < _MAX_DEPTH)
      self._stack.append(char)
      self._state = self._first_key if char == '{' else self._first_item
    elif char in _WORD_CHARS:
      self._word = [char]
      self._state = self._in_word
    else:
      reader.require(char in reader.SPACE)
    return False

  def _first_key(self, char: str) -> bool:
    return self._close() if char == '}' else self._key(char)

  def _first_item(self, char: str) -> bool:
    return self._close() if char == ']' else self._value(char)

  def _key(self, char: str) -> bool:
    if char == '"':
      self._is_key = True
      self._state = self._string
    else:
      reader.require(char in reader.SPACE)
    return False

  def _colon(self, char: str) -> bool:
    if char == ':':
      self._state = self._value
    else:
      reader.require(char in reader.SPACE)
    return False

  def _after(self, char: str) -> bool:
    if char == ',':
      self._state = self._key if self._stack[-1] == '{' else self._value
    elif char == ('}' if self._stack[-1] == '{' else ']'):
      return self._close()
    else:
      reader.require(char in reader.SPACE)
    return False

  def _close(self) -> bool:
    self._stack.pop()
    return self._end()

  def _end(self) -> bool:
    self._state = self._after
    return not self._stack

  def _string(self, char: str) -> bool:
    if char == '"':
      if not self._is_key:
        return self._end()
      self._state = self._colon
    elif char == '\\':
      self._state = self._escape
    else:
      reader.require(char >= ' ')
    return False

  def _escape(self, char: str) -> bool:
    if char == 'u':
      self._num_hex = 4
      self._state = self._hex
    else:
      reader.require(char in _ESCAPES)
      self._state = self._string
    return False

  def _hex(self, char: str) -> bool:
    reader.require(char in _HEX)
    self._num_hex -= 1
    if not self._num_hex:
      self._state = self._string
    return False

  def _in_word(self, char: str) -> bool:
    if char in _WORD_CHARS:
      self._word.append(char)
      return False
    word = ''.join(self._word)
    reader.require(word in _WORDS or _NUMBER.fullmatch(word) is not None)
    self._state = self._after
    return self._after(char)
