"""How sure a figure is: intervals, paired tests, pass@k."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math
import statistics

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 10_000
_CHUNK = 256  # resamples at a time: memory does not grow with their number

# Of fewer items a bootstrap is too narrow: it knows no value but those seen.
FEW = 20

WILSON, BOOTSTRAP, BOUND = 'Wilson', 'bootstrap', 'Wilson bound'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
  """A mean and an interval around it.

  Attributes:
    method: how the interval was made.
    count: values that it stands on.
  """

  mean: float
  low: float
  high: float
  method: str
  count: int


def estimate(
  values: Sequence[float], *, seed: int, confidence: float = CONFIDENCE
) -> Estimate:
  """The mean of some values: of a proportion by Wilson, else as `difference`.

  Args:
    values: one per item, from 0 to 1; a proportion if each is 0 or 1.
    seed: of the resampling, where there is any.
    confidence: how often such an interval holds the true mean.
  """
  if not values:
    raise ValueError('There are no values to estimate a mean from.')
  if set(values) <= {0, 1}:
    successes = round(sum(values))
    interval = wilson(successes, len(values), confidence=confidence)
    return _estimate(values, interval, WILSON)
  return _mean(values, (0.0, 1.0), seed, confidence)


def difference(
  gains: Sequence[float], *, seed: int, confidence: float = CONFIDENCE
) -> Estimate:
  """The mean of differences: by bootstrap, or bounds of few or equal ones.

  Args:
    gains: one per item, from -1 to 1.
    seed: of the resampling, where there is any.
    confidence: how often such an interval holds the true mean.
  """
  return _mean(gains, (-1.0, 1.0), seed, confidence)


def _mean(
  values: Sequence[float],
  reach: tuple[float, float],
  seed: int,
  confidence: float,
) -> Estimate:
  if min(values) == max(values):
    interval = bound_of_equals(
      values[0], len(values), reach, confidence=confidence
    )
    return _estimate(values, interval, BOUND)
  if len(values) < FEW:
    interval = bound_of_few(values, reach, confidence=confidence)
    return _estimate(values, interval, BOUND)
  interval = bootstrap(values, seed=seed, confidence=confidence)
  return _estimate(values, interval, BOOTSTRAP)


def _estimate(
  values: Sequence[float], interval: tuple[float, float], method: str
) -> Estimate:
  low, high = interval
  mean = math.fsum(values) / len(values)
  return Estimate(
    mean=mean, low=low, high=high, method=method, count=len(values)
  )


def bound_of_equals(
  value: float,
  count: int,
  reach: tuple[float, float],
  *,
  confidence: float = CONFIDENCE,
) -> tuple[float, float]:
  """Where the mean may lie if all items seen had one value.

  The share of items that have another is at most Wilson's upper end of none in
  so many, and those may lie at either end of the reach. Of all 0 or all 1 it is
  Wilson's interval.

  Example:
    >>> low, high = bound_of_equals(0.0, 164, (-1.0, 1.0))
    >>> round(low, 4), round(high, 4)
    (-0.0229, 0.0229)
  """
  _, others = wilson(0, count, confidence=confidence)
  low, high = reach
  return value - others * (value - low), value + others * (high - value)


def bound_of_few(
  values: Sequence[float],
  reach: tuple[float, float],
  *,
  confidence: float = CONFIDENCE,
) -> tuple[float, float]:
  """Wilson's interval of a mean, as if it were one of values at both ends.

  No values within the reach with that mean vary more, so it is not too narrow.
  """
  low, high = reach
  share = math.fsum((value - low) / (high - low) for value in values)
  ends = wilson(share, len(values), confidence=confidence)
  return tuple(low + (high - low) * end for end in ends)


def wilson(
  successes: float, trials: int, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
  """Wilson's score interval of a proportion.

  Example:
    >>> low, high = wilson(8, 10)
    >>> round(low, 4), round(high, 4)
    (0.4902, 0.9433)
  """
  z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
  share, spread = successes / trials, z * z / trials
  middle = (share + spread / 2) / (1 + spread)
  half = z * math.sqrt(share * (1 - share) / trials + spread / trials / 4)
  half /= 1 + spread
  # Its ends are exact there; the rounding of a root is not.
  low = 0.0 if successes == 0 else middle - half
  high = 1.0 if successes == trials else middle + half
  return low, high


def bootstrap(
  values: Sequence[float],
  *,
  seed: int,
  resamples: int = RESAMPLES,
  confidence: float = CONFIDENCE,
) -> tuple[float, float]:
  """The percentile interval of a mean, from resampled items."""
  array = np.asarray(values, np.float64)
  rng = np.random.default_rng(seed % 2**64)  # it takes none below 0
  means = []
  for start in range(0, resamples, _CHUNK):
    shape = min(_CHUNK, resamples - start), len(array)
    means.append(array[rng.integers(0, len(array), shape)].mean(axis=1))
  tail = (1 - confidence) / 2
  low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
  return float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
  """The exact two-sided p-value of McNemar's test.

  Args:
    only_first: items that the first alone got right.
    only_second: items that the second alone got right.

  Example:
    >>> mcnemar(1, 9)
    0.021484375
  """
  total = only_first + only_second
  least = min(only_first, only_second)
  tail = sum(math.comb(total, i) for i in range(least + 1))
  return min(1.0, 2 * tail / 2**total)  # integers: no float is too big


def pass_at_k(samples: int, passed: int, k: int) -> float:
  """The unbiased estimate that one of k samples passes (arXiv:2107.03374).

  Example:
    >>> pass_at_k(2, 1, 1)
    0.5
  """
  if not 1 <= k <= samples or not 0 <= passed <= samples:
    raise ValueError(
      f'pass@{k} of {passed} passed in {samples} samples: k must be 1 to the'
      ' number of samples.'
    )
  return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)
