"""Blocks between fences in what a model wrote as markdown."""

from __future__ import annotations

import re

_OPENING = re.compile(r'^ {0,3}```[^`\n]*$', re.MULTILINE)
_CLOSING = re.compile(r'^ {0,3}```[ \t]*$', re.MULTILINE)


def first_block(text: str) -> str | None:
  """The inside of the first block; up to the end if nothing closes it."""
  opening = _OPENING.search(text)
  if opening is None:
    return None
  start = min(opening.end() + 1, len(text))
  closing = _CLOSING.search(text, start)
  return text[start : closing.start() if closing else len(text)]
