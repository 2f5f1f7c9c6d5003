"""Mistral: [TOOL_CALLS][{"name": "f", "arguments": {}}] and, since version 11
of its tokenizer, [TOOL_CALLS]f[ARGS]{}.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import json_reader
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import names
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

_OPEN, _ARGS, _ID = '[TOOL_CALLS]', '[ARGS]', '[CALL_ID]'
_THINK = ('[THINK]', '[/THINK]')


def _markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={_OPEN: functools.partial(_read, tools)},
    reasoning=_THINK,
    controls=frozenset({_OPEN, _ARGS, _ID, *_THINK}),
  )


def _read(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  char = yield from reader.space()
  if char == '[':
    yield from _read_list(tools, emit)
    return
  name, end = yield from names.read(tools, '[{', char)
  if end == '{':
    text = yield from json_reader.value(end)
    emit(call_object.make(tools[name], text))
    return
  tag = yield from reader.one_of([_ARGS, _ID], first='[')
  if tag == _ID:
    while (yield) != '[':
      pass
    yield from reader.rest(_ARGS[1:])
  emit((yield from call_object.arguments(tools[name])))


def _read_list(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  end = ','
  while end != ']':
    yield from reader.tag('{')
    emit((yield from call_object.read(tools)))
    end = yield from reader.space()
    reader.require(end in ',]')


def _list_block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  call = lark.choice([_list_item(lark, tool) for tool in tools])
  more = f' (", " {call}){output_format.MORE}' if is_parallel else ''
  return f'"[" {call}{more} "]"'


def _list_item(lark: lark_lib.Lark, tool: types.Tool) -> str:
  name = lark_lib.literal(tool.name)
  head = lark_lib.literal(f'{{"name": {name}, "arguments": ')
  return f'{head} {lark.arguments(tool)} "}}"'


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  del is_parallel  # each call has its own tag
  return lark.choice(
    f'{lark_lib.literal(tool.name)} {lark.tag(_ARGS)} {lark.arguments(tool)}'
    for tool in tools
  )


FORMAT = output_format.TaggedFormat(
  name='mistral', markup=_markup, block=_list_block, opener=_OPEN, is_list=True
)
FORMAT_V11 = output_format.TaggedFormat(
  name='mistral_v11', markup=_markup, block=_block, opener=_OPEN
)
