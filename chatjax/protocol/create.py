"""The fields of a request that are not refused, with their types and ranges."""

from __future__ import annotations

import re
from typing import Annotated
from typing import Any
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import messages
from chatjax.protocol import parameters

MAX_INT32 = 2**31 - 1
MAX_STOPS = 4
MAX_MODEL_CHARS = 256
REPETITION_PENALTY = (0.001, 1000)  # what the sampler takes
MAX_PRIORITY = 1_000_000  # what the engine takes
_TOKEN_ID = re.compile(r'0|[1-9][0-9]{0,9}')


def _between(low: float, high: float) -> pydantic.AfterValidator:
  def check(value):
    if not low <= value <= high:  # NaN is not
      raise types.RequestError(
        f'{errors.shorten(value)} is out of range; it must be between {low} '
        f'and {high}.'
      )
    return value

  return pydantic.AfterValidator(check)


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


_Penalty = Annotated[float, _between(-2, 2)]
_Count = Annotated[int, _between(1, MAX_INT32)]


class StreamOptions(messages.Strict):
  """Options of a stream."""

  include_usage: bool = False

  @pydantic.model_validator(mode='before')
  @classmethod
  def _refuse(cls, value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    value = {name: item for name, item in value.items() if item is not None}
    neutral = parameters.NEUTRAL_STREAM_OPTIONS
    value = parameters.without_neutral(value, neutral)
    for name in value:
      if name in parameters.REFUSED_STREAM_OPTIONS:
        raise errors.unsupported(name, neutral=neutral[name])
    return value


class Prediction(messages.Strict):
  """What the answer is likely to be."""

  type: Literal['content']
  content: messages.Parts

  @property
  def text(self) -> str:
    return ''.join(part.text for part in self.content)


class CreateChatCompletion(messages.Strict):
  """The parameters that are not refused. Defaults are OpenAI's."""

  messages: Annotated[
    list[messages.Message],
    pydantic.FailFast(),
    pydantic.Field(min_length=1),
  ]
  model: Annotated[
    messages.Text, pydantic.Field(min_length=1, max_length=MAX_MODEL_CHARS)
  ]
  temperature: Annotated[float, _between(0, 2)] = 1.0
  top_p: Annotated[float, _between(0, 1)] = 1.0
  max_completion_tokens: _Count | None = None
  max_tokens: _Count | None = None
  n: int = 1  # its bound is a limit of the server
  seed: Annotated[int, _between(types.MIN_SEED, types.MAX_SEED)] | None = None
  stop: Annotated[
    list[messages.Text],
    pydantic.BeforeValidator(_stop_list),
    pydantic.AfterValidator(_stops),
  ] = pydantic.Field(default_factory=list)
  presence_penalty: _Penalty = 0.0
  frequency_penalty: _Penalty = 0.0
  logit_bias: Annotated[
    dict[int, Annotated[float, _between(-100, 100)]],
    pydantic.BeforeValidator(_bias_keys),
  ] = pydantic.Field(default_factory=dict)
  logprobs: bool = False
  top_logprobs: Annotated[int, _between(0, 20)] = 0
  stream: bool = False
  stream_options: StreamOptions = StreamOptions()
  user: messages.Text | None = None
  top_k: Annotated[int, _between(-1, MAX_INT32)] = 0
  min_p: Annotated[float, _between(0, 1)] = 0.0
  repetition_penalty: Annotated[float, _between(*REPETITION_PENALTY)] = 1.0
  min_tokens: Annotated[int, _between(0, MAX_INT32)] = 0
  ignore_eos: bool = False
  stop_token_ids: Annotated[
    list[Annotated[int, _between(0, MAX_INT32)]], pydantic.FailFast()
  ] = pydantic.Field(default_factory=list)
  return_token_ids: bool = False
  priority: Annotated[int, _between(-MAX_PRIORITY, MAX_PRIORITY)] = 0
  cache_salt: Annotated[messages.Text, pydantic.Field(min_length=1)] | None = (
    None
  )
  prompt_cache_key: messages.Text | None = None
  prediction: Prediction | None = None
  speculation: types.Speculation = 'auto'
