"""What becomes of tokens."""

from __future__ import annotations

import dataclasses

from chatjax.types import errors as errors_lib
from chatjax.types import tokens as tokens_lib


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
  finish_reason: errors_lib.FinishReason | None = None
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
  finish_reason: errors_lib.FinishReason
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
  drafted: tokens_lib.Drafted = dataclasses.field(
    default_factory=tokens_lib.Drafted
  )
  prompt_logprobs: tuple[PromptLogprob | None, ...] | None = None
