"""`chatjax batch` with an engine, in processes that are killed."""

import os
import subprocess
import sys
import time

from tests.batch import runs

_TIMEOUT_S = 600


def num_records(output):
  """Whole records on the way."""
  return sum(map(_num_lines, (output / 'work').glob('*/*.part')))


def _num_lines(path):
  try:
    return path.read_bytes().count(b'\n')
  except FileNotFoundError:  # whoever writes may put files together
    return 0


class Command:
  """One batch of one model, started again and again.

  Args:
    path: the requests.
    output: the folder of the run.
    flags: of the command.
    environ: changes to the environment.
  """

  def __init__(self, path, output, *flags, model=runs.MODEL, **environ):
    self._output = output
    self._command = [
      *(sys.executable, '-m', 'chatjax.cli.main'),
      *runs.command(path, output, *flags, model=model),
    ]
    kept = {
      name: value
      for name, value in os.environ.items()
      if not name.startswith(('SLURM_', 'JOB_COMPLETION'))
    }
    self._environ = kept | environ

  def finish(self, code=0):
    with self._start() as process:
      told, _ = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == code, told

  def kill_at(self, count, after_s=0.0):
    """Kills a run a while after so many records are on disk."""
    with self._start() as process:
      deadline_s = time.monotonic() + _TIMEOUT_S
      while num_records(self._output) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
      time.sleep(after_s)
      process.kill()
      process.communicate(timeout=30)

  def _start(self):
    return subprocess.Popen(
      self._command,
      cwd=runs.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      env=self._environ,
    )
