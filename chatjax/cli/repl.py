"""The interactive chat: a prompt, an answer, and commands that begin with /."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import importlib
import pathlib
import sys

from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.cli import answer as answer_lib
from chatjax.cli import conversation as conversation_lib
from chatjax.cli import flagset

HELP = """\
/reset        forgets the conversation; the system message stays
/system TEXT  sets the system message; without TEXT removes it
/seed N|off   draws every answer from this seed; off: a fresh one for each
/save FILE    writes the conversation, its seeds and parameters as JSON
/help         shows this
/exit         ends; so do Ctrl-D and Ctrl-C here
Ctrl-C while an answer is written stops the answer. A \\ at the end of a line
continues the message on the next."""
_PROMPT, _MORE = '> ', '. '
_OVERLOADED = 503


class Repl:
  """Reads lines until the end.

  Args:
    answer: (request) -> the answer, shown while it comes.
    say: prints one remark to the person.
  """

  def __init__(
    self,
    session: session_lib.Session,
    conversation: conversation_lib.Conversation,
    *,
    answer: Callable[[types.Request], answer_lib.Answer],
    say: Callable[[str], None],
  ):
    self._session = session
    self._conversation = conversation
    self._answer = answer
    self._say = say
    self._commands: dict[str, Callable[[str], None]] = {
      'reset': self._reset,
      'system': self._system,
      'seed': self._seed,
      'save': self._save,
      'help': lambda unused_text: self._say(HELP),
    }

  def run(self) -> None:
    """Talks until /exit or the end of the input.

    Raises:
      KeyboardInterrupt: Ctrl-C at the prompt.
      types.ChatjaxError: the engine failed.
    """
    with contextlib.suppress(ImportError):
      importlib.import_module('readline')  # line editing, where there is any
    sys.stdin.reconfigure(errors='replace')
    self._say(f'{self._session.model_id} | /help lists the commands')
    while True:
      try:
        text = _read_message()
      except EOFError:
        return
      if text.strip() in ('/exit', '/quit'):
        return
      if text.startswith('/'):
        self._command(text)
      elif text.strip():
        self._ask(text)

  def _ask(self, text: str) -> None:
    try:
      answer = self._answer(self._conversation.request(text))
    except types.RequestError as error:
      if error.status >= _OVERLOADED:
        raise
      hint = ''
      if error.code == 'context_length_exceeded':
        hint = ' /reset starts afresh.'
      self._say(f'{error}{hint}')
      return
    self._conversation.add(text, answer)

  def _command(self, line: str) -> None:
    name, _, rest = line[1:].partition(' ')
    if name not in self._commands:
      near = flagset.nearest(name, [*self._commands, 'exit'], prefix='/')
      self._say(
        f'Unknown command /{name}.{near} /help lists them; to send a message'
        ' that begins with /, put a space before it.'
      )
      return
    self._commands[name](rest.strip())

  def _reset(self, rest: str) -> None:
    if rest:
      self._say('/reset takes nothing more.')
      return
    self._conversation.reset()
    self._say('The conversation is forgotten.')

  def _system(self, rest: str) -> None:
    self._conversation.system = rest
    self._say('The system message is ' + ('set.' if rest else 'removed.'))

  def _seed(self, rest: str) -> None:
    if rest == 'off':
      self._conversation.seed = None
      self._say('Every answer draws a fresh seed.')
      return
    try:
      seed = int(rest)
    except ValueError:
      seed = types.MAX_SEED + 1
    if not types.MIN_SEED <= seed <= types.MAX_SEED:
      self._say(f'/seed {rest}: give a whole number of 64 bits, or off.')
      return
    self._conversation.seed = seed
    self._say(f'Every answer draws from seed {seed}.')

  def _save(self, rest: str) -> None:
    if not rest:
      self._say('/save needs the name of a file.')
      return
    path = pathlib.Path(rest).expanduser()
    try:
      fingerprint = self._session.engine.fingerprint
      self._conversation.save(path, fingerprint=fingerprint)
    except conversation_lib.SaveError as error:
      self._say(str(error))
      return
    self._say(f'Saved to {path}.')


def _read_message() -> str:
  lines = [_read_line(_PROMPT)]
  while lines[-1].endswith('\\'):
    lines[-1] = lines[-1][:-1]
    lines.append(_read_line(_MORE))
  return '\n'.join(lines)


def _read_line(prompt: str) -> str:
  if not sys.stdout.isatty():
    # What goes into a file or a pipe is the answers alone.
    print(prompt, end='', file=sys.stderr, flush=True)
    prompt = ''
  return input(prompt)
