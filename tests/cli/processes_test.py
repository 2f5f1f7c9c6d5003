"""Two processes with two devices each serve one model."""

from concurrent import futures
import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import chatjax
from chatjax import config as config_lib
from chatjax.cli import main
from chatjax.engine import runtime
from chatjax.testing import hub_folder
from chatjax.testing import tiny

MESH = config_lib.MeshConfig(data=2, model=2)
CONFIG = dataclasses.replace(
    tiny.ENGINE, dtype='float32', context=64, cache_tokens=256, mesh=MESH,
)  # fmt: skip
PROMPTS = [f'{"word " * (i % 7)}{i}' for i in range(20)]
WITHIN_S = 10


def free_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def fields(i):
  return {
      'messages': [{'role': 'user', 'content': PROMPTS[i]}], 'seed': i,
      'max_tokens': 8, 'logprobs': True, 'n': 1 + i % 2,
  }  # fmt: skip


def drawn(answer):
  return [
    [(one['token'], one['logprob']) for one in choice['logprobs']['content']]
    for choice in answer['choices']
  ]


class Served:
  """The command in two processes."""

  def __init__(self, folder, home):
    self.port = free_port()
    coordinator = f'127.0.0.1:{free_port()}'
    values = dataclasses.asdict(CONFIG)
    changes = [
      f'--set=engine.{name}={values[name]}'
      for name in ('chunk', 'page_size', 'decode_steps', 'cache_tokens')
    ]
    command = [
        sys.executable, '-m', 'chatjax.cli.main', 'serve', f'--model={folder}',
        '--dtype=float32', '--mesh=data=2,model=2', '--context=64',
        '--max_rows=4', f'--port={self.port}', *changes,
        f'--coordinator={coordinator}', '--num_processes=2',
    ]  # fmt: skip
    env = os.environ | {
        'CHATJAX_HOME': str(home), 'JAX_NUM_CPU_DEVICES': '2',
        'CHATJAX_LEADER': '127.0.0.1', 'PYTHONUNBUFFERED': '1',
    }  # fmt: skip
    self.leader, self.follower = (
      self._start([*command, f'--process_id={i}'], env, home / f'stderr{i}')
      for i in range(2)
    )
    self._home = home

  def _start(self, command, env, errors):
    with errors.open('wb') as stderr:
      return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True
      )

  def wait(self):
    for line in self.leader.stdout:  # others write there too
      if line.startswith('chatjax serves'):
        return
    raise AssertionError(self.stderr(0) + self.stderr(1))

  def stderr(self, i):
    return (self._home / f'stderr{i}').read_text()

  def ask(self, path, body=None):
    """(status, answer)."""
    url = f'http://127.0.0.1:{self.port}{path}'
    data = None if body is None else json.dumps(body).encode()
    headers = {'Content-Type': 'application/json'}
    try:
      with urllib.request.urlopen(
        urllib.request.Request(url, data, headers), timeout=60
      ) as response:
        return response.status, json.load(response)
    except urllib.error.HTTPError as error:
      return error.code, json.load(error)

  def complete(self, i):
    body = {'model': 'tiny-model', **fields(i)}
    status, answer = self.ask('/v1/chat/completions', body)
    assert status == 200, answer
    return answer

  def kill(self):
    for process in (self.leader, self.follower):
      process.kill()
      process.wait()
      process.stdout.close()


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('model') / 'tiny-model'
  hub_folder.write(folder, config={**hub_folder.CONFIG, 'num_hidden_layers': 1})
  return folder


@pytest.fixture(name='served')
def _served(folder):
  served = Served(folder, folder.parent)
  try:
    served.wait()
    yield served
  finally:
    served.kill()


@pytest.mark.slow
def test_two_processes_answer_as_one_until_one_is_killed(
  served, folder, monkeypatch
):
  monkeypatch.setenv('CHATJAX_HOME', str(folder.parent))
  monkeypatch.setattr(runtime, 'configure', lambda home: None)
  answers = [served.complete(i) for i in range(20)]
  with chatjax.load(str(folder), config=CONFIG) as model:
    for i, answer in enumerate(answers):
      wanted = model.chat(**fields(i)).model_dump()
      assert drawn(answer) == drawn(wanted)
      # Another number of processes may be another order of sums.
      assert answer['system_fingerprint'] != wanted['system_fingerprint']
  assert served.ask('/health')[0] == 200
  served.follower.kill()
  killed = time.monotonic()
  while (seen := served.ask('/health')[0]) == 200:
    assert time.monotonic() - killed < WITHIN_S
    time.sleep(0.1)
  assert seen == 503
  assert served.leader.wait(WITHIN_S) == 1
  assert time.monotonic() - killed < WITHIN_S
  *_, last = served.stderr(0).splitlines()
  assert last.startswith('chatjax: Process 1 closed its connection')


@pytest.mark.slow
def test_a_process_killed_amid_requests_is_named(served):
  def ask_on():
    with contextlib.suppress(OSError, http.client.HTTPException):
      while True:
        status, answer = served.ask(
          '/v1/chat/completions', {'model': 'tiny-model', **fields(1)}
        )
        if status != 200:
          return status, answer['error']['message']
    return None

  with futures.ThreadPoolExecutor(4) as pool:
    asked = [pool.submit(ask_on) for _ in range(4)]
    time.sleep(1)
    assert not any(one.done() for one in asked)
    served.follower.kill()
    assert served.leader.wait(WITHIN_S) == 1
    told = [one.result() for one in asked]
  assert any(told)
  assert {status for status, _ in filter(None, told)} <= {500, 503}
  *_, last = served.stderr(0).splitlines()
  assert last.startswith('chatjax: Process 1 closed its connection')


@pytest.mark.slow
def test_they_end_in_good_order(served):
  served.complete(1)
  served.follower.send_signal(signal.SIGTERM)  # the leader's matter
  served.complete(1)
  served.leader.send_signal(signal.SIGTERM)
  assert served.leader.wait(WITHIN_S) == 0
  assert served.follower.wait(WITHIN_S) == 0
  assert 'chatjax:' not in served.stderr(0) + served.stderr(1)


@pytest.mark.slow
def test_a_lost_leader_ends_the_follower(served):
  served.leader.kill()
  assert served.follower.wait(WITHIN_S) != 0
  # Its own watch or that of jax, whichever was faster.
  told = 'chatjax: The leading process closed|JAX distributed service detected'
  assert re.search(told, served.stderr(1))


@pytest.mark.parametrize(
  ('flags', 'told'),
  [
    (['--coordinator=a:1'], '--num_processes, --process_id'),
    (['--distributed', '--process_id=0'], '--process_id would say'),
    (
      ['--coordinator=a', '--num_processes=2', '--process_id=0'],
      'not HOST:PORT',
    ),
    (
      ['--coordinator=a:1', '--num_processes=2', '--process_id=2'],
      '--num_processes=2',
    ),
  ],
)
def test_flags_that_do_not_go_together(flags, told, capsys):
  assert main.main(['serve', *flags]) == 2
  assert told in capsys.readouterr().err
