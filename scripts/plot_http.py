"""Draws the figures of `bench_peers.py --http` from its JSON file.

    python scripts/plot_http.py FILE.json FILE.png

Needs matplotlib: the `[notebooks]` extra.
"""

from __future__ import annotations

from collections.abc import Mapping
import importlib.util
import json
import pathlib
import sys
from typing import Any

_RATE = 'output_tok_s_'
_TIME = 'ttft_ms_'


def require() -> None:
  """Ends the program with a sentence if matplotlib is not there."""
  if importlib.util.find_spec('matplotlib') is None:
    sys.exit(
      'matplotlib is not installed, which the plot needs; install the'
      " [notebooks] extra (pip install -e '.[notebooks]'), or leave --plot out."
    )


def rates(summary: Mapping[str, Any]) -> dict[str, list[tuple[int, dict]]]:
  """Per peer: (streams, its row of the summary), in rising order."""
  out: dict[str, list[tuple[int, dict]]] = {}
  for metric, rows in summary.items():
    if metric.startswith(_RATE):
      streams = int(metric.removeprefix(_RATE))
      for peer, row in rows.items():
        out.setdefault(peer, []).append((streams, row))
  return {
    peer: sorted(points, key=lambda point: point[0])
    for peer, points in out.items()
  }


def first_tokens(summary: Mapping[str, Any]) -> dict[str, dict[str, dict]]:
  """Label -> peer -> row, of the times to the first token."""
  counts = [
    int(metric.removeprefix(_TIME))
    for metric in summary
    if metric.startswith(_TIME)
  ]
  labels = {f'{_TIME}{n}': f'{n} at once' for n in sorted(counts)}
  labels['shared_first_ttft_ms'] = 'shared,\nfirst'
  labels['shared_second_ttft_ms'] = 'shared,\nsecond'
  return {
    label: summary[name] for name, label in labels.items() if name in summary
  }


def draw(result: Mapping[str, Any], path: str) -> None:
  """Two panels: tokens a second, times to the first token (medians)."""
  import matplotlib as mpl

  mpl.use('Agg')
  from matplotlib import pyplot as plt

  figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
  _draw_rates(left, rates(result['summary']))
  _draw_times(right, first_tokens(result['summary']))
  figure.suptitle('Over HTTP, medians; bars from least to most of the rounds')
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def _errors(rows: list[dict]) -> list[list[float]]:
  return [
    [row['median'] - row['min'] for row in rows],
    [row['max'] - row['median'] for row in rows],
  ]


def _draw_rates(axes: Any, points: Mapping[str, list]) -> None:
  for peer, line in points.items():
    rows = [row for _, row in line]
    axes.errorbar(
      [streams for streams, _ in line],
      [row['median'] for row in rows],
      yerr=_errors(rows),
      marker='o',
      capsize=3,
      label=peer,
    )
  axes.set(xlabel='streams', ylabel='output tokens a second')
  axes.set_ylim(bottom=0)
  axes.legend()


def _draw_times(axes: Any, groups: Mapping[str, Mapping[str, dict]]) -> None:
  names = list(dict.fromkeys(peer for rows in groups.values() for peer in rows))
  width = 0.8 / max(len(names), 1)
  for offset, peer in enumerate(names):
    places = [i for i, rows in enumerate(groups.values()) if peer in rows]
    rows = [rows[peer] for rows in groups.values() if peer in rows]
    axes.bar(
      [place + offset * width for place in places],
      [row['median'] for row in rows],
      width,
      yerr=_errors(rows),
      capsize=3,
      label=peer,
    )
  middle = (len(names) - 1) * width / 2
  axes.set_xticks([i + middle for i in range(len(groups))], list(groups))
  axes.set_ylabel('to the first token, ms')
  axes.legend()


def main() -> None:
  if len(sys.argv) != 3:
    sys.exit('Give two files: python scripts/plot_http.py FILE.json FILE.png')
  require()
  draw(json.loads(pathlib.Path(sys.argv[1]).read_text()), sys.argv[2])


if __name__ == '__main__':
  main()
