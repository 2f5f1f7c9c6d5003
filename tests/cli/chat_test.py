"""`chatjax chat`: one shot through pipes, a conversation through a pty."""

import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

FAKE = pathlib.Path(__file__).with_name('fake_chatjax.py')
# No test takes a tenth of it, unless the machine is busy.
PATIENCE_S = 60
FOX = 'The quick brown fox.\n'
STATUS = re.compile(
  r'\d+ tokens \| .*first after [\d.]+ s \| seed -?\d+ \| fp_fake'
)


@pytest.fixture
def chat(fake):
  return lambda text, *arguments, **more: fake(text, 'chat', *arguments, **more)


def test_one_shot_writes_the_text_and_nothing_else(chat):
  text = '# Title\n\n\x1b[31m**bold** €'
  code, out, err = chat(text, 'Hi', 'there')
  assert (code, out) == (0, f'{text}\n')
  assert STATUS.search(err), err
  assert chat(FOX, 'Hi')[1] == FOX


def test_the_prompt_is_arguments_then_standard_input(chat):
  assert chat('', 'Hi', 'there')[1].endswith(': user: Hi there\n')
  assert chat('', stdin=b'piped\n')[1].endswith(': user: piped\n')
  out = chat('', 'Sum', 'up:', '-', stdin=b'a\nb\n')[1]
  assert out.endswith(': user: Sum up:\n\na\nb\n')
  out = chat('', '-', 'The', 'end', stdin=b'a\n')[1]
  assert out.endswith(': user: a\n\nThe end\n')
  assert chat('', 'Hi', stdin=b'unasked')[1].endswith(': user: Hi\n')
  assert chat('', '--', '--raw')[1].endswith(': user: --raw\n')


def test_a_pipe_that_nobody_closes_is_not_waited_for():
  command = [sys.executable, str(FAKE), FOX, '0', 'chat', 'Hi']
  process = subprocess.Popen(
    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
  )  # fmt: skip
  try:
    # `wait`, not `communicate`: that would close the pipe.
    assert process.wait(PATIENCE_S) == 0
    assert process.stdout.read() == FOX.encode()
  finally:
    process.kill()
    process.communicate()


def test_flags_reach_the_request(chat):
  out = chat(
    '', 'Hi', '--seed=-5', '--temperature=0.5', '--stop=ZQ', '--stop=QZ',
    '--max_tokens=200', '--system=Be brief',
  )[1]  # fmt: skip
  # The echo names the stop strings, so the first of them ends it.
  assert out == "1 turns, seed -5, temperature 0.5, stop ['\n"
  out = chat('', 'Hi', '--max_tokens=70', '--system=Be brief')[1]
  assert len(out) == 71
  out = chat('', 'Hi', '--system=Be brief')[1]
  assert out.endswith(', max None: system: Be brief\nuser: Hi\n')


def test_the_seed_is_reported_and_repeats(chat):
  seed = re.search(r'seed (-?\d+)', chat('', 'Hi')[2])[1]
  assert f'seed {seed},' in chat('', 'Hi', f'--seed={seed}')[1]


def test_a_prompt_longer_than_the_context(chat):
  code, out, err = chat('x', 'long ' * 100, '--context=128')
  assert (code, out) == (1, '')
  assert re.fullmatch(r'chatjax: The messages are \d+ tokens long;.*\n', err)


def test_an_engine_that_fails(chat):
  code, out, err = chat('FAIL ' * 9, 'Hi', pause_s=0.01)
  assert code == 1
  assert out == 'FAIL FAI\n'  # two turns of four tokens
  assert re.fullmatch(r'chatjax: The engine failed\.\n', err)


def test_ctrl_c_ends_quietly():
  process = subprocess.Popen(
    [sys.executable, str(FAKE), 'word ' * 400, '0.05', 'chat', 'Hi'],
    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip
  assert process.stdout.read(8)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=PATIENCE_S)
  assert process.returncode == 130
  assert b'Traceback' not in err
  assert b'cancelled' in err


