r"""Hermes and Qwen: <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>.

Small models leave the tags out: an object at the start of a line that is a call
counts as one, unless a tool is strict, whose grammar begins at the tag.

A custom tool that has a lark grammar is called as {"name": "f"}, a new line
and the plain text, for no grammar of ours reaches into a JSON string.
"""

from __future__ import annotations

from collections.abc import Sequence
import functools

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

_OPEN, _CLOSE = '<tool_call>', '</tool_call>'
THINK = ('<think>', '</think>')


def _markup(tools: call_object.Tools) -> stream.Markup:
  is_strict = any(tool.is_strict for tool in tools.values())
  return stream.Markup(
    openers={_OPEN: functools.partial(_read, tools)},
    line_openers={} if is_strict else {'{': functools.partial(_bare, tools)},
    reasoning=THINK,
    controls=frozenset({_OPEN, _CLOSE, *THINK}),
  )


def _read(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  yield from reader.tag('{')
  found = yield from call_object.fields(tools)
  tool = tools[found['name']]
  if tool.is_custom and list(found) == ['name']:
    yield from reader.rest('\n')
    text = yield from reader.until('\n' + _CLOSE)
    emit(call_object.custom(tool, text))
    return
  call = call_object.call(tools, found)
  yield from reader.tag(_CLOSE)
  emit(call)


def _bare(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  emit((yield from call_object.read(tools)))


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  del is_parallel  # each call has its own tags
  return lark.choice([_call(lark, tool) for tool in tools])


def _call(lark: lark_lib.Lark, tool: types.Tool) -> str:
  name = lark_lib.literal(tool.name)
  wanted = tool.input_format
  if wanted is not None and wanted.kind == 'lark':
    head = lark_lib.literal(f'\n{{"name": {name}}}\n')
    inner = lark.rule(f'%lark {{\n{wanted.source}\n}}')
    return f'{head} {inner} {lark_lib.literal(chr(10))} {lark.tag(_CLOSE)}'
  head = lark_lib.literal(f'\n{{"name": {name}, "arguments": ')
  tail = lark_lib.literal('}\n')
  return f'{head} {lark.arguments(tool)} {tail} {lark.tag(_CLOSE)}'


FORMAT = output_format.TaggedFormat(
  name='hermes', markup=_markup, block=_block, opener=_OPEN, separator='\n'
)
