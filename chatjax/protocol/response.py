"""What a client gets: OpenAI's objects, with attribute access.

Only fields that were set are written (`exclude_unset=True`): a null that the
interface shows is set to None in `build.py`, an absent field is not set.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import pydantic

FinishReason = Literal['stop', 'length']


class Model(pydantic.BaseModel):
  """Base of all parts of an answer."""

  model_config = pydantic.ConfigDict(extra='forbid', protected_namespaces=())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meta:
  """What all parts of one answer share.

  Attributes:
    id: `chatcmpl-...`, unique.
    created: Unix seconds.
    seed: the one given or drawn.
    choice_keys: per choice the key that its draws are folded from, in hex.
    prompt_ids: the rendered prompt.
  """

  id: str
  created: int
  model: str
  system_fingerprint: str
  seed: int
  choice_keys: tuple[str, ...]
  sampler_version: int
  n: int
  prompt_ids: tuple[int, ...]
  has_logprobs: bool
  has_token_ids: bool
  include_usage: bool


class TopLogprob(Model):
  """One alternative at a position."""

  token: str
  bytes: list[int]
  logprob: float


class TokenLogprob(Model):
  """One visible token."""

  token: str
  bytes: list[int]
  logprob: float
  top_logprobs: list[TopLogprob]


class Logprobs(Model):
  """Log-probabilities of one choice."""

  content: list[TokenLogprob]
  refusal: None


class Message(Model):
  """The answer of one choice."""

  role: Literal['assistant']
  content: str
  refusal: None
  annotations: list[dict[str, str]]


class Choice(Model):
  """One finished choice."""

  index: int
  message: Message
  logprobs: Logprobs | None
  finish_reason: FinishReason
  token_ids: list[int] | None = None


class PromptTokensDetails(Model):
  """Parts of `prompt_tokens`."""

  cached_tokens: int
  audio_tokens: int


class CompletionTokensDetails(Model):
  """Parts of `completion_tokens`."""

  reasoning_tokens: int
  audio_tokens: int
  accepted_prediction_tokens: int
  rejected_prediction_tokens: int


class Usage(Model):
  """Tokens of a request: all choices summed, the prompt once."""

  prompt_tokens: int
  completion_tokens: int
  total_tokens: int
  prompt_tokens_details: PromptTokensDetails
  completion_tokens_details: CompletionTokensDetails


class Provenance(Model):
  """What it takes to draw the same tokens again."""

  seed: int
  choice_keys: list[str]
  sampler_version: int


class ChatCompletion(Model):
  """A finished answer."""

  id: str
  object: Literal['chat.completion']
  created: int
  model: str
  choices: list[Choice]
  usage: Usage
  system_fingerprint: str
  service_tier: Literal['default']
  chatjax: Provenance
  prompt_token_ids: list[int] | None = None


class ChoiceDelta(Model):
  """What a message gained."""

  role: Literal['assistant'] | None = None
  content: str | None = None
  refusal: None = None


class ChunkChoice(Model):
  """What a choice gained."""

  index: int
  delta: ChoiceDelta
  logprobs: Logprobs | None
  finish_reason: FinishReason | None
  token_ids: list[int] | None = None


class ChatCompletionChunk(Model):
  """One event of a stream; the provenance is on the first."""

  id: str
  object: Literal['chat.completion.chunk']
  created: int
  model: str
  choices: list[ChunkChoice]
  system_fingerprint: str
  service_tier: Literal['default']
  usage: Usage | None = None
  chatjax: Provenance | None = None
  prompt_token_ids: list[int] | None = None


class ModelCard(Model):
  """A served model."""

  id: str
  object: Literal['model']
  created: int
  owned_by: str


class ModelList(Model):
  """All served models."""

  object: Literal['list']
  data: list[ModelCard]
