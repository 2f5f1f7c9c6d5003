"""Branches of `oneOf` that no value can satisfy two of."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import itertools
import json
from typing import Any

from chatjax.grammar import keywords

Resolve = Callable[[str], Any]

# Longest chain of `$ref`s that is followed; more may be a circle.
_MAX_REFS = 8


def are_disjoint(branches: Sequence[Any], resolve: Resolve) -> bool:
  """Whether it can be proven; `oneOf` is then the same as `anyOf`.

  Args:
    branches: schemas.
    resolve: gives the schema that a `$ref` names.
  """
  seen = [_followed(branch, resolve) for branch in branches]
  return all(
    _exclude(one, other, resolve)
    for one, other in itertools.combinations(seen, 2)
  )


def _followed(schema: Any, resolve: Resolve) -> dict[str, Any]:
  for _ in range(_MAX_REFS):
    if not isinstance(schema, dict):
      break
    if '$ref' not in schema:
      return schema
    schema = resolve(schema['$ref'])
  return {}


def _exclude(one: dict, other: dict, resolve: Resolve) -> bool:
  values, others = _values(one), _values(other)
  if values is not None and others is not None:
    return not values & others
  types, other_types = _types(one), _types(other)
  if not types & other_types:
    return True
  if types & other_types == {'object'}:
    return _have_a_discriminator(one, other, resolve)
  return False


def _have_a_discriminator(one: dict, other: dict, resolve: Resolve) -> bool:
  """Whether a property that both require has no value in common."""
  required = set(_list(one, 'required')) & set(_list(other, 'required'))
  for name in required:
    values, others = (
      _values(_followed(_dict(x, 'properties').get(name), resolve))
      for x in (one, other)
    )
    if values is not None and others is not None and not values & others:
      return True
  return False


def _values(schema: dict) -> set[str] | None:
  """All that a schema allows, if it lists them."""
  if 'const' in schema:
    return {_key(schema['const'])}
  if isinstance(schema.get('enum'), list):
    return {_key(value) for value in schema['enum']}
  return None


def _key(value: Any) -> str:
  # 1 and 1.0 are one value, true is another.
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(value, dict | list):
    return 'container'
  return json.dumps(value)


def _types(schema: dict) -> set[str]:
  wanted = schema.get('type')
  if isinstance(wanted, str):
    wanted = [wanted]
  if not isinstance(wanted, list):
    wanted = [
      _type(json.loads(x)) for x in _values(schema) or () if x != _key([])
    ]
    if not wanted or _key([]) in (_values(schema) or ()):
      wanted = keywords.TYPES
  found = {x for x in wanted if isinstance(x, str)}
  return found - {'integer'} | {'number'} if 'integer' in found else found


def _type(value: Any) -> str:
  match value:
    case None:
      return 'null'
    case bool():
      return 'boolean'
    case str():
      return 'string'
  return 'number'


def _list(schema: dict, key: str) -> list[str]:
  found = schema.get(key)
  return (
    [x for x in found if isinstance(x, str)] if isinstance(found, list) else []
  )


def _dict(schema: dict, key: str) -> dict[str, Any]:
  found = schema.get(key)
  return found if isinstance(found, dict) else {}