class Terminal:
  """A person at a pseudo-terminal of 80 by 24."""

  def __init__(self, text, *arguments, pause_s=0.0):
    self.screen = ''
    take = [sys.executable, '-c', _TAKE_TERMINAL]
    command = [sys.executable, str(FAKE), text, str(pause_s), 'chat']
    self._end, other = pty.openpty()
    env = os.environ | {'TERM': 'xterm', 'COLUMNS': '80', 'LINES': '24'}
    self._process = subprocess.Popen(
      [*take, *command, *arguments], stdin=other, stdout=other, stderr=other,
      env=env, start_new_session=True,
    )  # fmt: skip
    os.close(other)

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._process.kill()
    self._process.wait()
    os.close(self._end)

  def type(self, text):
    os.write(self._end, text.encode())

  def wait_for(self, pattern):
    """Returns what came up to the match, and forgets it."""
    until_s = time.monotonic() + PATIENCE_S
    while not (found := re.search(pattern, self.screen)):
      if not self._read(until_s):
        raise AssertionError(f'{pattern!r} did not come: {self.screen!r}')
    seen, self.screen = self.screen[: found.end()], self.screen[found.end() :]
    return seen

  def exit_code(self):
    until_s = time.monotonic() + PATIENCE_S
    while self._read(until_s):
      pass
    return self._process.wait(PATIENCE_S)

  def leave(self):
    """Presses Ctrl-C at the prompt until the program ends; its exit code.

    Readline notices one that comes before it waits only at the next key.
    """
    for _ in range(10):
      self.type('\x03')
      until_s = time.monotonic() + 2
      while self._read(until_s):
        pass
      with contextlib.suppress(subprocess.TimeoutExpired):
        return self._process.wait(0.5)
    return self._process.wait(PATIENCE_S)  # it may be on its way

  def _read(self, until_s):
    ready, _, _ = select.select(
      [self._end], [], [], max(0, until_s - time.monotonic())
    )
    if not ready:
      return False
    try:
      data = os.read(self._end, 65536)
    except OSError:  # the other end is closed
      return False
    self.screen += data.decode(errors='replace')
    return bool(data)


# The child takes the terminal itself: forking to run Python here (preexec_fn)
# would fork a process full of jax's threads.
_TAKE_TERMINAL = (
  'import fcntl, os, sys, termios;'
  'fcntl.ioctl(0, termios.TIOCSCTTY, 0);'
  'os.execv(sys.argv[1], sys.argv[1:])'
)


def test_a_conversation_keeps_what_was_said(tmp_path):
  path = tmp_path / 'talk.json'
  with Terminal('', '--raw', '--seed=3', '--temperature=0') as person:
    person.wait_for('/help lists the commands')
    person.wait_for('> ')
    person.type('first\n')
    person.wait_for('1 turns, seed 3, temperature 0,.*user: first')
    person.wait_for(STATUS.pattern)
    person.type('/seed 7\n')
    person.wait_for('from seed 7')
    person.type('/system Be brief\n')
    person.wait_for('system message is set')
    person.type('second \\\nhalf\n')
    person.wait_for(
      r'2 turns, seed 7, .*system: Be brief\s+user: first\s+assistant: 1 turns'
    )
    person.wait_for(STATUS.pattern)
    person.type(f'/save {path}\n')
    person.wait_for('Saved to')
    person.type('/reset\n/seed off\n/system\nthird\n')
    seen = person.wait_for(r'1 turns, seed -?\d+, .*: user: third')
    assert 'seed 7,' not in seen  # a drawn one may begin with 7
    person.type('/exit\n')
    assert person.exit_code() == 0
  saved = json.loads(path.read_text())
  assert saved['system_fingerprint'] == 'fp_fake'
  assert saved['params'] == {'temperature': 0.0}
  roles = [message['role'] for message in saved['messages']]
  assert roles == ['system', 'user', 'assistant', 'user', 'assistant']
  assert saved['messages'][3]['content'] == 'second \nhalf'
  assert [answer['seed'] for answer in saved['answers']] == [3, 7]
  assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_stops_the_answer_and_not_the_program():
  with Terminal('word ' * 400, '--raw', pause_s=0.05) as person:
    person.wait_for('> ')
    person.type('go\n')
    person.wait_for('word word ')
    person.type('\x03')
    person.wait_for(r'fp_fake \| cancelled')
    person.wait_for('> ')
    person.type('again\n')
    person.wait_for('word word ')
    person.type('\x03')
    person.wait_for('cancelled')
    person.wait_for('> ')
    assert person.leave() == 130
    assert 'Traceback' not in person.screen


def test_ctrl_d_at_the_prompt_ends():
  with Terminal(FOX) as person:
    person.wait_for('> ')
    person.type('\x04')
    assert person.exit_code() == 0


def test_remarks_on_wrong_commands(tmp_path):
  with Terminal(FOX, '--context=256') as person:
    person.wait_for('> ')
    for line, remark in (
      ('/savv', r'Unknown command /savv. Did you mean /save\?'),
      ('/seed x', 'whole number of 64 bits, or off'),
      (f'/seed {2**63}', 'whole number of 64 bits, or off'),
      ('/save', 'needs the name of a file'),
      (f'/save {tmp_path}/no/file', 'Cannot write .*/no/file'),
      ('/reset all', '/reset takes nothing more'),
      ('/help', 'Ctrl-C while an answer'),
      ('long ' * 60, 'no room for an answer.*/reset starts afresh'),
      ('  /etc is a folder', 'quick brown fox'),
    ):
      person.type(f'{line}\n')
      person.wait_for(remark)
    person.type('/quit\n')
    assert person.exit_code() == 0


def test_a_terminal_gets_markdown_or_the_raw_text():
  with Terminal('# Title\n\nText', 'Hi') as person:
    person.exit_code()
    assert 'Title' in person.screen
    assert '# Title' not in person.screen
  with Terminal('# Title\x1b[2J', '--raw', 'Hi') as person:
    person.exit_code()
    assert '# Title\N{REPLACEMENT CHARACTER}[2J' in person.screen
