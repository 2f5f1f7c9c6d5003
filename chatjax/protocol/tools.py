"""The `tools` of a request, and `functions`, their old form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import json_value
from chatjax.protocol import strict as strict_lib

GrammarText = Annotated[
  strict_lib.Filled, strict_lib.at_most('max_grammar_chars')
]


class Function(strict_lib.Strict):
  """What can be called with JSON arguments."""

  path: ClassVar[str] = 'tools[].function'
  name: strict_lib.Name
  description: strict_lib.Description | None = None
  parameters: json_value.Schema | None = None
  strict: bool = False

  def as_tool(self) -> types.Tool:
    return types.Tool(
      name=self.name,
      description=self.description,
      parameters=self.parameters,
      is_strict=self.strict,
    )


class OldFunction(strict_lib.Strict):
  """The same, before there were tools."""

  path: ClassVar[str] = 'functions[]'
  name: strict_lib.Name
  description: strict_lib.Description | None = None
  parameters: json_value.Schema | None = None

  def as_tool(self) -> types.Tool:
    return types.Tool(
      name=self.name, description=self.description, parameters=self.parameters
    )


class GrammarSource(strict_lib.Strict):
  """A grammar, and the language that it is written in."""

  path: ClassVar[str] = 'tools[].custom.format.grammar'
  syntax: Literal['lark', 'regex']
  definition: GrammarText


class Format(strict_lib.Strict):
  """What the text for a custom tool must be."""

  path: ClassVar[str] = 'tools[].custom.format'
  type: Literal['text', 'grammar']
  grammar: GrammarSource | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict_lib.check_variant(self, ('grammar',))
    return self


class Custom(strict_lib.Strict):
  """What can be called with a text."""

  path: ClassVar[str] = 'tools[].custom'
  name: strict_lib.Name
  description: strict_lib.Description | None = None
  format: Format | None = None

  def as_tool(self, idx: int) -> types.Tool:
    return types.Tool(
      name=self.name,
      description=self.description,
      is_custom=True,
      input_format=self._grammar(f'tools[{idx}].custom.format'),
    )

  def _grammar(self, param: str) -> types.Grammar | None:
    if self.format is None or self.format.grammar is None:
      return None
    return types.Grammar(
      kind=self.format.grammar.syntax,
      source=self.format.grammar.definition,
      param=f'{param}.grammar.definition',
    )


class Tool(strict_lib.Strict):
  """One tool."""

  path: ClassVar[str] = 'tools[]'
  type: Literal['function', 'custom']
  function: Function | None = None
  custom: Custom | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict_lib.check_variant(self, ('function', 'custom'))
    return self

  @property
  def name(self) -> str:
    return (self.function or self.custom).name

  def as_tool(self, idx: int) -> types.Tool:
    return (
      self.custom.as_tool(idx) if self.custom else self.function.as_tool()
    )  # fmt: skip


def _named_once(given: list[Tool] | list[OldFunction]) -> list:
  seen: set[str] = set()
  for one in given:
    if one.name in seen:
      raise types.RequestError(
        f'the name {errors.shorten(one.name)} is given twice; every tool needs '
        'a name of its own.'
      )
    seen.add(one.name)
  return given


_LIST = (
  pydantic.Field(fail_fast=True),
  strict_lib.at_most('max_tools'),
  pydantic.AfterValidator(_named_once),
)
Tools = Annotated[list[Tool], *_LIST]
Functions = Annotated[list[OldFunction], *_LIST]


def as_types(
  tools: Sequence[Tool], functions: Sequence[OldFunction]
) -> tuple[types.Tool, ...]:
  """What may be called, however it was spelled."""
  return (
    *(tool.as_tool(idx) for idx, tool in enumerate(tools)),
    *(function.as_tool() for function in functions),
  )
