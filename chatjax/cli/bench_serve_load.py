"""When requests are sent: arrivals of their own, and a bound on how many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import dataclasses
import math
import random
import time

from chatjax.cli import bench_serve_answer
from chatjax.cli import bench_serve_client
from chatjax.cli import bench_serve_workload


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
  """How fast requests come.

  Attributes:
    request_rate: a second, as a Poisson process; inf is all at once.
    max_concurrency: requests under way; more wait, and their clock with them
      (None: no bound).
    seed: of the arrivals.
  """

  request_rate: float = math.inf
  max_concurrency: int | None = None
  seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What came of a workload.

  Attributes:
    duration_s: from the first request to the end of the last answer.
  """

  answers: tuple[bench_serve_answer.Answer, ...]
  duration_s: float


def arrivals(count: int, load: Load) -> list[float]:
  """Seconds after the start at which requests come; the first comes at once."""
  if math.isinf(load.request_rate):
    return [0.0] * count
  rng = random.Random(f'arrivals {load.seed}')
  times = [0.0]
  while len(times) < count:
    times.append(times[-1] + rng.expovariate(load.request_rate))
  return times[:count]


async def drive(
  client: bench_serve_client.Client,
  prompts: Sequence[bench_serve_workload.Prompt],
  load: Load,
  *,
  on_answer: Callable[[], None] = lambda: None,
) -> Run:
  """Sends all requests and waits for all answers, failed ones too."""
  gate = (
    asyncio.Semaphore(load.max_concurrency)
    if load.max_concurrency
    else contextlib.nullcontext()
  )
  begin_s = time.perf_counter()

  async def send(prompt, after_s):
    await asyncio.sleep(begin_s + after_s - time.perf_counter())
    async with gate:
      answer = await client.ask(prompt)
    on_answer()
    return answer

  async with asyncio.TaskGroup() as group:
    tasks = [
      group.create_task(send(prompt, after_s))
      for prompt, after_s in zip(
        prompts, arrivals(len(prompts), load), strict=True
      )
    ]
  return Run(
    answers=tuple(task.result() for task in tasks),
    duration_s=time.perf_counter() - begin_s,
  )
