"""What the engine is given and gives."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

from chatjax.types import errors as errors_lib
from chatjax.types import sampling as sampling_lib


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
    seed: int64; choice i draws with `fold_in(key(seed), first_choice + i)`.
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
    is_measured: whether tokens come with a `Measured`.
    first_choice: number of choice 0, for its key.
    variants: requests of the same prompt, one per choice: choice i is what
      choice 0 of the i-th would be alone. What concerns the prompt and its
      place in the queue is read from this request, not from them.
  """

  request_id: str
  prompt_ids: tuple[int, ...]
  sampling: sampling_lib.SamplingParams
  seed: int
  stop_ids: frozenset[int]
  max_tokens: int
  n: int = 1
  priority: int = 0
  cache_salt: str = ''
  timeout_s: float | None = None
  speculation: sampling_lib.Speculation = 'auto'
  prediction_ids: tuple[int, ...] = ()
  constraint: Callable[[], Constraint] | None = None
  prompt_logprobs: int | None = None
  is_measured: bool = False
  first_choice: int = 0
  variants: tuple[TokenRequest, ...] = ()

  def of_choice(self, choice: int) -> tuple[TokenRequest, int]:
    """The request that says how a choice is drawn, and its key's number."""
    if self.variants:
      return self.variants[choice].of_choice(0)
    return self, self.first_choice + choice


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
class Measured:
  """What else a model says of a token and its place.

  Attributes:
    entropy: of the model's own whole distribution, in nats (float32 value).
    rank: of the token by (logit descending, id ascending); 1 is the first.
    free_id: what would have been drawn there without a constraint, after the
      same tokens and with the same noise.
  """

  entropy: float
  rank: int
  free_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
  """One generated token as the engine reports it.

  Attributes:
    id: the token id.
    logprob: raw natural-log probability under the model (float32 value).
    top: (id, logprob) alternatives, most likely first.
    measured: if that was asked for.
  """

  id: int
  logprob: float
  top: tuple[tuple[int, float], ...] = ()
  measured: Measured | None = None


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

  def finish(self, choice: int, reason: errors_lib.FinishReason) -> None:
    """Takes the end of a choice; the deciding token came before."""

  def error(self, error: Exception) -> None:
    """Takes the end of the whole request by a failure."""
