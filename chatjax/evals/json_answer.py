"""Kind `json`: the answer is JSON, of a schema, with expected fields."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

from chatjax import types
from chatjax.evals import fences
from chatjax.evals import fields as fields_lib
from chatjax.evals import limited
from chatjax.evals import marks

_NOTHING = object()
_REFERENCES = ('$ref', '$dynamicRef')


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonAnswer:
  """Marks by what JSON says.

  Attributes:
    schema: a JSON schema, or None.
    answer: the whole value, or `_NOTHING`.
    expected: fields that the object must have, with their values.
  """

  schema: Mapping[str, Any] | None
  answer: Any
  expected: Mapping[str, Any]

  def mark(self, text: str) -> marks.Mark:
    text = fences.first_block(text) or text
    try:
      value = _value(text)
    except (ValueError, RecursionError) as error:
      return _wrong(f'no JSON: {error}')
    if self.schema is not None:
      try:
        error = limited.call(_schema_error, self.schema, text)
      except limited.TooLong:
        return _wrong(marks.TOO_LONG)
      except RecursionError:
        error = 'nested too deep'
      except limited.LimitedError:
        raise
      except Exception as found:  # noqa: BLE001 - an answer must not end a run
        error = f'not checked: {type(found).__name__}: {found}'
      if error is not None:
        return _wrong(f'schema, {error}')
    if self.answer is not _NOTHING and not equal(value, self.answer):
      return _wrong('another value')
    for name, wanted in self.expected.items():
      has = isinstance(value, dict) and name in value
      if not has or not equal(value[name], wanted):
        return _wrong(f'field {name!r} is {"another" if has else "missing"}')
    return marks.RIGHT


def read(fields: fields_lib.Fields) -> JsonAnswer:
  """From one or more of `schema`, `answer` and `fields`."""
  schema = fields.mapping('schema', None)
  if schema is not None:
    _check_schema(schema, fields)
  answer = fields.any('answer', _NOTHING)
  expected = fields.mapping('fields', None)
  if schema is None and answer is _NOTHING and not expected:
    raise fields.wrong(
      'answer', 'there, or else schema or fields: what is the JSON to be?'
    )
  return JsonAnswer(schema=schema, answer=answer, expected=expected or {})


def equal(one: Any, other: Any) -> bool:
  """Equality of JSON: 1 is 1.0, but true is not 1."""
  if isinstance(one, bool) or isinstance(other, bool):
    return one is other
  if isinstance(one, dict) and isinstance(other, dict):
    return one.keys() == other.keys() and all(
      equal(one[key], other[key]) for key in one
    )
  if isinstance(one, list) and isinstance(other, list):
    return len(one) == len(other) and all(map(equal, one, other))
  return one == other


def _value(text: str) -> Any:
  return json.loads(text, parse_constant=_refuse)


def _schema_error(schema: Mapping[str, Any], text: str) -> str | None:
  """What a JSON text has against a schema, if anything."""
  for error in _validator(schema).iter_errors(_value(text)):
    return f'at {error.json_path}: {error.message}'
  return None


def _validator(schema: Mapping[str, Any]):
  package = _jsonschema()
  # Here as well; it comes with jsonschema.
  import referencing

  # One that fetches nothing; jsonschema's own would open addresses.
  return package.validators.validator_for(schema)(
    schema, registry=referencing.Registry()
  )


def _check_schema(schema: Mapping[str, Any], fields: fields_lib.Fields) -> None:
  package = _jsonschema()
  if not isinstance(schema.get('$schema', ''), str):
    raise fields.wrong('schema', "a JSON schema whose '$schema' is a string")
  kind = package.validators.validator_for(schema)
  try:
    kind.check_schema(schema)
    _check_references(schema, kind)
  except package.SchemaError as error:
    raise fields.wrong('schema', f'a JSON schema ({error.message})') from None
  except _ReferenceError as error:
    raise fields.wrong(
      'schema',
      f'a JSON schema whose references are found in itself ({error})',
    ) from None
  except RecursionError:
    raise fields.wrong(
      'schema', 'a JSON schema that is nested less deep'
    ) from None
  except OverflowError as error:  # of a pattern
    raise fields.wrong('schema', f'a JSON schema ({error})') from None


class _ReferenceError(Exception):
  """A reference of a schema to what is not there."""


def _check_references(schema: Mapping[str, Any], kind: Any) -> None:
  """Looks up all references of a schema that validation may meet.

  Args:
    schema: is valid.
    kind: jsonschema's class for it.
  """
  import jsonschema_specifications
  import referencing.exceptions
  import referencing.jsonschema

  specification = referencing.jsonschema.specification_with(
    kind.ID_OF(kind.META_SCHEMA)
  )
  root = specification.create_resource(schema)
  # The standard's own schemas are there without the net.
  registry = jsonschema_specifications.REGISTRY
  left, seen = [(root, registry.resolver_with_root(root))], set()
  while left:
    resource, resolver = left.pop()
    contents = resource.contents
    if id(contents) in seen or not isinstance(contents, dict):
      continue
    seen.add(id(contents))
    for name in _REFERENCES:
      reference = contents.get(name)
      if not isinstance(reference, str):
        continue
      try:
        found = resolver.lookup(reference)
      except (referencing.exceptions.Unresolvable, ValueError):
        raise _ReferenceError(f'{reference!r} is not') from None
      if not isinstance(found.contents, dict | bool):
        raise _ReferenceError(f'{reference!r} is no schema')
      kind.check_schema(found.contents)
      target = specification.create_resource(found.contents)
      left.append((target, found.resolver))
    for one in resource.subresources():
      left.append((one, resolver.in_subresource(one)))


def _jsonschema():
  # Here, not above: it is there only with the extra.
  try:
    import jsonschema
    import jsonschema_specifications  # noqa: F401 - these two come with it
    import referencing  # noqa: F401
  except ImportError:
    raise types.ChatjaxError(
      'Checking answers against a schema needs the package jsonschema, 4.18 or'
      " later: pip install 'jsonschema>=4.18'."
    ) from None
  return jsonschema


def _refuse(name: str) -> None:
  raise ValueError(f'{name} is no JSON')


def _wrong(detail: str) -> marks.Mark:
  return marks.Mark(score=0.0, detail=' '.join(detail.split())[:200])
