"""What all request models share: nothing is coerced, nothing is unbounded."""

from __future__ import annotations

import re
from typing import Annotated
from typing import Any
from typing import ClassVar

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import parameters

MAX_INT32 = 2**31 - 1
_NAME = re.compile(r'[A-Za-z0-9_-]{1,64}')


class Strict(pydantic.BaseModel):
  """No coercion (a bool is not an int), no unknown fields; null is absent.

  Validation needs the `limits.Limits` as its context.

  Attributes:
    path: of these objects in the table of parameters.
  """

  model_config = pydantic.ConfigDict(
    strict=True, extra='forbid', frozen=True, hide_input_in_errors=True
  )
  path: ClassVar[str]

  @pydantic.model_validator(mode='before')
  @classmethod
  def _take(cls, value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    known = {field.alias or name for name, field in cls.model_fields.items()}
    taken = {}
    for name, item in value.items():
      path = parameters.join(cls.path, name)
      is_refused = path in parameters.REFUSED
      if not is_refused and name not in known:
        raise errors.unknown(str(name))
      if item is None or (is_refused and parameters.is_neutral(path, item)):
        continue
      if is_refused:
        neutral = parameters.NEUTRAL.get(path, ())
        raise errors.unsupported(name, neutral=neutral)
      taken[name] = item
    return taken


def check_variant(
  model: Any, names: tuple[str, ...], *, default: str | None = None
) -> None:
  """Of the fields `names`, the one that `type` calls for is there, alone."""
  wanted = model.type or default
  for name in names:
    is_given = getattr(model, name) is not None
    if is_given and name != wanted:
      raise errors.unknown(name)
    if name == wanted and not is_given:
      raise errors.missing(name)


def between(low: float, high: float) -> pydantic.AfterValidator:
  """A number in [low, high]; NaN is not."""

  def check(value):
    if not low <= value <= high:
      raise types.RequestError(
        f'{errors.shorten(value)} is out of range; it must be between {low} '
        f'and {high}.'
      )
    return value

  return pydantic.AfterValidator(check)


def at_most(limit: str | int) -> pydantic.BeforeValidator:
  """A bound on the length, looked at before anything walks over the value.

  Args:
    limit: a number, or the field of `limits.Limits` that has it.
  """

  def check(value, info: pydantic.ValidationInfo):
    if not isinstance(value, (str, list, dict)):
      return value
    bound = limit if isinstance(limit, int) else getattr(info.context, limit)
    if len(value) > bound:
      unit = 'characters' if isinstance(value, str) else 'entries'
      raise types.RequestError(
        f'it has {len(value)} {unit}; at most {bound} are allowed.'
      )
    return value

  return pydantic.BeforeValidator(check)


def encodable(text: str) -> str:
  """`text`, if it has an UTF-8 form."""
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise types.RequestError(
      f'the character at {error.start} is a lone surrogate; it has no UTF-8.'
    ) from None
  return text


def _name(text: str) -> str:
  if not _NAME.fullmatch(text):
    raise types.RequestError(
      f'{errors.shorten(text)} is not a name; it must have 1 to 64 characters '
      'of a-z, A-Z, 0-9, underscore and dash.'
    )
  return text


Text = Annotated[str, pydantic.AfterValidator(encodable)]
Filled = Annotated[Text, pydantic.Field(min_length=1)]
Description = Annotated[Text, at_most('max_description_chars')]
# Of a tool, or of a schema.
Name = Annotated[Text, pydantic.AfterValidator(_name)]
# Of whoever wrote a message.
AuthorName = Annotated[Filled, at_most(64)]
Count = Annotated[int, between(1, MAX_INT32)]
