"""Pictures of figures as SVG, to stand inside a page or, `standalone`, alone.

Colours are CSS variables (`COLOURS`), so that one picture is right in a light
and in a dark page. The same values give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import html
import math
import re

_WIDTH = 720
_ROW, _LABEL, _MARGIN = 30, 190, 24
_CELL, _GAP = 14, 3
_BARS = 24
_PLOT_HEIGHT = 150
_NOT_XML = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_FRAME = re.compile(r'viewBox="0 0 (\S+) (\S+)"')

COLOURS = """
:root { color-scheme: light dark; --back: #fff; --ink: #1d2129; --soft: #5b6472;
  --line: #dfe3ea; --panel: #f6f7f9; --main: #2563c9; --right: #2f8f5b;
  --wrong: #d9dee6; --part: #d9a53a; --bad: #c03d3d; --second: #d9a53a; }
@media (prefers-color-scheme: dark) { :root { --back: #14171c; --ink: #e6e9ee;
  --soft: #9aa4b2; --line: #2d333d; --panel: #1c2027; --main: #7aa7f0;
  --right: #4fb47f; --wrong: #3a424f; --part: #d9ae5a; --bad: #e06c6c;
  --second: #d9ae5a; } }
""".strip()
STYLE = """
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg text.axis { fill: var(--soft); } .grid { stroke: var(--line); }
.zero { stroke: var(--soft); stroke-dasharray: 3 3; }
.whisker { stroke: var(--main); stroke-width: 3; stroke-linecap: round;
  opacity: .55; } .point, .bar, .first { fill: var(--main); }
.right { fill: var(--right); } .wrong { fill: var(--wrong); }
.part { fill: var(--part); } .bad { fill: var(--bad); }
.second { fill: var(--second); }
""".strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
  """One row of `intervals`: a point and how far off it may be."""

  label: str
  mean: float
  low: float
  high: float


def intervals(
  bars: Sequence[Bar], *, is_difference: bool = False, title: str = ''
) -> str:
  """Points with intervals, one below the other, on an axis of percent."""
  low, high = (0.0, 1.0)
  if is_difference:
    reach = max(abs(x) for bar in bars for x in (bar.low, bar.high, 0.01))
    reach = min(1.0, math.ceil(reach * 20) / 20)
    low, high = -reach, reach
  width = _WIDTH - _LABEL - 2 * _MARGIN
  place = lambda x: _LABEL + _MARGIN + (x - low) / (high - low) * width
  bottom = len(bars) * _ROW + 8
  parts = []
  for step in range(5):
    x = low + (high - low) * step / 4
    parts.append(_line(place(x), 4, place(x), bottom, 'grid'))
    told = f'{100 * x:+g}' if is_difference and x else f'{100 * x:g}'
    parts.append(_text(place(x), bottom + 16, f'{told} %', 'middle', 'axis'))
  if is_difference:
    parts.append(_line(place(0), 4, place(0), bottom, 'zero'))
  for index, bar in enumerate(bars):
    y = index * _ROW + _ROW / 2 + 4
    parts += [
      _text(_LABEL + 8, y + 4, bar.label, 'end', 'label'),
      _line(place(bar.low), y, place(bar.high), y, 'whisker'),
      f'<circle class="point" cx="{_n(place(bar.mean))}" cy="{_n(y)}" r="5"/>',
    ]
  return _svg(parts, bottom + 24, title)


def grid(cells: Sequence[tuple[str, float | None]], *, title: str = '') -> str:
  """A square per item: (what it is, its score; None is an error)."""
  per_row = (_WIDTH - 8) // (_CELL + _GAP)
  parts = []
  for index, (label, score) in enumerate(cells):
    row, column = divmod(index, per_row)
    kind = 'bad' if score is None else 'right' if score >= 1 else 'wrong'
    if score is not None and 0 < score < 1:
      kind = 'part'
    told = 'error' if score is None else f'{score:.3g}'
    x, y = 4 + column * (_CELL + _GAP), 4 + row * (_CELL + _GAP)
    parts.append(
      f'<rect class="{kind}" x="{x}" y="{y}" width="{_CELL}" height="{_CELL}"'
      f' rx="3"><title>{html.escape(label)}: {told}</title></rect>'
    )
  rows = -(-len(cells) // per_row)
  return _svg(parts, rows * (_CELL + _GAP) + 8, title)


def histogram(values: Sequence[int], *, unit: str, title: str = '') -> str:
  """How often values lie where."""
  low, high = min(values), max(values)
  size = max(1, math.ceil((high - low + 1) / _BARS))
  counts = [0] * (-(-(high - low + 1) // size))
  for value in values:
    counts[(value - low) // size] += 1
  width = (_WIDTH - 2 * _MARGIN) / len(counts)
  most, bottom = max(counts), _PLOT_HEIGHT + 12
  parts = [_line(_MARGIN, bottom, _WIDTH - _MARGIN, bottom, 'grid')]
  for index, count in enumerate(counts):
    tall = count / most * _PLOT_HEIGHT
    first = low + index * size
    told = f'{first} to {first + size - 1} {unit}: {count}'
    parts.append(
      f'<rect class="bar" x="{_n(_MARGIN + index * width + 1)}"'
      f' y="{_n(bottom - tall)}" width="{_n(max(1.0, width - 2))}"'
      f' height="{_n(tall)}"><title>{html.escape(told)}</title></rect>'
    )
  parts += [
    _text(_MARGIN, bottom + 16, str(low), 'start', 'axis'),
    _text(_WIDTH - _MARGIN, bottom + 16, f'{high} {unit}', 'end', 'axis'),
    _text(_MARGIN, 12, f'{most} at most', 'start', 'axis'),
  ]
  return _svg(parts, bottom + 24, title)


def pairs(
  both: int, only_first: int, only_second: int, neither: int, *, title: str = ''
) -> str:
  """One bar in four parts: which of two got how many items right."""
  shares = (
    ('both right', 'right', both),
    ('only the first', 'first', only_first),
    ('only the second', 'second', only_second),
    ('both wrong', 'wrong', neither),
  )
  total = sum(count for _, _, count in shares)
  parts, x = [], float(_MARGIN)
  for index, (name, kind, count) in enumerate(shares):
    wide = count / total * (_WIDTH - 2 * _MARGIN)
    told, legend = f'{name}: {count}', _MARGIN + index * 168
    parts += [
      f'<rect class="{kind}" x="{_n(x)}" y="6" width="{_n(wide)}" height="26">'
      f'<title>{told}</title></rect>',
      f'<rect class="{kind}" x="{legend}" y="43" width="12" height="12"'
      ' rx="3"/>',
      _text(legend + 18, 54, told, 'start', 'axis'),
    ]
    x += wide
  return _svg(parts, 66, title)


def standalone(picture: str) -> str:
  """A picture as a file of its own, with its colours and its size."""
  width, height = _FRAME.search(picture).groups()
  # What XML has no way to say would make the whole file none.
  picture = _NOT_XML.sub('', picture)
  head, _, rest = picture.partition('>')
  return (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}"'
    f' height="{height}"{head.removeprefix("<svg")}>\n'
    f'<style>\n{COLOURS}\nsvg {{ background: var(--back); }}\n{STYLE}\n'
    f'</style>\n{rest}\n'
  )


def _svg(parts: Sequence[str], height: float, title: str) -> str:
  name = html.escape(title, quote=True)
  return (
    f'<svg viewBox="0 0 {_WIDTH} {_n(height)}" role="img"'
    f' aria-label="{name}">{"".join(parts)}</svg>'
  )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
  return (
    f'<line class="{kind}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}"'
    f' y2="{_n(y2)}"/>'
  )


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
  return (
    f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">'
    f'{html.escape(text)}</text>'
  )


def _n(value: float) -> str:
  """A length, short and always written alike."""
  return f'{value:.1f}'.removesuffix('.0')
