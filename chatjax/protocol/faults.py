"""What validation found wrong -> one sentence that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic

from chatjax import types
from chatjax.protocol import errors

_EXPECTED = {
  'string_type': 'a string',
  'int_type': 'an integer',
  'float_type': 'a number',
  'bool_type': 'true or false',
  'list_type': 'an array',
  'dict_type': 'an object',
  'model_type': 'an object',
}
# Fields that take more than their type says.
_EXPECTED_IN = {
  ('content', 'list_type'): 'a string or an array of content parts',
  ('stop', 'list_type'): 'a string or an array of strings',
  ('tool_choice', 'model_type'): 'a string or an object',
  ('function_call', 'model_type'): 'a string or an object',
}
_LENGTHS = {
  'too_short': ('at least', 'min_length'),
  'too_long': ('at most', 'max_length'),
}


def translate(
  error: pydantic.ValidationError, body: Mapping[str, Any]
) -> types.RequestError:
  """The first fault, in OpenAI's words; never the text of a message.

  Args:
    error: of validating `body`.
    body: the fields as they were given.
  """
  first = error.errors(include_url=False)[0]
  cause = first.get('ctx', {}).get('error')
  if isinstance(cause, types.RequestError):
    return _from_cause(cause, _given_path(first['loc'], body))
  param, kind = _path(_given_path(first['loc'], body)), first['type']
  if kind == 'missing':
    return errors.missing(param)
  if kind == 'extra_forbidden':
    return errors.unknown(param)
  name = next(step for step in reversed(first['loc']) if isinstance(step, str))
  expected = (
    _EXPECTED_IN.get((param, kind))
    or _EXPECTED_IN.get((name, kind))
    or _EXPECTED.get(kind)
  )
  if kind == 'float_type' and type(first['input']) is int:
    # An integer is a number, but this one is no float.
    return types.RequestError(
      f'Invalid value for {param!r}: {errors.shorten(first["input"])} is out '
      'of range.',
      param=param,
    )
  if expected:
    return types.RequestError(
      f'Invalid type for {param!r}: it must be {expected}, but '
      f'{_described(first["input"])} was given.',
      param=param,
      code='invalid_type',
    )
  return types.RequestError(
    f'Invalid value for {param!r}: {_rule(first)}.', param=param
  )


def _from_cause(
  cause: types.RequestError, loc: tuple[int | str, ...]
) -> types.RequestError:
  param = _path((*loc, *filter(None, [cause.param])))
  if cause.code == 'unknown_parameter':
    return errors.unknown(param)
  if cause.code == 'missing_required_parameter':
    return errors.missing(param)
  is_named = cause.code == 'unsupported_parameter'
  kind = 'type' if cause.code == 'invalid_type' else 'value'
  message = f'Invalid {kind} for {param!r}: {cause}'
  message = str(cause) if is_named else message
  return types.RequestError(message, param=param, code=cause.code)


def _rule(fault: Mapping[str, Any]) -> str:
  given, allowed = fault['input'], fault.get('ctx', {})
  if fault['type'] == 'literal_error':
    return (
      f'{errors.shorten(given)} was given; it must be {allowed["expected"]}'
    )
  if fault['type'] in _LENGTHS:
    bound, key = _LENGTHS[fault['type']]
    unit = 'characters' if isinstance(given, str) else 'entries'
    return f'it has {len(given)} {unit}; it must have {bound} {allowed[key]}'
  return fault['msg']


def _described(value: Any) -> str:
  """A value in JSON's words; of a text only that it is one."""
  if value is None:
    return 'null'
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, (int, float)):
    return f'the number {errors.shorten(value)}'
  names = {str: 'a string', list: 'an array', dict: 'an object'}
  return names.get(type(value)) or f'a Python {type(value).__name__}'


def _given_path(
  loc: tuple[int | str, ...], body: Mapping[str, Any]
) -> tuple[int | str, ...]:
  """The part of a path that the caller wrote.

  A plain string is validated as the one entry of a list.
  """
  value: Any = body
  for idx, step in enumerate(loc):
    if isinstance(value, str):
      return loc[:idx]
    if isinstance(value, (list, dict)):
      value = _entry(value, step)
  return loc


def _entry(value: list | dict, step: int | str) -> Any:
  if isinstance(value, dict):
    return value.get(step)
  return value[step] if isinstance(step, int) else None


def _path(loc: tuple[int | str, ...]) -> str:
  """('messages', 0, 'role') -> 'messages[0].role'."""
  text = ''
  for step in loc:
    text += f'[{step}]' if isinstance(step, int) else f'.{step}'
  return text.lstrip('.')
