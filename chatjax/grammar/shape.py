"""Schemas that are only a guide: their shape, before a grammar walks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatjax.grammar import keywords
from chatjax.grammar import refusal

_VALUES = frozenset({'const', 'default', 'example', 'examples'})


def tidied(schema: Mapping[str, Any], param: str) -> dict[str, Any]:
  """The schema without keywords that are null, which say nothing.

  Tuples of older drafts, lists as `items`, are `prefixItems`.

  Raises:
    types.RequestError: a keyword with a value that it cannot have; with a JSON
      pointer.
  """
  return _Walk(param).schema(schema, '')


class _Walk:
  def __init__(self, param: str):
    self._param = param

  def schema(self, schema: Any, pointer: str) -> Any:
    if isinstance(schema, bool):
      return schema
    if not isinstance(schema, Mapping):
      self._refuse('A schema must be an object or a bool', pointer)
    if isinstance(schema.get('items'), list):
      schema = _modern(schema)
    return {
      key: self._keyword(key, value, pointer + refusal.escaped(key))
      for key, value in schema.items()
      if value is not None or key in _VALUES
    }

  def _keyword(self, key: str, value: Any, pointer: str) -> Any:
    if key in keywords.ONE_SCHEMA:
      return self.schema(value, pointer)
    if key in keywords.SCHEMAS:
      if not isinstance(value, list) or not value:
        self._refuse(f'{key} must be a list of schemas', pointer)
      return [self.schema(x, f'{pointer}/{i}') for i, x in enumerate(value)]
    if key in keywords.NAMED_SCHEMAS:
      if not isinstance(value, Mapping):
        self._refuse(f'{key} must be an object of schemas', pointer)
      return {
        name: self.schema(x, pointer + refusal.escaped(name))
        for name, x in value.items()
      }
    self._check_leaf(key, value, pointer)
    return value

  def _check_leaf(self, key: str, value: Any, pointer: str) -> None:
    if key == 'type':
      names = [value] if isinstance(value, str) else value
      if (
        not isinstance(names, list)
        or not names
        or not all(map(_is_type, names))
      ):
        known = ', '.join(sorted(keywords.TYPES))
        self._refuse(
          f'type must be one of {known}, or a list of these', pointer
        )
    elif key == 'required':
      if not isinstance(value, list) or not all(map(_is_name, value)):
        self._refuse('required must be a list of names', pointer)
    elif key == 'enum':
      if not isinstance(value, list) or not value:
        self._refuse('enum must be a list of values', pointer)
    elif key == '$ref' and not isinstance(value, str):
      self._refuse('$ref must be a string', pointer)

  def _refuse(self, message: str, pointer: str) -> None:
    raise refusal.of(f'{message}.', self._param, pointer=pointer)


def _modern(schema: Mapping[str, Any]) -> dict[str, Any]:
  """`items` and `additionalItems` as `prefixItems` and `items`."""
  changed = dict(schema)
  changed['prefixItems'] = changed.pop('items')
  rest = changed.pop('additionalItems', None)
  return changed if rest is None else {**changed, 'items': rest}


def _is_type(name: Any) -> bool:
  return isinstance(name, str) and name in keywords.TYPES


def _is_name(name: Any) -> bool:
  return isinstance(name, str)
