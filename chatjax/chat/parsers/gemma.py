"""Gemma 4: <|tool_call>call:f{a:<|"|>x<|"|>,b:1}<tool_call|>.

Gemma 3 has no notation of its own;
it is prompted for the `pythonic` one.
"""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Sequence
import functools

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import gemma_grammar
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import literal_reader
from chatjax.chat.parsers import names
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader
from chatjax.chat.parsers import stream

_CALL = 'call:'


_OPEN, _CLOSE, _QUOTE = '<|tool_call>', '<tool_call|>', '<|"|>'
_THINK = ('<|channel>thought', '<channel|>')
# The opening tag of reasoning is one token and a word.
_CHANNEL = '<|channel>'


def _markup(tools: call_object.Tools) -> stream.Markup:
  return stream.Markup(
    openers={_OPEN: functools.partial(_read, tools)},
    reasoning=_THINK,
    controls=frozenset({_OPEN, _CLOSE, _QUOTE, _CHANNEL, _THINK[1]}),
  )


def _read(tools: call_object.Tools, emit: reader.Emit) -> reader.Reader:
  yield from reader.tag(_CALL)
  name, _ = yield from names.read(tools, '{')
  text = yield from literal_reader.members(
    _NOTATION, sign=':', end='}', keys='either'
  )
  call = call_object.make(tools[name], text)
  yield from reader.tag(_CLOSE)
  emit(call)


def _string(first: str) -> Generator[None, str, str]:
  del first  # of the quote
  yield from reader.rest(_QUOTE[1:])
  return (yield from reader.until(_QUOTE))


_NOTATION = literal_reader.Notation(
  quotes=_QUOTE[0], string=_string, keys='either'
)


def _block(
  lark: lark_lib.Lark, tools: Sequence[types.Tool], is_parallel: bool
) -> str:
  del is_parallel  # each call has its own tags
  grammar = gemma_grammar.GemmaGrammar(lark, _QUOTE)
  calls = [
    f'{lark_lib.literal(_CALL + tool.name)} {grammar.arguments(tool)}'
    for tool in tools
  ]
  return f'{lark.choice(calls)} {lark.tag(_CLOSE)}'


FORMAT = output_format.TaggedFormat(
  name='gemma', markup=_markup, block=_block, opener=_OPEN
)
