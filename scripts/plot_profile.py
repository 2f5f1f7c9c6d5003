"""Draws what `chatjax bench --profile` wrote with `--json`.

    python scripts/plot_profile.py FIGURES.json FILE.png

Needs matplotlib: the `[notebooks]` extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import sys
from typing import Any

import plot_http

_USAGE = 'Give two files: python scripts/plot_profile.py FIGURES.json FILE.png'


def stacks(
  profiles: Sequence[Mapping[str, Any]],
) -> tuple[list[str], dict[str, list[float]]]:
  """Labels of the bars, and part -> milliseconds of a step in each.

  What the profiler adds is taken out: the parts share the time of a step that
  was measured without it.
  """
  labels = [_rows(one['rows']) for one in profiles]
  parts: dict[str, list[float]] = {}
  for one in profiles:
    scale = 1e3 * one['step_s'] / sum(one['parts'].values())
    for part, seconds in one['parts'].items():
      parts.setdefault(part, []).append(seconds * scale)
  return labels, parts


def _rows(count: int) -> str:
  return f'{count} row{"s" * (count != 1)}'


def draw(result: Mapping[str, Any], path: str) -> None:
  """One bar per number of rows."""
  import matplotlib as mpl

  mpl.use('Agg')
  from matplotlib import pyplot as plt

  labels, parts = stacks(result['profile'])
  figure, axes = plt.subplots(figsize=(8, 4.5))
  colours = plt.get_cmap('tab20').colors
  bottom = [0.0] * len(labels)
  for (part, heights), colour in zip(parts.items(), colours, strict=False):
    axes.bar(labels, heights, 0.6, bottom, label=part, color=colour)
    bottom = [
      below + height for below, height in zip(bottom, heights, strict=True)
    ]
  read_s = result['weight_bytes'] / result['read_bytes_per_s']
  axes.axhline(
    1e3 * read_s, color='black', ls='--', label='reading the weights once'
  )
  axes.set_ylabel('milliseconds of a decode step')
  axes.set_title(result['model'])
  handles, names = axes.get_legend_handles_labels()
  axes.legend(
    handles[::-1], names[::-1], loc='center left', bbox_to_anchor=(1, 0.5)
  )
  figure.savefig(path, dpi=120, bbox_inches='tight')
  plt.close(figure)


def main() -> None:
  if len(sys.argv) != 3:
    sys.exit(_USAGE)
  plot_http.require()
  result = json.loads(pathlib.Path(sys.argv[1]).read_text())
  if 'profile' not in result:
    sys.exit(
      f'{sys.argv[1]} has no profile: chatjax bench --profile makes one.'
    )
  draw(result, sys.argv[2])


if __name__ == '__main__':
  main()
