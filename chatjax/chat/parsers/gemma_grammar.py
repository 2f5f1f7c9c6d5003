"""JSON schemas as grammars of Gemma's own notation."""

from __future__ import annotations

from collections.abc import Mapping
import json
from typing import Any

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import literal_reader
from chatjax.grammar import shape

_KNOWN = frozenset(
  {
    *('$comment', '$defs', '$id', '$ref', '$schema', 'additionalProperties'),
    *('anyOf', 'const', 'default', 'definitions', 'description', 'enum'),
    *('examples', 'items', 'oneOf', 'properties', 'required', 'title', 'type'),
  }
)
_TYPES = (
  'string', 'integer', 'number', 'boolean', 'null', 'array', 'object'
)  # fmt: skip
_INTEGER = '-?(0|[1-9][0-9]{0,18})'
_NUMBER = rf'/{_INTEGER}(\.[0-9]{{1,18}})?([eE][+-]?[0-9]{{1,3}})?/'
_KEY = '/[A-Za-z_][A-Za-z0-9_]{0,63}/'


class GemmaGrammar:
  """Writes rules for the arguments of calls."""

  def __init__(self, lark: lark_lib.Lark, quote: str):
    self._lark = lark
    self._quote = quote
    self._any: str | None = None
    self._refs: dict[str, str] = {}
    self._root: Mapping[str, Any] = {}
    self._tool: types.Tool | None = None

  def arguments(self, tool: types.Tool) -> str:
    """What stands between the name and the closing tag.

    Raises:
      types.RequestError: a strict schema says what these rules cannot.
    """
    if tool.is_custom:
      quote = self._lark.tag(self._quote)
      head = f'{lark_lib.literal("{" + call_object.INPUT + ":")} {quote}'
      return f'{head} {self._lark.raw(tool, self._quote)} "}}"'
    self._tool, self._root, self._refs = tool, tool.schema, {}
    return self._value({**self._root, 'type': 'object'})

  def _value(self, schema: Mapping[str, Any] | bool) -> str:
    if isinstance(schema, bool):
      return self._any_value()
    self._check(schema)
    if '$ref' in schema:
      return self._referred(schema['$ref'])
    for key in ('anyOf', 'oneOf'):
      if key in schema:
        return self._lark.choice([self._value(each) for each in schema[key]])
    if 'const' in schema or 'enum' in schema:
      values = schema.get('enum', [schema.get('const')])
      return self._lark.choice([self._constant(value) for value in values])
    wanted = schema.get('type', _TYPES)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if names == list(_TYPES):
      return self._any_value()
    return self._lark.choice([self._typed(name, schema) for name in names])

  def _check(self, schema: Mapping[str, Any]) -> None:
    unknown = sorted(set(schema) - _KNOWN)
    if self._tool.is_strict and unknown:
      raise types.RequestError(
        f'Tool {self._tool.name!r} is strict, and this model writes arguments '
        f'in a notation for which {unknown} cannot be enforced; leave them '
        'out or set strict to false.',
        param='tools',
      )

  def _referred(self, ref: str) -> str:
    if ref not in self._refs:
      target: Any = self._root
      for part in ref.removeprefix('#').split('/')[1:]:
        target = target.get(part) if isinstance(target, Mapping) else None
      if not ref.startswith('#') or not isinstance(target, Mapping | bool):
        raise types.RequestError(
          f'Tool {self._tool.name!r}: {ref!r} refers to nothing in the schema.',
          param='tools',
        )
      if isinstance(target, Mapping):
        target = shape.tidied(target, 'tools')
      # The name first: the schema may refer to itself.
      name = self._refs[ref] = self._lark.reserve()
      self._lark.define(name, self._value(target))
    return self._refs[ref]

  def _typed(self, name: str, schema: Mapping[str, Any]) -> str:
    if name == 'string':
      quote = self._lark.tag(self._quote)
      return f'{quote} {self._lark.until(self._quote)}'
    if name == 'array':
      item = self._value(schema.get('items', True))
      return f'"[" ({item} ("," {item})*)? "]"'
    if name == 'object':
      return self._object(schema)
    return {
      'integer': f'/{_INTEGER}/',
      'number': _NUMBER,
      'boolean': '("true" | "false")',
      'null': '"null"',
    }[name]

  def _object(self, schema: Mapping[str, Any]) -> str:
    fields = schema.get('properties', {})
    if not fields and schema.get('additionalProperties') is not False:
      more = schema.get('additionalProperties', True)
      member = f'{_KEY} ":" {self._value(more)}'
      return f'"{{" ({member} ("," {member})*)? "}}"'
    required = schema.get('required', ())
    items = [
      (f'{self._key(key)} ":" {self._value(value)}', key in required)
      for key, value in fields.items()
    ]
    inner = self._lark.members(items, ',') if items else ''
    return f'"{{" {inner} "}}"'

  def _key(self, key: str) -> str:
    if literal_reader.is_word(key):
      return lark_lib.literal(key)
    return self._constant(key)

  def _constant(self, value: Any) -> str:
    if isinstance(value, str):
      quote = self._lark.tag(self._quote)
      return f'{quote} {lark_lib.literal(value)} {quote}'
    return lark_lib.literal(json.dumps(value, separators=(',', ':')))

  def _any_value(self) -> str:
    if self._any is None:
      self._any = self._lark.reserve()
      names = [self._typed(name, {}) for name in _TYPES if name != 'integer']
      self._lark.define(self._any, ' | '.join(names))
    return self._any
