"""Runs programs that a model wrote: in a process of their own, locked down."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time

from chatjax import types

_JAIL = pathlib.Path(__file__).with_name('jail.py')
# All there are; see `jail`.
LAYERS = ('limits', 'capabilities', 'files', 'calls')
# No packages, and no module from beside a file. `-I` would be the same, but it
# ignores the environment, which is ours.
_FLAGS = ('-s', '-S', '-P')
# Else sets of texts have another order every time, and so may scores.
_ENVIRONMENT = {'PYTHONHASHSEED': '0'}
_MAX_TOLD_BYTES = 8192
_START_S = 20.0  # an interpreter starts, on a busy machine too
_STARTS = 3


class SandboxError(types.ChatjaxError):
  """The sandbox itself failed, which says nothing of a program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What a program may take.

  Attributes:
    timeout_s: by the clock, from its first line on. For what sleeps: what
      computes has used up its processor time before.
    cpu_s: processor time; whole seconds.
    memory_bytes: of addresses.
    file_bytes: size of one file that it writes.
    open_files: at a time.
  """

  timeout_s: float = 60.0  # a busy machine must not make an answer wrong
  cpu_s: int = 10
  memory_bytes: int = 2**30
  file_bytes: int = 2**20
  open_files: int = 32

  def as_resources(self) -> dict[str, tuple[int, int]]:
    """(soft, hard) limits by their names in `resource`."""
    return {
      # Between the two the system says why it ends a program.
      'RLIMIT_CPU': (self.cpu_s, self.cpu_s + 1),
      'RLIMIT_AS': (self.memory_bytes, self.memory_bytes),
      'RLIMIT_FSIZE': (self.file_bytes, self.file_bytes),
      'RLIMIT_NOFILE': (self.open_files, self.open_files),
      'RLIMIT_CORE': (0, 0),
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
  """How a program ended.

  Attributes:
    error: what it raised, or how it was ended; None is to its last line.
    layers: what it was locked in by; see `jail`.
  """

  error: str | None
  layers: tuple[str, ...]

  @property
  def has_passed(self) -> bool:
    return self.error is None


def run(program: str, limits: Limits | None = None) -> Verdict:
  """Runs Python source in an interpreter without packages (`-s -S -P`).

  It has an empty folder that is removed afterwards, no standard streams and no
  environment but a fixed seed of hashes, so that texts in a set have one order;
  `jail` says what it may not do. A program that ends itself before
  its last line has not passed, unless it was made to deceive: it runs in the
  process that tells its end, so it could find out how that is told.

  Raises:
    SandboxError: no process would start, several times over.
  """
  limits = limits or Limits()
  for _ in range(_STARTS):
    verdict = _try(program, limits)
    if verdict is not None:
      return verdict
  raise SandboxError(
    f'The sandbox for programs of the model did not start {_STARTS} times, for'
    f' which it has {_START_S:g} s each; free memory or processors of this'
    ' machine, and give the same command again.'
  )


def _try(program: str, limits: Limits) -> Verdict | None:
  """Runs a program, or None: it was not begun."""
  nonce = secrets.token_hex(16)
  job = json.dumps({
    'program': program, 'nonce': nonce, 'limits': limits.as_resources(),
  })  # fmt: skip
  told, tell = os.pipe()
  first = last = None
  with tempfile.TemporaryDirectory(
    prefix='chatjax-answer-', ignore_cleanup_errors=True
  ) as folder:
    process = subprocess.Popen(
      [sys.executable, *_FLAGS, str(_JAIL), str(tell)],
      cwd=folder, env=_ENVIRONMENT, pass_fds=[tell], start_new_session=True,
      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(tell)
    try:
      _give(process, job)
      first = _line(told, _START_S)
      last = _line(told, limits.timeout_s)
    except TimeoutError:
      last = None
    else:
      _wait(process)  # it has closed the pipe: there is a code in a moment
    finally:
      code = process.poll()
      _end(process)
      os.close(told)
  if first is None:
    return None  # the program has had no say yet
  layers = tuple(first['layers'])
  if last is None or last.get('nonce') != nonce:
    return Verdict(error=_ended(code, limits), layers=layers)
  return Verdict(error=last['error'], layers=layers)


def _give(process: subprocess.Popen, job: str) -> None:
  try:
    process.stdin.write(job.encode())
    process.stdin.close()
  except BrokenPipeError:
    pass  # it is gone, which is seen later


def _line(descriptor: int, timeout_s: float) -> dict | None:
  """The next line if it is a JSON object; raises TimeoutError."""
  deadline_s, data = time.monotonic() + timeout_s, b''
  while not data.endswith(b'\n') and len(data) < _MAX_TOLD_BYTES:
    left_s = max(0.0, deadline_s - time.monotonic())
    if not select.select([descriptor], [], [], left_s)[0]:
      raise TimeoutError
    byte = os.read(descriptor, 1)
    if not byte:
      return None
    data += byte
  try:
    value = json.loads(data)
  except ValueError:
    return None
  return value if isinstance(value, dict) else None


def _wait(process: subprocess.Popen) -> None:
  with contextlib.suppress(subprocess.TimeoutExpired):
    process.wait(1.0)


def _end(process: subprocess.Popen) -> None:
  """Ends it with all that it may have started."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def _ended(code: int | None, limits: Limits) -> str:
  if code is None:
    return f'it was not done within {limits.timeout_s:g} s'
  if code == -signal.SIGXCPU:
    return f'it took more than {limits.cpu_s} s of processor time'
  return f'it ended itself before its last line (exit code {code})'
