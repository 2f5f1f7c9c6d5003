"""Stopping: what runs is finished, what is new is refused, nobody hangs."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from chatjax.testing import fake_engine
from tests.serve import harness

SERVE = """
import sys
from chatjax.chat import session
from chatjax.serve import server, timeouts
from chatjax.testing import byte_tokenizer, fake_engine
num_tokens, drain_s = int(sys.argv[1]), float(sys.argv[2])
script = fake_engine.text_script('x' * num_tokens)
listener = server.listen('127.0.0.2', 0, is_guarded=False)
print(listener.getsockname()[1], flush=True)
server.run(
  session.Session(
    fake_engine.FakeEngine(script, pause_s=0.05),
    byte_tokenizer.ByteTokenizer(), byte_tokenizer.ByteChatFormat(),
    model_id='tiny', sampler_version=1),
  listener, host='mine.example',
  timeouts=timeouts.Timeouts(drain_s=drain_s))
"""
ENDLESS = 4000


class Process:
  """A server of its own that can be sent signals."""

  def __init__(self, num_tokens, drain_s):
    self.process = subprocess.Popen(
      [sys.executable, '-c', SERVE, str(num_tokens), str(drain_s)],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    self.url = f'http://127.0.0.2:{int(self.process.stdout.readline())}'

  def get(self, path, **headers):
    """(status, body)."""
    try:
      asked = urllib.request.Request(self.url + path, headers=headers)
      with urllib.request.urlopen(asked) as answer:
        return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
      with error:
        return error.code, json.load(error)

  def ask(self, *, stream, **more):
    body = {'model': 'tiny', 'stream': stream, **more,
            'messages': harness.MESSAGES}  # fmt: skip
    return urllib.request.Request(
      f'{self.url}/v1/chat/completions',
      json.dumps(body).encode(),
      {'Content-Type': 'application/json'},
    )


@pytest.fixture
def serve():
  with contextlib.ExitStack() as stack:

    def start(num_tokens, drain_s=30.0):
      one = Process(num_tokens, drain_s)
      stack.enter_context(one.process.stdout)
      stack.enter_context(one.process.stderr)
      stack.callback(one.process.wait)
      stack.callback(one.process.kill)
      return one

    yield start


def test_sigterm_finishes_what_runs(serve):
  one = serve(160)
  assert one.get('/ready') == (200, {'status': 'ready'})
  assert one.get('/ready', Host='mine.example')[0] == 200
  assert one.get('/ready', Host='other.example')[0] == 400
  with urllib.request.urlopen(one.ask(stream=True, user='u7')) as answer:
    one.process.send_signal(signal.SIGTERM)
    refused = one.ask(stream=False)
    harness.wait_until(lambda: one.get('/ready')[0] == 503)
    assert one.get('/health')[0] == 200
    assert one.get('/ready')[1]['error']['code'] == 'server_draining'
    with pytest.raises(urllib.error.HTTPError) as caught:
      urllib.request.urlopen(refused)
    with caught.value as error:
      assert (error.code, error.headers['Retry-After']) == (503, '1')
      assert harness.error_of(error.read())['code'] == 'server_draining'
    assert answer.read().endswith(b'data: [DONE]\n\n')
  assert one.process.wait(timeout=10) == 0
  log = one.process.stderr.read()
  assert 'outcome=stop code=- prompt_tokens=9 cached_tokens=0' in log
  assert "user='u7'" in log
  assert 'Traceback' not in log


def test_nothing_to_finish_is_no_wait(serve):
  for sig in (signal.SIGTERM, signal.SIGINT):
    one = serve(1)
    assert one.get('/ready')[0] == 200
    start_s = time.monotonic()
    one.process.send_signal(sig)
    assert one.process.wait(timeout=10) == 0
    assert time.monotonic() - start_s < 5


def last_event(data):
  *_, last, empty = data.decode().split('\n\n')
  assert empty == ''
  return harness.error_of(last.removeprefix('data: '))


@pytest.mark.parametrize('is_hurried', [True, False])
def test_streams_are_told_when_their_time_is_up(serve, is_hurried):
  one = serve(ENDLESS, drain_s=30 if is_hurried else 1.5)
  assert one.get('/ready')[0] == 200
  with urllib.request.urlopen(one.ask(stream=True)) as answer:
    assert answer.readline().startswith(b'data: ')
    one.process.send_signal(signal.SIGTERM)
    harness.wait_until(lambda: one.get('/ready')[0] == 503)
    start_s = time.monotonic()
    if is_hurried:
      one.process.send_signal(signal.SIGTERM)
    error = last_event(answer.read())
  assert (error['type'], error['code']) == (
    'server_error',
    'server_shutting_down',
  )
  assert one.process.wait(timeout=10) == 0
  assert time.monotonic() - start_s < 5
  log = one.process.stderr.read()
  assert 'status=200 outcome=error code=server_shutting_down' in log
  assert 'Traceback' not in log


def test_whole_answers_are_told_too():
  script = fake_engine.text_script('x' * ENDLESS)
  with harness.Served(script, pause_s=0.02) as one:
    with contextlib.closing(one.open_request()) as connection:
      harness.wait_until(lambda: one.engine.num_open == 1)
      assert one.gate.num_inside == 1
      one.gate.clear()
      answer = http.client.HTTPResponse(connection)
      answer.begin()
      assert answer.status == 503
      error = harness.error_of(answer.read())
      assert error['code'] == 'server_shutting_down'
    harness.wait_until(lambda: one.gate.num_inside == 0)
    assert one.engine.num_open == 0


def test_who_came_in_just_before_is_told_too(monkeypatch):
  with harness.Served(fake_engine.text_script('x' * 99), pause_s=0.02) as one:
    submit = one.engine.submit

    def clear_first(request, sink):
      submit(request, sink)
      one.gate.clear()  # while the request is still being read

    monkeypatch.setattr(one.engine, 'submit', clear_first)
    status, _, data = one.post({'model': 'tiny', 'messages': harness.MESSAGES})
  assert (status, harness.error_of(data)['code']) == (
    503,
    'server_shutting_down',
  )
