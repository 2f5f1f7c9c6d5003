"""What a trial asks: requests whose answers are known, and their mates."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import random

from chatjax import config as config_lib
from chatjax import types

MAX_TOKENS = 16
NUM_TOP = 5

# What else may be drawn with beside a request must not matter to it.
_MATES = (
  {'temperature': 0.0},
  {'temperature': 1.7},
  {'temperature': 1.3, 'top_k': 40, 'presence_penalty': 1.0},
  {'temperature': 0.8, 'top_p': 0.9, 'frequency_penalty': -0.5},
  {'temperature': 1.0, 'min_p': 0.05, 'repetition_penalty': 1.2},
  {'temperature': 1.0, 'logprobs': True, 'top_logprobs': 20},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """Made of the model and a seed alone, so that another process has the same.

  Attributes:
    text_ids: what prompts are cut from.
    room: tokens of the longest prompt.
    chunk: tokens of a prefill program.
    max_tokens: of every answer.
    cases: what is compared; sampled ones first, a greedy one last.
  """

  text_ids: tuple[int, ...]
  room: int
  chunk: int
  max_tokens: int
  cases: tuple[types.TokenRequest, ...]

  def prompt(self, start: int, length: int) -> tuple[int, ...]:
    return _cut(self.text_ids, start, length)

  def mate(self, rng: random.Random, most: int = 1) -> types.TokenRequest:
    """Somebody else's request, of any kind, for at most so many choices."""
    length = rng.randint(1, min(self.room, 3 * self.chunk))
    return types.TokenRequest(
      request_id='',
      prompt_ids=self.prompt(rng.randrange(len(self.text_ids)), length),
      sampling=types.SamplingParams(**rng.choice(_MATES)),
      seed=rng.randint(types.MIN_SEED, types.MAX_SEED),
      stop_ids=frozenset(),
      max_tokens=rng.randint(1, self.max_tokens),
      n=rng.randint(1, min(most, 3)),
    )


def plan(
  text_ids: Sequence[int],
  config: config_lib.EngineConfig,
  *,
  max_context: int,
  seed: int,
) -> Plan:
  """Prompts on both sides of every chunk border, as the context allows."""
  rng = random.Random(seed)
  max_tokens = min(MAX_TOKENS, max(1, max_context // 2))
  room = max_context - max_tokens
  chunk, text_ids = config.chunk, tuple(text_ids)
  lengths = (chunk + 1, 2 * chunk + 2, chunk - 1, chunk)
  lengths = dict.fromkeys(max(1, min(length, room)) for length in lengths)
  sampled = {'temperature': 1.0, 'logprobs': True, 'top_logprobs': NUM_TOP}
  kinds = [(length, sampled) for length in lengths]
  kinds.append((min(chunk // 2 + 1, room), {**sampled, 'temperature': 0.0}))
  cases = [
    types.TokenRequest(
      request_id='',
      # One behind the other: no two begin alike.
      prompt_ids=_cut(text_ids, index * (len(text_ids) // 7), length),
      sampling=types.SamplingParams(**fields),
      seed=rng.randint(types.MIN_SEED, types.MAX_SEED),
      stop_ids=frozenset(),
      max_tokens=max_tokens,
    )
    for index, (length, fields) in enumerate(kinds)
  ]
  return Plan(
    text_ids=text_ids,
    room=room,
    chunk=chunk,
    max_tokens=max_tokens,
    cases=tuple(cases),
  )


def _cut(ids: tuple[int, ...], start: int, length: int) -> tuple[int, ...]:
  """So many ids from `start` on, round and round."""
  turned = ids[start:] + ids[:start]
  return (turned * (length // len(ids) + 1))[:length]
