"""`tool_choice`, and `function_call`, its old form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import json_value
from chatjax.protocol import strict as strict_lib


class Named(strict_lib.Strict):
  """A function by its name."""

  path: ClassVar[str] = 'tool_choice.function'
  name: strict_lib.Name


class NamedCustom(strict_lib.Strict):
  """A custom tool by its name."""

  path: ClassVar[str] = 'tool_choice.custom'
  name: strict_lib.Name


class AllowedFunction(Named):
  """A function that may be called; what else is said of it is as in tools."""

  path: ClassVar[str] = 'tool_choice.allowed_tools.tools[].function'
  description: strict_lib.Description | None = None
  parameters: json_value.Schema | None = None
  strict: bool | None = None

  def fault(self, tool: types.Tool) -> str | None:
    """The first field that says something else than the tool does."""
    said = {
      'description': (self.description, tool.description),
      'parameters': (self.parameters, tool.parameters),
      'strict': (self.strict, tool.is_strict),
    }
    for name, (here, there) in said.items():
      if here is not None and here != there:
        return name
    return None


class AllowedCustom(NamedCustom):
  """A custom tool that may be called."""

  path: ClassVar[str] = 'tool_choice.allowed_tools.tools[].custom'


class Allowed(strict_lib.Strict):
  """A tool that may be called."""

  path: ClassVar[str] = 'tool_choice.allowed_tools.tools[]'
  type: Literal['function', 'custom']
  function: AllowedFunction | None = None
  custom: AllowedCustom | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict_lib.check_variant(self, ('function', 'custom'))
    return self


class AllowedTools(strict_lib.Strict):
  """Some of the tools."""

  path: ClassVar[str] = 'tool_choice.allowed_tools'
  mode: Literal['auto', 'required']
  tools: Annotated[
    list[Allowed],
    pydantic.Field(fail_fast=True),
    pydantic.Field(min_length=1),
    strict_lib.at_most('max_tools'),
  ]


class Choice(strict_lib.Strict):
  """Which tools may, or must, be called; a plain word is none of these."""

  path: ClassVar[str] = 'tool_choice'
  type: Literal['function', 'custom', 'allowed_tools']
  function: Named | None = None
  custom: NamedCustom | None = None
  allowed_tools: AllowedTools | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict_lib.check_variant(self, ('function', 'custom', 'allowed_tools'))
    return self

  @property
  def named(self) -> list[tuple[str, bool, str]]:
    """(name, whether it is a custom tool, path) of all that is named."""
    if self.allowed_tools is None:
      one = self.function or self.custom
      return [(one.name, self.custom is not None, f'{self.type}.name')]
    return [
      (
        (row.function or row.custom).name,
        row.custom is not None,
        f'allowed_tools.tools[{idx}].{row.type}.name',
      )
      for idx, row in enumerate(self.allowed_tools.tools)
    ]


class FunctionChoice(strict_lib.Strict):
  """The function that must be called."""

  path: ClassVar[str] = 'function_call'
  name: strict_lib.Name


def _or_word(*words: str) -> pydantic.WrapValidator:
  def check(value: Any, validate: pydantic.ValidatorFunctionWrapHandler):
    if not isinstance(value, str):
      return validate(value)
    if value not in words:
      raise types.RequestError(
        f'{errors.shorten(value)} was given; it must be one of {list(words)} '
        'or an object.'
      )
    return value

  return pydantic.WrapValidator(check)


ToolChoice = Annotated[Choice, _or_word('none', 'auto', 'required')]
FunctionCall = Annotated[FunctionChoice, _or_word('none', 'auto')]


def of_tools(
  choice: Choice | str, tools: Sequence[types.Tool]
) -> types.ToolChoice:
  """Raises `types.RequestError` if `choice` does not fit `tools`."""
  if choice in ('none', 'auto'):
    return types.ToolChoice(mode=choice)
  if not tools:
    raise _no_tools('tool_choice', 'tools')
  if choice == 'required':
    return types.ToolChoice(mode='required')
  known = {(tool.name, tool.is_custom) for tool in tools}
  for name, is_custom, path in choice.named:
    if (name, is_custom) not in known:
      raise _not_among(name, f'tool_choice.{path}', 'tools')
  _check_allowed(choice.allowed_tools, tools)
  allowed = frozenset(name for name, _, _ in choice.named)
  if choice.allowed_tools is not None:
    return types.ToolChoice(mode=choice.allowed_tools.mode, allowed=allowed)
  return types.ToolChoice(mode='required', allowed=allowed, is_named=True)


def _check_allowed(
  allowed: AllowedTools | None, tools: Sequence[types.Tool]
) -> None:
  """Whole definitions may stand there, if they are those of the tools."""
  by_name = {tool.name: tool for tool in tools}
  for idx, row in enumerate(allowed.tools if allowed else ()):
    if row.function is None:
      continue
    if fault := row.function.fault(by_name[row.function.name]):
      place = f'allowed_tools.tools[{idx}].function.{fault}'
      raise types.RequestError(
        f'It differs from that of {errors.shorten(row.function.name)} in tools;'
        ' leave it out here.',
        param=f'tool_choice.{place}',
      )


def of_functions(
  choice: FunctionChoice | str, functions: Sequence[types.Tool]
) -> types.ToolChoice:
  """Raises `types.RequestError` if `choice` does not fit `functions`."""
  if isinstance(choice, str):
    return types.ToolChoice(mode=choice)
  if not functions:
    raise _no_tools('function_call', 'functions')
  if choice.name not in {function.name for function in functions}:
    raise _not_among(choice.name, 'function_call.name', 'functions')
  return types.ToolChoice(
    mode='required', allowed=frozenset({choice.name}), is_named=True
  )


def _no_tools(param: str, tools: str) -> types.RequestError:
  return types.RequestError(
    f'{param} asks for a call, but there are no {tools}; give {tools}.',
    param=param,
  )


def _not_among(name: str, param: str, tools: str) -> types.RequestError:
  return types.RequestError(
    f'{errors.shorten(name)} is not among the {tools} of this request.',
    param=param,
  )
