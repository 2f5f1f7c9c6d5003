"""What a run, or two of them side by side, come to."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax import types
from chatjax.evals import choice
from chatjax.evals import items as items_lib
from chatjax.evals import statistics

Record = Mapping[str, Any]
Name = tuple[str, str]  # kind, metric


class CompareError(types.ChatjaxError):
  """Two runs that cannot be compared item by item."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """One figure of a run.

  Attributes:
    kind: of the items that it is of.
    name: 'acc', 'pass@1', ...
  """

  kind: str
  name: str
  estimate: statistics.Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """A run.

  Attributes:
    errors: items whose request was refused; they count as wrong.
    cut: answers that were not at their end at the limit of tokens.
    tokens: per answer, in the order of the task.
  """

  metrics: tuple[Metric, ...]
  items: int
  errors: int
  samples: int
  cut: int
  tokens: tuple[int, ...]


def summarize(records: Sequence[Record], *, seed: int) -> Summary:
  """All figures of a run.

  Args:
    records: of all its items.
    seed: of the resampling.
  """
  drawn = [
    sample
    for record in records
    if record['kind'] != items_lib.CHOICE
    for sample in record['samples']
  ]
  return Summary(
    metrics=tuple(
      Metric(
        kind=kind, name=name, estimate=statistics.estimate(values, seed=seed)
      )
      for (kind, name), values in columns(records).items()
    ),
    items=len(records),
    errors=sum('error' in record for record in records),
    samples=len(drawn),
    cut=sum(sample['finish_reason'] == 'length' for sample in drawn),
    tokens=tuple(sample['num_tokens'] for sample in drawn),
  )


def columns(records: Sequence[Record]) -> dict[Name, list[float]]:
  """The values of every metric, one per item, by kind and name."""
  found: dict[Name, list[float]] = {}
  for kind in items_lib.KINDS:
    for record in records:
      if record['kind'] == kind:
        for name in sorted(record['scores'], key=_order):
          found.setdefault((kind, name), []).append(record['scores'][name])
  return found


def _order(name: str) -> tuple[str, int]:
  """pass@2 before pass@10."""
  word, _, k = name.partition('@')
  return word, int(k or 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """One figure of two runs.

  Attributes:
    first, second: the figure of each.
    gain: second less first, of the same items; by bootstrap.
    only_first, only_second: items that one alone got right; None where an item
      can be right in part.
    p_value: McNemar's, exact; None as well.
  """

  kind: str
  name: str
  first: statistics.Estimate
  second: statistics.Estimate
  gain: statistics.Estimate
  only_first: int | None = None
  only_second: int | None = None
  p_value: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """Two runs of the same items.

  Attributes:
    equal_answers: items of which all answers are the same text; of choices,
      those where the same ones were taken.
  """

  differences: tuple[Difference, ...]
  items: int
  equal_answers: int


def compare(
  first: Sequence[Record], second: Sequence[Record], *, seed: int
) -> Comparison:
  """Compares two runs item by item.

  Raises:
    CompareError: they are of different items, or of other seeds: the noise
      would not be common to both.
  """
  first, second = _paired(first, second)
  one, other = columns(first), columns(second)
  common = [name for name in one if name in other]
  if not common:
    raise CompareError('The two runs have no figure in common.')
  return Comparison(
    differences=tuple(
      _difference(name, one[name], other[name], seed) for name in common
    ),
    items=len(first),
    equal_answers=sum(
      _answers(a) == _answers(b) for a, b in zip(first, second, strict=True)
    ),
  )


def _paired(first: Sequence[Record], second: Sequence[Record]):
  """Both in the order of the first."""
  by_id = {record['id']: record for record in second}
  if by_id.keys() != {record['id'] for record in first}:
    raise CompareError(
      'The two runs are of different items; compare runs of the same task.'
    )
  for record in first:
    other = by_id[record['id']]
    seeds = _seeds(record), _seeds(other)
    what = None
    if (record['kind'], record['item']) != (other['kind'], other['item']):
      what = 'is another question'
    elif None not in seeds and seeds[0] != seeds[1]:
      what = 'was asked with other seeds'
    if what:
      raise CompareError(
        f'Item {record["id"]!r} {what} in the second run; compare runs of the'
        ' same task with the same --seed, --seeds and --n.'
      )
  return first, [by_id[record['id']] for record in first]


def _seeds(record: Record) -> list[tuple[int, int]] | None:
  """Which draws an item was asked for; None if there were none."""
  if record['kind'] == items_lib.CHOICE or 'error' in record:
    return None
  return [(sample['seed'], sample['choice']) for sample in record['samples']]


def _answers(record: Record) -> Sequence[str] | Mapping[str, int]:
  samples = record['samples']
  texts = [sample['text'] for sample in samples]
  if record['kind'] == items_lib.CHOICE and samples:  # a refused one has none
    return choice.picks(texts, [sample['logprob'] for sample in samples])
  return texts


def _difference(
  name: Name, first: Sequence[float], second: Sequence[float], seed: int
) -> Difference:
  gains = [b - a for a, b in zip(first, second, strict=True)]
  told = {}
  if {*first, *second} <= {0, 1}:
    lost, won = gains.count(-1), gains.count(1)
    told = {
      'only_first': lost,
      'only_second': won,
      'p_value': statistics.mcnemar(lost, won),
    }
  return Difference(
    kind=name[0],
    name=name[1],
    first=statistics.estimate(first, seed=seed),
    second=statistics.estimate(second, seed=seed),
    gain=statistics.difference(gains, seed=seed),
    **told,
  )


def score_of(record: Record) -> float:
  """One number of an item, for a picture: its first metric."""
  names = sorted(record['scores'], key=_order)
  return record['scores'][names[0]]
