"""Answers in a process of its own, for `chatjax verify` to compare with.

It runs before the trial's own engine is made, and ends before: an accelerator
may be held by one process at a time, and memory may hold the weights once.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

from chatjax import config as config_lib
from chatjax import types
from chatjax.chat import session as session_lib
from chatjax.cli import bench_text
from chatjax.cli import loading
from chatjax.cli import verify_plan
from chatjax.cli import verify_trial

_INTERRUPTED = 130


def plan_for(
  session: session_lib.Session, config: config_lib.EngineConfig, seed: int
) -> verify_plan.Plan:
  """What is asked of a model; the same in every process."""
  return verify_plan.plan(
    session.tokenizer.encode(bench_text.TEXT),
    config,
    max_context=session.engine.max_context,
    seed=seed,
  )


def ask(
  config: config_lib.Config, *, accept_license: bool, seed: int
) -> verify_trial.Record:
  """The record of another process.

  Raises:
    types.ChatjaxError: it could not answer, and why.
  """
  asked = {
    'model': config.model,
    'engine': dataclasses.asdict(config.engine),
    'accept_license': accept_license,
    'seed': seed,
  }
  done = subprocess.run(
    [sys.executable, '-m', 'chatjax.cli.verify_restart'],
    input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=False,
  )  # fmt: skip
  if done.returncode == _INTERRUPTED:
    raise KeyboardInterrupt
  if done.returncode:
    raise types.ChatjaxError(
      f'The other process ended with exit code {done.returncode}; give'
      ' --norestart to do without it.'
    )
  answer = json.loads(done.stdout.splitlines()[-1])
  if 'error' in answer:
    raise types.ChatjaxError(answer['error'])
  return answer


def main() -> int:
  """The other process: reads what is asked from stdin, prints the record."""
  asked = json.loads(sys.stdin.read())
  mesh = config_lib.MeshConfig(**asked['engine'].pop('mesh'))
  engine = config_lib.EngineConfig(**asked['engine'], mesh=mesh)
  config = config_lib.Config(model=asked['model'], engine=engine)
  try:
    session = loading.load(config, accept_license=asked['accept_license'])
    plan = plan_for(session, config.engine, asked['seed'])
    answer = verify_trial.record(session.engine, plan)
    session.engine.close()
  except types.ChatjaxError as error:
    answer = {'error': str(error)}
  except KeyboardInterrupt:
    return _INTERRUPTED
  print(json.dumps(answer))
  return 0


if __name__ == '__main__':
  sys.exit(main())
