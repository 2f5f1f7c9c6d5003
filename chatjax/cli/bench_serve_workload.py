"""What a server is asked: seeded requests of plain English words."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import random
from typing import Any

from chatjax.cli import bench_serve_words

# A question of `mixed-sampling`, in turn: greedy ones among drawn ones.
SAMPLINGS: tuple[Mapping[str, Any], ...] = (
  {'temperature': 0},
  {'temperature': 1.0},
  {'temperature': 0.7, 'top_p': 0.9},
  {'temperature': 0.8, 'top_k': 40},
  {'temperature': 0.7, 'presence_penalty': 0.5, 'frequency_penalty': 0.5},
  {'temperature': 0, 'logprobs': True, 'top_logprobs': 5},
  {'temperature': 1.0, 'n': 2},
  {'temperature': 0.9, 'top_k': 100, 'top_p': 0.95, 'logprobs': True},
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """In words, the output in tokens.

  Attributes:
    prefix_len: of the system prompt that all questions share.
  """

  input_len: int
  output_len: int
  prefix_len: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
  """One request: what is said, how long the answer is, how it is drawn."""

  messages: tuple[Mapping[str, str], ...]
  max_tokens: int
  params: Mapping[str, Any]

  @property
  def n(self) -> int:
    """Answers that are asked for."""
    return self.params.get('n', 1)

  def body(self) -> dict[str, Any]:
    """The fields of the request, of forced length."""
    return {
      'messages': list(self.messages),
      'max_tokens': self.max_tokens,
      'ignore_eos': True,
      **self.params,
    }


def make(name: str, count: int, sizes: Sizes, *, seed: int) -> list[Prompt]:
  """The requests of a workload; the same for the same arguments.

  Args:
    name: a key of `WORKLOADS`.
    count: how many.
    sizes: how long they are.
    seed: another one gives other words.
  """
  rng = random.Random(f'{name} {seed}')
  return WORKLOADS[name](rng, count, sizes)


def say(rng: random.Random, count: int) -> str:
  """So many words."""
  return ' '.join(rng.choices(bench_serve_words.WORDS, k=count))


def _prompt(
  user: str,
  max_tokens: int,
  *,
  system: str | None = None,
  params: Mapping[str, Any] = SAMPLINGS[0],
) -> Prompt:
  messages = [{'role': 'user', 'content': user}]
  if system is not None:
    messages.insert(0, {'role': 'system', 'content': system})
  return Prompt(messages=tuple(messages), max_tokens=max_tokens, params=params)


def _random(rng: random.Random, count: int, sizes: Sizes) -> list[Prompt]:
  return [
    _prompt(say(rng, sizes.input_len), sizes.output_len) for _ in range(count)
  ]


def _shared_prefix(
  rng: random.Random, count: int, sizes: Sizes
) -> list[Prompt]:
  system = say(rng, sizes.prefix_len)
  return [
    _prompt(say(rng, sizes.input_len), sizes.output_len, system=system)
    for _ in range(count)
  ]


def _mixed_length(rng: random.Random, count: int, sizes: Sizes) -> list[Prompt]:
  """From a quarter to double, every factor as likely as its inverse."""
  vary = lambda size: max(1, round(size * 2 ** rng.uniform(-2, 1)))
  return [
    _prompt(say(rng, vary(sizes.input_len)), vary(sizes.output_len))
    for _ in range(count)
  ]


def _mixed_sampling(
  rng: random.Random, count: int, sizes: Sizes
) -> list[Prompt]:
  """Every sampling equally often, up to one, in an order of their own."""
  order = [SAMPLINGS[i % len(SAMPLINGS)] for i in range(count)]
  rng.shuffle(order)
  return [
    _prompt(
      say(rng, sizes.input_len),
      sizes.output_len,
      params={**params, 'seed': index},
    )
    for index, params in enumerate(order)
  ]


WORKLOADS: dict[
  str, Callable[[random.Random, int, Sizes], Sequence[Prompt]]
] = {
  'random': _random,
  'shared-prefix': _shared_prefix,
  'mixed-length': _mixed_length,
  'mixed-sampling': _mixed_sampling,
}
