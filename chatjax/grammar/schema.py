"""JSON schemas: checked, and reduced to what is enforced."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any
import urllib.parse

import llguidance

from chatjax import types
from chatjax.grammar import keywords
from chatjax.grammar import leaves
from chatjax.grammar import limits as limits_lib
from chatjax.grammar import numbers
from chatjax.grammar import one_of
from chatjax.grammar import refusal
from chatjax.grammar import tally as tally_lib

# White space is that of `json.dumps`, and nowhere else: where it may repeat,
# greedy decoding may never end it; where it may be missing, it must be drawn
# for and no run of tokens across it is forced. Escapes as \u0061 are left out,
# for they would write a name of `properties` in a second way, past its schema.
OPTIONS = {
  'whitespace_flexible': False,
  'item_separator': ', ',
  'key_separator': ': ',
  'json_allowed_escapes': 'nrbtf\\"',
}

Schema = dict[str, Any] | bool


def source(checked: Mapping[str, Any]) -> str:
  """A checked schema in llguidance's notation."""
  return llguidance.LLMatcher.grammar_from_json_schema(
    json.dumps(checked), overrides=OPTIONS
  )


def check(
  schema: object,
  *,
  is_strict: bool,
  param: str | None,
  limits: limits_lib.Limits,
) -> dict[str, Any]:
  """Checks a schema; what comes back says no more than what is enforced.

  Args:
    schema: a mapping or a bool.
    is_strict: objects must close `additionalProperties` and require all their
      properties, and a `format` that is not enforced is refused. Otherwise
      such a format is an annotation, as it is in JSON Schema by default.
    param: the request field that it came from.
    limits: what it may cost.

  Raises:
    types.RequestError: it is not a schema, too large, or has a keyword that
      would not be enforced; with a JSON pointer.
  """
  root = _as_json(schema, param, limits)
  if isinstance(root, bool):
    if not root:
      raise refusal.of('The JSON schema false allows nothing.', param)
    root = {}
  checker = _Checker(root, is_strict=is_strict, param=param, limits=limits)
  return checker.checked()


def _as_json(
  schema: object, param: str | None, limits: limits_lib.Limits
) -> Any:
  if not isinstance(schema, Mapping | bool):
    raise refusal.of('A JSON schema must be an object.', param)
  deep = f'The JSON schema is nested more than {limits.depth} levels deep.'
  try:
    text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    refusal.check_size(text, limits.bytes, 'JSON schema', param)
    root = json.loads(text)
  except RecursionError:
    raise refusal.of(deep, param) from None
  except types.RequestError:
    raise
  except (TypeError, ValueError) as error:
    raise refusal.of(f'The JSON schema is not JSON: {error}.', param) from None
  if _depth(root, limits.depth) > limits.depth:
    raise refusal.of(deep, param)
  return root


def _depth(value: Any, limit: int) -> int:
  """Nested containers; counting stops past the limit."""
  if not isinstance(value, dict | list) or limit < 0:
    return 0
  children = value.values() if isinstance(value, dict) else value
  return 1 + max((_depth(x, limit - 1) for x in children), default=0)


