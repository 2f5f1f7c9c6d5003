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


def ways(
  messages: Sequence[Mapping[str, Any]],
  verbosity: Literal['low', 'medium', 'high'] | None,
) -> list[Sequence[Mapping[str, Any]]]:
  """The messages with the instruction, the best way first.

  It stands at the end of the system's message; where there is none, in one of
  its own, or, for templates that refuse that, before what the user says first.
  """
  if verbosity is None:
    return [messages]
  line = INSTRUCTIONS[verbosity]
  first = messages[0]
  if first['role'] in _SYSTEM:
    content = f'{first["content"]}\n\n{line}'
    return [[{**first, 'content': content}, *messages[1:]]]
  alone = [{'role': 'system', 'content': line}, *messages]
  if first['role'] != 'user':
    return [alone]
  content = f'{line}\n\n{first["content"]}'
  return [alone, [{**first, 'content': content}, *messages[1:]]]
