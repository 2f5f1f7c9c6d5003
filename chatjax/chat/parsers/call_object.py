"""Calls that are JSON objects: {"name": "f", "arguments": {...}}."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Mapping
from collections.abc import Sequence
import json

from chatjax import types
from chatjax.chat.parsers import events
from chatjax.chat.parsers import json_reader
from chatjax.chat.parsers import reader

# The one argument of a custom tool, where a format has JSON arguments only.
INPUT = 'input'
_ARGUMENTS = ('arguments', 'parameters')
_KEYS = frozenset({'name', *_ARGUMENTS, 'id', 'type'})

Tools = Mapping[str, types.Tool]


def by_name(tools: Sequence[types.Tool]) -> Tools:
  return {tool.name: tool for tool in tools}


def read(tools: Tools) -> Generator[None, str, events.Call]:
  """Reads a call whose opening brace was read."""
  return call(tools, (yield from fields(tools)))


def fields(tools: Tools) -> Generator[None, str, dict[str, str]]:
  """Reads an object whose opening brace was read.

  Returns: its members; `name` is one of a tool, decoded. Arguments, which
    have two names in the wild, may be missing.
  """
  found: dict[str, str] = {}
  char = yield from reader.space()
  while True:
    reader.require(char == '"')
    key = json_reader.decode((yield from json_reader.value(char)))
    reader.require(key in _KEYS)
    is_arguments = key in _ARGUMENTS
    key = _ARGUMENTS[0] if is_arguments else key
    reader.require(key not in found)
    yield from reader.tag(':')
    char = yield from reader.space()
    reader.require(char == ('{' if is_arguments else '"'))
    found[key] = yield from json_reader.value(char)
    if key == 'name':
      found[key] = json_reader.decode(found[key])
      reader.require(found[key] in tools)
    char = yield from reader.space()
    if char == '}':
      reader.require('name' in found)
      return found
    reader.require(char == ',')
    char = yield from reader.space()


def call(tools: Tools, found: Mapping[str, str]) -> events.Call:
  """The call that the members of an object say."""
  reader.require(_ARGUMENTS[0] in found)
  return make(tools[found['name']], found[_ARGUMENTS[0]])


def arguments(tool: types.Tool) -> Generator[None, str, events.Call]:
  """Reads a call of which only the arguments, an object, are to come."""
  yield from reader.tag('{')
  return make(tool, (yield from json_reader.value('{')))


def make(tool: types.Tool, text: str) -> events.Call:
  """A call of a tool with these arguments, the text of an object."""
  if not tool.is_custom:
    return events.Call(tool.name, text)
  given = _input(text)
  reader.require(given is not None)
  return events.Call(tool.name, given, is_custom=True)


def custom(tool: types.Tool, text: str) -> events.Call:
  """A call of a custom tool whose text stands plainly.

  Models that were shown a function with one argument may write the argument
  as JSON where any text would do.
  """
  given = _input(text) if tool.input_format is None else None
  return events.Call(tool.name, text if given is None else given, True)


def _input(text: str) -> str | None:
  """The text in {"input": text}, None if this is something else."""
  try:
    # Numbers are of no use here, and long ones are refused by int.
    found = json.loads(text, parse_int=len, parse_float=len)
    if list(found) != [INPUT] or not isinstance(found[INPUT], str):
      return None
    found[INPUT].encode()
  except (ValueError, TypeError, RecursionError):
    return None
  return found[INPUT]
