"""The endpoints of stored completions: what they are asked and answer."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import re
from typing import Any
from typing import ClassVar
from typing import Literal

import pydantic

from chatjax import types
from chatjax.protocol import errors
from chatjax.protocol import faults
from chatjax.protocol import limits as limits_lib
from chatjax.protocol import metadata as metadata_lib
from chatjax.protocol import strict

MAX_LIMIT = 100
_METADATA = re.compile(r'metadata\[(.+)\]')
_ORDERS = ('asc', 'desc')


class Update(strict.Strict):
  """What may change of a stored completion."""

  path: ClassVar[str] = ''
  metadata: metadata_lib.Metadata = pydantic.Field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
  """Which part of which list.

  Attributes:
    after: the id that the page before ended with.
    metadata: keys and values that all must have.
    purpose: of files.
  """

  after: str | None = None
  limit: int = 20
  order: Literal['asc', 'desc'] = 'asc'
  model: str | None = None
  purpose: str | None = None
  metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


def parse_query(
  items: Iterable[tuple[str, str]],
  *,
  names: Sequence[str],
  max_limit: int = MAX_LIMIT,
  **defaults: Any,
) -> Query:
  """Reads a query string.

  Args:
    items: its names and values, in order.
    names: those that this list knows.
    max_limit: of the length of a page.
    **defaults: fields of `Query` that are others in this list.

  Raises:
    types.RequestError: naming the one at fault.
  """
  fields: dict[str, Any] = {}
  metadata: dict[str, str] = {}
  for name, value in items:
    if (match := _METADATA.fullmatch(name)) and 'metadata' in names:
      metadata[match[1]] = value
    elif name not in names:
      raise errors.unknown(name)
    elif name in fields:
      raise types.RequestError(f'{name} is given twice.', param=name)
    else:
      fields[name] = value
  if 'limit' in fields:
    fields['limit'] = _limit(fields['limit'], max_limit)
  if fields.get('order', 'asc') not in _ORDERS:
    raise types.RequestError(
      f'order={errors.shorten(fields["order"])} must be one of {_ORDERS}.',
      param='order',
    )
  return Query(**{**defaults, **fields}, metadata=metadata)


def parse_update(
  body: Mapping[str, Any], *, limits: limits_lib.Limits
) -> dict[str, str]:
  """The metadata that an update gives; null takes all of it away."""
  if 'metadata' not in body:
    raise errors.missing('metadata')
  try:
    made = Update.model_validate(body, context=limits)
  except pydantic.ValidationError as error:
    raise faults.translate(error, body) from None
  return dict(made.metadata)


def listed(data: Sequence[Mapping[str, Any]], has_more: bool) -> dict[str, Any]:
  """A page as OpenAI's list object."""
  return {
    'object': 'list',
    'data': list(data),
    'first_id': data[0]['id'] if data else None,
    'last_id': data[-1]['id'] if data else None,
    'has_more': has_more,
  }


def messages_page(
  completion_id: str, messages: Sequence[Mapping[str, Any]], query: Query
) -> dict[str, Any]:
  """A page of a request's messages; their ids count them.

  Raises:
    types.RequestError: `after` is the id of none.
  """
  shown = [
    _message(f'{completion_id}-{i}', message)
    for i, message in enumerate(messages)
  ]
  if query.order == 'desc':
    shown.reverse()
  start = 0
  if query.after is not None:
    ids = [message['id'] for message in shown]
    if query.after not in ids:
      raise types.RequestError(
        f'There is no message {errors.shorten(query.after)}.',
        param='after',
        code='not_found',
        status=404,
      )
    start = ids.index(query.after) + 1
  part = shown[start : start + query.limit]
  return listed(part, has_more=start + len(part) < len(shown))


def deleted(completion_id: str) -> dict[str, Any]:
  return {
    'id': completion_id,
    'object': 'chat.completion.deleted',
    'deleted': True,
  }


def _message(message_id: str, message: Mapping[str, Any]) -> dict[str, Any]:
  """A message with its text as one string, and its parts beside it."""
  content = message.get('content')
  is_parts = isinstance(content, list)
  text = content
  if is_parts:
    text = ''.join(part.get('text') or '' for part in content)
  return {
    **message,
    'id': message_id,
    'content': text,
    'content_parts': content if is_parts else None,
  }


def _limit(text: str, most: int) -> int:
  limit = int(text) if re.fullmatch(r'[0-9]{1,5}', text) else 0
  if not 1 <= limit <= most:
    raise types.RequestError(
      f'limit={errors.shorten(text)} must be 1 to {most}.', param='limit'
    )
  return limit
