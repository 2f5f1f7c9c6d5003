"""How the name of a tool is read."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Generator

from chatjax.chat.parsers import reader


def read(
  names: Collection[str], ends: str, first: str = ''
) -> Generator[None, str, tuple[str, str]]:
  """Reads one of some names.

  Args:
    names: those that are known.
    ends: characters that end a name.
    first: what was read of it.

  Returns: the name and the character that ended it.
  """
  name = first
  while True:
    reader.require(any(known.startswith(name) for known in names))
    char = yield
    if char in ends:
      reader.require(name in names)
      return name, char
    name += char
