"""How tokens are drawn."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import types
from typing import Literal

Speculation = Literal['off', 'on', 'auto']


LogprobsMode = Literal['raw', 'tempered', 'sampled']


# OpenAI's bound on `top_logprobs`.
MAX_TOP_LOGPROBS = 20


MIN_SEED = -(2**63)


MAX_SEED = 2**63 - 1


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
