"""Programs of models: they run, they are stopped, they can do no harm."""

import os
import pathlib
import socket
import sys
import time

import pytest

from chatjax.evals import sandbox

IS_LINUX = sys.platform == 'linux'
QUICK = sandbox.Limits(timeout_s=1.0)


def test_a_program_that_runs_through_passes():
  verdict = sandbox.run('import math\nassert math.gcd(12, 18) == 6')
  assert verdict == sandbox.Verdict(error=None, layers=verdict.layers)
  assert verdict.has_passed


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
def test_all_layers_are_in_place():
  assert sandbox.run('').layers == (
    *('limits', 'capabilities', 'files', 'calls'),
  )


@pytest.mark.parametrize(
  ('program', 'error'),
  [
    ('assert 1 == 2, "sum"', 'AssertionError: sum'),
    ('def f(:', 'SyntaxError'),
    ('raise ValueError("x" * 10_000)', 'ValueError: xxx'),
    ('import sys; sys.exit(0)', 'SystemExit: 0'),
    ('import os; os._exit(0)', 'ended itself before its last line'),
    ('import numpy', "No module named 'numpy'"),
    ('print(open(0).read()); print(input())', 'OSError'),
    ('x = [0] * 10**9', 'MemoryError'),
    ('open("a", "wb").write(b"x" * 2**21)', 'OSError: [Errno 27]'),
    ('f = [open(__import__("os").devnull) for _ in range(99)]', 'Errno 24'),
    ('def f(): f()\nf()', 'RecursionError'),
    ('class E(Exception):\n  def __str__(self): raise self\nraise E', 'E'),
    # Told by the program itself, without what only its end knows.
    (
      'import os\nfor fd in range(3, 99):\n  try: os.write(fd, b\'{"error":'
      " null}\\n')\n  except OSError: pass\nos._exit(0)",
      'ended itself',
    ),
  ],
)
def test_a_program_that_fails_is_told_why(program, error):
  verdict = sandbox.run(program)
  assert not verdict.has_passed
  assert error in verdict.error
  assert len(verdict.error) <= 300


@pytest.mark.parametrize('program', ['while True: pass', 'import time; '
                                     'time.sleep(60)'])  # fmt: skip
def test_a_program_that_goes_on_is_ended(program):
  start_s = time.monotonic()
  assert 'not done within 1 s' in sandbox.run(program, QUICK).error
  assert time.monotonic() - start_s < 20


def test_processor_time_is_limited():
  limits = sandbox.Limits(timeout_s=60, cpu_s=1)
  verdict = sandbox.run('while True: pass', limits)
  assert verdict.error == 'it took more than 1 s of processor time'


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
@pytest.mark.parametrize(
  'program',
  [
    'import os; os.fork()',
    'import subprocess; subprocess.run(["true"])',
    'import os; os.execv("/bin/true", ["true"])',
    'import _thread; _thread.start_new_thread(print, ())',
    'import os; os.kill(os.getppid(), 9)',
    'import os, signal; os.kill(os.getpid(), signal.SIGTERM)',
    'import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))',
    'import os; os.chmod(".", 0o700)',
  ],
)
def test_calls_that_reach_others_are_refused(program):
  assert sandbox.run(program).error.startswith(
    ('PermissionError', 'RuntimeError', 'ValueError: not allowed')
  )


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
def test_nothing_outside_of_its_folder_changes(tmp_path):
  kept = tmp_path / 'kept'
  kept.write_text('as it was')
  for program in (
    f'open({str(kept)!r}, "w")',
    f'open({str(tmp_path / "new")!r}, "w")',
    f'import os; os.remove({str(kept)!r})',
    f'import os; os.rename({str(kept)!r}, "mine")',
    f'import os; os.link({str(kept)!r}, "mine")',
    f'import os; os.truncate({str(kept)!r}, 0)',
    f'import os; os.mkdir({str(tmp_path / "folder")!r})',
  ):
    error = sandbox.run(program).error
    assert error.startswith(('PermissionError', 'OSError: [Errno 18]')), program
  assert os.listdir(tmp_path) == ['kept']
  assert kept.read_text() == 'as it was'


