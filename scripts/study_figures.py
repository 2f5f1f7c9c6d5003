"""How far answers moved with the crowd: what scripts/study_report.py counts."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import gzip
import json
import pathlib
import statistics
from typing import Any

REFERENCE = 'alone'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
  """What became of one request in another condition.

  Attributes:
    first_token: index of the first token that differs; None if none does.
    same_bits: log-probabilities before it that are equal to the last bit.
    compared: log-probabilities before it.
    largest: largest difference among them.
  """

  first_token: int | None
  same_bits: int
  compared: int
  largest: float


def difference(
  alone: Mapping[str, Any], other: Mapping[str, Any]
) -> Difference:
  """Compares two answers to the same request."""
  length = min(len(alone['tokens']), len(other['tokens']))
  first = next(
    (i for i in range(length) if alone['tokens'][i] != other['tokens'][i]),
    None,
  )
  if first is None and len(alone['tokens']) != len(other['tokens']):
    first = length
  compared = length if first is None else first
  gaps = [
    abs(a - b)
    for a, b in zip(
      alone['logprobs'][:compared], other['logprobs'][:compared], strict=True
    )
  ]
  return Difference(
    first_token=first,
    same_bits=sum(gap == 0 for gap in gaps),
    compared=compared,
    largest=max(gaps, default=0.0),
  )


def read(path: pathlib.Path) -> list[dict[str, Any]]:
  """The records, one per answer."""
  text = gzip.decompress(path.read_bytes()).decode()
  return [json.loads(line) for line in text.splitlines()]


def differences(
  rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], list[Difference]]:
  """(server, condition) -> by request, against the answer given alone."""
  by_key = {(r['server'], r['condition'], r['index']): r for r in rows}
  out: dict[tuple[str, str], list[Difference]] = {}
  for (server, condition, index), row in by_key.items():
    if condition != REFERENCE:
      alone = by_key[server, REFERENCE, index]
      out.setdefault((server, condition), []).append(difference(alone, row))
  return out


def table(found: Mapping[tuple[str, str], Sequence[Difference]]) -> str:
  """A line per server and condition."""
  lines = [
    '| server | asked again | answers | other tokens | median first other token'
    ' | log-probabilities before it with other bits | largest difference |',
    '|---|---|---|---|---|---|---|',
  ]
  for (server, condition), made in found.items():
    firsts = [d.first_token for d in made if d.first_token is not None]
    compared = sum(d.compared for d in made)
    moved = compared - sum(d.same_bits for d in made)
    median = f'{statistics.median(firsts):.0f}' if firsts else '-'
    cells = (
      server, condition, str(len(made)), str(len(firsts)), median,
      f'{moved} of {compared}', f'{max(d.largest for d in made):.2g}',
    )  # fmt: skip
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


def surviving(made: Sequence[Difference], length: int) -> list[float]:
  """Share of answers without another token up to each position."""
  firsts = [length if d.first_token is None else d.first_token for d in made]
  return [
    sum(first >= position for first in firsts) / len(firsts)
    for position in range(length + 1)
  ]
