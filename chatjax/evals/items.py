"""A task: a local JSONL file of items, one object a line.

Every item has one of `question` (one message of a user) and `messages`, or, of
the kind `choice`, `prompt` (plain text that the choices continue). What more
there is depends on its kind; see the modules of `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

from chatjax import types
from chatjax.evals import choice
from chatjax.evals import code
from chatjax.evals import exact
from chatjax.evals import fields as fields_lib
from chatjax.evals import json_answer
from chatjax.evals import marks
from chatjax.evals import regex
from chatjax.protocol import request as request_lib

CHOICE, CODE = 'choice', 'code'
Grader = choice.Choice | marks.Grader
KINDS: Mapping[str, Callable[[fields_lib.Fields], Grader]] = {
  CHOICE: choice.read,
  'exact': exact.read,
  'regex': regex.read,
  'json': json_answer.read,
  CODE: code.read,
}
_ANY = {'model': 'any', 'messages': [{'role': 'user', 'content': ''}]}
# What the run decides, for all items alike.
_OF_THE_RUN = ('model', 'messages', 'seed', 'n', 'stream', 'store')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
  """One question.

  Attributes:
    id: unique in its task.
    line: in the file, from 1.
    kind: of KINDS.
    messages: what is asked; None for a plain `prompt`.
    prompt: plain text that the choices continue.
    grader: what an answer is worth.
    request: further fields of its request, as `max_tokens`.
    record: the line as it came.
  """

  id: str
  line: int
  kind: str
  messages: tuple[Mapping[str, Any], ...] | None
  prompt: str | None
  grader: Grader
  request: Mapping[str, Any]
  record: Mapping[str, Any]


def read(path: pathlib.Path, *, kind: str | None = None) -> list[Item]:
  """Reads a task.

  Args:
    path: of the file.
    kind: of the items that do not say it.

  Raises:
    fields.TaskError: names the line and the field.
  """
  try:
    lines = path.read_bytes().split(b'\n')
  except OSError as error:
    raise fields_lib.TaskError(
      f'{path} cannot be read: {error.strerror or error}.'
    ) from None
  items, lines_by_id = [], {}
  for number, line in enumerate(lines, start=1):
    if not line.strip():
      continue
    item = _item(_record(line, f'{path}, line {number}'), number, path, kind)
    if item.id in lines_by_id:
      raise fields_lib.TaskError(
        f'{path}, line {number}: the id {item.id!r} is that of line'
        f' {lines_by_id[item.id]}; ids must differ.'
      )
    lines_by_id[item.id] = number
    items.append(item)
  if not items:
    raise fields_lib.TaskError(f'{path} has no items: it is empty.')
  return items


def grader_of(record: Mapping[str, Any]) -> Grader:
  """What marks the answers of an item again.

  Args:
    record: of a run.
  """
  fields = fields_lib.Fields(record['item'], f'Item {record["id"]!r}')
  return KINDS[record['kind']](fields)


def _record(line: bytes, where: str) -> Mapping[str, Any]:
  try:
    record = json.loads(line, parse_constant=_no_number)
    line.decode()
  except UnicodeDecodeError:
    raise fields_lib.TaskError(f'{where}: it is no UTF-8.') from None
  except (ValueError, RecursionError) as error:
    raise fields_lib.TaskError(f'{where}: it is no JSON ({error}).') from None
  if not isinstance(record, dict):
    raise fields_lib.TaskError(f'{where}: it must be a JSON object.')
  for name, value in record.items():
    if _is_torn([name, value]):
      raise fields_lib.TaskError(
        f'{where}: the field {name!a} has half of a surrogate pair'
        ' (\\ud800 to \\udfff), which is no text; write the character itself.'
      )
  return record


def _is_torn(value: Any) -> bool:
  """Whether JSON has a text somewhere that cannot be written as UTF-8."""
  try:
    json.dumps(value, ensure_ascii=False).encode()
  except UnicodeEncodeError:
    return True
  return False


def _no_number(name: str) -> None:
  raise ValueError(f'{name} is no JSON')


def _item(
  record: Mapping[str, Any],
  number: int,
  path: pathlib.Path,
  kind: str | None,
) -> Item:
  fields = fields_lib.Fields(record, f'{path}, line {number}')
  if kind is None and not fields.has('kind'):
    raise fields_lib.TaskError(
      f"{fields.where}: the field 'kind' is missing; it is one of"
      f' {", ".join(KINDS)}, here or for all items by --kind.'
    )
  kind = fields.one_of('kind', KINDS, kind)
  item = Item(
    id=fields.text('id', str(number)),
    line=number,
    kind=kind,
    **_asked(fields, kind),
    grader=KINDS[kind](fields),
    request=_request(fields, kind),
    record=record,
  )
  fields.mapping('meta', None)  # the author's own notes
  fields.finish()
  return item


def _asked(fields: fields_lib.Fields, kind: str) -> dict[str, Any]:
  """What the model is shown."""
  allowed = ['question', 'messages', *(['prompt'] if kind == CHOICE else [])]
  given = [name for name in allowed if fields.has(name)]
  if len(given) != 1:
    raise fields_lib.TaskError(
      f'{fields.where}: it has {" and ".join(given) or "nothing"} to ask; give'
      f' exactly one of the fields {", ".join(allowed)}.'
    )
  if given[0] == 'prompt':
    if not fields.text('prompt'):
      raise fields.wrong('prompt', 'a string that is not empty')
    return {'prompt': fields.text('prompt'), 'messages': None}
  if given[0] == 'question':
    messages = [{'role': 'user', 'content': fields.text('question')}]
  else:
    messages = fields.any('messages')
    _check_request(fields, 'messages', {'messages': messages})
  return {'prompt': None, 'messages': tuple(messages)}


def _request(fields: fields_lib.Fields, kind: str) -> Mapping[str, Any]:
  request = fields.mapping('request', None) or {}
  if kind == CHOICE and request:
    raise fields.wrong('request', 'left out: a choice is scored, not drawn')
  return check_request(request, lambda name, why: fields.wrong('request', why))


def check_request(
  request: Mapping[str, Any],
  wrong: Callable[[str, str], types.ChatjaxError],
) -> Mapping[str, Any]:
  """Returns fields of a request that a task may set.

  Args:
    request: the fields.
    wrong: (field, what must be) -> the error to raise.
  """
  for name in _OF_THE_RUN:
    if name in request:
      raise wrong(name, f'without {name!r}, which the run decides')
  try:
    request_lib.parse({**_ANY, **request})
  except types.RequestError as error:
    raise wrong(error.param or '', f'fields of a request ({error})') from None
  return request


def _check_request(
  fields: fields_lib.Fields, name: str, body: Mapping[str, Any]
) -> None:
  try:
    request_lib.parse({**_ANY, **body})
  except types.RequestError as error:
    raise fields.wrong(name, f'a conversation ({error})') from None


def kinds(items: Collection[Item]) -> list[str]:
  """The kinds that there are, in the order of `KINDS`."""
  there = {item.kind for item in items}
  return [kind for kind in KINDS if kind in there]
