"""What the answer's text must be: `response_format`, `structured_outputs`."""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax import types
from chatjax.protocol import json_value
from chatjax.protocol import strict as strict_lib
from chatjax.protocol import tools


class JsonSchema(strict_lib.Strict):
  """A schema and its name."""

  path: ClassVar[str] = 'response_format.json_schema'
  name: strict_lib.Name
  description: strict_lib.Description | None = None
  # `schema` and `json` are methods of pydantic's models.
  schema_: json_value.Schema = pydantic.Field(alias='schema')
  strict: bool = False


class ResponseFormat(strict_lib.Strict):
  """Text, any JSON object, or the JSON of a schema."""

  path: ClassVar[str] = 'response_format'
  type: Literal['text', 'json_object', 'json_schema']
  json_schema: JsonSchema | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict_lib.check_variant(self, ('json_schema',))
    return self

  def as_grammar(self) -> types.Grammar | None:
    if self.type == 'text':
      return None
    if self.json_schema is None:
      return types.Grammar(kind='json_object', param='response_format')
    return types.Grammar(
      kind='json_schema',
      source=self.json_schema.schema_,
      is_strict=self.json_schema.strict,
      param='response_format.json_schema.schema',
    )


def _schema_text(value: Any) -> Any:
  """A schema may come as the text of its JSON."""
  if isinstance(value, str):
    return json_value.loads(value, 'the schema')
  return value


def _choices(value: list[str]) -> list[str]:
  if not value or '' in value:
    raise types.RequestError('it must be a list of non-empty strings.')
  return value


class StructuredOutputs(strict_lib.Strict):
  """One of four ways to say what the text must be."""

  path: ClassVar[str] = 'structured_outputs'
  json_: (
    Annotated[json_value.Schema, pydantic.BeforeValidator(_schema_text)] | None
  ) = pydantic.Field(default=None, alias='json')
  regex: tools.GrammarText | None = None
  choice: (
    Annotated[
      list[strict_lib.Text],
      pydantic.Field(fail_fast=True),
      strict_lib.at_most('max_choices'),
      pydantic.AfterValidator(_choices),
    ]
    | None
  ) = None
  grammar: tools.GrammarText | None = None

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    if len(self._given) != 1:
      raise types.RequestError(
        f'{self._given or "nothing"} is given; give exactly one of json, '
        'regex, choice and grammar.'
      )
    return self

  @property
  def _given(self) -> list[str]:
    names = {
      'json': self.json_, 'regex': self.regex, 'choice': self.choice,
      'grammar': self.grammar,
    }  # fmt: skip
    return [name for name, value in names.items() if value is not None]

  def as_grammar(self) -> types.Grammar:
    name = self._given[0]
    kind, source = {
      'json': ('json_schema', self.json_),
      'regex': ('regex', self.regex),
      'choice': ('choice', tuple(self.choice or ())),
      'grammar': ('lark', self.grammar),
    }[name]
    return types.Grammar(
      kind=kind, source=source, param=f'structured_outputs.{name}'
    )
