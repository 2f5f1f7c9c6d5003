"""How each format writes what the tests say."""

# ruff: noqa: RUF001 - the bars in DeepSeek's tags are wide ones.
from __future__ import annotations

import dataclasses
import json


@dataclasses.dataclass(frozen=True, kw_only=True)
class Family:
  """Templates: @N is a tool's name, @A its arguments, @T a text.

  Attributes:
    one: a call.
    join, begin, end: between calls and around all of them.
    close: how the last call ends, given that this is not left out.
    think: tags around reasoning, with the white space that belongs to them.
    before, after: content in front of calls and behind them.
  """

  one: str
  close: str
  join: str = ''
  begin: str = ''
  end: str = ''
  think: tuple[str, str] | None = None
  before: str = '@T'
  after: str = '@T'
  is_json: bool = True

  def calls(self, *calls: tuple[str, str]) -> str:
    texts = [
      self.one.replace('@N', name).replace('@A', self.written(arguments))
      for name, arguments in calls
    ]
    return self.begin + self.join.join(texts) + self.end

  def written(self, arguments: str) -> str:
    return arguments


class _Pythonic(Family):
  def written(self, arguments):
    fields = json.loads(arguments)
    return ', '.join(f'{key}={value!r}' for key, value in fields.items())


class _Gemma(Family):
  def written(self, arguments):
    return _gemma(json.loads(arguments))[1:-1]


def _gemma(value):
  if isinstance(value, str):
    return f'<|"|>{value}<|"|>'
  if isinstance(value, dict):
    inner = (f'{key}:{_gemma(each)}' for key, each in value.items())
    return '{' + ','.join(inner) + '}'
  if isinstance(value, list):
    return '[' + ','.join(map(_gemma, value)) + ']'
  return json.dumps(value)


_THINK = ('<think>\n', '\n</think>\n\n')
_JSON = '{"name": "@N", "arguments": @A}'
_START = '<|start|>assistant'

FAMILIES = {
  'hermes': Family(
    one=f'<tool_call>\n{_JSON}\n</tool_call>',
    join='\n',
    close='</tool_call>',
    think=_THINK,
    before='@T\n',
    after='\n@T',
  ),
  'llama_json': Family(
    one='{"name": "@N", "parameters": @A}',
    join='; ',
    close='}',
    before='@T\n',
    after='\n@T',
  ),
  'pythonic': _Pythonic(
    one='@N(@A)',
    join=', ',
    close=']',
    begin='[',
    end=']',
    before='@T\n',
    is_json=False,
  ),
  'lfm': _Pythonic(
    one='@N(@A)',
    join=', ',
    close='<|tool_call_end|>',
    begin='<|tool_call_start|>[',
    end=']<|tool_call_end|>',
    think=_THINK,
    is_json=False,
  ),
  'mistral': Family(
    one=_JSON,
    join=', ',
    close='}]',
    begin='[TOOL_CALLS][',
    end=']',
    think=('[THINK]', '[/THINK]'),
  ),
  'mistral_v11': Family(
    one='[TOOL_CALLS]@N[ARGS]@A', close='}', think=('[THINK]', '[/THINK]')
  ),
  'gemma': _Gemma(
    one='<|tool_call>call:@N{@A}<tool_call|>',
    close='<tool_call|>',
    think=('<|channel>thought\n', '\n<channel|>'),
    is_json=False,
  ),
  'harmony': Family(
    one='<|channel|>commentary to=functions.@N <|constrain|>json<|message|>@A',
    join='<|call|>' + _START,
    close='}<|call|>',
    end='<|call|>',
    think=('<|channel|>analysis<|message|>', '<|end|>' + _START),
    before='<|channel|>commentary<|message|>@T<|end|>' + _START,
    after=_START + '<|channel|>final<|message|>@T<|return|>',
  ),
  'deepseek': Family(
    one='<｜tool▁call▁begin｜>function<｜tool▁sep｜>@N\n```json\n@A\n```'
    '<｜tool▁call▁end｜>',
    join='\n',
    close='\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    begin='<｜tool▁calls▁begin｜>',
    end='<｜tool▁calls▁end｜>',
    think=_THINK,
  ),
  'deepseek_v31': Family(
    one='<｜tool▁call▁begin｜>@N<｜tool▁sep｜>@A<｜tool▁call▁end｜>',
    close='<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    begin='<｜tool▁calls▁begin｜>',
    end='<｜tool▁calls▁end｜>',
    think=_THINK,
  ),
}
