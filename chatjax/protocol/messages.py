"""The `messages` of a request, each for itself."""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import calls
from chatjax.protocol import content as content_lib
from chatjax.protocol import errors
from chatjax.protocol import json_value
from chatjax.protocol import strict

_ALL = frozenset({'role', 'content', 'name'})
_ANSWER = _ALL | {
  'annotations', 'audio', 'function_call', 'parsed', 'reasoning',
  'reasoning_content', 'refusal', 'tool_calls',
}  # fmt: skip
_FIELDS = {
  'developer': _ALL,
  'system': _ALL,
  'user': _ALL,
  'assistant': _ANSWER,
  'tool': _ALL | {'tool_call_id'},
  'function': _ALL,
}
ROLES = tuple(_FIELDS)
_PARTS = {'user': ('text', 'file'), 'assistant': ('text', 'refusal')}


class Message(strict.Strict):
  """One message."""

  path: ClassVar[str] = 'messages[]'
  role: Literal['developer', 'system', 'user', 'assistant', 'tool', 'function']
  content: content_lib.Parts | None = None
  name: strict.AuthorName | None = None
  tool_calls: Annotated[
    list[calls.Call],
    pydantic.Field(fail_fast=True),
    strict.at_most('max_tools'),
  ] = pydantic.Field(default_factory=list)
  function_call: calls.OldCall | None = None
  refusal: strict.Text | None = None
  parsed: json_value.ReadByClient | None = None
  reasoning: strict.Text | None = None
  reasoning_content: strict.Text | None = None
  tool_call_id: calls.CallId | None = None

  @pydantic.model_validator(mode='before')
  @classmethod
  def _check_fields(cls, value: Any) -> Any:
    role = value.get('role') if isinstance(value, dict) else None
    if not isinstance(role, str):
      return value
    if role not in _FIELDS:
      raise types.RequestError(
        f'{errors.shorten(role)} is not a role; choose one of {list(ROLES)}.',
        param='role',
      )
    for name in value:
      if value[name] is not None and name not in _FIELDS[role]:
        raise errors.unknown(str(name))
    return value

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    has_calls = bool(self.tool_calls or self.function_call)
    is_said = has_calls or self.refusal is not None or self.role == 'function'
    if self.content is None and not is_said:
      raise errors.missing('content')
    for param, role in (('tool_call_id', 'tool'), ('name', 'function')):
      if self.role == role and getattr(self, param) is None:
        raise errors.missing(param)
    for idx, part in enumerate(self.content or ()):
      if part.type not in (kinds := _PARTS.get(self.role, ('text',))):
        raise types.RequestError(
          f'a part of type {part.type!r} has no place in a message of role '
          f'{self.role!r}; its parts are of {list(kinds)}.',
          param=f'content[{idx}].type',
        )
    _check_answer(self)
    return self

  @property
  def text(self) -> str:
    return content_lib.join(self.content or ()) + (self.refusal or '')

  @property
  def thoughts(self) -> str | None:
    """What the model thought; both names are in use."""
    given = (self.reasoning_content, self.reasoning)
    return next((text for text in given if text is not None), None)


def _check_answer(message: Message) -> None:
  if message.tool_calls and message.function_call:
    raise types.RequestError(
      'give tool_calls or function_call, not both.', param='function_call'
    )
  given = {message.reasoning, message.reasoning_content} - {None}
  if len(given) > 1:
    raise types.RequestError(
      'reasoning and reasoning_content differ; give one of them.',
      param='reasoning',
    )
  seen: set[str] = set()
  for idx, call in enumerate(message.tool_calls):
    if call.id in seen:
      raise types.RequestError(
        f'{errors.shorten(call.id)} is the id of an earlier call.',
        param=f'tool_calls[{idx}].id',
      )
    seen.add(call.id)
