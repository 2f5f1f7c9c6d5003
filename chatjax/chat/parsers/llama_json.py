"""Llama 3: {"name": "f", "parameters": {}}, with or without <|python_tag|>."""

from __future__ import annotations

from collections.abc import Sequence
import functools

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

_PYTHON = '<|python_tag|>'


def _markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={_PYTHON: functools.partial(_read_tagged, tools)},
    line_openers={'{': functools.partial(_read, tools)},
    separators=';',
    controls=frozenset({_PYTHON}),
  )


def _read_tagged(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  yield from reader.tag('{')
  yield from _read(tools, emit)


def _read(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  emit((yield from call_object.read(tools)))


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  del is_parallel  # calls stand one after the other
  return lark.choice([_call(lark, tool) for tool in tools])


def _call(lark: lark_lib.Lark, tool: types.Tool) -> str:
  name = lark_lib.literal(tool.name)
  head = lark_lib.literal(f'{{"name": {name}, "parameters": ')
  return f'{head} {lark.arguments(tool)} "}}"'


FORMAT = output_format.TaggedFormat(
  name='llama_json', markup=_markup, block=_block, opener=None, separator='; '
)
