"""`verbosity`: one instruction to the model, in words that anyone may read."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Literal

INSTRUCTIONS = {
  'low': 'Answer briefly.',
  'medium': 'Answer at moderate length.',
  'high': 'Answer thoroughly and in detail.',
}
_SYSTEM = ('system', 'developer')


def instruct(
  messages: Sequence[Mapping[str, Any]],
  verbosity: Literal['low', 'medium', 'high'] | None,
) -> Sequence[Mapping[str, Any]]:
  """The messages, with the instruction at the end of the system's."""
  if verbosity is None:
    return messages
  line = INSTRUCTIONS[verbosity]
  first = messages[0]
  if first['role'] not in _SYSTEM:
    return [{'role': 'system', 'content': line}, *messages]
  content = f'{first["content"]}\n\n{line}'
  return [{**first, 'content': content}, *messages[1:]]
