"""What `bench_peers.py --http` measures: servers asked by one client.

The client is that of `chatjax bench serve`. In every round each server gets
(a) so many questions at once, for every number of streams, and (b) two
questions one after the other on a shared system prompt that is new to it.
All servers are up, one is asked at a time; the order turns every round.
Answers are greedy and of forced length; questions are seeded words, new in
every round, the same for all.

chatjax in Python is the same engine and the same questions without HTTP: a
process of its own in which one thread per answer reads `Chat.stream`. It is
measured at the largest number of streams up to eight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import dataclasses
from typing import Protocol

import bench_figures
import peers

from chatjax.cli import bench_serve_client
from chatjax.cli import bench_serve_figures
from chatjax.cli import bench_serve_load
from chatjax.cli import bench_serve_workload as workload_lib

PYTHON = 'chatjax in Python'
_WARM_UP_ROUND = 10**6  # its words are those of no measured round
_WARM_UP_TOKENS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What is asked in a round.

  Attributes:
    streams: numbers of questions at once, in rising order.
    shared_words: of the system prompt of two questions.
  """

  streams: tuple[int, ...]
  input_words: int
  output_tokens: int
  shared_words: int

  @property
  def python_streams(self) -> int:
    """At which HTTP is compared with Python."""
    return max((n for n in self.streams if n <= 8), default=self.streams[0])

  def questions(
    self, name: str, count: int, round_number: int
  ) -> list[workload_lib.Prompt]:
    """The same for every peer, others in every round and for every count."""
    sizes = workload_lib.Sizes(
      input_len=self.input_words,
      output_len=self.output_tokens,
      prefix_len=self.shared_words,
    )
    return workload_lib.make(
      name, count, sizes, seed=round_number * 1000 + count
    )


class Measured(Protocol):
  """A started program with its way of being asked."""

  program: peers.Program

  def sample(self, plan: Plan, round_number: int) -> dict[str, float]:
    """All figures of one round, by the names of `metrics`."""


@dataclasses.dataclass(frozen=True)
class OverHttp:
  """A server."""

  program: peers.Server
  model: str

  def sample(self, plan: Plan, round_number: int) -> dict[str, float]:
    out = {}
    for count in plan.streams:
      out |= self._at_once(plan.questions('random', count, round_number), count)
    first, second = (
      self._run([question])
      for question in plan.questions('shared-prefix', 2, round_number)
    )
    return out | {
      'shared_first_ttft_ms': first['p50_ttft_ms'],
      'shared_second_ttft_ms': second['p50_ttft_ms'],
      'shared_input_tokens': second['total_input_tokens'],
      'shared_cached_tokens': second['total_cached_tokens'],
    }

  def _at_once(
    self, questions: Sequence[workload_lib.Prompt], count: int
  ) -> dict[str, float]:
    figures = self._run(questions)
    return {
      f'output_tok_s_{count}': figures['output_throughput'],
      # Every stream at its own rate once it has begun.
      f'decode_tok_s_{count}': count * 1000 / figures['mean_tpot_ms'],
      f'ttft_ms_{count}': figures['p50_ttft_ms'],
    }

  def _run(self, questions: Sequence[workload_lib.Prompt]) -> dict[str, float]:
    client = bench_serve_client.Client(self.program.url, model=self.model)
    run = bench_serve_load.drive(client, questions, bench_serve_load.Load())
    figures = bench_serve_figures.summary(asyncio.run(run))
    wanted = sum(question.max_tokens for question in questions)
    if figures['total_output_tokens'] != wanted:
      raise RuntimeError(
        f'{self.program.name} sent {figures["total_output_tokens"]} tokens;'
        f' {wanted} were asked for. Failures: {figures["failures"]}.'
      )
    return figures


@dataclasses.dataclass(frozen=True)
class InPython:
  """The engine without a server: scripts/engine_worker.py."""

  program: peers.Process

  def sample(self, plan: Plan, round_number: int) -> dict[str, float]:
    count = plan.python_streams
    questions = plan.questions('random', count, round_number)
    answer = self.program.ask({'bodies': [one.body() for one in questions]})
    wanted = sum(question.max_tokens for question in questions)
    if answer['output_tokens'] != wanted:
      raise RuntimeError(
        f'{PYTHON} made {answer["output_tokens"]} tokens; {wanted} were asked'
        ' for.'
      )
    return {f'output_tok_s_{count}': wanted / answer['duration_s']}


def metrics(streams: Sequence[int]) -> bench_figures.Metrics:
  """Name of a figure -> (title, what it is)."""
  out = {}
  for count in streams:
    name = '1 stream' if count == 1 else f'{count} streams'
    out[f'output_tok_s_{count}'] = (
      f'{name}, whole, tok/s', 'all tokens over all the time'
    )  # fmt: skip
    out[f'decode_tok_s_{count}'] = (
      f'{name}, decode, tok/s', 'streams over the mean time per later token'
    )  # fmt: skip
    out[f'ttft_ms_{count}'] = (
      f'{name} at once, p50 TTFT, ms', 'to the first token; less is better'
    )  # fmt: skip
  for place in ('first', 'second'):
    out[f'shared_{place}_ttft_ms'] = (
      f'{place} on a system prompt, TTFT, ms',
      'two questions one after the other; less is better',
    )
  return out


def warm_up(peer: Measured, plan: Plan) -> None:
  """All that a round asks, with short answers."""
  peer.sample(
    dataclasses.replace(plan, output_tokens=_WARM_UP_TOKENS), _WARM_UP_ROUND
  )


def bench(
  measured: Sequence[Measured], plan: Plan, num_rounds: int
) -> list[dict]:
  """One dict per round and peer, in the order they were taken."""
  names = metrics(plan.streams)
  running = [peer.program for peer in measured]
  samples = []
  for round_number in range(num_rounds):
    # Who comes first is not always the same: machines grow warm, or slow.
    turn = measured if round_number % 2 == 0 else list(reversed(measured))
    for peer in turn:
      share = peers.idle_share(running, peer.program)
      sample = peer.sample(plan, round_number)
      sample |= {'peer': peer.program.name, 'round': round_number}
      sample['idle_peers_cpu'] = share()
      samples.append(sample)
      print(
        f'round {round_number} {peer.program.name}:'
        f' {bench_figures.brief(sample, names)}',
        flush=True,
      )
  return samples
