"""Calls as a Python list: [f(a=1, b='x'), g()]."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
from typing import Any

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import events
from chatjax.chat.parsers import hermes
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import literal_reader
from chatjax.chat.parsers import names
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

_OPEN, _CLOSE = '<|tool_call_start|>', '<|tool_call_end|>'

# Of a function that does not say which keywords it has.
_KEYWORD, _MORE_KEYWORDS = '/[A-Za-z_][A-Za-z0-9_]{0,63}/', '{0,15}'

_DEFINITIONS = ('$defs', 'definitions')
# What a strict schema of keywords may say, beside what its parts say.
_ROOT = frozenset(
  {
    *_DEFINITIONS,
    *('$id', '$schema', 'additionalProperties', 'description', 'examples'),
    *('properties', 'required', 'title', 'type'),
  }
)
_SIMPLE = {
  'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f',
  '\\': '\\', "'": "'", '"': '"', '/': '/',
}  # fmt: skip
_HEX_DIGITS = {'x': 2, 'u': 4, 'U': 8}
_HEX = frozenset('0123456789abcdefABCDEF')


def read_list(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  """Reads the list up to and with its last bracket.

  Calls come out together at the end: a bracket is no clear sign of a call.
  """
  found = []
  char = yield from reader.space()
  while True:
    name, _ = yield from names.read(tools, '(', char)
    text = yield from literal_reader.members(
      NOTATION, sign='=', end=')', keys='bare'
    )
    found.append(call_object.make(tools[name], text))
    char = yield from reader.space()
    if char == ']':
      break
    reader.require(char == ',')
    char = yield from reader.space()
  for call in found:
    emit(call)


def _string(quote: str) -> Generator[None, str, str]:
  pieces = []
  while (char := (yield)) != quote:
    reader.require(char != '\n')
    pieces.append((yield from _escape()) if char == '\\' else char)
  return ''.join(pieces)


def _escape() -> Generator[None, str, str]:
  char = yield
  if char in _SIMPLE:
    return _SIMPLE[char]
  if char not in _HEX_DIGITS:
    reader.require(char != '\n')
    return '\\' + char
  digits = ''
  for _ in range(_HEX_DIGITS[char]):
    digits += yield
  reader.require(set(digits) <= _HEX and int(digits, 16) <= 0x10FFFF)
  return chr(int(digits, 16))


NOTATION = literal_reader.Notation(quotes='"\'', string=_string, keys='string')


def _markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={},
    line_openers={'[': functools.partial(read_list, tools)},
    controls=frozenset(),
  )


def _tagged_markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={_OPEN: functools.partial(_read_tagged, tools)},
    reasoning=hermes.THINK,
    controls=frozenset({_OPEN, _CLOSE, *hermes.THINK}),
  )


def _read_tagged(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  found: list[events.Call] = []
  yield from reader.tag('[')
  yield from read_list(tools, found.append)
  yield from reader.tag(_CLOSE)
  for call in found:
    emit(call)


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  call = lark.choice([_call(lark, tool) for tool in tools])
  more = f' (", " {call}){output_format.MORE}' if is_parallel else ''
  return f'"[" {call}{more} "]"'


def _tagged_block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  return f'{_block(lark, tools, is_parallel)} {lark.tag(_CLOSE)}'


def _call(lark: lark_lib.Lark, tool: types.Tool) -> str:
  schema = _schema(tool)
  # A part of a schema still finds what it refers to.
  roots = {key: schema[key] for key in _DEFINITIONS if key in schema}
  items = []
  for name, value in schema.get('properties', {}).items():
    part = {**value, **roots} if isinstance(value, Mapping) else roots
    text = lark.json(part, is_strict=tool.is_strict or tool.is_custom)
    head = lark_lib.literal(f'{name}=')
    items.append((f'{head} {text}', name in schema.get('required', ())))
  head = lark_lib.literal(f'{tool.name}(')
  inner = lark.members(items, ', ') if items else ''
  if not items and schema.get('additionalProperties') is not False:
    any_one = f'{_KEYWORD} "=" {lark.json({})}'
    inner = f'({any_one} (", " {any_one}){_MORE_KEYWORDS})?'
  return f'{head} {inner} ")"'


def _schema(tool: types.Tool) -> Mapping[str, Any]:
  """The schema of the arguments, all of which are keywords.

  Raises:
    types.RequestError: it is not written in those terms.
  """
  if tool.is_custom:
    return lark_lib.input_schema(tool)
  schema = tool.schema
  odd = set(schema) - _ROOT if tool.is_strict else set()
  odd |= {
    name
    for name in schema.get('properties', {})
    if not literal_reader.is_word(name)
  }
  if odd:
    raise types.RequestError(
      f'Tool {tool.name!r}: this model writes arguments as Python keywords, '
      f'which cannot express {sorted(odd)}; leave them out.',
      param='tools',
    )
  return schema


FORMAT = output_format.TaggedFormat(
  name='pythonic', markup=_markup, block=_block, opener=None, is_list=True
)
# Liquid's models put tags around the list.
LFM = output_format.TaggedFormat(
  name='lfm',
  markup=_tagged_markup,
  block=_tagged_block,
  opener=_OPEN,
  is_list=True,
)
