"""Calls that the model made in an earlier turn."""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import json_value
from chatjax.protocol import strict


def _arguments(value: Any, info: pydantic.ValidationInfo) -> dict[str, Any]:
  """Templates write arguments in their own way, from an object."""
  if not isinstance(value, str):
    raise types.RequestError('it must be a string.', code='invalid_type')
  # Models write nothing where there are no arguments, and clients send it back.
  arguments = json_value.loads(value, 'the text') if value.strip() else {}
  if not isinstance(arguments, dict):
    raise types.RequestError('it must be the JSON of an object.')
  limits = info.context
  json_value.check(
    arguments,
    max_bytes=limits.max_body_bytes,
    max_depth=limits.max_json_depth,
  )
  return arguments


CallId = Annotated[strict.Filled, strict.at_most('max_key_chars')]
_CalledName = Annotated[strict.Filled, strict.at_most('max_key_chars')]
_Arguments = Annotated[dict[str, Any], pydantic.BeforeValidator(_arguments)]


class FunctionCalled(strict.Strict):
  """A function and what it was called with."""

  path: ClassVar[str] = 'messages[].tool_calls[].function'
  name: _CalledName
  arguments: _Arguments
  parsed_arguments: json_value.ReadByClient | None = None


class OldCall(strict.Strict):
  """The same, before there were tools."""

  path: ClassVar[str] = 'messages[].function_call'
  name: _CalledName
  arguments: _Arguments


class CustomCalled(strict.Strict):
  """A custom tool and the text that it got."""

  path: ClassVar[str] = 'messages[].tool_calls[].custom'
  name: _CalledName
  input: strict.Text


class Call(strict.Strict):
  """One call."""

  path: ClassVar[str] = 'messages[].tool_calls[]'
  id: CallId
  type: Literal['function', 'custom'] | None = None
  index: Annotated[int, strict.between(0, strict.MAX_INT32)] | None = None
  function: FunctionCalled | None = None
  custom: CustomCalled | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    # What the official client's `stream` makes of a custom call has no type.
    default = 'function' if self.custom is None else 'custom'
    strict.check_variant(self, ('function', 'custom'), default=default)
    return self

  def as_dict(self) -> dict[str, Any]:
    """Templates know functions only: a custom tool is one with an `input`."""
    if self.custom is not None:
      return as_dict(self.id, self.custom.name, {'input': self.custom.input})
    return as_dict(self.id, self.function.name, self.function.arguments)


def as_dict(
  call_id: str, name: str, arguments: dict[str, Any]
) -> dict[str, Any]:
  """A call as chat templates want it."""
  return {
    'type': 'function',
    'id': call_id,
    'function': {'name': name, 'arguments': arguments},
  }
