"""DeepSeek: a list of calls between tags, each with its JSON or text.

V3 and R1:  function<sep>NAME, a new line, ```json ... ```
V3.1:       NAME<sep>{...}
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence
import functools

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import events
from chatjax.chat.parsers import hermes
from chatjax.chat.parsers import json_reader
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import names
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

# ruff: noqa: RUF001 - the bars in DeepSeek's tags are wide ones.
OPEN, _CLOSE = '<｜tool▁calls▁begin｜>', '<｜tool▁calls▁end｜>'
_CALL, _SEP, _CALL_END = (
  '<｜tool▁call▁begin｜>',
  '<｜tool▁sep｜>',
  '<｜tool▁call▁end｜>',
)
_KIND = 'function'
_FENCE = '```'


def _markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={OPEN: functools.partial(_read, tools)},
    reasoning=hermes.THINK,
    controls=frozenset({OPEN, _CLOSE, _CALL, _SEP, _CALL_END, *hermes.THINK}),
  )


def _read(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  yield from reader.tag(_CALL)
  tag = _CALL
  while tag == _CALL:
    emit((yield from _read_call(tools)))
    first = yield from reader.space()
    tag = yield from reader.one_of([_CALL, _CLOSE], first=first)


def _read_call(
  tools: call_object.Tools,
) -> Generator[None, str, events.Call]:
  name, char = yield from names.read({*tools, _KIND}, '<')
  yield from reader.rest(_SEP[1:])
  if name not in tools:
    return (yield from _read_fenced(tools))
  if tools[name].is_custom:
    text = yield from reader.until(_CALL_END)
    return call_object.custom(tools[name], text)
  char = yield from reader.space()
  if char != '{':
    reader.require(name == _KIND)
    return (yield from _read_fenced(tools, char))
  text = yield from json_reader.value(char)
  yield from reader.tag(_CALL_END)
  return call_object.make(tools[name], text)


def _read_fenced(
  tools: call_object.Tools, first: str = ''
) -> Generator[None, str, events.Call]:
  name, _ = yield from names.read(tools, '\n', first)
  yield from reader.rest(f'{_FENCE}json\n')
  call = yield from call_object.arguments(tools[name])
  yield from reader.tag(_FENCE)
  yield from reader.tag(_CALL_END)
  return call


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  call = lark.choice([_fenced_call(lark, tool) for tool in tools])
  more = f' ("\\n" {call}){output_format.MORE}' if is_parallel else ''
  return f'{call}{more} {lark.tag(_CLOSE)}'


def _fenced_call(lark: lark_lib.Lark, tool: types.Tool) -> str:
  head = lark_lib.literal(f'{tool.name}\n{_FENCE}json\n')
  kind = lark_lib.literal(_KIND)
  return (
    f'{lark.tag(_CALL)} {kind} {lark.tag(_SEP)} {head} '
    f'{lark.arguments(tool)} {lark_lib.literal(chr(10) + _FENCE)} '
    f'{lark.tag(_CALL_END)}'
  )


def _block_v31(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  call = lark.choice([_call_v31(lark, tool) for tool in tools])
  return f'{call}{"+" if is_parallel else ""} {lark.tag(_CLOSE)}'


def _call_v31(lark: lark_lib.Lark, tool: types.Tool) -> str:
  name = lark_lib.literal(tool.name)
  head = f'{lark.tag(_CALL)} {name} {lark.tag(_SEP)}'
  if tool.is_custom:
    return f'{head} {lark.raw(tool, _CALL_END)}'
  return f'{head} {lark.arguments(tool)} {lark.tag(_CALL_END)}'


FORMAT = output_format.TaggedFormat(
  name='deepseek', markup=_markup, block=_block, opener=OPEN, is_list=True
)
FORMAT_V31 = output_format.TaggedFormat(
  name='deepseek_v31',
  markup=_markup,
  block=_block_v31,
  opener=OPEN,
  is_list=True,
)
