"""What a client gets: OpenAI's objects, with attribute access.

Only fields that were set are written (`exclude_unset=True`): a null that the
interface shows is set to None in `build.py`, an absent field is not set.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import types
from typing import Literal

import pydantic

FinishReason = Literal['stop', 'length', 'tool_calls', 'function_call']
ServiceTier = Literal['default', 'flex', 'priority']


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
    has_tools: whether an answer may be calls without text.
    uses_functions: calls are answered in the form before tools.
    is_named_choice: the one tool to call was demanded by name.
    metadata: the caller's own notes.
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
  has_tools: bool = False
  uses_functions: bool = False
  is_named_choice: bool = False
  metadata: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )
  service_tier: ServiceTier = 'default'


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


class FunctionCall(Model):
  """A function and the JSON of its arguments."""

  name: str
  arguments: str


class CustomCall(Model):
  """A custom tool and its text."""

  name: str
  input: str


class FunctionToolCall(Model):
  """A call of a function."""

  id: str
  type: Literal['function']
  function: FunctionCall


class CustomToolCall(Model):
  """A call of a custom tool."""

  id: str
  type: Literal['custom']
  custom: CustomCall


ToolCall = FunctionToolCall | CustomToolCall


class Message(Model):
  """The answer of one choice; what the model thought has two names."""

  role: Literal['assistant']
  content: str | None
  refusal: None
  annotations: list[dict[str, str]]
  tool_calls: list[ToolCall] | None = None
  function_call: FunctionCall | None = None
  reasoning: str | None = None
  reasoning_content: str | None = None


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
  image_tokens: int


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
  """What it takes to draw the same tokens again.

  Attributes:
    store_error: why the answer was not stored, if it was to be.
  """

  seed: int
  choice_keys: list[str]
  sampler_version: int
  store_error: str | None = None


class PromptLogprob(Model):
  """What the model thought of a token of the prompt."""

  logprob: float
  rank: int
  decoded_token: str


class ChatCompletion(Model):
  """A finished answer."""

  id: str
  object: Literal['chat.completion']
  created: int
  model: str
  choices: list[Choice]
  usage: Usage
  system_fingerprint: str
  service_tier: ServiceTier
  chatjax: Provenance
  metadata: dict[str, str] | None = None
  prompt_token_ids: list[int] | None = None
  prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = None


class FunctionToolCallDelta(FunctionToolCall):
  """A call of a function, whole, and its place."""

  index: int


class CustomToolCallDelta(Model):
  """A call of a custom tool, whole, and its place.

  Without a `type`: the official client's deltas know that of functions only.
  """

  index: int
  id: str
  custom: CustomCall


ToolCallDelta = FunctionToolCallDelta | CustomToolCallDelta


class ChoiceDelta(Model):
  """What a message gained."""

  role: Literal['assistant'] | None = None
  content: str | None = None
  refusal: None = None
  tool_calls: list[ToolCallDelta] | None = None
  function_call: FunctionCall | None = None
  reasoning: str | None = None
  reasoning_content: str | None = None


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
  service_tier: ServiceTier
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
