"""The pictures of reports: inside a page, and as files beside markdown."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from chatjax.evals import plots
from chatjax.evals import summary as summary_lib

_MAX_CELLS = 4000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """One picture.

  Attributes:
    name: of its file.
    title: says what it shows.
    svg: to stand inside a page.
    legend: what its colours mean; '' where it says so itself.
  """

  name: str
  title: str
  svg: str
  legend: str = ''


def of_run(
  records: Sequence[Mapping[str, Any]], found: summary_lib.Summary
) -> list[Picture]:
  """Of a run and its figures."""
  bars = [_bar(one.kind, one.name, one.estimate) for one in found.metrics]
  title = 'All figures with their intervals'
  svg = plots.intervals(bars, title=title)
  made = [
    Picture(name='report_figures.svg', title=title, svg=svg),
    _items(records),
  ]
  if found.tokens:
    title = 'Tokens per answer'
    svg = plots.histogram(found.tokens, unit='tokens', title=title)
    made.append(Picture(name='report_tokens.svg', title=title, svg=svg))
  return made


def of_comparison(found: summary_lib.Comparison) -> list[Picture]:
  """Of two runs side by side."""
  bars = [_bar(one.kind, one.name, one.gain) for one in found.differences]
  title = 'Second less first, with intervals'
  svg = plots.intervals(bars, is_difference=True, title=title)
  made = [Picture(name='comparison_differences.svg', title=title, svg=svg)]
  for one in found.differences:
    if one.p_value is None:
      continue
    title = f'{one.kind}: {one.name}'
    both = round(one.first.mean * one.first.count) - one.only_first
    neither = one.first.count - both - one.only_first - one.only_second
    svg = plots.pairs(
      both, one.only_first, one.only_second, neither, title=title
    )
    name = f'comparison_{one.kind}_{one.name.replace("@", "_at_")}.svg'
    made.append(Picture(name=name, title=title, svg=svg))
  return made


def files(pictures: Sequence[Picture]) -> dict[str, str]:
  """Name -> text of their files."""
  return {one.name: plots.standalone(one.svg) for one in pictures}


def links(pictures: Sequence[Picture]) -> list[str]:
  """Lines of markdown that show the files."""
  lines = []
  for one in pictures:
    lines += [f'![{one.title}]({one.name})', '']
    lines += [one.legend, ''] if one.legend else []
  return lines


def _bar(kind: str, name: str, estimate) -> plots.Bar:
  return plots.Bar(
    label=f'{kind}: {name}',
    mean=estimate.mean, low=estimate.low, high=estimate.high,
  )  # fmt: skip


def _items(records: Sequence[Mapping[str, Any]]) -> Picture:
  cells = [
    (
      f'{record["id"]} ({record["kind"]})',
      None if 'error' in record else summary_lib.score_of(record),
    )
    for record in records[:_MAX_CELLS]
  ]
  more = len(records) - len(cells)
  title = 'Items, one square each'
  return Picture(
    name='report_items.svg',
    title=title,
    svg=plots.grid(cells, title=title),
    legend='Green is right, grey wrong, yellow right in part, red refused.'
    + (f' {more} more.' if more else ''),
  )
