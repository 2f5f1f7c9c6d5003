"""Calls that may go on for ever: in a process of their own, with a limit.

A pattern that backtracks holds the interpreter's lock, so that no thread beside
it runs and nothing ends it. The limit is processor time, which a busy machine
does not use up; the system ends the process at it, and the next call starts
another. Otherwise one process serves all calls.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
import contextlib
import json
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any

from chatjax import types

CPU_S = 5.0
_TRIES = 3
_PROGRAM = (
  'import sys; sys.path[:] = {paths}\n'
  'from chatjax.evals import limited; limited.serve({cpu_s})'
)


class TooLong(Exception):
  """A call took all the time it had."""


class LimitedError(types.ChatjaxError):
  """The process itself failed, which says nothing of a call."""


class Worker:
  """A process for calls, started by the first one. Thread-safe: one at a time.

  Args:
    cpu_s: processor time for a call.
  """

  def __init__(self, cpu_s: float = CPU_S):
    self._cpu_s = cpu_s
    self._lock = threading.Lock()
    self._process: subprocess.Popen[bytes] | None = None
    atexit.register(self.close)

  def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of a module there; all of it can be pickled.

    Raises:
      TooLong: it was not done within the limit.
      LimitedError: no process lived to the end of it, several times over.
      Exception: whatever the function raised.
    """
    job = pickle.dumps((function, arguments))
    with self._lock:
      for _ in range(_TRIES):
        has_ended, code, value = self._ask(job)
        if has_ended:
          break
        if code == -signal.SIGPROF:
          raise TooLong
      else:
        raise LimitedError(
          f'The process that marks answers ended {_TRIES} times before it was'
          f' done (exit code {code}); free memory of this machine, and give the'
          ' same command again.'
        )
    if isinstance(value, Exception):
      raise value
    return value

  def close(self) -> None:
    """Ends the process; another call would start it again."""
    process, self._process = self._process, None
    if process is not None:
      process.kill()
      process.wait()
      process.stdout.close()
      with contextlib.suppress(BrokenPipeError):
        process.stdin.close()

  def _ask(self, job: bytes) -> tuple[bool, int | None, Any]:
    """Whether there is an answer, else how the process ended; the answer."""
    if self._process is None:
      self._process = self._start()
    process = self._process
    try:
      process.stdin.write(job)
      process.stdin.flush()
      return True, None, pickle.load(process.stdout)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
      code = process.wait()
      self.close()
      return False, code, None
    except BaseException:  # Ctrl-C: what it is at would answer the next call
      self.close()
      raise

  def _start(self) -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(paths=json.dumps(sys.path), cpu_s=self._cpu_s)
    return subprocess.Popen(
      [sys.executable, '-c', program],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
      start_new_session=True,  # Ctrl-C is for the caller
    )  # fmt: skip


def serve(cpu_s: float) -> None:
  """Answers calls from standard input until that is closed."""
  # Its default: it ends the process, whatever C code is at.
  signal.signal(signal.SIGPROF, signal.SIG_DFL)
  while True:
    try:
      function, arguments = pickle.load(sys.stdin.buffer)
    except EOFError:
      return
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
      value = function(*arguments)
    except Exception as error:  # noqa: BLE001 - the caller's to judge
      value = error
    signal.setitimer(signal.ITIMER_PROF, 0)
    pickle.dump(value, sys.stdout.buffer)
    sys.stdout.buffer.flush()


_shared = Worker()


def call(function: Callable[..., Any], *arguments: Any) -> Any:
  """`Worker.call` of the one that all graders share."""
  return _shared.call(function, *arguments)
