"""The nouns that rooms hand to each other. No jax in here.

Axis letters, used as name suffixes (`x_BTD`) everywhere in `nn/`, `sampling/`
and `engine/`:

  B  rows of a decode program (sequences in flight)
  T  tokens of one sequence in one program
  D  model width            F  feed-forward width     L  layers
  N  query heads            K  key/value heads        G  query heads per K
  H  head width             V  vocabulary
  P  pages of one sequence  S  positions inside one page or block
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import enum
import types
from typing import Any
from typing import Literal
from typing import Protocol

import numpy as np

Speculation = Literal['off', 'on', 'auto']
ReasoningEffort = Literal[
  'none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'
]
LogprobsMode = Literal['raw', 'tempered', 'sampled']

MIN_SEED = -(2**63)
MAX_SEED = 2**63 - 1


class FinishReason(enum.StrEnum):
  """Why a choice ended, in OpenAI's words."""

  STOP = 'stop'
  LENGTH = 'length'
  TOOL_CALLS = 'tool_calls'


class ChatjaxError(Exception):
  """Base of errors that are a caller's to read: one clear sentence."""


class RequestError(ChatjaxError, ValueError):
  """A request that cannot be served as it stands (HTTP 400 and the like).

  Attributes:
    param: the request field at fault, None if no single one is.
    code: OpenAI's machine-readable error code.
    status: the HTTP status.
  """

  def __init__(
    self,
    message: str,
    *,
    param: str | None = None,
    code: str = 'invalid_value',
    status: int = 400,
  ):
    super().__init__(message)
    self.param = param
    self.code = code
    self.status = status


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
  """How the tokens of one request are drawn. Defaults are OpenAI's.

  Attributes:
    temperature: 0 is argmax (lowest id wins ties).
    top_p: nucleus mass in (0, 1]; works on what top_k left, renormalised.
    top_k: keep exactly k by (logit descending, id ascending); 0 is off.
    min_p: keep p >= min_p * max(p) of what is left; 0 is off.
    presence_penalty: subtracted once from every generated token.
    frequency_penalty: subtracted per occurrence among generated tokens.
    repetition_penalty: divides (multiplies) positive (negative) logits of
      tokens seen in the prompt or generated; 1 is off.
    logit_bias: token id -> added logit; -100 and below is a ban.
    min_tokens: end-of-sequence and stop ids are masked before that many.
    max_tokens: None is "what the context leaves".
    stop: strings that end the visible text.
    stop_token_ids: further ids that end a choice.
    ignore_eos: the model's own end-of-sequence ids do not end a choice.
    include_stop: whether the text keeps the stop string that ended it.
    bad_words: texts that are never written.
    allowed_token_ids: what may be drawn at all; None is everything.
    logprobs: whether log-probabilities are reported.
    top_logprobs: alternatives per token, 0 to 20.
    logprobs_mode: of the model's own distribution ('raw'), of that at the
      request's temperature ('tempered'), or of what was drawn from
      ('sampled': penalties, biases, masks and cuts included).
  """

  temperature: float = 1.0
  top_p: float = 1.0
  top_k: int = 0
  min_p: float = 0.0
  presence_penalty: float = 0.0
  frequency_penalty: float = 0.0
  repetition_penalty: float = 1.0
  logit_bias: Mapping[int, float] = dataclasses.field(
    default_factory=lambda: types.MappingProxyType({})
  )
  min_tokens: int = 0
  max_tokens: int | None = None
  stop: tuple[str, ...] = ()
  stop_token_ids: tuple[int, ...] = ()
  ignore_eos: bool = False
  include_stop: bool = False
  bad_words: tuple[str, ...] = ()
  allowed_token_ids: tuple[int, ...] | None = None
  logprobs: bool = False
  top_logprobs: int = 0
  logprobs_mode: LogprobsMode = 'raw'


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
    parameters: the JSON schema of a function's arguments.
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
  sampling: SamplingParams = SamplingParams()
  seed: int | None = None
  n: int = 1
  return_token_ids: bool = False
  model: str | None = None
  stream: bool = False
  include_usage: bool = False
  priority: int = 0
  cache_salt: str | None = None
  prompt_cache_key: str | None = None
  speculation: Speculation = 'auto'
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


