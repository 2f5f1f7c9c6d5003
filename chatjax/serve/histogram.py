"""A histogram that takes many equal observations at once.

The library's own takes one at a time: inter-token latencies come by blocks of
tokens, thousands to a request.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
import itertools

from prometheus_client import metrics_core
from prometheus_client import utils


class Histogram:
  """Counts by upper bounds; used on one thread."""

  def __init__(self, name: str, documentation: str, bounds: Sequence[float]):
    self._name, self._documentation = name, documentation
    self._bounds = tuple(map(float, bounds))
    self._counts = [0] * (len(bounds) + 1)
    self._sum = 0.0

  def observe(self, value: float, count: int = 1) -> None:
    """Takes `value`, `count` times."""
    self._counts[bisect.bisect_left(self._bounds, value)] += count
    self._sum += value * count

  def family(self, model: str) -> metrics_core.HistogramMetricFamily:
    """What is exposed of it."""
    made = metrics_core.HistogramMetricFamily(
      self._name, self._documentation, labels=['model_name']
    )
    names = map(utils.floatToGoString, (*self._bounds, float('inf')))
    totals = itertools.accumulate(self._counts)
    made.add_metric([model], list(zip(names, totals, strict=True)), self._sum)
    return made


def one_two_five(bound: int) -> list[int]:
  """1, 2, 5, 10, 20, 50, ... up to `bound`."""
  powers = (10**exponent for exponent in itertools.count())
  steps = (step * power for power in powers for step in (1, 2, 5))
  return list(itertools.takewhile(lambda value: value <= bound, steps))
