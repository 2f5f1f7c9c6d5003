"""The fields of a request that are not refused, with their types and ranges."""

from __future__ import annotations

from typing import Annotated
from typing import ClassVar
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import answer_format
from chatjax.protocol import messages as messages_lib
from chatjax.protocol import metadata as metadata_lib
from chatjax.protocol import options
from chatjax.protocol import strict
from chatjax.protocol import template
from chatjax.protocol import tool_choice as tool_choice_lib
from chatjax.protocol import tools as tools_lib

MAX_MODEL_CHARS = 256
MAX_SAFETY_CHARS = 128
REPETITION_PENALTY = (0.001, 1000)  # what the sampler takes
MAX_PRIORITY = 1_000_000  # what the engine takes
_Penalty = Annotated[float, strict.between(-2, 2)]
_Alternatives = Annotated[int, strict.between(0, 20)]
_Key = Annotated[strict.Text, strict.at_most('max_key_chars')]


class Create(strict.Strict):
  """What chats and plain texts have in common. Defaults are OpenAI's."""

  path: ClassVar[str] = ''
  model: Annotated[strict.Filled, strict.at_most(MAX_MODEL_CHARS)]
  temperature: Annotated[float, strict.between(0, 2)] = 1.0
  top_p: Annotated[float, strict.between(0, 1)] = 1.0
  n: int = 1  # its bound is a limit of the server
  seed: (
    Annotated[int, strict.between(types.MIN_SEED, types.MAX_SEED)] | None
  ) = None
  stop: options.Stops = pydantic.Field(default_factory=list)
  presence_penalty: _Penalty = 0.0
  frequency_penalty: _Penalty = 0.0
  logit_bias: options.LogitBias = pydantic.Field(default_factory=dict)
  stream: bool = False
  stream_options: options.StreamOptions = options.StreamOptions()
  response_format: answer_format.ResponseFormat | None = None
  user: Annotated[strict.Text, strict.at_most('max_user_chars')] | None = None
  top_k: Annotated[int, strict.between(-1, strict.MAX_INT32)] = 0
  min_p: Annotated[float, strict.between(0, 1)] = 0.0
  repetition_penalty: Annotated[float, strict.between(*REPETITION_PENALTY)] = (
    1.0
  )
  min_tokens: Annotated[int, strict.between(0, strict.MAX_INT32)] = 0
  ignore_eos: bool = False
  stop_token_ids: Annotated[
    options.TokenIds, strict.at_most('max_stop_token_ids')
  ] = pydantic.Field(default_factory=list)
  include_stop_str_in_output: bool = False
  bad_words: options.BadWords = pydantic.Field(default_factory=list)
  allowed_token_ids: (
    Annotated[
      options.TokenIds,
      pydantic.Field(min_length=1),
      strict.at_most('max_allowed_token_ids'),
    ]
    | None
  ) = None
  logprobs_mode: types.LogprobsMode = 'raw'
  prompt_logprobs: _Alternatives | None = None
  return_token_ids: bool = False
  structured_outputs: answer_format.StructuredOutputs | None = None
  priority: (
    Annotated[int, strict.between(-MAX_PRIORITY, MAX_PRIORITY)] | None
  ) = None
  cache_salt: Annotated[_Key, pydantic.Field(min_length=1)] | None = None
  speculation: types.Speculation = 'auto'


class CreateChatCompletion(Create):
  """The parameters of a chat that are not refused."""

  messages: Annotated[
    list[messages_lib.Message],
    pydantic.Field(fail_fast=True),
    pydantic.Field(min_length=1),
    strict.at_most('max_messages'),
  ]
  max_completion_tokens: strict.Count | None = None
  max_tokens: strict.Count | None = None
  logprobs: bool = False
  top_logprobs: _Alternatives = 0
  tools: tools_lib.Tools = pydantic.Field(default_factory=list)
  tool_choice: tool_choice_lib.ToolChoice = 'auto'
  parallel_tool_calls: bool = True
  functions: tools_lib.Functions = pydantic.Field(default_factory=list)
  function_call: tool_choice_lib.FunctionCall = 'auto'
  reasoning_effort: types.ReasoningEffort | None = None
  verbosity: Literal['low', 'medium', 'high'] | None = None
  prediction: options.Prediction | None = None
  modalities: options.Modalities | None = None
  metadata: metadata_lib.Metadata = pydantic.Field(default_factory=dict)
  store: bool = False
  service_tier: (
    Literal['auto', 'default', 'flex', 'scale', 'priority', 'fast'] | None
  ) = None
  prompt_cache_key: _Key | None = None
  prompt_cache_options: options.PromptCacheOptions | None = None
  prompt_cache_retention: Literal['in_memory', '24h'] | None = None
  safety_identifier: (
    Annotated[strict.Text, strict.at_most(MAX_SAFETY_CHARS)] | None
  ) = None
  add_generation_prompt: bool = True
  continue_final_message: bool = False
  chat_template_kwargs: template.Kwargs = pydantic.Field(default_factory=dict)
  thinking_token_budget: (
    Annotated[int, strict.between(0, strict.MAX_INT32)] | None
  ) = None
