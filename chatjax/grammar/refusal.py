"""Errors about grammars: one sentence, and where."""

from __future__ import annotations

from chatjax import types

NAMES = {
  'json_object': 'JSON object',
  'json_schema': 'JSON schema',
  'regex': 'regular expression',
  'choice': 'choice',
  'lark': 'lark grammar',
}


def of(
  message: str, param: str | None, *, pointer: str | None = None
) -> types.RequestError:
  """A refusal; `pointer` leads to what it is about, inside a schema."""
  if pointer is not None:
    message = f'{message[:-1]} (at {pointer or "the root"}).'
  return types.RequestError(message, param=param)


def check_size(text: str, limit: int, name: str, param: str | None) -> None:
  """Checks the bytes of a source, and that they can be sent as UTF-8.

  Raises:
    types.RequestError: too many, or half of a surrogate pair.
  """
  try:
    size = len(text.encode())
  except UnicodeEncodeError:
    raise of(
      f'The {name} holds half of a surrogate pair; send whole characters.',
      param,
    ) from None
  if size > limit:
    raise of(
      f'The {name} has {size} bytes; at most {limit} are allowed.', param
    )


def escaped(key: str | int) -> str:
  """One step of a JSON pointer."""
  return '/' + str(key).replace('~', '~0').replace('/', '~1')
