"""Content: a string, or an array of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal
from typing import Self

import pydantic

from chatjax.protocol import errors
from chatjax.protocol import files
from chatjax.protocol import parameters
from chatjax.protocol import strict


class Part(strict.Strict):
  """One part of a message."""

  path: ClassVar[str] = 'messages[].content[]'
  type: Literal['text', 'refusal', 'file']
  text: strict.Text | None = None
  refusal: strict.Text | None = None
  file: files.File | None = None

  @pydantic.model_validator(mode='before')
  @classmethod
  def _check_kind(cls, value: Any) -> Any:
    if isinstance(value, dict):
      kind = value.get('type')
      if f'{cls.path}.{kind}' in parameters.REFUSED:
        raise errors.unsupported('type', f'A content part of type {kind!r}')
    return value

  @pydantic.model_validator(mode='after')
  def _check(self) -> Self:
    strict.check_variant(self, ('text', 'refusal', 'file'))
    return self


class PredictedPart(strict.Strict):
  """One part of a prediction."""

  path: ClassVar[str] = 'prediction.content[]'
  type: Literal['text']
  text: strict.Text


def _parts(value: Any) -> Any:
  """A plain string is short for one text part."""
  return [{'type': 'text', 'text': value}] if isinstance(value, str) else value


_LIST = (
  pydantic.Field(fail_fast=True),
  pydantic.Field(min_length=1),
  strict.at_most('max_parts'),
  pydantic.BeforeValidator(_parts),
)
# The content of a message, however it was spelled.
Parts = Annotated[list[Part], *_LIST]
PredictedParts = Annotated[list[PredictedPart], *_LIST]


def join(parts: Sequence[Part]) -> str:
  """The text of a message: its parts without a separator.

  A file starts on a line of its own.
  """
  text = ''
  for part in parts:
    if part.file is not None:
      gap = '\n' if text and not text.endswith('\n') else ''
      text += gap + part.file.shown
    else:
      text += part.text or part.refusal or ''
  return text
