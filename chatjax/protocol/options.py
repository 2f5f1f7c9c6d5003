"""Small objects inside a request, and fields with rules of their own."""

from __future__ import annotations

import re
from typing import Annotated
from typing import Any
from typing import ClassVar
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import content
from chatjax.protocol import errors
from chatjax.protocol import strict

MAX_STOPS = 4
_TOKEN_ID = re.compile(r'0|[1-9][0-9]{0,9}')


class StreamOptions(strict.Strict):
  """Options of a stream."""

  path: ClassVar[str] = 'stream_options'
  include_usage: bool = False
  include_obfuscation: bool = False


class Prediction(strict.Strict):
  """What the answer is likely to be."""

  path: ClassVar[str] = 'prediction'
  type: Literal['content']
  content: content.PredictedParts

  @property
  def text(self) -> str:
    return ''.join(part.text for part in self.content)


class PromptCacheOptions(strict.Strict):
  """The cache finds common beginnings by itself."""

  path: ClassVar[str] = 'prompt_cache_options'
  mode: Literal['implicit'] = 'implicit'


def _stop_list(value: Any) -> Any:
  return [value] if isinstance(value, str) else value


def _stops(value: list[str]) -> list[str]:
  if not value or '' in value:
    raise types.RequestError(
      f'stop must be a non-empty string or 1 to {MAX_STOPS} of them.'
    )
  return value


def _bias_keys(value: Any) -> Any:
  """JSON keys are strings; Python callers may use integers."""
  if not isinstance(value, dict):
    return value
  for key in value:
    if not _TOKEN_ID.fullmatch(str(key)):
      raise types.RequestError(
        f'{errors.shorten(key)} is not a token id; the keys of logit_bias '
        'are token ids like "1234".'
      )
  return {int(key): bias for key, bias in value.items()}


def _texts_only(value: list[str]) -> list[str]:
  if value != ['text']:
    raise types.RequestError(
      'this model writes text only; give ["text"].',
      code='unsupported_parameter',
    )
  return value


_StopText = Annotated[strict.Text, strict.at_most('max_stop_chars')]
Stops = Annotated[
  list[_StopText],
  strict.at_most(MAX_STOPS),
  pydantic.BeforeValidator(_stop_list),
  pydantic.AfterValidator(_stops),
]
BadWords = Annotated[
  list[Annotated[strict.Filled, strict.at_most('max_stop_chars')]],
  pydantic.Field(fail_fast=True),
  strict.at_most('max_bad_words'),
]
LogitBias = Annotated[
  dict[int, Annotated[float, strict.between(-100, 100)]],
  pydantic.BeforeValidator(_bias_keys),
  strict.at_most('max_logit_bias'),
]
TokenId = Annotated[int, strict.between(0, strict.MAX_INT32)]
TokenIds = Annotated[list[TokenId], pydantic.Field(fail_fast=True)]
Modalities = Annotated[
  list[str],
  pydantic.Field(fail_fast=True),
  strict.at_most(2),
  pydantic.AfterValidator(_texts_only),
]