class _Checker:
  """One walk over one schema."""

  def __init__(
    self,
    root: dict[str, Any],
    *,
    is_strict: bool,
    param: str | None,
    limits: limits_lib.Limits,
  ):
    self._root = root
    self._is_strict = is_strict
    self._param = param
    self._tally = tally_lib.Tally(limits, param)
    self._bounds = numbers.Bounds()
    self._leaves = leaves.Leaves(
      self._tally, self._bounds, is_strict=is_strict, param=param
    )
    # Checked schemas, by where they stand; and what refers to them.
    self._found: dict[str, Schema] = {}
    self._refs: dict[str, str] = {}

  def checked(self) -> dict[str, Any]:
    root = self._schema(self._root, '')
    for target, pointer in self._refs.items():
      if target not in self._found:
        self._refuse(f'There is no schema at #{target}.', f'{pointer}/$ref')
    if (pointer := self._bounds.unsafe()) is not None:
      self._refuse(
        'This bound would not be enforced with another less than 1 from it; '
        'move one of them, or include it.',
        pointer,
      )
    self._tally.check([root, *(self._found[x] for x in self._refs)])
    return root

  def _refuse(self, message: str, pointer: str) -> None:
    raise refusal.of(message, self._param, pointer=pointer)

  def _schema(self, schema: Any, pointer: str) -> Schema:
    if isinstance(schema, bool):
      self._found[pointer] = schema
      return schema
    if not isinstance(schema, dict):
      self._refuse('A schema must be an object or a bool.', pointer)
    out = {}
    for keyword, value in schema.items():
      where = pointer + refusal.escaped(keyword)
      if keyword == '$id' and pointer:
        self._refuse('$id is allowed at the root only.', where)
      if keywords.is_annotation(keyword):
        continue
      if keyword not in keywords.ENFORCED:
        self._refuse(
          f'The keyword {keyword!r} would not be enforced; leave it out.', where
        )
      out |= self._keyword(keyword, value, where, schema)
    self._check_properties(schema, pointer)
    self._bounds.has_parts |= _has_parts(schema)
    self._found[pointer] = out
    return out

  def _keyword(
    self, keyword: str, value: Any, pointer: str, schema: dict[str, Any]
  ) -> dict[str, Any]:
    """What becomes of one keyword."""
    if keyword == 'additionalItems' or keyword == 'items':
      return self._items(keyword, value, pointer, schema)
    if keyword == 'oneOf':
      return self._one_of(value, pointer, schema)
    if keyword in keywords.ONE_SCHEMA:
      return {keyword: self._schema(value, pointer)}
    if keyword in keywords.SCHEMAS:
      return self._schemas(keyword, value, pointer)
    if keyword in keywords.NAMED_SCHEMAS:
      return {keyword: self._named(keyword, value, pointer)}
    if keyword == '$ref':
      return self._ref(value, pointer)
    return self._leaves.check(keyword, value, pointer)

  def _items(
    self, keyword: str, value: Any, pointer: str, schema: dict[str, Any]
  ) -> dict[str, Any]:
    """Older drafts wrote `prefixItems` as `items`, and `items` otherwise."""
    is_old = isinstance(schema.get('items'), list)
    if keyword == 'items':
      if is_old:
        return self._schemas('prefixItems', value, pointer)
      return {'items': self._schema(value, pointer)}
    if not is_old:
      self._refuse('additionalItems needs a list as items.', pointer)
    return {'items': self._schema(value, pointer)}

  def _schemas(self, keyword: str, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, list) or not value:
      self._refuse(f'{keyword} must be a list of schemas.', pointer)
    out = [self._schema(x, f'{pointer}/{i}') for i, x in enumerate(value)]
    return {keyword: out}

  def _one_of(
    self, value: Any, pointer: str, schema: dict[str, Any]
  ) -> dict[str, Any]:
    out = self._schemas('oneOf', value, pointer)
    if 'anyOf' not in schema and one_of.are_disjoint(value, self._raw):
      return {'anyOf': out['oneOf']}
    return out

  def _named(self, keyword: str, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, dict):
      self._refuse(f'{keyword} must be an object of schemas.', pointer)
    if keyword == 'properties':
      self._tally.names += len(value)
    elif keyword == 'patternProperties':
      self._tally.name_patterns += len(value)
      for name in value:
        self._tally.add_pattern(name, pointer + refusal.escaped(name))
    return {
      name: self._schema(x, pointer + refusal.escaped(name))
      for name, x in value.items()
    }

  def _ref(self, value: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(value, str) or not _is_local(value):
      self._refuse(
        "$ref must be '#' or start with '#/': other documents are not read.",
        pointer,
      )
    self._refs[_target(value)] = pointer.removesuffix('/$ref')
    return {'$ref': value}

  def _raw(self, ref: Any) -> Any:
    """What a `$ref` names, before it is checked; None if there is nothing."""
    if not isinstance(ref, str) or not _is_local(ref):
      return None
    found: Any = self._root
    for step in _target(ref).split('/')[1:]:
      key = step.replace('~1', '/').replace('~0', '~')
      found = found.get(key) if isinstance(found, dict) else None
    return found

  def _check_properties(self, schema: dict[str, Any], pointer: str) -> None:
    """What llguidance leaves open, and what strict asks for."""
    required = schema.get('required', [])
    # A name may be written twice, and then counts once.
    if schema.get('minProperties', 0) > max(1, len(set(required))):
      self._refuse(
        'minProperties would not be enforced above 1 or the number of '
        'required names.',
        f'{pointer}/minProperties',
      )
    wanted = schema.get('type')
    is_object = wanted == 'object' or (
      isinstance(wanted, list) and 'object' in wanted
    )
    if not self._is_strict or not (is_object or 'properties' in schema):
      return
    if schema.get('additionalProperties') is not False:
      self._refuse(
        'A strict schema needs additionalProperties: false in every object.',
        pointer,
      )
    for name in schema.get('properties', {}):
      if name not in required:
        self._refuse(
          f'A strict schema needs all properties in required; {name!r} is '
          'not. Let it be null if it may be left open.',
          f'{pointer}/properties{refusal.escaped(name)}',
        )


def _has_parts(schema: dict[str, Any]) -> bool:
  """Whether bounds of several places may hold for one number."""
  if 'allOf' in schema:
    return True
  others = {'$ref', 'anyOf', 'oneOf'} & schema.keys()
  return bool(others and keywords.BOUNDS & schema.keys())


def _is_local(ref: str) -> bool:
  return ref == '#' or ref.startswith('#/')


def _target(ref: str) -> str:
  return urllib.parse.unquote(ref[1:])