class Constraint(Protocol):
  """Which tokens one choice may draw; one per choice, used by one thread.

  A mask is u32[ceil(V / 32)]: token t is bit t % 32 of word t // 32.
  """

  def masks(self, guesses: Sequence[int], out_GW: np.ndarray) -> int:
    """Writes what may come next, and what after each guess.

    Returns:
      How many guesses may come; so many masks and one more were written.
    """

  def forced(self, limit: int) -> Sequence[int]:
    """At most `limit` tokens that are likely next for being all there is."""

  def advance(self, tokens: Sequence[int]) -> None:
    """Takes the tokens that were drawn."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenRequest:
  """What the engine serves: token ids in, token ids out.

  Attributes:
    request_id: unique among the requests in flight.
    prompt_ids: at least one id, all below the vocabulary size.
    seed: int64; choice i draws with `fold_in(key(seed), i)`.
    stop_ids: ids that end a choice (end-of-sequence ids included).
    max_tokens: upper bound on generated tokens per choice.
    priority: smaller goes first; 0 is the default.
    cache_salt: prompts share cached prefixes only under the same salt.
    timeout_s: time from submission in which all choices must have ended; None
      is for ever.
    speculation, prediction_ids: see `Request`.
    constraint: makes the constraint of a choice; None is none.
    prompt_logprobs: alternatives to report per prompt token; None reports
      nothing.
  """

  request_id: str
  prompt_ids: tuple[int, ...]
  sampling: SamplingParams
  seed: int
  stop_ids: frozenset[int]
  max_tokens: int
  n: int = 1
  priority: int = 0
  cache_salt: str = ''
  timeout_s: float | None = None
  speculation: Speculation = 'auto'
  prediction_ids: tuple[int, ...] = ()
  constraint: Callable[[], Constraint] | None = None
  prompt_logprobs: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drafted:
  """What became of tokens that were guessed."""

  accepted: int = 0
  rejected: int = 0

  def __add__(self, other: Drafted) -> Drafted:
    return Drafted(
      accepted=self.accepted + other.accepted,
      rejected=self.rejected + other.rejected,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
  """One generated token as the engine reports it.

  Attributes:
    id: the token id.
    logprob: raw natural-log probability under the model (float32 value).
    top: (id, logprob) alternatives, most likely first.
  """

  id: int
  logprob: float
  top: tuple[tuple[int, float], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class PromptToken:
  """A token of the prompt under the model, given those before it.

  Attributes:
    rank: 1 is the most likely token.
    top: as in `Token`.
  """

  id: int
  logprob: float
  rank: int
  top: tuple[tuple[int, float], ...] = ()


class Sink(Protocol):
  """Where the engine puts what it makes; called on the engine's thread.

  Implementations must return at once and must not raise. `started` comes
  first. Per choice the calls are: any number of `tokens`, then one `finish`.
  `error` ends all.
  """

  def started(self, num_cached: int) -> None:
    """Takes the start, once: so many prompt tokens came from the cache."""

  def prompt(self, tokens: Sequence[PromptToken]) -> None:
    """Takes all tokens of the prompt but the first, if that was asked for."""

  def tokens(self, choice: int, tokens: Sequence[Token]) -> None:
    """Takes the next tokens of a choice, in order."""

  def drafted(self, drafted: Drafted) -> None:
    """Takes what became of a guess, before the tokens that came of it."""

  def finish(self, choice: int, reason: FinishReason) -> None:
    """Takes the end of a choice; the deciding token came before."""

  def error(self, error: Exception) -> None:
    """Takes the end of the whole request by a failure."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLogprob:
  """One entry of a reported `logprobs.content` list.

  Attributes:
    token: display text of the token (lossy when it splits a character).
    logprob: None where there is none: of the first token of a text.
    bytes: the token's own bytes.
    top: alternatives, most likely first (their own `top` is empty).
  """

  id: int
  token: str
  logprob: float | None
  bytes: bytes
  top: tuple[TokenLogprob, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptLogprob:
  """One token of the prompt, given those before it.

  Attributes:
    rank: 1 is the most likely token.
    top: the most likely tokens, most likely first (their own `top` is empty).
  """

  id: int
  token: str
  logprob: float
  rank: int
  top: tuple[PromptLogprob, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToolCall:
  """A call that the model made, whole.

  Attributes:
    id: unique in the conversation.
    arguments: JSON of a function's arguments; the input of a custom tool.
  """

  id: str
  name: str
  arguments: str
  is_custom: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delta:
  """What one choice gained since its last delta.

  Attributes:
    text: visible text, whole characters only.
    token_ids: ids that were counted, the one that decided the end included.
    logprobs: entries of the visible tokens.
    finish_reason: set on a choice's last delta and only there.
    reasoning: text of the model's thinking.
    calls: those that are complete now, in order.
    num_reasoning: how many of `token_ids` are of its thinking.
    token_logprobs: as the engine told them, one per token id.
  """

  choice: int
  text: str = ''
  token_ids: tuple[int, ...] = ()
  logprobs: tuple[TokenLogprob, ...] = ()
  finish_reason: FinishReason | None = None
  reasoning: str = ''
  calls: tuple[ToolCall, ...] = ()
  num_reasoning: int = 0
  token_logprobs: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceResult:
  """A finished choice; see `Delta`."""

  text: str
  token_ids: tuple[int, ...]
  logprobs: tuple[TokenLogprob, ...]
  finish_reason: FinishReason
  reasoning: str = ''
  calls: tuple[ToolCall, ...] = ()
  num_reasoning: int = 0
  token_logprobs: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
  """A finished request. `choices[i]` is choice i.

  Attributes:
    num_cached: prompt tokens that came from the prefix cache.
    drafted: summed over the choices.
    prompt_logprobs: per prompt token itself, with its alternatives in `top`;
      the first has no log-probability (None).
  """

  choices: tuple[ChoiceResult, ...]
  prompt_ids: tuple[int, ...]
  num_cached: int
  seed: int
  drafted: Drafted = Drafted()
  prompt_logprobs: tuple[PromptLogprob | None, ...] | None = None
