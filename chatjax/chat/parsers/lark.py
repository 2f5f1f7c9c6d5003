"""Writes grammars in llguidance's dialect of Lark."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import json
from typing import Any

from chatjax import types
from chatjax.chat.parsers import call_object

# White space in JSON is as models write it. Where it may repeat, greedy
# decoding may never end it.
_JSON = {
  'whitespace_flexible': False,
  'key_separator': r':\x20?',
  'item_separator': r',\x20?',
}
ANY_TEXT = '/(?s:.*)/'


class Lark:
  """A grammar in the making.

  Attributes:
    special: spellings that are one token, and their ids.
  """

  def __init__(self, special: Mapping[str, int], *, prefix: str = 'r'):
    self.special = special
    self._prefix = prefix
    self._rules: list[str] = []
    self._num_names = 0

  def rule(self, body: str, *, options: str = '') -> str:
    """Adds a rule; returns its name."""
    name = self.reserve()
    self.define(name + options, body)
    return name

  def reserve(self) -> str:
    """The name of a rule that will be defined."""
    self._num_names += 1
    return f'{self._prefix}{self._num_names}'

  def define(self, name: str, body: str) -> None:
    self._rules.append(f'{name}: {body}')

  def tag(self, text: str) -> str:
    """A tag: one token where the tokenizer has it, its spelling otherwise."""
    if text in self.special:
      return f'<[{self.special[text]}]>'
    return literal(text)

  def until(self, tag: str) -> str:
    """Any text up to and with a tag."""
    if tag in self.special:
      return f'{self.without(tag)} {self.tag(tag)}'
    return self.rule(f'{ANY_TEXT} {literal(tag)}', options='[lazy]')

  def without(self, tag: str) -> str:
    """Any text in which a tag does not occur, not spelled in letters either.

    For a parser the spelling is the tag.
    """
    return self._terminal(f'{ANY_TEXT} & {_free_of(tag)}')

  def choice(self, options: Iterable[str]) -> str:
    return self.rule(' | '.join(options))

  def members(self, items: Sequence[tuple[str, bool]], separator: str) -> str:
    """Items in this order, separated; those that are not required may miss."""
    first, tail = [], ''
    for item, is_required in reversed(items):
      if is_required:
        first = []
      first.append(f'{item} {tail}')
      more = f'{literal(separator)} {item}'
      tail = self.rule(f'{more if is_required else f"({more})?"} {tail}')
    if not any(is_required for _, is_required in items):
      first.append('""')
    return self.choice(first)

  def json(self, schema: Mapping[str, Any], *, is_strict: bool = True) -> str:
    """JSON that keeps to a schema."""
    ours = _JSON if is_strict else {**_JSON, 'lenient': True}
    text = json.dumps({**schema, 'x-guidance': ours}, ensure_ascii=False)
    return self.rule(f'%json {text}')

  def arguments(self, tool: types.Tool) -> str:
    """The arguments of a call as a JSON object."""
    if tool.is_custom:
      return self.json(input_schema(tool))
    schema = {**tool.schema, 'type': 'object'}
    return self.json(schema, is_strict=tool.is_strict)

  def raw(self, tool: types.Tool, end: str) -> str:
    """The plain text of a custom tool, up to and with a tag."""
    wanted = tool.input_format
    if wanted is None:
      return self.until(end)
    if wanted.kind == 'lark':
      inner = self.rule(f'%lark {{\n{wanted.source}\n}}')
    else:
      pattern = f'/{slashed(wanted.source)}/'
      inner = self._terminal(f'{pattern} & {_free_of(end)}')
    return f'{inner} {self.tag(end)}'

  def source(self, start: str) -> str:
    return '\n'.join(['%llguidance {}', f'start: {start}', *self._rules, ''])

  def _terminal(self, body: str) -> str:
    name = self.reserve().upper()
    self.define(name, body)
    return name


def literal(text: str) -> str:
  """Exactly this text."""
  return json.dumps(text, ensure_ascii=False)


def input_schema(tool: types.Tool) -> dict[str, Any]:
  """The arguments of a custom tool where it is shown as a function.

  Raises:
    types.RequestError: a text cannot be held to its format inside JSON.
  """
  wanted = tool.input_format
  text = {'type': 'string'}
  if wanted is not None:
    if wanted.kind != 'regex':
      raise types.RequestError(
        f'Tool {tool.name!r}: this model writes the input of a custom tool '
        'as a JSON string, which a lark grammar cannot constrain; use a regex '
        'format or a function.',
        param=wanted.param or 'tools',
      )
    text['pattern'] = f'^(?:{wanted.source})$'
  return {
    'type': 'object',
    'properties': {call_object.INPUT: text},
    'required': [call_object.INPUT],
    'additionalProperties': False,
  }


def slashed(pattern: str) -> str:
  """A regular expression as it is written between slashes."""
  out, is_escaped = [], False
  for char in pattern:
    if char == '/' and not is_escaped:
      out.append('\\')
    out.append('\\n' if char == '\n' else char)
    is_escaped = char == '\\' and not is_escaped
  return ''.join(out)


def _free_of(text: str) -> str:
  quoted = ''.join(
    char if char.isalnum() or char in ' _' else f'\\x{{{ord(char):x}}}'
    for char in text
  )
  return f'~/(?s:.*){quoted}(?s:.*)/'
