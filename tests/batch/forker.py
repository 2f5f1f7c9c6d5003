"""Runs `chatjax` on a scripted engine in forks of itself, as it is told.

One JSON object per line: {"run": [...], ...} is answered by a pid,
{"wait": pid, ...} by the exit code, or null when time is up.
"""

import json
import os
import pathlib
import runpy
import sys
import time

FAKE = pathlib.Path(__file__).parent.parent / 'cli' / 'fake_chatjax.py'
_MANAGERS = ('SLURM_', 'JOB_COMPLETION', 'TPU_', 'MEGASCALE_')


def child(question):
  told = os.open(
    question['told'], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
  )
  for descriptor in (1, 2):
    os.dup2(told, descriptor)
  for name in list(os.environ):
    if name.startswith(_MANAGERS):
      del os.environ[name]
  os.environ.update(question['environ'])
  code = RUN(question['text'], question['pause_s'], question['run'])
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def wait(pid, timeout_s):
  end_s = time.monotonic() + timeout_s
  while True:
    found, status = os.waitpid(pid, os.WNOHANG)
    if found:
      return os.waitstatus_to_exitcode(status)
    if time.monotonic() >= end_s:
      return None
    time.sleep(0.005)


def main():
  for line in sys.stdin:
    question = json.loads(line)
    if 'wait' in question:
      answer = wait(question['wait'], question['timeout_s'])
    else:
      answer = os.fork()
      if not answer:
        try:
          child(question)
        except BaseException as error:  # noqa: BLE001 - of a fork
          os.write(2, f'{error!r}'.encode())
        finally:
          os._exit(99)
    print(json.dumps(answer), flush=True)


if __name__ == '__main__':
  # All that the command needs is imported before the forks.
  import chatjax.batch.run
  import chatjax.cli.batch
  import chatjax.cli.batch_merge  # noqa: F401

  RUN = runpy.run_path(str(FAKE))['run']
  main()
