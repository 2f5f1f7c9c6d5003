"""`chatjax chat`: one answer, or a conversation in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import sys
from typing import Any

from absl import flags
from rich import console as console_lib

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.cli import answer as answer_lib
from chatjax.cli import conversation as conversation_lib
from chatjax.cli import flagset
from chatjax.cli import loading
from chatjax.cli import options
from chatjax.cli import repl
from chatjax.cli import view as view_lib
from chatjax.models import locate

USAGE = """chatjax chat [flags] [PROMPT ...]

PROMPT words are joined; a - among them stands for what standard input holds.
Without PROMPT, standard input is the prompt, or at a terminal a conversation
begins."""

_NUMBERS = (
  ('temperature', float, '0 takes the most likely token; OpenAI default 1.'),
  ('top_p', float, 'Keeps the likeliest tokens up to this mass.'),
  ('top_k', int, 'Keeps so many of the likeliest tokens.'),
  ('min_p', float, 'Keeps tokens of this share of the likeliest.'),
  ('max_tokens', int, 'Tokens of an answer at most.'),
  ('seed', int, 'Any 64-bit number: the same answer every time.'),
  ('presence_penalty', float, 'Lowers tokens that have been generated.'),
  ('frequency_penalty', float, 'Lowers them for every time.'),
  ('repetition_penalty', float, 'Divides tokens seen in prompt or answer.'),
)


def define(values: flags.FlagValues) -> None:
  options.define(values)
  for name, kind, text in _NUMBERS:
    make = flags.DEFINE_integer if kind is int else flags.DEFINE_float
    make(name, None, text, flag_values=values)
  flags.DEFINE_string('system', '', 'System message.', flag_values=values)
  flags.DEFINE_multi_string(
    'stop', None, 'Text before which an answer ends; may be repeated',
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_boolean(
    'raw', False, 'Shows the text as it is, not as markdown.',
    flag_values=values,
  )  # fmt: skip


def run(values: flags.FlagValues, arguments: Sequence[str]) -> int:
  config = options.config(values)
  conversation = conversation_lib.Conversation(
    model=locate.served_id(config.model),
    params=_params(values),
    seed=values['seed'].value,
    system=values['system'].value,
  )
  prompt = _prompt(arguments)
  try:
    request = conversation.request('?' if prompt is None else prompt)
  except types.RequestError as error:
    raise flagset.UsageError(str(error)) from error
  session = loading.load(config, accept_license=values['accept_license'].value)
  screen = _Screen(session, is_raw=values['raw'].value)
  with contextlib.closing(session.engine):
    if prompt is not None:
      if screen.answer(request).is_cancelled:
        raise KeyboardInterrupt
    else:
      repl.Repl(
        session, conversation, answer=screen.answer, say=screen.say
      ).run()
  return 0


def _params(values: flags.FlagValues) -> dict[str, Any]:
  """The request fields that were given."""
  names = [name for name, _, _ in _NUMBERS if name != 'seed'] + ['stop']
  return {
    name: values[name].value for name in names if values[name].value is not None
  }


def _prompt(arguments: Sequence[str]) -> str | None:
  """The one prompt there is to answer, or None to ask for them.

  With arguments, standard input is read only where a `-` asks for it: in a
  job or a script it may be a pipe that nobody ever writes to or closes.
  """
  if not arguments:
    if sys.stdin is not None and sys.stdin.isatty():
      return None
    arguments = ('-',)
  parts: list[str] = []
  words: list[str] = []
  for argument in arguments:
    if argument == '-':
      parts += [' '.join(words), _standard_input()]
      words = []
    else:
      words.append(argument)
  parts.append(' '.join(words))
  prompt = '\n\n'.join(part for part in parts if part.strip())
  if not prompt:
    raise flagset.UsageError(
      'The prompt is empty; give one on the command line or on standard input.'
    )
  return prompt


def _standard_input() -> str:
  if sys.stdin is None:
    return ''
  try:
    return sys.stdin.buffer.read().decode().strip('\n')
  except UnicodeDecodeError as error:
    raise flagset.UsageError(
      f'Standard input is not UTF-8 text ({error.reason} at byte'
      f' {error.start}).'
    ) from error


class _Screen:
  """Answers on stdout, everything else on stderr."""

  def __init__(self, session: session_lib.Session, *, is_raw: bool):
    self._session = session
    self._is_raw = is_raw
    self._out = console_lib.Console()
    self._err = console_lib.Console(stderr=True, highlight=False)
    # A character that the terminal's encoding lacks is no reason to stop.
    sys.stdout.reconfigure(errors='replace')

  def answer(self, request: types.Request) -> answer_lib.Answer:
    with self._view() as view:
      answer = answer_lib.stream(self._session, request, view.write)
    self.say(answer.summary())
    return answer

  def say(self, text: str) -> None:
    self._err.print(text, style='dim', markup=False, soft_wrap=True)

  def _view(self) -> view_lib.View:
    if self._is_raw or not self._out.is_terminal:
      return view_lib.PlainView(sys.stdout)
    return view_lib.MarkdownView(self._out)
