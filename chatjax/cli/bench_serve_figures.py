"""Figures of a run, named as `vllm bench serve` names them in its JSON."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from collections.abc import Sequence
import math
import statistics
from typing import Any

from chatjax.cli import bench_serve_answer
from chatjax.cli import bench_serve_load

PERCENTILES = (50, 90, 99)
# Name -> (title, what it is).
TIMES = {
  'ttft': ('TTFT', 'to the first token'),
  'tpot': ('TPOT', 'per output token after the first'),
  'itl': ('ITL', 'between chunks, which may hold several tokens'),
  'e2el': ('E2EL', 'to the end of the answer'),
}


def summary(run: bench_serve_load.Run) -> dict[str, Any]:
  """All figures; a time that nothing was measured of is None."""
  good = [answer for answer in run.answers if answer.error is None]
  total_input = sum(answer.prompt_tokens for answer in good)
  total_output = sum(answer.output_tokens for answer in good)
  result = {
    'duration': run.duration_s,
    'completed': len(good),
    'failed': len(run.answers) - len(good),
    'total_input_tokens': total_input,
    'total_cached_tokens': sum(answer.cached_tokens for answer in good),
    'total_output_tokens': total_output,
    'request_throughput': len(good) / run.duration_s,
    'output_throughput': total_output / run.duration_s,
    'total_token_throughput': (total_input + total_output) / run.duration_s,
    'max_concurrent_requests': _most_at_once(good),
  }
  for name, times_s in _times_s(good).items():
    result |= spread(name, times_s)
  result['failures'] = dict(
    collections.Counter(a.error for a in run.answers if a.error is not None)
  )
  return result


def _times_s(
  answers: Sequence[bench_serve_answer.Answer],
) -> dict[str, list[float]]:
  return {
    'ttft': [answer.ttft_s for answer in answers],
    'tpot': [a.tpot_s for a in answers if a.tpot_s is not None],
    'itl': [time_s for answer in answers for time_s in answer.itls_s],
    'e2el': [answer.latency_s for answer in answers],
  }


def spread(name: str, times_s: Iterable[float]) -> dict[str, float | None]:
  """mean_NAME_ms and its like; the deviation is that of the sample itself."""
  times_ms = [time_s * 1000 for time_s in times_s]
  keys = ('mean', 'median', 'std', *(f'p{p}' for p in PERCENTILES))
  if not times_ms:
    return {f'{key}_{name}_ms': None for key in keys}
  values = (
    statistics.fmean(times_ms),
    statistics.median(times_ms),
    statistics.pstdev(times_ms),
    *(percentile(times_ms, p) for p in PERCENTILES),
  )
  return {
    f'{key}_{name}_ms': value for key, value in zip(keys, values, strict=True)
  }


def percentile(values: Sequence[float], percent: float) -> float:
  """Between the two nearest ranks, in proportion."""
  ranked = sorted(values)
  place = (len(ranked) - 1) * percent / 100
  low, high = ranked[math.floor(place)], ranked[math.ceil(place)]
  return low + (high - low) * (place % 1)


def _most_at_once(answers: Sequence[bench_serve_answer.Answer]) -> int:
  """Requests under way; one that ends makes room for one that starts."""
  changes = [(answer.start_s, 1) for answer in answers]
  changes += [(answer.start_s + answer.latency_s, -1) for answer in answers]
  now = most = 0
  for _, change in sorted(changes):
    now += change
    most = max(most, now)
  return most
