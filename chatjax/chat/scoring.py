"""What a model says of given tokens, with the bits of a generation.

A prompt's positions are computed by prefill chunks. The first token of the
completion is scored by the prefill's last logits, and every later one by a row
of the decode program, as if it had been drawn: the tokens are forced, several
in one step. So the log-probabilities are those of the same answer drawn, bit
for bit, whatever it was drawn with.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import numbers
from typing import Any

import jax
import numpy as np

from chatjax import types
from chatjax.chat import gather
from chatjax.chat import script
from chatjax.chat import session as session_lib

# Of one prompt and request; more of them are asked apart.
_MAX_CHOICES = 32

Text = str | Sequence[int]
Prompt = Text | Sequence[Mapping[str, Any]]
Pair = tuple[tuple[int, ...], tuple[int, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
  """A completion under a model; arrays have one entry per token.

  Attributes:
    tokens: each token's text; bytes that are no text are U+FFFD, and a token
      that the tokenizer cannot spell is empty.
    token_ids: i32[T].
    logprobs: f32[T], raw natural-log probabilities.
    entropy: f32[T], of the model's own whole distribution there, in nats.
    rank: i32[T], by (logit descending, id ascending); 1 is the likeliest.
    greedy_ids: i32[T], the likeliest token there.
    top: (id, log-probability) of the likeliest, if they were asked for.
  """

  tokens: tuple[str, ...]
  token_ids: np.ndarray
  logprobs: np.ndarray
  entropy: np.ndarray
  rank: np.ndarray
  greedy_ids: np.ndarray
  top: tuple[tuple[tuple[int, float], ...], ...]

  @property
  def total(self) -> float:
    """The log-probability of the whole completion."""
    return float(self.logprobs.sum(dtype=np.float64))

  def __len__(self) -> int:
    return len(self.token_ids)


def score(
  session: session_lib.Session,
  pairs: Sequence[Pair],
  *,
  top_logprobs: int = 0,
) -> list[Scored]:
  """Scores completions, all of them in flight together.

  Args:
    session: of the model.
    pairs: (prompt, completion), each as token ids.
    top_logprobs: alternatives to tell of, per token.

  Raises:
    types.RequestError: a pair does not fit the model.
  """
  for prompt_ids, token_ids in pairs:
    check(session, prompt_ids, token_ids)
  is_whole = isinstance(top_logprobs, numbers.Integral)
  if not is_whole or not 0 <= top_logprobs <= types.MAX_TOP_LOGPROBS:
    raise types.RequestError(
      f'top_logprobs is {top_logprobs!r}; ask for a whole number, 0 to'
      f' {types.MAX_TOP_LOGPROBS}.',
      param='top_logprobs',
    )
  sampling = types.SamplingParams(
    temperature=0.0, logprobs=True, top_logprobs=int(top_logprobs)
  )
  asked = [
    forced(prompt_ids, token_ids, sampling=sampling)
    for prompt_ids, token_ids in pairs
  ]
  return [_scored(session, tokens) for tokens in run(session.engine, asked)]


def ids_of_text(
  session: session_lib.Session, prompt: Prompt
) -> tuple[int, ...] | None:
  """The token ids of a prompt that is a text or ids; None for messages."""
  if isinstance(prompt, str):
    return tuple(session.text_ids(prompt, has_start=True))
  ids = _plain(prompt, 'prompt')
  if ids and not all(isinstance(one, numbers.Integral) for one in ids):
    return None
  return tuple(map(int, ids))


def completion_ids(
  session: session_lib.Session, completion: Text
) -> tuple[int, ...]:
  """The token ids of a completion: of a text, as what follows a prompt."""
  if isinstance(completion, str):
    return tuple(session.tokenizer.encode_later(completion))
  ids = _plain(completion, 'completion')
  if not all(isinstance(one, numbers.Integral) for one in ids):
    raise types.RequestError(
      'The completion must be a text or token ids.', param='completion'
    )
  return tuple(map(int, ids))


def _plain(values: Sequence[Any], param: str) -> list[Any]:
  # Scalars of a jax array are no numbers for Python.
  if isinstance(values, np.ndarray | jax.Array):
    values = np.asarray(values).tolist()
  if not isinstance(values, Iterable):
    raise types.RequestError(
      f'The {param} is {values!r}; give a text or token ids.', param=param
    )
  return list(values)


def check(
  session: session_lib.Session,
  prompt_ids: Sequence[int],
  token_ids: Sequence[int],
) -> None:
  """Raises `types.RequestError` if a pair does not fit the model."""
  bound = session.engine.vocab_size
  for param, ids in (('prompt', prompt_ids), ('completion', token_ids)):
    if not ids:
      raise types.RequestError(
        f'The {param} is empty; there must be at least one token of it.',
        param=param,
      )
    wrong = [token_id for token_id in ids if not 0 <= token_id < bound]
    if wrong:
      raise types.RequestError(
        f'The {param} names the token {wrong[0]}; this model has the tokens 0 '
        f'to {bound - 1}.',
        param=param,
      )
  total = len(prompt_ids) + len(token_ids)
  if total > session.engine.max_context:
    raise types.RequestError(
      f'The prompt and the completion are {total} tokens long together; the '
      f'context has room for {session.engine.max_context}. Shorten them.',
      param='completion',
      code='context_length_exceeded',
    )


def forced(
  prompt_ids: tuple[int, ...],
  token_ids: tuple[int, ...],
  *,
  sampling: types.SamplingParams,
  seed: int = 0,
  stop_ids: frozenset[int] = frozenset(),
) -> types.TokenRequest:
  """Asks for a completion that is known, and for its measures."""
  return types.TokenRequest(
    request_id=session_lib.new_id('score'),
    prompt_ids=prompt_ids,
    sampling=sampling,
    seed=seed,
    stop_ids=stop_ids,
    max_tokens=len(token_ids),
    constraint=lambda: script.Script(token_ids),
    speculation='off',  # what is known needs no guess
    is_measured=True,
  )


def run(
  engine: gather.Engine, asked: Sequence[types.TokenRequest]
) -> list[tuple[types.Token, ...]]:
  """The tokens of requests of one choice each; those of a prompt share it."""
  by_prompt: dict[tuple[int, ...], list[int]] = {}
  for number, request in enumerate(asked):
    by_prompt.setdefault(request.prompt_ids, []).append(number)
  most = min(_MAX_CHOICES, engine.max_open)
  groups = [
    numbers[start : start + most]
    for numbers in by_prompt.values()
    for start in range(0, len(numbers), most)
  ]
  together = [
    dataclasses.replace(
      asked[group[0]],
      request_id=session_lib.new_id('score'),
      n=len(group),
      variants=tuple(asked[number] for number in group),
    )
    for group in groups
  ]
  made = {}
  for group, choices in zip(groups, gather.run(engine, together), strict=True):
    made |= zip(group, choices, strict=True)
  return [made[number] for number in range(len(asked))]


def text_of(session: session_lib.Session, token_id: int) -> str:
  """A token's text; '' for what only pads the model's vocabulary."""
  is_known = token_id < session.tokenizer.vocab_size
  return session.text_of([token_id]) if is_known else ''


def _scored(
  session: session_lib.Session, tokens: Sequence[types.Token]
) -> Scored:
  measured = [token.measured for token in tokens]
  return Scored(
    tokens=tuple(text_of(session, token.id) for token in tokens),
    token_ids=np.array([token.id for token in tokens], np.int32),
    logprobs=np.array([token.logprob for token in tokens], np.float32),
    entropy=np.array([one.entropy for one in measured], np.float32),
    rank=np.array([one.rank for one in measured], np.int32),
    greedy_ids=np.array([one.free_id for one in measured], np.int32),
    top=tuple(token.top for token in tokens),
  )