def first_landlock(monkeypatch, tmp_path, *, has_seccomp=True):
  """Takes the jail for one on a kernel whose Landlock has version 1."""
  text = pathlib.Path(sandbox._JAIL).read_text()
  changes = [(', 2: 0x3FF2, 3: 0x7FF2, 5: 0xFFF2}', '}')]
  if not has_seccomp:
    changes.append(("('calls', _close_calls)", "('calls', lambda: os.seccomp)"))
  for old, new in changes:
    assert text.count(old) == 1
    text = text.replace(old, new)
  (tmp_path / 'jail.py').write_text(text)
  monkeypatch.setattr(sandbox, '_JAIL', tmp_path / 'jail.py')


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
@pytest.mark.parametrize('flags', ['os.O_RDONLY', 'os.O_ACCMODE'])
def test_the_first_landlock_lets_no_file_be_cut_off(
  tmp_path, monkeypatch, flags
):
  first_landlock(monkeypatch, tmp_path)
  kept = tmp_path / 'kept'
  kept.write_text('as it was')
  for program in (
    f'import os; os.truncate({str(kept)!r}, 0)',
    f'import os; os.open({str(kept)!r}, os.O_TRUNC | {flags})',
    f'open({str(kept)!r}, "w")',
  ):
    verdict = sandbox.run(program)
    assert verdict.layers == sandbox.LAYERS
    assert kept.read_text() == 'as it was', program
    assert verdict.error.startswith('PermissionError'), program
  own = (
    'with open("a", "w") as file: file.write("abc"); file.truncate(1)\n'
    'assert open("a").read() == "a"\nopen("a", "r+").truncate(0)\n'
    'open("a", "w+").close()\nassert open("a").read() == ""'
  )
  assert sandbox.run(own).error is None


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
def test_files_that_could_be_cut_off_are_no_layer(tmp_path, monkeypatch):
  first_landlock(monkeypatch, tmp_path, has_seccomp=False)
  assert sandbox.run('').layers == ('limits', 'capabilities')


def test_its_folder_is_empty_its_own_and_removed():
  program = (
    'import os\nassert os.listdir() == []\nopen("a", "w").write("x")\n'
    'assert open("a").read() == "x"\nraise KeyError(os.getcwd())'
  )
  folder = sandbox.run(program).error.split("'")[1]
  assert 'chatjax-answer-' in folder
  assert not pathlib.Path(folder).exists()


@pytest.mark.skipif(not IS_LINUX, reason='Landlock and seccomp are Linux')
def test_there_is_no_network():
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    program = f'import socket; socket.create_connection(("127.0.0.1", {port}))'
    assert sandbox.run(program).error.startswith('PermissionError')


def test_it_sees_no_environment(monkeypatch):
  monkeypatch.setenv('SECRET_OF_THE_CALLER', '1')
  program = 'import os; assert "SECRET_OF_THE_CALLER" not in os.environ'
  assert sandbox.run(program).has_passed


def test_its_environment_is_a_seed_of_hashes():
  program = 'import os, sys; raise KeyError(dict(os.environ), sys.path)'
  error = sandbox.run(program).error
  assert "{'PYTHONHASHSEED': '0'" in error
  assert 'site-packages' not in error


def test_texts_in_a_set_have_the_same_order_every_time():
  program = 'raise KeyError(list({str(i) for i in range(40)}))'
  assert len({sandbox.run(program).error for _ in range(3)}) == 1


def test_addresses_are_not_told():
  error = sandbox.run('raise KeyError(object(), 0xff, "0xff")').error
  assert error == "KeyError: (<object object at 0x...>, 255, '0xff')"


def test_no_file_of_the_caller_is_open_in_it(tmp_path):
  with open(tmp_path / 'mine', 'w') as file:
    os.set_inheritable(file.fileno(), True)
    program = (
      'import os\nfor fd in range(3, 30):\n  try: os.fstat(fd)\n'
      '  except OSError: continue\n  names = os.readlink(f"/proc/self/fd/{fd}")'
      '\n  assert "mine" not in names'
    )
    assert sandbox.run(program).has_passed


def starts(monkeypatch, tmp_path, *, failing):
  """Takes the jail for one whose first starts fail; tells how many it had."""
  count = tmp_path / 'count'
  count.touch()
  text = pathlib.Path(sandbox._JAIL).read_text()
  first = (
    f'file = open({str(count)!r}, "a"); file.write("x"); file.close()\n'
    f'if len(open({str(count)!r}).read()) <= {failing}: raise SystemExit\n'
  )
  (tmp_path / 'jail.py').write_text(first + text)
  monkeypatch.setattr(sandbox, '_JAIL', tmp_path / 'jail.py')
  return lambda: len(count.read_text())


def test_a_start_that_fails_is_made_again(monkeypatch, tmp_path):
  made = starts(monkeypatch, tmp_path, failing=2)
  assert sandbox.run('assert 1 == 1').has_passed
  assert made() == 3


def test_without_a_start_nothing_is_marked(monkeypatch, tmp_path):
  made = starts(monkeypatch, tmp_path, failing=99)
  with pytest.raises(sandbox.SandboxError, match='did not start 3 times'):
    sandbox.run('')
  assert made() == 3


def test_a_start_that_takes_too_long_is_no_wrong_program(monkeypatch):
  monkeypatch.setattr(sandbox, '_START_S', 0.0)
  with pytest.raises(sandbox.SandboxError, match='for which it has 0 s each'):
    sandbox.run('')
