"""Writes docs/parameters.md from the table that validates requests.

python scripts/make_parameter_table.py
"""

from __future__ import annotations

from collections.abc import Iterable
import pathlib

from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameters

PATH = pathlib.Path(__file__).parents[1] / 'docs' / 'parameters.md'
HEAD = """\
# What every field of a request does

Made by `scripts/make_parameter_table.py` from the table that validates
requests; `GET /v1/capabilities` has it for programs. A field that is in no row
is answered with 400, as is a value that is not allowed; the error names the
field.

| here | means |
|---|---|
| implemented | has the documented effect |
| own meaning | has an effect; what it is, is said in its row |
| recorded | is checked, and has no effect on tokens |
| refused | is answered with 400; what is allowed asks for nothing |

`a.b` is a field of an object, `a[]` is any entry of an array. Sizes
and counts are those of a server that was not told otherwise.
"""
TEXTS = """
## Plain texts

What [POST /v1/completions](completions.md) takes:
"""
COLUMNS = '| field | here | allowed | what it does |\n|---|---|---|---|\n'


def render() -> str:
  """The page."""
  rows, texts = parameters.TABLE, parameters.TEXT_TABLE
  shared = {row.path for row in rows} - {'max_tokens', 'logprobs'}
  return (
    f"{HEAD}\n## OpenAI's\n\n{COLUMNS}"
    + _lines(row for row in rows if not row.is_extension)
    + f'\n## Further ones\n\n{COLUMNS}'
    + _lines(row for row in rows if row.is_extension)
    + f'{TEXTS}\n{COLUMNS}'
    + _lines(row for row in texts if row.path not in shared)
    + '\nand, as above, '
    + ', '.join(_tops(row for row in texts if row.path in shared))
    + '.\n'
  )


def _tops(rows: Iterable[parameters.Parameter]) -> Iterable[str]:
  return (f'`{row.path}`' for row in rows if '.' not in row.path)


def _lines(rows: Iterable[parameters.Parameter]) -> str:
  limits = limits_lib.Limits()
  cells = (
    (
      f'`{row.path}`',
      row.status,
      parameters.allowed(row, limits),
      row.does,
    )
    for row in rows
  )
  return ''.join(f'| {" | ".join(row)} |\n' for row in cells)


if __name__ == '__main__':
  PATH.write_text(render())
