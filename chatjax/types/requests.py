"""What a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import types
from typing import Any
from typing import Literal

from chatjax.types import sampling as sampling_lib

ReasoningEffort = Literal[
  'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grammar:
  """What a text must be; always compiled before a token is drawn.

  Attributes:
    kind: which language `source` is of; 'json_object' needs none, 'choice' is
      a tuple of strings.
    source: a JSON schema (a mapping or a bool), a pattern, a lark grammar.
    is_strict: of a schema: every keyword must be one that is enforced.
    param: the request field that it came from, for errors.
  """

  kind: Literal['json_object', 'json_schema', 'regex', 'choice', 'lark']
  source: Any = None
  is_strict: bool = False
  param: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tool:
  """What the model may call.

  Attributes:
    parameters: the JSON schema of a function's arguments; None is no
      arguments.
    is_strict: whether arguments are held to the schema as they are drawn.
    is_custom: a custom tool takes a text in place of JSON arguments.
    input_format: what a custom tool's text must be; None is anything.
  """

  name: str
  description: str | None = None
  parameters: Mapping[str, Any] | None = None
  is_strict: bool = False
  is_custom: bool = False
  input_format: Grammar | None = None

  @property
  def schema(self) -> Mapping[str, Any]:
    """What a function's arguments are."""
    return NO_ARGUMENTS if self.parameters is None else self.parameters


NO_ARGUMENTS: Mapping[str, Any] = {
  'type': 'object',
  'properties': {},
  'required': [],
  'additionalProperties': False,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolChoice:
  """Which tools may, or must, be called.

  Attributes:
    mode: 'required' is at least one call.
    allowed: names that may be called; None is all.
    is_named: the one name in `allowed` was demanded (`finish_reason` is then
      'stop').
  """

  mode: Literal['none', 'auto', 'required'] = 'auto'
  allowed: frozenset[str] | None = None
  is_named: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """A chat request after validation, before rendering.

  Attributes:
    messages: dicts as a chat template wants them (`role`, `content`, ...).
    seed: any int64, or None to have one drawn (and returned).
    n: number of choices.
    return_token_ids: whether the response carries token ids.
    priority: smaller goes first; 0 is the default.
    cache_salt, prompt_cache_key: cached prefixes are shared only by requests
      in which both are the same.
    speculation: whether likely next tokens are guessed and verified together;
      'auto' is where it pays. Tokens and log-probabilities are the same.
    prediction: text that the answer may follow; it is guessed from first.
    tools, tool_choice, parallel_tool_calls: what may be called; not parallel
      is one call at most.
    uses_functions: the caller speaks the interface before tools
      (`functions`), and is answered in it.
    grammar: what the answer's visible text must be.
    reasoning_effort: None is the model's own default.
    thinking_token_budget: reasoning ends after that many tokens.
    verbosity: an instruction to the model; None is none.
    chat_template_kwargs: further variables of the chat template.
    add_generation_prompt: whether the prompt opens the assistant's turn.
    continue_final_message: the last message is the beginning of the answer.
    prompt_logprobs: alternatives to report per prompt token; None reports
      nothing.
    metadata: the caller's own notes.
    store: whether the answer is kept.
    given: the fields as they came, for the record of a kept answer.
    service_tier: as asked for; recorded.
    include_obfuscation: whether the events of a stream are padded, so that
      their sizes tell less about their text.
  """

  messages: Sequence[Mapping[str, Any]]
  sampling: sampling_lib.SamplingParams = dataclasses.field(
    default_factory=sampling_lib.SamplingParams
  )
  seed: int | None = None
  n: int = 1
  return_token_ids: bool = False
  model: str | None = None
  stream: bool = False
  include_usage: bool = False
  priority: int = 0
  cache_salt: str | None = None
  prompt_cache_key: str | None = None
  speculation: sampling_lib.Speculation = 'auto'
  prediction: str | None = None
  tools: tuple[Tool, ...] = ()
  tool_choice: ToolChoice = ToolChoice()
  parallel_tool_calls: bool = True
  uses_functions: bool = False
  grammar: Grammar | None = None
  reasoning_effort: ReasoningEffort | None = None
  thinking_token_budget: int | None = None
  verbosity: Literal['low', 'medium', 'high'] | None = None
  chat_template_kwargs: Mapping[str, Any] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )
  add_generation_prompt: bool = True
  continue_final_message: bool = False
  prompt_logprobs: int | None = None
  metadata: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )
  service_tier: str | None = None
  include_obfuscation: bool = False
  store: bool = False
  given: Mapping[str, Any] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({}), compare=False
  )
