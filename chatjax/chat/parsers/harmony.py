"""Harmony (gpt-oss): messages with channels, in control tokens only.

<|channel|>analysis<|message|>reasoning<|end|>
<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}<|call|>
<|start|>assistant<|channel|>final<|message|>content<|return|>

The prompt ends with <|start|>assistant. The recipient may stand after
the channel too. What spells a control token in ordinary text is text.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import re
from typing import Literal

from chatjax import types
from chatjax.chat.parsers import call_object
from chatjax.chat.parsers import events
from chatjax.chat.parsers import lark as lark_lib
from chatjax.chat.parsers import output_format
from chatjax.chat.parsers import reader

_START, _CHANNEL, _MESSAGE = '<|start|>', '<|channel|>', '<|message|>'
_END, _CALL, _RETURN = '<|end|>', '<|call|>', '<|return|>'
_CONSTRAIN = '<|constrain|>'
_CONTROLS = frozenset(
  {_START, _CHANNEL, _MESSAGE, _END, _CALL, _RETURN, _CONSTRAIN}
)
_ROLE = 'assistant'
_TO = 'to='
_FUNCTIONS = 'functions.'
# Longer headers are no headers; tool names have 64 characters at most.
_MAX_HEADER = 256
_PIECE = re.compile(r'(<\|[a-z]+\|>)')


class HarmonyParser:
  """A `parser.Parser`; see there."""

  def __init__(self, tools: call_object.Tools, prompt_tail: str):
    self._tools = tools
    self._recorder = events.Recorder()
    self._kind: Literal['header', 'content', 'reasoning', 'call'] = 'header'
    self._header: list[str] = []
    self._call: _OpenCall | None = None
    self._is_rejected = False
    # What the prompt has of the message counts as read, before character 0.
    _, found, begun = prompt_tail.rpartition(_START)
    begun = begun.removeprefix(_ROLE) if found else ''
    self._pos = self._message_start = -len(begun)
    for piece in _PIECE.split(begun):
      self.feed(piece, piece in _CONTROLS)

  @property
  def is_reasoning(self) -> bool:
    return self._kind == 'reasoning'

  def feed(self, text: str, is_control: bool = False) -> list[events.Event]:
    if is_control:
      self._pos += len(text)
      if text in _CONTROLS:
        self._control(text)
    elif self._kind in ('content', 'reasoning'):
      self._recorder.span(self._kind, self._pos, self._pos + len(text))
      self._pos += len(text)
    else:
      for char in text:
        self._pos += 1
        self._take(char)
    return self._recorder.take()

  def finish(self) -> list[events.Event]:
    self._end_message(self._pos)
    return self._recorder.take()

  def _take(self, char: str) -> None:
    if self._kind == 'header':
      self._header.append(char)
      if not _is_header(self._header):
        self._reject(self._pos)
    elif self._kind == 'call':
      if not self._call.feed(char):
        self._reject(self._pos)
    else:
      self._recorder.span('content', self._pos - 1, self._pos)

  def _control(self, text: str) -> None:
    if self._is_rejected and text != _START:
      self._recorder.span('content', self._pos - len(text), self._pos)
    if text == _START:
      self._end_message(self._pos - len(text))
      self._begin_message(self._pos - len(text))
      self._header.append(text)
    elif text in (_END, _CALL, _RETURN):
      self._end_message(self._pos)
      self._begin_message(self._pos)
    elif self._kind == 'header':
      self._header.append(text)
      if text == _MESSAGE:
        self._open_message()
    elif self._kind == 'call':
      self._reject(self._pos)

  def _begin_message(self, start: int) -> None:
    self._kind, self._header, self._call = 'header', [], None
    self._message_start = start
    self._is_rejected = False

  def _open_message(self) -> None:
    recipient, channel = _route(''.join(self._header))
    if recipient is None:
      self._kind = 'reasoning' if channel == 'analysis' else 'content'
      return
    name = recipient.removeprefix(_FUNCTIONS)
    if name == recipient or name not in self._tools:
      self._reject(self._pos)
      return
    self._kind, self._call = 'call', _OpenCall(self._tools[name])

  def _end_message(self, stop: int) -> None:
    """Ends the message; `stop` is where its text, tags included, ends."""
    if self._kind == 'call':
      call = self._call.finish()
      if call is None:
        self._reject(stop)
      else:
        self._recorder.call(call)
    elif self._kind == 'header' and _TO in ''.join(self._header):
      self._reject(stop)

  def _reject(self, stop: int) -> None:
    """Takes a message that says nothing known for content, tags included."""
    self._recorder.span('content', self._message_start, stop)
    self._kind = 'content'
    self._is_rejected = True


class _OpenCall:
  """A call whose arguments are being written."""

  def __init__(self, tool: types.Tool):
    self._tool = tool
    self._text: list[str] = []
    self._call: events.Call | None = None
    self._reader = call_object.arguments(tool)
    next(self._reader)

  def feed(self, char: str) -> bool:
    """Takes a character; returns whether this can still become a call."""
    if self._tool.is_custom:
      self._text.append(char)
      return True
    if self._call is not None:
      return char in reader.SPACE
    try:
      self._reader.send(char)
    except StopIteration as done:
      self._call = done.value
    except reader.MalformedError:
      return False
    return True

  def finish(self) -> events.Call | None:
    if self._tool.is_custom:
      return call_object.custom(self._tool, ''.join(self._text))
    return self._call


def _is_header(pieces: Sequence[str]) -> bool:
  """Whether a header can begin so."""
  if len(pieces) > _MAX_HEADER:
    return False
  if _CHANNEL in pieces:
    return True
  text = ''.join(pieces)
  if text.startswith(_START):
    text = text.removeprefix(_START)
    if _ROLE.startswith(text):
      return True
    if not text.startswith(_ROLE):
      return False
    text = text.removeprefix(_ROLE)
  text = text.lstrip()
  return text.startswith(_TO) or _TO.startswith(text)


def _route(header: str) -> tuple[str | None, str | None]:
  """The recipient and the channel of a header."""
  front, _, back = header.partition(_CHANNEL)
  front = front.removeprefix(_START).removeprefix(_ROLE)
  words = re.sub(r'<\|[a-z]+\|>', ' ', back).split()
  channel = words[0] if words else None
  for word in [*front.replace(_MESSAGE, ' ').split(), *words]:
    if word.startswith(_TO):
      return word.removeprefix(_TO), channel
  return None, channel


class HarmonyFormat:
  """An `output_format.OutputFormat`."""

  name = 'harmony'
  wraps_content = True
  reasoning_tags = (f'{_CHANNEL}analysis{_MESSAGE}', _END)
  controls = _CONTROLS

  def parser(
    self, tools: Sequence[types.Tool], prompt_tail: str = ''
  ) -> HarmonyParser:
    return HarmonyParser(call_object.by_name(tools), prompt_tail)

  def grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = output_format.NO_SPECIAL,
  ) -> str:
    """See `OutputFormat`; reasoning may come first, as channels know no start.

    The model stops at the end of a call, so only a caller that goes on sees
    many.
    """
    lark = _lark(special)
    call = lark.choice([_rule(lark, tool) for tool in tools])
    more = (
      f' ({_start(lark)} {call}){output_format.MORE}' if is_parallel else ''
    )
    return lark.source(f'{_head(lark)} {call}{more}')

  def strict_grammar(
    self,
    tools: Sequence[types.Tool],
    *,
    is_parallel: bool,
    special: Mapping[str, int] = output_format.NO_SPECIAL,
  ) -> str:
    lark = _lark(special)
    call = lark.choice(
      [_rule(lark, output_format.eased(tool)) for tool in tools]
    )
    start = _start(lark)
    text = lark.rule(
      f'{lark.tag(_CHANNEL)} ("analysis" | "commentary" | "final") '
      f'{lark.tag(_MESSAGE)} {lark.without(_END)}'
    )
    shown = f'{text} {lark.tag(_END)} {start}'
    more = (
      f' ({start} ({shown})* {call}){output_format.MORE}' if is_parallel else ''
    )
    return lark.source(f'({start})? ({shown})* ({text} | {call}{more})')

  def answer(self, lark: lark_lib.Lark, content: str) -> str:
    """See `OutputFormat`; reasoning may come first."""
    _check_controls(lark.special)
    final = f'{lark.tag(_CHANNEL)} "final" {lark.tag(_MESSAGE)}'
    return lark.rule(f'{_head(lark)} {final} {content}')


def _lark(special: Mapping[str, int]) -> lark_lib.Lark:
  _check_controls(special)
  return lark_lib.Lark(special)


def _check_controls(special: Mapping[str, int]) -> None:
  if missing := sorted(_CONTROLS - set(special)):
    raise types.ChatjaxError(
      f'The tokenizer lacks the control tokens {missing}, without which no '
      'answer can be bound in harmony; choose another output format.'
    )


def _start(lark: lark_lib.Lark) -> str:
  return f'{lark.tag(_START)} {lark_lib.literal(_ROLE)}'


def _head(lark: lark_lib.Lark) -> str:
  """What may go before the message that is bound."""
  return f'({_thought(lark)} {_start(lark)} | {_start(lark)})?'


def _thought(lark: lark_lib.Lark) -> str:
  return (
    f'{lark.tag(_CHANNEL)} "analysis" {lark.tag(_MESSAGE)} {lark.until(_END)}'
  )


def _rule(lark: lark_lib.Lark, tool: types.Tool) -> str:
  head = f'{lark.tag(_CHANNEL)} ' + lark_lib.literal(
    f'commentary to={_FUNCTIONS}{tool.name} '
  )
  if tool.is_custom:
    return f'{head} {lark.tag(_MESSAGE)} {lark.raw(tool, _CALL)}'
  kind = f'{lark.tag(_CONSTRAIN)}? "json" {lark.tag(_MESSAGE)}'
  return f'{head} {kind} {lark.arguments(tool)} {lark.tag(_CALL)}'


FORMAT = HarmonyFormat()
