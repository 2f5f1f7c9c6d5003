"""Writes the table of fields in README.md from the table that validates.

python scripts/make_readme_table.py
"""

from __future__ import annotations

from collections.abc import Iterable
import pathlib

from chatjax.protocol import parameters

PATH = pathlib.Path(__file__).parents[1] / 'README.md'
BEGIN = '<!-- made by scripts/make_readme_table.py -->\n'
END = '<!-- end -->\n'
_MEANS = {
  parameters.Status.IMPLEMENTED: 'as documented',
  parameters.Status.OWN_MEANING: 'with a meaning of its own',
  parameters.Status.RECORDED: 'checked; no effect on tokens',
  parameters.Status.REFUSED: 'answered with 400',
}


def render(readme: str) -> str:
  """The README with the table between its marks as it should be."""
  head, _, rest = readme.partition(BEGIN)
  _, _, tail = rest.partition(END)
  return f'{head}{BEGIN}{_table()}{END}{tail}'


def _table() -> str:
  lines = ["| | OpenAI's fields | further fields |", '|---|---|---|']
  for status, means in _MEANS.items():
    rows = [row for row in parameters.TABLE if row.status is status]
    ours = _names(row for row in rows if row.is_extension)
    theirs = _names(row for row in rows if not row.is_extension)
    lines.append(f'| {means} | {theirs} | {ours} |')
  return '\n'.join(lines) + '\n'


def _names(rows: Iterable[parameters.Parameter]) -> str:
  """Fields of the request; what is inside is told where it differs."""
  return ', '.join(f'`{row.path}`' for row in rows if _is_told(row))


def _is_told(row: parameters.Parameter) -> bool:
  status = {p.path: p.status for p in parameters.TABLE}
  path = row.path
  while path := path.rpartition('.')[0]:
    parent = path if path in status else path.removesuffix('[]')
    if parent in status:
      return status[parent] is not row.status
  return True


if __name__ == '__main__':
  PATH.write_text(render(PATH.read_text()))
