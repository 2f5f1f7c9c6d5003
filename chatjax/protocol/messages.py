"""The `messages` of a request: text only in this version."""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import parameters

ROLES = ('developer', 'system', 'user', 'assistant')


class Strict(pydantic.BaseModel):
  """No coercion (a bool is not an int), no unknown fields."""

  model_config = pydantic.ConfigDict(
    strict=True, extra='forbid', frozen=True, hide_input_in_errors=True
  )


def _encodable(text: str) -> str:
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise types.RequestError(
      f'the character at {error.start} is a lone surrogate; it has no UTF-8.'
    ) from None
  return text


Text = Annotated[str, pydantic.AfterValidator(_encodable)]


class TextPart(Strict):
  """One content part."""

  type: Literal['text']
  text: Text

  @pydantic.model_validator(mode='before')
  @classmethod
  def _refuse(cls, value: Any) -> Any:
    if isinstance(value, dict):
      kind = value.get('type')
      if isinstance(kind, str) and kind in parameters.REFUSED_PARTS:
        raise errors.unsupported('type', f'A content part of type {kind!r}')
    return value


def _parts(value: Any) -> Any:
  """A plain string is short for one text part."""
  return [{'type': 'text', 'text': value}] if isinstance(value, str) else value


# The content of a message, however it was spelled.
Parts = Annotated[
  list[TextPart],
  pydantic.FailFast(),
  pydantic.Field(min_length=1),
  pydantic.BeforeValidator(_parts),
]


class Message(Strict):
  """One message; `as_dict` is what a chat template gets."""

  role: Literal['developer', 'system', 'user', 'assistant']
  content: Parts

  @pydantic.model_validator(mode='before')
  @classmethod
  def _refuse(cls, value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    value = {name: item for name, item in value.items() if item is not None}
    _check_role(value.get('role'))
    if value.get('role') == 'assistant':
      value = parameters.without_neutral(
        value, parameters.NEUTRAL_ANSWER_FIELDS
      )
    for name in value:
      if name in parameters.REFUSED_MESSAGE_FIELDS:
        raise errors.unsupported(name)
    return value

  def as_dict(self) -> dict[str, str]:
    """Parts are joined without a separator: the text is the user's own."""
    text = ''.join(part.text for part in self.content)
    return {'role': self.role, 'content': text}


def _check_role(role: Any) -> None:
  if not isinstance(role, str) or role in ROLES:
    return
  if role in parameters.REFUSED_ROLES:
    raise errors.unsupported('role', f'A message of role {role!r}')
  raise types.RequestError(
    f'{errors.shorten(role)} is not a role; choose one of {list(ROLES)}.',
    param='role',
  )
