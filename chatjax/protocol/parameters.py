"""One table of what happens to every field of a request.

Validation, GET /v1/capabilities and docs/parameters.md are generated from it,
so that no parameter can be accepted and ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import enum
from typing import Any

from chatjax.protocol import limits as limits_lib
from chatjax.protocol import parameter_rows
from chatjax.protocol import text_rows


class Status(enum.StrEnum):
  """What happens to a parameter."""

  IMPLEMENTED = 'implemented'
  OWN_MEANING = 'own meaning'
  RECORDED = 'recorded'
  REFUSED = 'refused'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
  """One field of a request.

  Attributes:
    path: 'a.b' is a field of an object, 'a[]' any entry of an array.
    allowed: its values in words, with names of limits in braces; of a refused
      one, those that ask for nothing.
    does: what it does here.
    is_extension: whether OpenAI's interface does not have it.
  """

  path: str
  status: Status
  allowed: str
  does: str
  is_extension: bool


_STATUS = dict(zip('IMER', Status, strict=True))


def _read(rows: str, *, is_extension: bool) -> Iterator[Parameter]:
  lines = rows.strip().splitlines()
  for head, does in zip(lines[::2], lines[1::2], strict=True):
    field, _, allowed = head.partition('|')
    letter, path = field.split()
    yield Parameter(
      path=path,
      status=_STATUS[letter],
      allowed=allowed.strip(),
      does=does.strip(),
      is_extension=is_extension,
    )


TABLE = (
  *_read(parameter_rows.OPENAI, is_extension=False),
  *_read(parameter_rows.EXTENSIONS, is_extension=True),
)


def _shared(names: Iterable[str], *, is_extension: bool) -> Iterator[Parameter]:
  """Rows of chats that are true of plain texts."""
  for row in TABLE:
    if row.path.partition('.')[0] in names:
      yield dataclasses.replace(row, is_extension=is_extension)


# Of POST /v1/completions.
TEXT_TABLE = (
  *_read(text_rows.OPENAI, is_extension=False),
  *_shared(text_rows.SHARED_OPENAI, is_extension=False),
  *_read(text_rows.EXTENSIONS, is_extension=True),
  *_shared(text_rows.SHARED_EXTENSIONS, is_extension=True),
)


def _names(table: Iterable[Parameter]) -> frozenset[str]:
  """Of the request itself; the other rows are inside of these."""
  return frozenset(row.path for row in table if not {'.', '['} & set(row.path))


NAMES = _names(TABLE)
TEXT_NAMES = _names(TEXT_TABLE)
REFUSED = frozenset(row.path for row in TABLE if row.status is Status.REFUSED)

# Values that are accepted, since they ask for nothing that is not done.
NEUTRAL: dict[str, tuple[Any, ...]] = {
  'messages[].annotations': ([],),
}


def join(path: str, name: Any) -> str:
  """The path of a field of the objects at `path`."""
  return f'{path}.{name}' if path else str(name)


def is_neutral(path: str, value: Any) -> bool:
  """Whether a value of a refused parameter asks for nothing."""
  return _is_among(value, NEUTRAL.get(path, ()))


def capabilities(model_id: str, limits: limits_lib.Limits) -> dict[str, Any]:
  """What every parameter does, for GET /v1/capabilities."""
  return {
    'object': 'capabilities',
    'model': model_id,
    'parameters': _told(TABLE, limits),
    'completion_parameters': _told(TEXT_TABLE, limits),
  }


def _told(
  table: Iterable[Parameter], limits: limits_lib.Limits
) -> list[dict[str, Any]]:
  return [
    {
      'path': row.path,
      'status': row.status,
      'allowed': allowed(row, limits),
      'does': row.does,
      'extension': row.is_extension,
    }
    for row in table
  ]


def allowed(row: Parameter, limits: limits_lib.Limits) -> str:
  """The values in words, with the server's numbers."""
  return row.allowed.format(**dataclasses.asdict(limits))


def _is_among(value: Any, values: tuple[Any, ...]) -> bool:
  """0 is not false."""
  return any(type(value) is type(one) and value == one for one in values)
