"""Values as a chat template prints them: as Python does, but for the marks.

The `repr` of a list or a dict escapes the noncharacters that `marks` puts into
user text. They would stay in the prompt then, spelled out; so they are put
back.
"""

from __future__ import annotations

from collections import abc
import re
from typing import Any

# An escape has an odd backslash in front: `repr` doubles those of the text.
_ESCAPED = re.compile(r'(?<!\\)((?:\\\\)*)\\u(fd[de][0-9a-f])')
_CONTAINERS = (dict, list, tuple, abc.MappingView)


def text_of(value: Any) -> str:
  """What `str` gives, marks left as they are."""
  return repr_of(value) if isinstance(value, _CONTAINERS) else str(value)


def repr_of(value: Any) -> str:
  """What `repr` gives, marks left as they are."""
  return unescape(repr(value))


def unescape(text: str) -> str:
  """The marks of a text that Python has escaped."""
  return _ESCAPED.sub(lambda m: m[1] + chr(int(m[2], 16)), text)


def plain(value: Any) -> Any:
  """A container as its text; anything else as it is."""
  return repr_of(value) if isinstance(value, _CONTAINERS) else value


class _Shown(str):
  """A string or container on the right of `%`."""

  def __new__(cls, value: Any) -> _Shown:
    shown = super().__new__(cls, text_of(value))
    shown.shown_repr = repr_of(value)
    return shown

  def __repr__(self) -> str:
    return self.shown_repr


def operand(value: Any) -> Any:
  """What stands for a value that `%` prints."""
  return _Shown(value) if isinstance(value, (str, *_CONTAINERS)) else value
