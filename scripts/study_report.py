"""Counts how far answers moved with the crowd, and draws it.

    python scripts/study_report.py [--answers=docs/study/answers.jsonl.gz] \
        [--page=docs/study/README.md] [--plot=docs/study/crowd.png]

Reads what scripts/study_crowd.py kept; needs the `[notebooks]` extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

from absl import app
from absl import flags
import study_figures

_ANSWERS = flags.DEFINE_string(
  'answers', 'docs/study/answers.jsonl.gz', 'What study_crowd.py wrote.'
)
_PAGE = flags.DEFINE_string(
  'page', 'docs/study/README.md', 'The page that the table is put into.'
)
_PLOT = flags.DEFINE_string('plot', 'docs/study/crowd.png', 'The picture.')

BEGIN = '<!-- made by scripts/study_report.py -->\n'
END = '<!-- end -->\n'


def draw(
  found: Mapping[tuple[str, str], Sequence[study_figures.Difference]],
  length: int,
  path: pathlib.Path,
) -> None:
  """Share of answers that are still the same, by position."""
  import matplotlib as mpl

  mpl.use('Agg')
  from matplotlib import pyplot as plt

  figure, axes = plt.subplots(figsize=(8, 4.2))
  colours = dict(
    zip(dict.fromkeys(s for s, _ in found), ('C0', 'C1', 'C2'), strict=False)
  )
  conditions = list(dict.fromkeys(c for _, c in found))
  styles = dict(zip(conditions, ('-', '--', ':'), strict=False))
  for (server, condition), made in found.items():
    axes.step(
      range(length + 1),
      [100 * share for share in study_figures.surviving(made, length)],
      where='post',
      color=colours[server],
      linestyle=styles[condition],
      label=f'{server}, {condition}',
    )
  axes.set(
    xlabel='tokens of the answer',
    ylabel='answers still equal to the one given alone, %',
    xlim=(0, length),
    ylim=(0, 105),
  )
  axes.legend(loc='lower left')
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError('Takes flags only.')
  rows = study_figures.read(pathlib.Path(_ANSWERS.value))
  found = study_figures.differences(rows)
  made = study_figures.table(found)
  print(made)
  page = pathlib.Path(_PAGE.value)
  head, begin, rest = page.read_text().partition(BEGIN)
  if not begin:
    raise app.UsageError(f'{page} has no line {BEGIN.strip()!r}.')
  page.write_text(f'{head}{BEGIN}{made}\n{END}{rest.partition(END)[2]}')
  length = max(len(row['tokens']) for row in rows)
  draw(found, length, pathlib.Path(_PLOT.value))


if __name__ == '__main__':
  app.run(main)
